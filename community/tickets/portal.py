"""Pages for members: what they asked the desk to put right. GET changes nothing.

A browser that is only bound (by a link that it opened) sees the tickets that it opened itself; whoever has proved who they
are sees all of theirs.
"""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response, flash, redirect, render_template, request, session, url_for

from kernel import files, links, once, visitors
from kernel.auth import member_only, public
from kernel.errors import NotFound
from kernel.files import FileRefused
from kernel.i18n import gettext as _
from membership.members import queries as members
from membership.members.models import Member
from membership.orders import queries as orders
from membership.orders.models import Order

from . import labels, queries, rules, services
from .forms import MemberOpenForm, RatingForm, WritingForm, answers_typed
from .models import Ticket, TicketKind, TicketSource

bp = APIBlueprint("tickets_portal", __name__, template_folder="templates", enable_openapi=False)
OPENED_HERE = "tickets"


def _member_id() -> int:
    found = visitors.member_id()
    if found is None:
        raise NotFound
    return found


def _identified() -> bool:
    return visitors.member_id(identified=True) is not None


def _opened_here() -> list[str]:
    return [str(one) for one in session.get(OPENED_HERE, [])]


def _mine(public_id: str) -> Ticket | None:
    """A ticket of this browser's member; None when they have to prove who they are first. Refuses with `NotFound`."""
    ticket = queries.get_by_public_id(public_id)
    if ticket.member_id != _member_id():
        raise NotFound
    return ticket if _identified() or public_id in _opened_here() else None


def _prove(public_id: str) -> Any:
    return redirect(url_for("members_portal.sign_in", next=url_for(".show", public_id=public_id)))


@bp.get("/tickets")
@member_only()
def mine() -> Any:
    member_id = _member_id()
    return render_template(
        "tickets/mine.html",
        tickets=queries.of_member_seen(member_id, None if _identified() else _opened_here()),
        identified=_identified(),
        labels=labels,
    )


@bp.get("/tickets/new")
@member_only()
def choose() -> Any:
    return render_template("tickets/choose.html", kinds=rules.MEMBER_KINDS, labels=labels)


def _kind(text: str) -> TicketKind:
    if text not in {kind.value for kind in rules.MEMBER_KINDS}:
        raise NotFound
    return TicketKind(text)


def _open_page(kind: TicketKind, form: MemberOpenForm, status: int = 200, faults: dict[str, str] | None = None) -> Any:
    step = queries.steps_now(kind)[0]
    asks = step.asks if step.by_member else ()
    return render_template(
        "tickets/open.html",
        kind=kind,
        form=form,
        asks=asks,
        faults=faults or {},
        typed=answers_typed(ask.key for ask in asks),
        orders=orders.orders_of(_member_id(), limit=20) if _identified() else [],
        labels=labels,
    ), status


@bp.get("/tickets/new/<kind>")
@member_only()
def new(kind: str) -> Any:
    form = MemberOpenForm(formdata=None)
    once.show(form)
    form.order.data = request.args.get("order", "")[:80]
    return _open_page(_kind(kind), form)


def _opened(public_id: str) -> Any:
    """To a ticket that this browser opened, and may read from now on."""
    if public_id not in _opened_here():
        session[OPENED_HERE] = [*_opened_here(), public_id][-20:]
    return redirect(url_for(".show", public_id=public_id), 303)


@bp.post("/tickets/new/<kind>")
@member_only()
def new_post(kind: str) -> Any:
    wanted, form, member_id = _kind(kind), MemberOpenForm(), _member_id()
    step = queries.steps_now(wanted)[0]
    answers = answers_typed(ask.key for ask in step.asks) if step.by_member else {}
    _found, wrong = rules.read_answers(step, answers) if step.by_member else ({}, [])
    faults = {key: str(labels.FAULTS[fault]) for key, fault in wrong}
    if not form.validate() or faults:
        return _open_page(wanted, form, 422, faults)
    if once.done_before():
        return _opened(once.made_before())
    services.refuse_flood(member_id)
    try:
        number = form.order.data or ""
        order_id = queries.order_of_member(member_id, number) if number else None
        said = form.body.data or ""
        if number and not _identified():
            # Whether an order is the member's is told to nobody who has not proved who they are: the desk reads the number.
            said = "\n".join(part for part in (said, str(_("Order number: %(number)s", number=number))) if part)
        elif number and order_id is None:
            raise services.NotTheirOrder
        ticket = services.open_ticket(
            services.Opening(
                member_id=member_id,
                kind=wanted,
                text=said,
                subject="" if form.body.data else str(labels.KINDS[wanted]),
                order_id=order_id,
                pictures=form.keep(),
                answers=answers,
                source=TicketSource.MEMBER,
            )
        )
    except services.NotTheirOrder as refusal:
        form.refuse("order", refusal)
    except FileRefused as refusal:
        form.refuse("pictures", refusal)
    else:
        once.note_made(ticket.public_id)
        flash(_("It is with us. You will find our answer here."), "positive")
        return _opened(ticket.public_id)
    return _open_page(wanted, form, 422)


def _page(
    ticket: Ticket,
    form: WritingForm | None = None,
    rating: RatingForm | None = None,
    status: int = 200,
    faults: dict[str, str] | None = None,
    typed: dict[str, str] | None = None,
) -> Any:
    # Asked before the entries: what comes in between is counted as not seen.
    shown = queries.last_spoken(ticket.id, queries.LOOKED_AT)
    entries = queries.entries(ticket.id, public=True)
    done = queries.steps_done(ticket.id)
    steps = queries.steps_of(ticket)
    step = rules.step_of(steps, ticket.step)
    return render_template(
        "tickets/ticket.html",
        ticket=ticket,
        entries=entries,
        shown=shown,
        names=queries.signatures([entry.staff_id for entry in entries], members.get_member(ticket.member_id).locale),
        form=form or once.show(WritingForm(formdata=None)),
        step_once=once.key(),
        rating=rating or RatingForm(formdata=None, stars=str(ticket.satisfaction or ""), note=ticket.satisfaction_note),
        steps=[(one, done.get(one.key)) for one in steps],
        step=step if step is not None and step.by_member and ticket.live else None,
        approved=done.get("approved"),
        faults=faults or {},
        typed=typed or {},
        labels=labels,
    ), status


@bp.get("/tickets/<public_id>")
@member_only()
def show(public_id: str) -> Any:
    ticket = _mine(public_id)
    return _page(ticket) if ticket is not None else _prove(public_id)


@bp.get("/tickets/<public_id>/pictures/<key>")
@member_only()
def picture(public_id: str, key: str) -> Any:
    ticket = _mine(public_id)
    if ticket is None or not queries.has_picture(ticket.id, key, public=True):
        raise NotFound
    return files.send_private(key)


@bp.post("/tickets/<public_id>/looked")
@member_only()
def looked(public_id: str) -> Any:
    """The page tells that it is before somebody's eyes."""
    ticket = _mine(public_id)
    if ticket is None:
        return _prove(public_id)
    services.note_looked(ticket.id, request.form.get("shown", type=int))
    return Response(status=204)


def _to_ticket(public_id: str) -> Any:
    return redirect(url_for(".show", public_id=public_id), 303)


@bp.post("/tickets/<public_id>/messages")
@member_only()
def write(public_id: str) -> Any:
    ticket, form = _mine(public_id), WritingForm()
    if ticket is None:
        return _prove(public_id)
    if not form.validate():
        return _page(ticket, form, status=422)
    if once.done_before():
        return _to_ticket(public_id)
    services.refuse_chatter(ticket)
    services.note_looked(ticket.id)
    try:
        services.member_write(ticket.id, form.body.data or "", form.keep())
    except FileRefused as refusal:
        form.refuse("pictures", refusal)
        return _page(ticket, form, status=422)
    except services.NothingSaid as refusal:
        form.refuse("body", refusal)
        return _page(ticket, form, status=422)
    flash(_("It is with us. You will find our answer here."), "positive")
    return _to_ticket(public_id)


@bp.post("/tickets/<public_id>/steps/<key>")
@member_only()
def step(public_id: str, key: str) -> Any:
    ticket = _mine(public_id)
    if ticket is None:
        return _prove(public_id)
    found = rules.step_of(queries.steps_of(ticket), key)
    if found is None:
        raise NotFound
    typed = answers_typed(ask.key for ask in found.asks)
    if once.done_before():
        return _to_ticket(public_id)
    try:
        services.member_step(ticket.id, key, typed)
    except services.StepIncomplete as refusal:
        faults = {asked: str(labels.FAULTS[fault]) for asked, fault in refusal.faults}
        return _page(ticket, status=422, faults=faults, typed=typed)
    flash(_("Thank you, we have it."), "positive")
    return _to_ticket(public_id)


@bp.post("/tickets/<public_id>/resolve")
@member_only()
def resolve(public_id: str) -> Any:
    ticket = _mine(public_id)
    if ticket is None:
        return _prove(public_id)
    services.note_looked(ticket.id)
    services.member_resolve(ticket.id)
    flash(_("Good to hear. How did we do?"), "positive")
    return _to_ticket(public_id)


@bp.post("/tickets/<public_id>/rating")
@member_only()
def rating(public_id: str) -> Any:
    ticket, form = _mine(public_id), RatingForm()
    if ticket is None:
        return _prove(public_id)
    if not form.validate():
        return _page(ticket, rating=form, status=422)
    services.note_looked(ticket.id)
    services.rate(ticket.id, int(form.stars.data), form.note.data or "")
    flash(_("Thank you for telling us."), "positive")
    return _to_ticket(public_id)


# ── A personal page to say how it went, by a link ───────────────────────────────────────────────────────────────────


def _rated(token: str) -> Ticket:
    (number,) = links.read("ticket.rate", token)
    ticket = queries.get_ticket(int(number))
    if members.get_member(ticket.member_id).erased_at is not None:
        raise NotFound
    return ticket


@bp.get("/rate/<token>")
@public("a personal link to say how a ticket went; it shows nothing of the person or of what was said")
def rate_by_link(token: str) -> Any:
    ticket = _rated(token)
    form = RatingForm(formdata=None, stars=str(ticket.satisfaction or ""))
    return render_template("tickets/rate.html", ticket=ticket, form=form, labels=labels)


@bp.post("/rate/<token>")
@public("a personal link to say how a ticket went; its signature is the right")
def rate_by_link_post(token: str) -> Any:
    ticket, form = _rated(token), RatingForm()
    if not form.validate():
        return render_template("tickets/rate.html", ticket=ticket, form=form, labels=labels), 422
    # The page does not show what was written before, so an empty field takes nothing back.
    services.rate(ticket.id, int(form.stars.data), form.note.data or ticket.satisfaction_note)
    flash(_("Thank you for telling us."), "positive")
    return redirect(url_for(".rate_by_link", token=token), 303)


# ── Places on other pages ───────────────────────────────────────────────────────────────────────────────────────────


def my_row(member: Member, **_values: Any) -> str:
    """The row on a member's own page (slot `me.nav`)."""
    return render_template("tickets/_my_row.html", answered=queries.answered_for(member.id))


def order_row(order: Order, **_values: Any) -> str:
    """What may be asked about an order (slot `me.order`)."""
    return render_template("tickets/_my_order.html", order=order)
