"""REST for tickets: helpdesks and shop systems open them, read them and answer."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from kernel.auth import api_scope
from kernel.errors import NotFound, about
from kernel.http import (
    Instant,
    Listed,
    PageQuery,
    RowId,
    Strict,
    Text,
    Words,
    api_blueprint,
    cursor_page,
    idempotent,
    operation,
)
from kernel.i18n import lazy_gettext as _l
from kernel.openapi import describe_tag
from membership.members import queries as members

from . import queries, services
from .models import EntryKind, Ticket, TicketKind, TicketSource, TicketState

bp = api_blueprint("tickets_api", __name__)
describe_tag("Tickets", _l("After-sale tickets: what customers want put right."))

Body = Annotated[Text, Field(max_length=2_000)]
_TICKET = {"ticket": ("tickets.show", {"ticket_id": "$response.body#/id"})}


class EntryOut(Strict):
    """`kind` is customer, answer or note; a note is read by the staff alone."""

    id: int
    kind: EntryKind
    body: str
    pictures: int
    staff_id: int | None
    at: Instant


class TicketOut(Strict):
    """Times that are due are null while nothing is. `step` is the next step of the kind's workflow, empty after the last."""

    id: int
    member_id: int
    order_id: int | None
    kind: TicketKind
    state: TicketState
    subject: str
    step: str
    source: TicketSource
    assignee_id: int | None
    opened_at: Instant
    answer_due_at: Instant | None
    resolve_due_at: Instant | None
    return_due_at: Instant | None
    first_answered_at: Instant | None
    resolved_at: Instant | None
    closed_at: Instant | None
    satisfaction: int | None


class TicketWithEntriesOut(TicketOut):
    entries: list[EntryOut]


class TicketsQuery(PageQuery):
    state: TicketState | None = None
    kind: TicketKind | None = None
    member_id: RowId | None = None


class TicketIn(Strict):
    """`reference` names what it is opened for in your system: the same one opens no second ticket, the first comes back."""

    member_id: RowId
    kind: TicketKind
    subject: Annotated[Words, Field(max_length=120)] = ""
    text: Body = ""
    order_number: Annotated[Words, Field(max_length=80)] = ""
    reference: Annotated[Words, Field(max_length=80)] = ""


class AnswerIn(Strict):
    """`internal` keeps it to the staff; `then` is the state that an answer leaves the ticket in."""

    text: Annotated[Body, Field(min_length=1)]
    internal: bool = False
    then: Annotated[TicketState, Field(strict=False)] = TicketState.WAITING


class StateIn(Strict):
    state: Annotated[TicketState, Field(strict=False)]


def _ticket(ticket: Ticket) -> TicketOut:
    return TicketOut(**{name: getattr(ticket, name) for name in TicketOut.model_fields})


def _whole(ticket: Ticket) -> TicketWithEntriesOut:
    spoken = (EntryKind.CUSTOMER, EntryKind.ANSWER, EntryKind.NOTE)
    return TicketWithEntriesOut(
        **_ticket(ticket).model_dump(),
        entries=[
            EntryOut(
                id=entry.id,
                kind=entry.kind,
                body=entry.body,
                pictures=len(entry.pictures),
                staff_id=entry.staff_id,
                at=entry.at,
            )
            for entry in queries.entries(ticket.id)
            if entry.kind in spoken
        ],
    )


@bp.get("/tickets")
@api_scope("tickets:read")
@operation(_l("List tickets"), tag="Tickets", query=TicketsQuery, answers=Listed[TicketOut])
def index(query: TicketsQuery) -> Any:
    return cursor_page(queries.listed(query.state, query.kind, query.member_id), [Ticket.id.desc()], query, _ticket)


@bp.get("/tickets/<int:ticket_id>")
@api_scope("tickets:read")
@operation(_l("Read one ticket with what was said"), tag="Tickets", answers=TicketWithEntriesOut)
def show(ticket_id: int) -> TicketWithEntriesOut:
    return _whole(queries.get_ticket(ticket_id))


@bp.post("/tickets")
@api_scope("tickets:write")
@idempotent()
@operation(
    _l("Open a ticket"),
    tag="Tickets",
    takes=TicketIn,
    answers={200: TicketWithEntriesOut, 201: TicketWithEntriesOut},
    refusals=[services.NothingSaid, services.NotTheirOrder, services.ReferenceTaken, NotFound],
    example={"member_id": 1, "kind": "return", "text": "The cup came broken.", "reference": "HD-1042"},
    links=_TICKET,
)
def create(body: TicketIn) -> Any:
    order_id = None
    if body.order_number:
        order_id = queries.order_of_member(body.member_id, body.order_number)
        if order_id is None:
            with about("order_number"):
                raise services.NotTheirOrder
    with about("member_id"):
        members.get_member(body.member_id)
    opening = services.Opening(
        member_id=body.member_id,
        kind=body.kind,
        text=body.text,
        subject=body.subject,
        order_id=order_id,
        source=TicketSource.PROGRAM,
        source_key=f"program:{body.reference}" if body.reference else None,
    )
    try:
        with about("text"):
            ticket, fresh = services.open_once(opening)
    except services.ReferenceTaken as refusal:
        refusal.param = "reference"
        raise
    return _whole(ticket), 201 if fresh else 200


@bp.post("/tickets/<int:ticket_id>/answers")
@api_scope("tickets:write")
@idempotent()
@operation(
    _l("Answer a ticket, or keep a note in it"),
    tag="Tickets",
    takes=AnswerIn,
    answers=TicketWithEntriesOut,
    refusals=[services.MoveNotListed, services.NothingSaid],
    example={"text": "A new one is on its way.", "then": "waiting"},
)
def answer(ticket_id: int, body: AnswerIn) -> TicketWithEntriesOut:
    if body.internal:
        services.note(ticket_id, None, body.text)
    else:
        services.answer(ticket_id, None, body.text, then=body.then)
    return _whole(queries.get_ticket(ticket_id))


@bp.post("/tickets/<int:ticket_id>/state")
@api_scope("tickets:write")
@idempotent()
@operation(
    _l("Move a ticket to another state"),
    tag="Tickets",
    takes=StateIn,
    answers=TicketWithEntriesOut,
    refusals=[services.MoveNotListed, services.TicketChanged, services.TooLateToReopen],
    example={"state": "resolved"},
)
def state(ticket_id: int, body: StateIn) -> TicketWithEntriesOut:
    services.change_state(ticket_id, body.state, None)
    return _whole(queries.get_ticket(ticket_id))
