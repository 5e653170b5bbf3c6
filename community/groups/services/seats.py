"""Taking a seat and giving it up: the verbs around the seat book."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kernel import audit
from kernel.db import db
from kernel.group_commit import GrowingCommit

from .. import queries, rules
from ..models import Seat, SeatRole, SeatState
from .book import Answer, Ask, Book, run_batch


@dataclass(frozen=True)
class Joined:
    """A seat that is taken; `fresh` is False when it was taken before."""

    seat_id: int
    sub_group_number: int
    fresh: bool


@dataclass(frozen=True)
class Held:
    """A seat that is kept until an instant."""

    seat_id: int
    sub_group_number: int
    held_until: datetime
    fresh: bool


@dataclass(frozen=True)
class Waiting:
    """A number on the waiting list; `fresh` is False when it was given before."""

    number: int
    fresh: bool = True


writer: GrowingCommit[Ask, Answer] = GrowingCommit("seats", run_batch, run_batch)


def _ask(ask: Ask, together: bool) -> Answer:
    db.session.flush()
    if together:
        answer = run_batch(db.session.connection(), [ask])[0]
    else:
        answer = writer.submit(ask)
    if answer.refusal is not None:
        raise answer.refusal
    return answer


def _joined(answer: Answer) -> Joined | Waiting:
    if answer.number is not None:
        return Waiting(answer.number, answer.fresh)
    return Joined(answer.seat_id, answer.sub_group_number, answer.fresh)


def join(
    group_id: int,
    member_id: int,
    source: str = "",
    inviter_id: int | None = None,
    staff_id: int | None = None,
    link_id: int | None = None,
    together: bool = False,
) -> Joined | Waiting:
    """Take a seat for a member: the held one, one in the lowest-numbered sub-group with room, or a number in the queue.

    Committed when it returns, together with what the caller's request had written before, for many who join at once are
    gathered into one transaction. With `together` it happens in the caller's own: jobs, commands and subscribers say so.
    A repeat gives the same answer with `fresh` False. The rules of entry are not looked at here: see `enter`.
    Refuses with `GroupNotOpenYet`, `GroupPaused`, `GroupClosed`, `Barred`.
    """
    return _joined(_ask(Ask(group_id, member_id, False, source, inviter_id, staff_id, link_id), together))


def hold(
    group_id: int,
    member_id: int,
    source: str = "",
    inviter_id: int | None = None,
    staff_id: int | None = None,
    together: bool = False,
) -> Joined | Held:
    """Keep a seat for a member for the group's hold time; the clock ends it. A repeat does not prolong it.

    Refuses as `join` does, and with `GroupFull` when no seat is free or somebody waits for one.
    """
    answer = _ask(Ask(group_id, member_id, True, source, inviter_id, staff_id), together)
    if answer.held_until is None:
        return Joined(answer.seat_id, answer.sub_group_number, answer.fresh)
    return Held(answer.seat_id, answer.sub_group_number, answer.held_until, answer.fresh)


def join_many(group_id: int, member_ids: Sequence[int], source: str = "", staff_id: int | None = None) -> int:
    """Seat many members in the caller's transaction, in their order, with a few statements; how many are seated afresh.

    Whoever finds no seat gets a number on the waiting list. Refuses as `join` does, at the first refusal.
    """
    if not member_ids:
        return 0
    db.session.flush()
    asks = [Ask(group_id, member_id, False, source, None, staff_id) for member_id in member_ids]
    answers = run_batch(db.session.connection(), asks)
    for answer in answers:
        if answer.refusal is not None:
            raise answer.refusal
    return sum(answer.fresh and answer.number is None for answer in answers)


def _open_book(group_id: int) -> Book:
    db.session.flush()
    return Book(db.session.connection(), [group_id])


def _close_book(book: Book) -> None:
    book.invite()
    book.write()
    # The book writes past the session: what the session holds of these rows is read anew.
    db.session.expire_all()


def leave(group_id: int, member_id: int) -> None:
    """Give up a seat, a held seat or a number on the waiting list; the next one waiting is invited.

    Refuses with `NotAMember` when there was none of them.
    """
    book = _open_book(group_id)
    seat = book.seats_of([(group_id, member_id)]).get((group_id, member_id))
    if seat is not None:
        book.end(seat, SeatState.LAPSED if seat.state is SeatState.HELD else SeatState.LEFT, "left")
    elif not book.leave_queue(group_id, member_id):
        raise rules.NotAMember
    _close_book(book)


def remove(group_id: int, member_id: int, reason: str, barred: bool = False) -> None:
    """Take a member's seat back, with the reason; `barred` keeps them from coming back until staff let them.

    Refuses with `NotAMember` when they have no seat and no number.
    """
    book = _open_book(group_id)
    seat = book.seats_of([(group_id, member_id)]).get((group_id, member_id))
    if seat is not None:
        book.end(
            seat, SeatState.LAPSED if seat.state is SeatState.HELD else SeatState.REMOVED, reason or "removed", barred
        )
    elif not book.leave_queue(group_id, member_id):
        raise rules.NotAMember
    _close_book(book)
    audit.record("seat.removed", "group", group_id, after={"member_id": member_id, "reason": reason, "barred": barred})


def let_back(group_id: int, member_id: int) -> None:
    """Lift a bar: the member may join again."""
    for seat in queries.barred_seats(group_id, member_id):
        seat.barred = False
    audit.record("seat.let_back", "group", group_id, after={"member_id": member_id})


def set_role(group_id: int, member_id: int, role: SeatRole) -> None:
    """Make a member the owner, an admin or a plain member of the group. Refuses with `NotAMember`."""
    seat = queries.find_seat(group_id, member_id)
    if seat is None:
        raise rules.NotAMember
    before, seat.role = seat.role, role
    audit.record("seat.role_changed", "group", group_id, {"role": before}, {"role": role, "member_id": member_id})


def mute(group_id: int, member_id: int, until: datetime | None) -> None:
    """Spare a member the reminders of a group until an instant (aware UTC), or send them again with None.

    Refuses with `NotAMember`.
    """
    seat = queries.find_seat(group_id, member_id)
    if seat is None:
        raise rules.NotAMember
    seat.muted_until = until


def settle(group_id: int) -> None:
    """Write down what the clock has done to the seats of a group, and invite the next ones."""
    _close_book(_open_book(group_id))


def note_visit(seat: Seat, now: datetime) -> None:
    """Remember that the member looked in, at most once an hour."""
    if seat.seen_at is None or (now - seat.seen_at).total_seconds() > 3600:
        seat.seen_at = now
