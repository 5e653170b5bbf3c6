"""The inbox of the staff: the queue, a conversation, and the customer with their past."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from community.desk import queries as calls
from community.tickets import labels as ticket_labels
from community.tickets import queries as desk
from community.tickets import rules as desk_rules
from community.tickets import services as tickets
from community.tickets.models import TicketKind
from kernel import files, once
from kernel.auth import acting_staff, may, staff
from kernel.errors import NotFound, Refusal
from kernel.files import FileRefused
from kernel.i18n import gettext as _
from kernel.pages import Page, keyset, row_or_none, searched
from membership.members import labels as member_labels
from membership.members import queries as members
from membership.members.models import CustomerType, Member
from membership.orders import queries as orders

from . import labels, queries, services
from .forms import SayForm
from .fresh import fresh, mark_of
from .models import Conversation, Ending, Sender, TalkState

bp = APIBlueprint(
    "conversations_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False
)


def _view(conversation: Conversation | None = None) -> str:
    """The view that the address names, else the one in which a conversation is found, else one's own."""
    wanted = request.args.get("view", "")
    if wanted in labels.VIEWS:
        return wanted
    match conversation.state if conversation is not None else None:
        case TalkState.QUEUED:
            return "waiting"
        case TalkState.BOT:
            return "bot"
        case TalkState.CLOSED:
            return "closed"
        case TalkState.OPEN if conversation is not None and conversation.assignee_id != acting_staff().id:
            return "all"
        case _:
            return "mine"


def _queue(view: str) -> Page:
    found = queries.listing(view, acting_staff().id, searched())
    return keyset(found, queries.order_of(view), request.args.get("cursor"), 40)


def _queue_values(view: str, shown: int | None) -> dict[str, Any]:
    page = _queue(view)
    return {
        "page": page,
        "rows": [row[:4] for row in page.rows],
        "view": view,
        "shown": shown,
        "labels": labels,
        "waiting": queries.counts(acting_staff().id)["waiting"] if not page.rows else None,
    }


def _inbox(
    conversation: Conversation | None = None,
    form: SayForm | None = None,
    status: int = 200,
    refused: Refusal | None = None,
) -> Any:
    view, me = _view(conversation), acting_staff()
    presence = desk.presence_of(me.id)
    values = _queue_values(view, conversation.id if conversation else None) | {"conversation": None, "refused": refused}
    if conversation is not None:
        values |= _conversation_values(conversation, form)
    return render_template(
        "conversations/inbox.html",
        counts=queries.counts(me.id),
        presence={"is_on": presence is not None and presence.is_on},
        queue_mark=f'W/"{mark_of(queries.mark(view, me.id))}"',
        **values,
    ), status


def _phrases(conversation: Conversation, member: Member) -> dict[str, Any]:
    who = acting_staff()
    words = tickets.words_for(member, who)
    said = request.args.get("type", "")
    known = {kind.value for kind in CustomerType}
    kind = CustomerType(said) if said in known else member.customer_type
    q = searched("phrases")
    found = desk.phrases(who.id, who.role, q, None, kind)
    return {
        "phrases": [(phrase, desk_rules.fill(phrase.body, words)) for phrase in found],
        "phrase_words": q,
        "chosen_type": kind,
        "member_labels": member_labels,
        "here": url_for(".show", conversation_id=conversation.id),
    }


def _chosen_phrase(member: Member) -> tuple[str, str]:
    """The words and the name of the saved answer or script that an address names (`say=macro-12`)."""
    name, _dash, text = request.args.get("say", "").partition("-")
    number, who = row_or_none(text), acting_staff()
    if number is None or name not in ("macro", "script"):
        return "", ""
    body = desk.get_macro(number, who.id).body if name == "macro" else calls.get_script(number, who.id).body
    return desk_rules.fill(body, tickets.words_for(member, who)), f"{name}-{number}"


def _talk(conversation: Conversation) -> dict[str, Any]:
    said = queries.messages(conversation.id)
    return {
        "conversation": conversation,
        "said": said,
        "names": desk.names([message.staff_id for message in said]),
        "member": members.get_member(conversation.member_id),
        "labels": labels,
    }


def _mark(conversation: Conversation) -> str:
    return mark_of(conversation.id, conversation.last_message_id, conversation.state, conversation.assignee_id)


def _conversation_values(conversation: Conversation, form: SayForm | None) -> dict[str, Any]:
    values, me = _talk(conversation), acting_staff()
    member: Member = values["member"]
    if form is None:
        form = SayForm(formdata=None)
        once.show(form)
        form.words.data, form.macro.data = _chosen_phrase(member)
        form.seen.data = str(queries.last_word(conversation.id, but=me.id))
    last = max((m.id for m in values["said"] if m.sender is Sender.STAFF), default=0)
    asked = [m.body for m in values["said"] if m.sender is Sender.MEMBER and m.body and m.id > last]
    mine = conversation.assignee_id == me.id and conversation.state is TalkState.OPEN
    bought = orders.orders_of(member.id, limit=3)
    lines = orders.lines_of_many([order.id for order in bought])
    return {
        **values,
        "form": form,
        "mark": f'W/"{_mark(conversation)}"',
        "mine": mine,
        "seen": max(
            (m.id for m in values["said"] if m.sender in queries.WORDS and m.staff_id != me.id),
            default=0,
        ),
        "may_write": may("talks.handle") and conversation.live and (mine or conversation.state is not TalkState.OPEN),
        "holder": desk.names([conversation.assignee_id]).get(conversation.assignee_id or 0),
        "colleagues": [person for person in desk.agents() if person.id != me.id],
        "suggestions": services.suggestions(asked[::-1], conversation.id) if conversation.live else [],
        "purchases": [calls.Purchase(order, lines[order.id]) for order in bought],
        "ticket_labels": ticket_labels,
        "served_first": calls.served_first(member),
        "ticket_kinds": [kind for kind in TicketKind if kind is not TicketKind.SURVEY],
        **_phrases(conversation, member),
    }


@bp.get("/inbox")
@staff("talks.view")
def index() -> Any:
    return _inbox()


@bp.get("/inbox/queue")
@staff("talks.view")
def queue() -> Any:
    """The queue alone; 304 while nothing has changed in it."""
    view, me = _view(), acting_staff()
    shown = row_or_none(request.args.get("shown"))
    return fresh(
        mark_of(queries.mark(view, me.id)),
        lambda: render_template("conversations/_queue.html", **_queue_values(view, shown)),
    )


@bp.get("/inbox/<int:conversation_id>")
@staff("talks.view")
def show(conversation_id: int) -> Any:
    return _inbox(queries.get_conversation(conversation_id))


@bp.get("/inbox/<int:conversation_id>/messages")
@staff("talks.view")
def said(conversation_id: int) -> Any:
    """The messages alone; 304 while there is no new one."""
    conversation = queries.get_conversation(conversation_id)
    return fresh(_mark(conversation), lambda: render_template("conversations/_talk.html", **_talk(conversation)))


@bp.get("/inbox/<int:conversation_id>/phrases")
@staff("talks.view")
def phrases(conversation_id: int) -> Any:
    conversation = queries.get_conversation(conversation_id)
    member = members.get_member(conversation.member_id)
    return render_template("tickets/_phrases.html", **_phrases(conversation, member))


@bp.get("/inbox/<int:conversation_id>/pictures/<key>")
@staff("talks.view")
def picture(conversation_id: int, key: str) -> Any:
    if not queries.has_picture(conversation_id, key):
        raise NotFound
    return files.send_private(key)


def _back(conversation_id: int, **values: Any) -> Any:
    return redirect(url_for(".show", conversation_id=conversation_id, **values))


@bp.post("/inbox/<int:conversation_id>/messages")
@staff("talks.handle")
def say(conversation_id: int) -> Any:
    form, me = SayForm(), acting_staff()
    conversation = queries.get_conversation(conversation_id)
    if not form.validate():
        return _inbox(conversation, form, 422)
    if once.done_before():
        return _back(conversation_id, _anchor="answer")
    try:
        services.say(conversation_id, me.id, form.words.data or "", form.keep(), row_or_none(form.seen.data))
    except FileRefused as refusal:
        form.refuse("picture", refusal)
        return _inbox(conversation, form, 422)
    except services.NothingAsked as refusal:
        form.refuse("words", refusal)
        return _inbox(conversation, form, 422)
    except services.SomethingNew as refusal:
        form.refuse("words", refusal)
        form.seen.data = str(queries.last_word(conversation_id, but=me.id))
        return _inbox(queries.get_conversation(conversation_id), form, 409)
    except (services.TalkTaken, services.TalkOver) as refusal:
        return _inbox(queries.get_conversation(conversation_id), form, 409, refusal)
    tickets.note_said(form.macro.data or "")
    return _back(conversation_id, _anchor="answer")


@bp.post("/inbox/<int:conversation_id>/take")
@staff("talks.handle")
def take(conversation_id: int) -> Any:
    services.take(conversation_id, acting_staff().id, row_or_none(request.form.get("from")))
    flash(_("The conversation is yours."), "positive")
    return _back(conversation_id)


@bp.post("/inbox/<int:conversation_id>/release")
@staff("talks.handle")
def release(conversation_id: int) -> Any:
    services.release(conversation_id, acting_staff().id)
    flash(_("Given back: anybody may take it."), "positive")
    return redirect(url_for(".index", view="waiting"))


@bp.post("/inbox/<int:conversation_id>/hand-over")
@staff("talks.handle")
def hand_over(conversation_id: int) -> Any:
    to = row_or_none(request.form.get("to"))
    if to is None:
        raise NotFound
    services.hand_over(conversation_id, acting_staff().id, to)
    flash(_("Handed over to %(name)s.", name=desk.names([to]).get(to, "–")), "positive")
    return redirect(url_for(".index"))


@bp.post("/inbox/<int:conversation_id>/ticket")
@staff("tickets.handle")
def ticket(conversation_id: int) -> Any:
    kind = request.form.get("kind", "")
    if kind not in {k.value for k in TicketKind}:
        raise NotFound
    made = services.to_ticket(conversation_id, TicketKind(kind), acting_staff().id)
    flash(_("The ticket is open."), "positive")
    return redirect(url_for("tickets_console.show", ticket_id=made.id))


@bp.post("/inbox/<int:conversation_id>/close")
@staff("talks.handle")
def close(conversation_id: int) -> Any:
    me = acting_staff()
    try:
        services.close(conversation_id, Ending.STAFF, row_or_none(request.form.get("seen")), me.id)
    except services.SomethingNew:
        flash(_("The customer has written since. Read that first, and end it then."), "caution")
        return _back(conversation_id)
    flash(_("The conversation is over. The customer is asked how it was."), "positive")
    return redirect(url_for(".index"))


# ── Places on other pages ───────────────────────────────────────────────────────────────────────────────────────────


def member_conversations(member: Member, **_values: Any) -> str:
    """A member's conversations beside their page (slot `member.side`)."""
    if not may("talks.view"):
        return ""
    shown = (request.view_args or {}).get("conversation_id") if request.blueprint == bp.name else None
    found = [one for one in queries.of_member(member.id, 5) if one.id != shown][:4]
    return render_template("conversations/_member_conversations.html", conversations=found, labels=labels)


def results(since: Any, until: Any, **_values: Any) -> str:
    """What conversations came to, on the page of the desk's results (slot `desk.results`)."""
    if not may("talks.view"):
        return ""
    every, people = queries.results(since, until)
    names = desk.names([int(row.key) for row in people])
    return render_template(
        "conversations/_results.html",
        every=every,
        people=[(names.get(int(row.key), "–"), row) for row in people],
        labels=labels,
    )
