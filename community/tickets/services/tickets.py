"""The life of a ticket: opened, answered, its steps, waiting, resolved, closed, reopened, rated."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l
from membership.members import queries as members
from membership.orders.models import Order

from .. import queries, rules
from ..events import (
    ReturnOverdue,
    TicketAnswered,
    TicketClosed,
    TicketLooked,
    TicketOpened,
    TicketRated,
    TicketReopened,
    TicketResolved,
)
from ..models import EntryKind, Ticket, TicketEntry, TicketKind, TicketSource, TicketState, TicketStep
from .staffing import desk_settings, hand_out

DAY = timedelta(days=1)
# Said by the desk or the customer, as opposed to what the house writes itself.
SPOKEN = (EntryKind.CUSTOMER, EntryKind.ANSWER)


class NothingSaid(Refusal):
    status = 422
    label = _l("Write a sentence, or add a picture.")


class NotTheirOrder(Refusal):
    status = 422
    label = _l("No order of this customer has this number.")


class ReferenceTaken(Refusal):
    label = _l("This reference names a ticket of another customer.")


class TooManyTickets(Refusal):
    status = 429
    title = _l("Enough for today")
    label = _l(
        "You have written a lot today, and we are reading it. Please wait until tomorrow, or add to what is open."
    )
    icon = "hourglass"
    retry_after = 3_600


class MoveNotListed(Refusal):
    label = _l("From this state the ticket cannot go there. Look at it again.")


class TicketChanged(Refusal):
    title = _l("Somebody was faster")
    label = _l("The ticket has moved on in the meantime. Nothing of yours was written over; look at it again.")
    icon = "users"


class AnsweredMeanwhile(Refusal):
    title = _l("There is something new in this ticket")
    label = _l("Somebody has written since you opened it. Read that first; your words are still here.")
    icon = "users"


class StepDone(Refusal):
    label = _l("This step has been done in the meantime. Look at the ticket again.")


class StepIncomplete(Refusal):
    """`faults` are (key of what was asked, what is wrong with it)."""

    status = 422
    label = _l("Something of this step is missing or cannot be read.")

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.faults = list(faults)


class TooLateToReopen(Refusal):
    label = _l("This was closed a while ago. Please open a new one; we see the old one beside it.")


class RatedTooEarly(Refusal):
    label = _l("This is still being worked on. You can say how it went once it is done.")


@dataclass(frozen=True)
class Opening:
    """A ticket as somebody opens it. `answers` are those of the first step, by key; `pictures` keys of private pictures.

    `source_key` names what it is opened for: a second time the same ticket comes back.
    """

    member_id: int
    kind: TicketKind
    text: str = ""
    subject: str = ""
    order_id: int | None = None
    pictures: tuple[str, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    source: TicketSource = TicketSource.STAFF
    source_key: str | None = None
    staff_id: int | None = None


# ── Opening ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def refuse_flood(member_id: int) -> None:
    """Refuse with `TooManyTickets` a member who opens without end; one transaction of theirs counts at a time.

    Views call it before they store pictures, so that what is refused leaves no file behind.
    """
    db.session.execute(
        text("SELECT pg_advisory_xact_lock(hashtext('tickets.member'), CAST(:m AS integer))"), {"m": member_id % 2**31}
    )
    since = clock.now() - DAY
    opened = db.session.scalar(
        select(func.count()).where(
            Ticket.member_id == member_id, Ticket.source == TicketSource.MEMBER, Ticket.opened_at > since
        )
    )
    if (opened or 0) >= rules.OPENED_A_DAY:
        raise TooManyTickets


def refuse_chatter(ticket: Ticket) -> None:
    """Refuse with `TooManyTickets` a customer who writes into a ticket without end; views call it before they store pictures."""
    written = db.session.scalar(
        select(func.count()).where(
            TicketEntry.ticket_id == ticket.id,
            TicketEntry.kind == EntryKind.CUSTOMER,
            TicketEntry.at > clock.now() - DAY,
        )
    )
    if (written or 0) >= rules.WRITTEN_A_DAY:
        raise TooManyTickets


def open_ticket(opening: Opening) -> Ticket:
    """The ticket of `open_once`, whether it is new or not; refuses as that does."""
    return open_once(opening)[0]


def open_once(opening: Opening) -> tuple[Ticket, bool]:
    """Open a ticket and hand it to somebody who is on; publishes `TicketOpened`. Returns the ticket, and whether it is new.

    Refuses with `NotFound` (no such member), `NothingSaid`, `NotTheirOrder`, `StepIncomplete` (an answer to the first step
    that cannot be read), for members `TooManyTickets`, and for programs `ReferenceTaken`. What was opened for the same
    `source_key` comes back as it is, with what staff typed for the same call as a note.
    """
    member = members.get_member(opening.member_id)
    if member.erased_at is not None:
        raise NotFound
    body = opening.text.strip()[: rules.LONGEST_TEXT]
    if not body and not opening.subject.strip() and not opening.pictures and not opening.answers:
        raise NothingSaid
    if opening.order_id is not None and db.session.scalar(
        select(Order.member_id).where(Order.id == opening.order_id)
    ) not in {member.id}:
        raise NotTheirOrder
    # Read once: a colleague may save another version at any moment, and the first step must be one of those kept.
    workflow = queries.workflow_now(opening.kind)
    steps = queries.steps_by(workflow, opening.kind)
    answers, faults = rules.read_answers(steps[0], opening.answers)
    wrong = [(key, fault) for key, fault in faults if fault != "needed"]
    if wrong:
        raise StepIncomplete(wrong)
    if opening.source is TicketSource.MEMBER:
        refuse_flood(member.id)
    settings = desk_settings()
    promise, now = settings.promises[opening.kind], clock.now()
    answer_due = _due(promise.answer, settings)
    resolve_due = _due(promise.resolve, settings)
    row = db.session.execute(
        insert(Ticket)
        .values(
            public_id=secrets.token_urlsafe(9),
            member_id=member.id,
            order_id=opening.order_id,
            kind=opening.kind,
            state=TicketState.OPEN,
            subject=" ".join(opening.subject.split())[:120] or rules.subject_from(body),
            workflow_id=workflow.id if workflow is not None else None,
            step=rules.first_step(steps),
            source=opening.source,
            source_key=opening.source_key,
            opened_by_id=opening.staff_id,
            opened_at=now,
            answer_minutes=promise.answer,
            resolve_minutes=promise.resolve,
            answer_due_at=answer_due,
            spent_minutes=0,
            running_since=now,
            resolve_due_at=resolve_due,
            due_at=rules.earlier(answer_due, resolve_due),
            reopened=0,
            satisfaction_note="",
            last_entry_at=now,
        )
        .on_conflict_do_nothing(index_elements=[Ticket.source_key])
        .returning(Ticket.id)
    ).one_or_none()
    if row is None:
        return _opened_before(opening, member.id), False
    ticket = queries.get_ticket(row[0])
    if body or opening.pictures:
        said_by = EntryKind.CUSTOMER if opening.source in _FROM_THEM else EntryKind.NOTE
        _write(ticket, said_by, body, opening.pictures, opening.staff_id)
    if not faults and (answers or not steps[0].asks) and opening.answers:
        _finish_step(ticket, ticket.step, answers, opening.staff_id)
    publish(
        TicketOpened(member_id=member.id, ticket_id=ticket.id, kind=opening.kind.value, source=opening.source.value)
    )
    if opening.staff_id is not None:
        audit.record("ticket.opened", "ticket", ticket.id, after={"kind": opening.kind.value})
    hand_out()
    return ticket, True


def _opened_before(opening: Opening, member_id: int) -> Ticket:
    """The ticket that was opened for the same `source_key`; what staff typed for the same call stays in it as a note."""
    found = db.session.scalars(select(Ticket).where(Ticket.source_key == opening.source_key)).one()
    if opening.source is TicketSource.PROGRAM and found.member_id != member_id:
        raise ReferenceTaken
    if opening.source is TicketSource.CALL and opening.staff_id is not None:
        typed = "\n".join(words for words in (opening.subject.strip(), opening.text.strip()) if words)
        if typed or opening.pictures:
            note(found.id, opening.staff_id, typed, opening.pictures)
    return found


# What was written by the customer themselves, though somebody else may have opened the ticket with it.
_FROM_THEM = (TicketSource.MEMBER, TicketSource.PROGRAM, TicketSource.CONVERSATION)


def _due(minutes: int, settings: rules.DeskSettings) -> Any:
    return rules.after_minutes(clock.local(clock.now()), minutes, settings.hours)


# ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _locked(ticket_id: int) -> Ticket:
    found = db.session.scalar(
        select(Ticket).where(Ticket.id == ticket_id).with_for_update().execution_options(populate_existing=True)
    )
    if found is None:
        raise NotFound
    return found


def _write(
    ticket: Ticket, kind: EntryKind, body: str, pictures: Sequence[str], staff_id: int | None, about: str = ""
) -> TicketEntry:
    now = clock.now()
    entry = TicketEntry(
        ticket_id=ticket.id,
        kind=kind,
        staff_id=staff_id,
        about=about,
        body=body,
        pictures=list(pictures)[: rules.MOST_PICTURES],
        at=now,
    )
    db.session.add(entry)
    ticket.last_entry_at = now
    db.session.flush()
    return entry


def answer(
    ticket_id: int,
    staff_id: int | None,
    body: str,
    pictures: Sequence[str] = (),
    then: TicketState = TicketState.WAITING,
    seen: int | None = None,
) -> TicketEntry:
    """Write to the customer, and leave the ticket in the state `then`; it becomes the writer's if nobody has it.

    `seen` is the last spoken entry on the writer's page. Refuses with `NotFound`, `NothingSaid`, `AnsweredMeanwhile`, and
    with `MoveNotListed` on a ticket that is closed. Publishes `TicketAnswered`.
    """
    ticket = _locked(ticket_id)
    body = body.strip()[: rules.LONGEST_TEXT]
    if not body and not pictures:
        raise NothingSaid
    if ticket.state is TicketState.CLOSED:
        raise MoveNotListed
    if seen is not None and queries.last_spoken(ticket.id) > seen:
        raise AnsweredMeanwhile
    settings, now = desk_settings(), clock.now()
    first = ticket.first_answered_at is None
    entry = _write(ticket, EntryKind.ANSWER, body, pictures, staff_id)
    if first:
        ticket.first_answered_at, ticket.first_answered_by_id = now, staff_id
        ticket.answered_minutes = rules.minutes_between(clock.local(ticket.opened_at), clock.local(now), settings.hours)
        ticket.answer_due_at = None
        ticket.due_at = rules.earlier(ticket.resolve_due_at)
    if ticket.assignee_id is None and staff_id is not None:
        ticket.assignee_id, ticket.assigned_at = staff_id, now
    db.session.flush()
    publish(
        TicketAnswered(
            member_id=ticket.member_id, ticket_id=ticket.id, kind=ticket.kind.value, staff_id=staff_id, first=first
        )
    )
    # What is resolved stays so when a word is added; only opening it again begins it anew.
    if ticket.state is not then and (ticket.live or then is TicketState.OPEN):
        _move(ticket, then, staff_id)
    return entry


def note(ticket_id: int, staff_id: int | None, body: str, pictures: Sequence[str] = ()) -> TicketEntry:
    """Write down something that only the staff read. Refuses with `NotFound`, `NothingSaid`."""
    ticket = _locked(ticket_id)
    body = body.strip()[: rules.LONGEST_TEXT]
    if not body and not pictures:
        raise NothingSaid
    return _write(ticket, EntryKind.NOTE, body, pictures, staff_id)


def member_write(ticket_id: int, body: str, pictures: Sequence[str] = ()) -> TicketEntry:
    """The customer writes: a ticket that waited for them is open again, one that was resolved too.

    Refuses with `NotFound`, `NothingSaid`, `TooManyTickets`, and `TooLateToReopen` long after it was closed.
    """
    ticket = _locked(ticket_id)
    body = body.strip()[: rules.LONGEST_TEXT]
    if not body and not pictures:
        raise NothingSaid
    refuse_chatter(ticket)
    if ticket.state is TicketState.CLOSED:
        _refuse_late(ticket)
    entry = _write(ticket, EntryKind.CUSTOMER, body, pictures, None)
    if ticket.state is not TicketState.OPEN:
        _move(ticket, TicketState.OPEN, None)
    return entry


def _refuse_late(ticket: Ticket) -> None:
    settings = desk_settings()
    if ticket.closed_at is not None and clock.now() - ticket.closed_at > settings.reopen_days * DAY:
        raise TooLateToReopen


# ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _finish_step(ticket: Ticket, key: str, answers: dict[str, Any] | None, staff_id: int | None) -> None:
    steps = queries.steps_of(ticket)
    step = rules.step_of(steps, key)
    if step is None:
        raise StepDone
    now = clock.now()
    done = db.session.execute(
        update(Ticket)
        .where(Ticket.id == ticket.id, Ticket.step == key)
        .values(step=rules.step_after(steps, key))
        .execution_options(synchronize_session="fetch")
    )
    if not changed(done):
        raise StepDone
    db.session.add(TicketStep(ticket_id=ticket.id, step=key, answers=answers, staff_id=staff_id, done_at=now))
    _write(ticket, EntryKind.STEP, "", (), staff_id, about=step.name or key)
    if step.timer == "start" and answers is not None:
        ticket.return_due_at, ticket.return_reminded_at = now + desk_settings().return_days * DAY, None
    elif step.timer == "stop":
        ticket.return_due_at = None
    db.session.flush()


def do_step(ticket_id: int, key: str, said: Mapping[str, str] | None, staff_id: int | None) -> None:
    """Do the next step of a ticket with what was asked for; without (`said` None) it is skipped.

    Refuses with `NotFound`, `StepDone` (it is not the next step any more), `MoveNotListed` (the ticket is not live) and
    `StepIncomplete`.
    """
    ticket = _locked(ticket_id)
    step = rules.step_of(queries.steps_of(ticket), key)
    if step is None or ticket.step != key:
        raise StepDone
    if not ticket.live:
        raise MoveNotListed
    answers: dict[str, Any] | None = None
    if said is not None:
        answers, faults = rules.read_answers(step, said)
        if faults:
            raise StepIncomplete(faults)
    _finish_step(ticket, key, answers, staff_id)
    if ticket.assignee_id is None and staff_id is not None:
        ticket.assignee_id, ticket.assigned_at = staff_id, clock.now()
        db.session.flush()


def member_step(ticket_id: int, key: str, said: Mapping[str, str]) -> None:
    """The customer does a step that is theirs (the number of the parcel they sent). Refuses as `do_step` does."""
    ticket = _locked(ticket_id)
    step = rules.step_of(queries.steps_of(ticket), key)
    if step is None or not step.by_member:
        raise StepDone
    do_step(ticket_id, key, said, None)
    if ticket.state is TicketState.WAITING:
        _move(ticket, TicketState.OPEN, None)


def change_kind(ticket_id: int, kind: TicketKind, staff_id: int) -> None:
    """Put a ticket under another kind: its steps begin anew, its promises are those of the new kind since it was opened.

    Refuses with `NotFound`, and with `MoveNotListed` when it is not live.
    """
    ticket = _locked(ticket_id)
    if not ticket.live:
        raise MoveNotListed
    if ticket.kind is kind:
        return
    before, settings = ticket.kind, desk_settings()
    promise, opened = settings.promises[kind], clock.local(ticket.opened_at)
    workflow = queries.workflow_now(kind)
    ticket.kind, ticket.workflow_id = kind, workflow.id if workflow is not None else None
    ticket.step = rules.first_step(queries.steps_by(workflow, kind))
    ticket.answer_minutes, ticket.resolve_minutes = promise.answer, promise.resolve
    ticket.return_due_at = None
    if ticket.first_answered_at is None:
        ticket.answer_due_at = rules.after_minutes(opened, promise.answer, settings.hours)
    if ticket.state is TicketState.OPEN:
        left = max(promise.resolve - ticket.spent_minutes, 0)
        ticket.resolve_due_at = rules.after_minutes(clock.local(ticket.running_since or opened), left, settings.hours)
    else:
        ticket.resolve_due_at = None
    ticket.due_at = rules.earlier(ticket.answer_due_at, ticket.resolve_due_at)
    for done in db.session.scalars(select(TicketStep).where(TicketStep.ticket_id == ticket.id)):
        db.session.delete(done)
    db.session.flush()
    _write(ticket, EntryKind.STATE, "", (), staff_id, about=f"kind:{kind.value}")
    audit.record("ticket.kind_changed", "ticket", ticket.id, {"kind": before.value}, {"kind": kind.value})


# ── States ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _move(ticket: Ticket, to: TicketState, staff_id: int | None) -> None:
    """Bring a ticket from its present state into another, with its clocks, and say so.

    Refuses with `MoveNotListed`, and with `TicketChanged` when it is not in that state any more.
    """
    present = ticket.state
    if to not in rules.MOVES[present]:
        raise MoveNotListed
    settings, now = desk_settings(), clock.now()
    spent, resolve_due = ticket.spent_minutes, ticket.resolve_due_at
    if ticket.running_since is not None:
        spent += rules.minutes_between(clock.local(ticket.running_since), clock.local(now), settings.hours)
        # What is late stays late while the customer is asked; what is not has no due time then.
        resolve_due = resolve_due if rules.is_late(resolve_due, now) else None
    values: dict[str, Any] = {"state": to, "spent_minutes": spent, "running_since": None}
    answer_due = ticket.answer_due_at
    if to is TicketState.OPEN:
        values["running_since"] = now
        if resolve_due is None:
            left = max(ticket.resolve_minutes - spent, 0)
            resolve_due = rules.after_minutes(clock.local(now), left, settings.hours)
        if present in (TicketState.RESOLVED, TicketState.CLOSED):
            values |= {"resolved_at": None, "resolved_by_id": None, "resolution_minutes": None, "closed_at": None}
            values["reopened"] = ticket.reopened + 1
    elif to is TicketState.RESOLVED:
        values |= {"resolved_at": now, "resolved_by_id": staff_id or ticket.assignee_id, "resolution_minutes": spent}
        values["return_due_at"] = None
        answer_due = resolve_due = None
    elif to is TicketState.CLOSED:
        values["closed_at"] = now
        answer_due = resolve_due = None
    values |= {
        "answer_due_at": answer_due,
        "resolve_due_at": resolve_due,
        "due_at": rules.earlier(answer_due, resolve_due),
    }
    done = db.session.execute(
        update(Ticket)
        .where(Ticket.id == ticket.id, Ticket.state == present)
        .values(values)
        .execution_options(synchronize_session=False)
    )
    if not changed(done):
        raise TicketChanged
    db.session.refresh(ticket)
    _write(ticket, EntryKind.STATE, "", (), staff_id, about=to.value)
    about = {"member_id": ticket.member_id, "ticket_id": ticket.id, "kind": ticket.kind.value}
    if to is TicketState.RESOLVED:
        publish(TicketResolved(**about, staff_id=ticket.resolved_by_id))  # type: ignore[arg-type]
    elif to is TicketState.CLOSED:
        publish(TicketClosed(**about, staff_id=ticket.resolved_by_id))  # type: ignore[arg-type]
    elif present in (TicketState.RESOLVED, TicketState.CLOSED):
        publish(TicketReopened(**about))  # type: ignore[arg-type]


def change_state(ticket_id: int, to: TicketState, staff_id: int | None, frm: TicketState | None = None) -> None:
    """Bring a ticket into another state; `frm` is the state that the page showed.

    Refuses with `NotFound`, `MoveNotListed`, `TicketChanged`, and with `TooLateToReopen` long after it was closed. What is
    there already stays as it is.
    """
    ticket = _locked(ticket_id)
    if ticket.state is to:
        return
    if frm is not None and ticket.state is not frm:
        raise TicketChanged
    if ticket.state is TicketState.CLOSED:
        _refuse_late(ticket)
    before = ticket.state
    _move(ticket, to, staff_id)
    if staff_id is not None:
        audit.record("ticket.moved", "ticket", ticket.id, {"state": before.value}, {"state": to.value})


def resolve_many(ticket_ids: Sequence[int], staff_id: int) -> int:
    """Resolve those of the tickets that are live; returns how many were."""
    done = 0
    for ticket_id in sorted(set(ticket_ids)):
        ticket = _locked(ticket_id)
        if ticket.live:
            _move(ticket, TicketState.RESOLVED, staff_id)
            audit.record("ticket.moved", "ticket", ticket.id, after={"state": TicketState.RESOLVED.value})
            done += 1
    return done


def member_resolve(ticket_id: int) -> None:
    """The customer says that it is put right: resolved and closed at once. What is closed stays. Refuses with `NotFound`."""
    ticket = _locked(ticket_id)
    if ticket.live:
        _move(ticket, TicketState.RESOLVED, None)
    if ticket.state is TicketState.RESOLVED:
        _move(ticket, TicketState.CLOSED, None)


def member_reopen(ticket_id: int, body: str, pictures: Sequence[str] = ()) -> None:
    """The customer says that it is not put right. Refuses as `member_write` does."""
    member_write(ticket_id, body, pictures)


def note_looked(ticket_id: int, upto: int | None = None) -> None:
    """The customer has the ticket before them, up to the entry `upto`, or all of it. Publishes `TicketLooked` when there was
    news since. Refuses with `NotFound`.
    """
    ticket = _locked(ticket_id)
    seen, last = ticket.seen_entry_id, queries.last_spoken(ticket.id, queries.LOOKED_AT)
    shown = last if upto is None else min(upto, last)
    if shown <= seen:
        return
    ticket.seen_entry_id = shown
    db.session.flush()
    # Where something of the desk's was not on the page yet, the notice of it stays.
    if seen < queries.last_spoken(ticket.id, queries.NEWS) <= shown:
        publish(TicketLooked(member_id=ticket.member_id, ticket_id=ticket.id))


def rate(ticket_id: int, stars: int, said: str = "") -> None:
    """Keep how content the customer is, 1 to 5; a second answer takes the place of the first. Publishes `TicketRated`.

    Refuses with `NotFound`, and with `RatedTooEarly` while the ticket is live.
    """
    if not 1 <= stars <= 5:
        raise NotFound
    ticket = _locked(ticket_id)
    if ticket.live:
        raise RatedTooEarly
    again = ticket.satisfaction == stars
    ticket.satisfaction, ticket.satisfaction_note, ticket.rated_at = stars, said.strip()[:500], clock.now()
    db.session.flush()
    if not again:
        publish(
            TicketRated(
                member_id=ticket.member_id,
                ticket_id=ticket.id,
                kind=ticket.kind.value,
                staff_id=ticket.resolved_by_id,
                stars=stars,
            )
        )


# ── What time does ──────────────────────────────────────────────────────────────────────────────────────────────────


def close_due(most: int = 200) -> int:
    """Close tickets that were resolved some days ago and not reopened; returns how many."""
    before = clock.now() - desk_settings().close_days * DAY
    due = db.session.scalars(
        select(Ticket)
        .where(Ticket.state == TicketState.RESOLVED, Ticket.resolved_at <= before)
        .order_by(Ticket.resolved_at)
        .limit(most)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for ticket in due:
        _move(ticket, TicketState.CLOSED, None)
    return len(due)


def remind_returns(most: int = 200) -> int:
    """Bring up each return whose parcel is not back in time, once; returns how many. Publishes `ReturnOverdue`."""
    now = clock.now()
    due = db.session.scalars(
        select(Ticket)
        .where(Ticket.return_due_at <= now, Ticket.return_reminded_at.is_(None), Ticket.state.in_(rules.LIVE))
        .order_by(Ticket.return_due_at)
        .limit(most)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for ticket in due:
        ticket.return_reminded_at = now
        db.session.flush()
        _write(ticket, EntryKind.REMINDER, "", (), None, about=ticket.step)
        if ticket.state is TicketState.WAITING:
            _move(ticket, TicketState.OPEN, None)
        publish(ReturnOverdue(member_id=ticket.member_id, ticket_id=ticket.id, kind=ticket.kind.value))
    return len(due)
