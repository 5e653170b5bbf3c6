"""Who is on, how much each takes, and who gets the next ticket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock, shop
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.i18n import lazy_gettext as _l
from kernel.staff.models import Staff

from .. import queries, rules
from ..models import AgentPresence, EntryKind, Ticket, TicketEntry, TicketState

SETTINGS = "tickets.desk"


class CapRefused(Refusal):
    status = 422
    label = _l("Choose a number between 1 and 200.")


class TicketTaken(Refusal):
    title = _l("A colleague has this ticket")
    label = _l("%(name)s has it now. Have it assigned to you if you have agreed on that.")
    icon = "users"


def desk_settings() -> rules.DeskSettings:
    """The desk's hours, promises and limits."""
    return rules.settings_from(shop.get(SETTINGS))


def save_settings(settings: rules.DeskSettings) -> None:
    """Keep new settings. Tickets that are open keep what they were promised."""
    before = rules.settings_to(desk_settings())
    after = rules.settings_to(settings)
    shop.put(SETTINGS, after)
    audit.record(
        "desk.settings_saved",
        "desk",
        None,
        {k: v for k, v in before.items() if after[k] != v},
        {k: v for k, v in after.items() if before[k] != v},
    )


@dataclass(frozen=True)
class Caps:
    """How many tickets and conversations somebody takes at a time."""

    tickets: int
    talks: int


def caps_of(presence: AgentPresence | None) -> Caps:
    """The caps of somebody: their own, else those of the desk."""
    settings = desk_settings()
    return Caps(
        (presence.ticket_cap if presence else None) or settings.ticket_cap,
        (presence.talk_cap if presence else None) or settings.talk_cap,
    )


def set_presence(
    staff_id: int, is_on: bool, ticket_cap: int | None = None, talk_cap: int | None = None, keep_caps: bool = True
) -> None:
    """Say that somebody is on or off; with `keep_caps` their own caps stay. Whoever comes on is handed what waits.

    Refuses with `CapRefused` a cap that is not between 1 and 200.
    """
    if any(cap is not None and not 1 <= cap <= 200 for cap in (ticket_cap, talk_cap)):
        raise CapRefused
    values: dict[str, Any] = {"is_on": is_on, "changed_at": clock.now()}
    if not keep_caps:
        values |= {"ticket_cap": ticket_cap, "talk_cap": talk_cap}
    db.session.execute(
        insert(AgentPresence)
        .values(staff_id=staff_id, **values)
        .on_conflict_do_update(index_elements=[AgentPresence.staff_id], set_=values)
    )
    if is_on:
        hand_out()


def desk_lock() -> None:
    """Let one transaction at a time count what everybody has in hand and give out the next, so that no cap is passed."""
    db.session.execute(text("SELECT pg_advisory_xact_lock(hashtext('desk.hand_out'))"))


def free_agents() -> list[rules.Load]:
    """Who is on and may handle tickets, with what they have in hand."""
    settings = desk_settings()
    return [
        rules.Load(row.staff_id, row.open, row.cap or settings.ticket_cap, row.last_at) for row in queries.agents_on()
    ]


def hand_out(most: int = 200) -> int:
    """Give tickets that nobody has to those who are on: what is due first goes first, to who has the least in hand.

    Returns how many were given out; none when the desk has switched this off. Nobody gets more than they take at a time, nor
    what they gave back while somebody else is on. What somebody has whose account is closed is nobody's again.
    """
    _leave_behind()
    if not desk_settings().hand_out:
        return 0
    desk_lock()
    loads = {load.staff_id: load for load in free_agents()}
    if rules.next_agent(loads.values()) is None:
        return 0
    waiting = db.session.execute(
        select(Ticket.id, Ticket.released_by_id)
        .where(Ticket.state == TicketState.OPEN, Ticket.assignee_id.is_(None))
        .order_by(Ticket.due_at.nulls_last(), Ticket.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    ).all()
    now, given = clock.now(), 0
    for ticket_id, given_back_by in waiting:
        to = rules.next_agent(loads.values(), given_back_by)
        if to is None:
            continue
        db.session.execute(
            update(Ticket)
            .where(Ticket.id == ticket_id, Ticket.assignee_id.is_(None))
            .values(assignee_id=to, assigned_at=now, released_by_id=None)
            .execution_options(synchronize_session="fetch")
        )
        had = loads[to]
        loads[to] = rules.Load(to, had.open + 1, had.cap, now)
        given += 1
    return given


def _leave_behind() -> None:
    """Take live tickets from staff whose accounts are closed. Locked rows are left for the next time: nothing waits here."""
    left = db.session.scalars(
        select(Ticket.id)
        .join(Staff, Staff.id == Ticket.assignee_id)
        .where(Ticket.state.in_(rules.LIVE), Staff.disabled_at.is_not(None))
        .with_for_update(skip_locked=True, of=Ticket)
    ).all()
    if left:
        db.session.execute(
            update(Ticket)
            .where(Ticket.id.in_(left))
            .values(assignee_id=None, assigned_at=None)
            .execution_options(synchronize_session="fetch")
        )


def _name(staff_id: int | None) -> str:
    return queries.names([staff_id]).get(staff_id or 0, "–")


def _able(staff_id: int) -> Staff:
    """Somebody of the staff who may have tickets. Refuses with `NotFound`."""
    found = db.session.get(Staff, staff_id)
    if found is None or found.disabled_at is not None or not queries.handles(found.role):
        raise NotFound
    return found


def claim(ticket_id: int, staff_id: int) -> None:
    """Take a ticket that nobody has. Refuses with `TicketTaken` when a colleague was faster, and with `NotFound`."""
    taken = db.session.execute(
        update(Ticket)
        .where(Ticket.id == ticket_id, or_(Ticket.assignee_id.is_(None), Ticket.assignee_id == staff_id))
        .values(assignee_id=staff_id, assigned_at=clock.now(), released_by_id=None)
        .execution_options(synchronize_session="fetch")
    )
    if not changed(taken):
        raise TicketTaken(name=_name(queries.get_ticket(ticket_id).assignee_id))


def release(ticket_id: int, staff_id: int) -> None:
    """Give one's ticket back to everybody, whoever else is on first. Refuses with `TicketTaken`, `NotFound`."""
    freed = db.session.execute(
        update(Ticket)
        .where(Ticket.id == ticket_id, Ticket.assignee_id == staff_id)
        .values(assignee_id=None, assigned_at=None, released_by_id=staff_id)
        .execution_options(synchronize_session="fetch")
    )
    if not changed(freed):
        raise TicketTaken(name=_name(queries.get_ticket(ticket_id).assignee_id))


def assign(ticket_id: int, to_id: int, by_id: int) -> None:
    """Have a colleague see to a ticket, whatever they have in hand. Refuses with `NotFound`."""
    _assign([ticket_id], to_id, by_id, Ticket.assignee_id.is_distinct_from(to_id))
    queries.get_ticket(ticket_id)


def assign_many(ticket_ids: Sequence[int], to_id: int, by_id: int) -> int:
    """Have a colleague see to those of several tickets that nobody has; returns how many are theirs now.

    Refuses with `NotFound` for somebody who handles no tickets. What is closed stays with whom it was, and what a colleague
    has is handed over one by one (`assign`).
    """
    return _assign(ticket_ids, to_id, by_id, Ticket.assignee_id.is_(None))


def _assign(ticket_ids: Sequence[int], to_id: int, by_id: int, whose: ColumnElement[bool]) -> int:
    to = _able(to_id)
    now = clock.now()
    moved = db.session.scalars(
        update(Ticket)
        .where(
            Ticket.id.in_(sorted(set(ticket_ids))),
            Ticket.state != TicketState.CLOSED,
            whose,
        )
        .values(assignee_id=to_id, assigned_at=now, released_by_id=None)
        .returning(Ticket.id)
        .execution_options(synchronize_session=False)
    ).all()
    for ticket_id in sorted(moved):
        db.session.add(
            TicketEntry(
                ticket_id=ticket_id, kind=EntryKind.ASSIGNED, staff_id=by_id, about=to.name, pictures=[], at=now
            )
        )
        audit.record("ticket.assigned", "ticket", ticket_id, after={"assignee": to_id})
    db.session.flush()
    return len(moved)
