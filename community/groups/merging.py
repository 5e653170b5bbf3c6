"""How a merge brings seats along: two live seats of one person in one group become one, on the waiting list too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import or_, select

from kernel import clock
from kernel.db import db
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from . import services
from .models import (
    Drift,
    FriendLink,
    FriendReward,
    Group,
    GroupState,
    OpeningWish,
    OutsideView,
    Seat,
    SeatRole,
    SeatState,
    SubGroup,
    Waiting,
    WaitingState,
)

MERGED = "merged"
LIVE = (SeatState.HELD, SeatState.TAKEN)
WAITS = (WaitingState.QUEUED, WaitingState.INVITED)
RANK = {SeatRole.OWNER: 0, SeatRole.ADMIN: 1, SeatRole.MEMBER: 2}


def _lock(group_ids: Iterable[int]) -> dict[int, Group]:
    """Groups under the lock that their seats are counted under, lowest id first."""
    rows = db.session.scalars(
        select(Group)
        .where(Group.id.in_(sorted(set(group_ids))))
        .order_by(Group.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    return {row.id: row for row in rows}


@merge.guards.fill
def lock_groups(pair: Sequence[int]) -> None:
    """Groups come before members in the order of locks."""
    seats = select(Seat.group_id).where(Seat.member_id.in_(pair), or_(Seat.state.in_(LIVE), Seat.end_reason == MERGED))
    waits = select(Waiting.group_id).where(Waiting.member_id.in_(pair), Waiting.state.in_(WAITS))
    _lock(db.session.scalars(seats.union(waits)))


@merge.follower(Seat.member_id, Seat.inviter_id, Waiting.member_id)
def follow_seats(merging: merge.Merging) -> None:
    seats: dict[int, list[Seat]] = defaultdict(list)
    for seat in db.session.scalars(
        select(Seat)
        .where(Seat.member_id.in_(merging.pair), Seat.state.in_(LIVE))
        .execution_options(populate_existing=True)
    ):
        seats[seat.group_id].append(seat)
    waits: dict[int, list[Waiting]] = defaultdict(list)
    for wait in db.session.scalars(
        select(Waiting)
        .where(Waiting.member_id.in_(merging.pair), Waiting.state.in_(WAITS))
        .execution_options(populate_existing=True)
    ):
        waits[wait.group_id].append(wait)
    freed: set[int] = set()
    for group_id in sorted(seats.keys() | waits.keys()):
        if len(seats[group_id]) + len(waits[group_id]) > 1 and _settle(merging, seats[group_id], waits[group_id]):
            freed.add(group_id)
    moved = merging.repoint(Seat.member_id)
    merging.count(_l("Seats in groups"), moved)
    merging.repoint(Seat.inviter_id)
    merging.repoint(Waiting.member_id, label=_l("Places on waiting lists"))
    db.session.expire_all()
    for group_id in sorted(freed):
        if db.session.get_one(Group, group_id).queued:
            services.settle(group_id)


@merge.follower(Drift.member_id)
def follow_drift(merging: merge.Merging) -> None:
    """What was found stays with its seat; the sweep sees by itself that somebody qualifies again, or sits no more."""
    merging.repoint(Drift.member_id)


@merge.follower(
    FriendLink.member_id, FriendReward.inviter_id, FriendReward.friend_id, OutsideView.member_id, OpeningWish.member_id
)
def follow_friends(merging: merge.Merging) -> None:
    """A friend counts once a group, whichever record came first; whoever turns out to be their own friend gets nothing."""
    merging.join(FriendLink.member_id, FriendLink.group_id)
    merging.repoint(FriendReward.inviter_id)
    merging.join(FriendReward.friend_id, FriendReward.group_id)
    merging.join(OutsideView.member_id, OutsideView.code_id)
    merging.join(OpeningWish.member_id, OpeningWish.group_id)


def _settle(merging: merge.Merging, seats: list[Seat], waits: list[Waiting]) -> bool:
    """Leave one place in a group to the person; whether a seat became free."""
    seats.sort(key=lambda s: (s.state is not SeatState.TAKEN, RANK[s.role], s.held_at, s.id))
    kept, spare = (seats[0] if seats else None), seats[1:]
    for seat in spare:
        _end_seat(merging, seat)
    if kept is not None and spare and RANK[spare[0].role] < RANK[kept.role]:
        with merging.watching(Seat, Seat.id == kept.id, apart=True):
            kept.role = spare[0].role
            db.session.flush()
    waits.sort(key=lambda w: w.number)
    # A held seat of the waiting list goes with the invitation that it was held for.
    needed = next(
        (w for w in waits if kept is None or (kept.state is SeatState.HELD and w.member_id == kept.member_id)), None
    )
    for wait in waits:
        if wait is not needed:
            _end_waiting(merging, wait)
    if spare:
        group = db.session.get_one(Group, spare[0].group_id)
        merging.conflict(_("Both are in “%(group)s”: one seat stays, the other is given back.", group=group.name))
    return bool(spare)


def _end_seat(merging: merge.Merging, seat: Seat) -> None:
    unit = f"seat:{seat.id}"
    with merging.watching(Seat, Seat.id == seat.id, unit=unit):
        seat.state = SeatState.MOVED if seat.state is SeatState.TAKEN else SeatState.LAPSED
        seat.ended_at, seat.end_reason = clock.now(), MERGED
        db.session.flush()
    merging.add_to(SubGroup.seated, {"id": seat.sub_group_id}, -1, unit)
    merging.add_to(Group.seated, {"id": seat.group_id}, -1, unit)


def _end_waiting(merging: merge.Merging, wait: Waiting) -> None:
    unit = f"waiting:{wait.id}"
    queued = wait.state is WaitingState.QUEUED
    with merging.watching(Waiting, Waiting.id == wait.id, unit=unit):
        wait.state, wait.ended_at = WaitingState.LAPSED, clock.now()
        db.session.flush()
    if queued:
        merging.add_to(Group.queued, {"id": wait.group_id}, -1, unit)


@merge.before_undoing.fill
def look_for_room(undoing: merge.Undoing) -> None:
    """A seat that was given back is there again only while its sub-group has room: S1 holds, undone or not."""
    ended = [m for m in undoing.moves(Seat, "change") if m.unit.startswith("seat:") and "state" in m.after]
    rows = {s.id: s for s in db.session.scalars(select(Seat).where(Seat.id.in_([m.key["id"] for m in ended])))}
    waits = [m for m in undoing.moves(Waiting, "change") if m.unit.startswith("waiting:")]
    lists = {w.id: w for w in db.session.scalars(select(Waiting).where(Waiting.id.in_([m.key["id"] for m in waits])))}
    groups = _lock([*(s.group_id for s in rows.values()), *(w.group_id for w in lists.values())])
    for move in ended:
        seat = rows[move.key["id"]]
        group, place = groups[seat.group_id], db.session.get_one(SubGroup, seat.sub_group_id, populate_existing=True)
        lapsed = (
            move.before["state"] == SeatState.HELD and seat.held_until is not None and seat.held_until <= clock.now()
        )
        if lapsed:
            undoing.keep_quietly(move.unit)
        elif place.seated >= place.seats or group.seated >= group.capacity:
            said = _("“%(group)s” is full by now: one of the two has to ask for a seat again.", group=group.name)
            undoing.keep(move.unit, said)
    for move in waits:
        if groups[lists[move.key["id"]].group_id].state in (GroupState.CLOSED, GroupState.ARCHIVED):
            undoing.keep_quietly(move.unit)
