"""The Ask page of members. GET changes nothing.

A browser that is only bound sees what was said since it began to write itself; whoever has proved who they are sees all.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import Response, flash, redirect, render_template, request, session, url_for

from community.tickets import queries as desk
from kernel import clock, files, once, visitors
from kernel.auth import member_only
from kernel.errors import NotFound
from kernel.files import FileRefused
from kernel.i18n import current_locale
from kernel.i18n import gettext as _
from membership.members import queries as members
from membership.members.models import Member

from . import labels, queries, rules, services
from .forms import StarsForm, TalkForm
from .fresh import fresh, mark_of
from .models import Conversation, Ending, Sender

bp = APIBlueprint("conversations_portal", __name__, template_folder="templates", enable_openapi=False)
# In the signed session cookie: the conversations this browser has written in, each with its first message from here.
BEGUN = "talks"
NEVER = 2**63 - 1
# So long after joining a group its page offers the questions that are often asked.
NEW_HERE = timedelta(days=7)


def _member_id() -> int:
    found = visitors.member_id()
    if found is None:
        raise NotFound
    return found


def _identified() -> bool:
    return visitors.member_id(identified=True) is not None


def _since(conversation: Conversation) -> int:
    """The first message that this browser may read."""
    if _identified():
        return 0
    return int(session.get(BEGUN, {}).get(conversation.public_id, NEVER))


def _theirs(public_id: str) -> Conversation:
    """A conversation of this browser's member, whether or not it may read it. Refuses with `NotFound`."""
    found = queries.get_by_public_id(public_id)
    if found.member_id != _member_id():
        raise NotFound
    return found


def _mine(public_id: str) -> Conversation:
    """A conversation of this browser's member that it may read. Refuses with `NotFound`."""
    found = _theirs(public_id)
    if _since(found) == NEVER:
        raise NotFound
    return found


def _last_over() -> Conversation | None:
    """The conversation that ended last, where this browser may read it and it is not long ago."""
    found = queries.last_over(_member_id(), None if _identified() else list(session.get(BEGUN, {})))
    if found is None or found.closed_at is None or found.closed_at < clock.now() - rules.LATELY:
        return None
    return found


def _piece(conversation: Conversation) -> dict[str, Any]:
    said = queries.messages(conversation.id, _since(conversation))
    member = members.get_member(conversation.member_id)
    spoken = [message for message in said if message.sender is not Sender.SYSTEM]
    return {
        "conversation": conversation,
        "said": said,
        "last_spoken": spoken[-1].id if spoken else 0,
        "names": desk.signatures([message.staff_id for message in said], member.locale),
        "key_once": once.key(),
    }


def _mark(conversation: Conversation) -> str:
    return mark_of(conversation.id, conversation.last_message_id, conversation.state, _since(conversation))


def _page(conversation: Conversation | None, form: TalkForm | None = None, status: int = 200) -> Any:
    readable = conversation is not None and _since(conversation) != NEVER
    values: dict[str, Any] = {}
    if readable and conversation is not None:
        values = {**_piece(conversation), "mark": f'W/"{_mark(conversation)}"'}
    return render_template(
        "conversations/ask.html",
        form=form or once.show(TalkForm(formdata=None)),
        stars=StarsForm(formdata=None),
        elsewhere=conversation is not None and not readable,
        welcome=services.welcome(current_locale()) if not readable else None,
        over=_last_over() if conversation is None else None,
        past=bool(_identified() and queries.of_member(_member_id(), 1)),
        labels=labels,
        **{"conversation": None, **values},
    ), status


@bp.get("/ask")
@member_only()
def index() -> Any:
    return _page(queries.live_of(_member_id()))


@bp.post("/ask")
@member_only()
def ask() -> Any:
    form, member_id = TalkForm(), _member_id()
    if not form.validate():
        return _page(queries.live_of(member_id), form, 422)
    if once.done_before():
        return _asked(*once.made_before().split())
    services.refuse_flood(member_id)
    live = queries.live_of(member_id)
    if live is not None and _since(live) != NEVER:
        services.note_looked(live.id)
    try:
        message = services.ask(member_id, form.words.data or "", form.keep(), request.form.get("picked", "")[:100])
    except FileRefused as refusal:
        form.refuse("picture", refusal)
        return _page(queries.live_of(member_id), form, 422)
    except services.NothingAsked as refusal:
        form.refuse("words", refusal)
        return _page(queries.live_of(member_id), form, 422)
    public_id = queries.get_conversation(message.conversation_id).public_id
    once.note_made(f"{public_id} {message.id}")
    return _asked(public_id, str(message.id))


def _asked(public_id: str, first: str) -> Any:
    """To the conversation, of which this browser may read what was said since its first message, if it could not before."""
    begun = dict(session.get(BEGUN, {}))
    begun.setdefault(public_id, int(first))
    session[BEGUN] = dict(list(begun.items())[-10:])
    return redirect(url_for(".index", _anchor="write"), 303)


@bp.get("/ask/past")
@member_only(identified=True)
def past() -> Any:
    return render_template("conversations/past.html", conversations=queries.of_member(_member_id(), 50), labels=labels)


@bp.get("/ask/<public_id>")
@member_only()
def transcript(public_id: str) -> Any:
    conversation = _theirs(public_id)
    if _since(conversation) == NEVER:
        return redirect(url_for("members_portal.sign_in", next=url_for(".transcript", public_id=public_id)))
    return render_template(
        "conversations/transcript.html",
        stars=StarsForm(formdata=None, stars=str(conversation.satisfaction or ""), note=conversation.satisfaction_note),
        labels=labels,
        **_piece(conversation),
    )


@bp.get("/ask/<public_id>/messages")
@member_only()
def said(public_id: str) -> Any:
    """The messages alone; 304 while there is no new one."""
    conversation = _mine(public_id)
    return fresh(
        _mark(conversation), lambda: render_template("conversations/_said.html", **_piece(conversation), ask=True)
    )


@bp.get("/ask/<public_id>/pictures/<key>")
@member_only()
def picture(public_id: str, key: str) -> Any:
    conversation = _mine(public_id)
    if not queries.has_picture(conversation.id, key, _since(conversation)):
        raise NotFound
    return files.send_private(key)


@bp.post("/ask/<public_id>/looked")
@member_only()
def looked(public_id: str) -> Any:
    """The page tells that it is before somebody's eyes."""
    services.note_looked(_mine(public_id).id, request.form.get("shown", type=int))
    return Response(status=204)


@bp.post("/ask/<public_id>/person")
@member_only()
def person(public_id: str) -> Any:
    services.ask_for_person(_mine(public_id).id)
    return redirect(url_for(".index", _anchor="write"), 303)


@bp.post("/ask/<public_id>/close")
@member_only()
def close(public_id: str) -> Any:
    conversation = _mine(public_id)
    services.note_looked(conversation.id)
    services.close(conversation.id, Ending.MEMBER)
    flash(_("Thank you. How was it?"), "positive")
    return redirect(url_for(".transcript", public_id=public_id), 303)


@bp.post("/ask/<public_id>/stars")
@member_only()
def stars(public_id: str) -> Any:
    conversation, form = _mine(public_id), StarsForm()
    if not form.validate():
        return render_template("conversations/transcript.html", stars=form, labels=labels, **_piece(conversation)), 422
    services.note_looked(conversation.id)
    services.rate(conversation.id, int(form.stars.data), form.note.data or "")
    flash(_("Thank you for telling us."), "positive")
    return redirect(url_for(".transcript", public_id=public_id), 303)


def my_row(member: Member, **_values: Any) -> str:
    """The row on a member's own page (slot `me.nav`)."""
    return render_template("conversations/_my_row.html", answered=queries.has_unread(member.id))


def render_cards(member: Member, seat: Any, **_values: Any) -> str:
    """What somebody who has just joined a group may ask with one tap (slot `group.welcome`); nothing while they talk."""
    if seat is None or seat.joined_at < clock.now() - NEW_HERE or queries.live_of(member.id) is not None:
        return ""
    return render_template("conversations/_cards.html", welcome=services.welcome(current_locale()), key_once=once.key())
