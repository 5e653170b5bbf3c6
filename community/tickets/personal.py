"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from sqlalchemy import select, update

from kernel import clock, files
from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import erasure
from membership.members.services.personal import Person, by, declare, through

from .models import AgentPresence, Macro, Ticket, TicketEntry, TicketState, TicketStep, Workflow
from .rules import LIVE

declare(
    Ticket,
    "id public_id member_id order_id kind state workflow_id step source source_key assignee_id assigned_at released_by_id opened_by_id "
    "opened_at answer_minutes resolve_minutes answer_due_at first_answered_at first_answered_by_id answered_minutes spent_minutes "
    "running_since resolve_due_at due_at resolved_at resolved_by_id resolution_minutes closed_at reopened return_due_at "
    "return_reminded_at satisfaction rated_at last_entry_at seen_entry_id",
    "subject satisfaction_note",
    rows=by(Ticket.member_id),
    label=_l("Tickets"),
)
declare(
    TicketEntry,
    "id ticket_id kind staff_id about at",
    "body pictures",
    rows=through(TicketEntry.ticket_id, Ticket.id, Ticket.member_id),
    label=_l("What was said in tickets"),
)
declare(
    TicketStep,
    "ticket_id step staff_id done_at",
    "answers",
    rows=through(TicketStep.ticket_id, Ticket.id, Ticket.member_id),
    label=_l("Steps of tickets"),
)
declare(Macro, "id title body kind owner_id used created_at")
declare(Workflow, "id kind version steps made_by_id made_at")
declare(AgentPresence, "staff_id is_on changed_at ticket_cap talk_cap")


@erasure.forgetters.fill
def close_tickets(person: Person) -> None:
    """Nobody works for somebody who is gone, and their pictures are removed; how long things took stays counted."""
    theirs = select(Ticket.id).where(Ticket.member_id.in_(person.ids))
    for keys in db.session.scalars(select(TicketEntry.pictures).where(TicketEntry.ticket_id.in_(theirs))):
        files.drop_private(keys)
    now = clock.now()
    stop = {"running_since": None, "answer_due_at": None, "resolve_due_at": None, "due_at": None, "return_due_at": None}
    db.session.execute(
        update(Ticket)
        .where(Ticket.member_id.in_(person.ids), Ticket.state.in_(LIVE))
        .values(state=TicketState.CLOSED, resolved_at=now, closed_at=now, **stop)
        .execution_options(synchronize_session=False)
    )
    db.session.execute(
        update(Ticket)
        .where(Ticket.member_id.in_(person.ids), Ticket.state == TicketState.RESOLVED)
        .values(state=TicketState.CLOSED, closed_at=now)
        .execution_options(synchronize_session=False)
    )
