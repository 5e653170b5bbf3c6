"""Reads about groups that more than one place needs. What they say is true at this moment, whether or not a sweep ran."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select

from kernel import clock
from kernel.db import db
from kernel.errors import NotFound
from membership.members.models import Member

from .models import (
    Group,
    GroupState,
    JoinLink,
    LiveSession,
    Seat,
    SeatState,
    SubGroup,
    Waiting,
    WaitingState,
)
from .rules import state_at


def find_group(group_id: int) -> Group | None:
    return db.session.get(Group, group_id)


def get_group(group_id: int) -> Group:
    """The group, or 404."""
    found = db.session.get(Group, group_id)
    if found is None:
        raise NotFound
    return found


def get_by_public_id(public_id: str) -> Group:
    """The group of a public address, or 404."""
    found = db.session.scalar(select(Group).where(Group.public_id == public_id))
    if found is None:
        raise NotFound
    return found


def state_of(group: Group) -> GroupState:
    """The state a group is in by the clock."""
    return state_at(group.state, group.opens_at, group.closes_at, clock.now())


def find_seat(group_id: int, member_id: int) -> Seat | None:
    """The seat a member has taken in a group, or None."""
    return db.session.scalar(
        select(Seat).where(Seat.group_id == group_id, Seat.member_id == member_id, Seat.state == SeatState.TAKEN)
    )


def find_hold(group_id: int, member_id: int) -> Seat | None:
    """The seat that is kept for a member, if the clock has not ended that."""
    return db.session.scalar(
        select(Seat).where(
            Seat.group_id == group_id,
            Seat.member_id == member_id,
            Seat.state == SeatState.HELD,
            Seat.held_until > clock.now(),
        )
    )


def in_group(member_id: int, group_id: int) -> bool:
    """Whether a member has taken a seat in a group."""
    return find_seat(group_id, member_id) is not None


def in_group_expression(group_id: int) -> ColumnElement[bool]:
    """SQL: the member of the enclosing statement has taken a seat in the group."""
    return exists().where(
        Seat.group_id == group_id, Seat.member_id == Member.id, Seat.state == SeatState.TAKEN
    ).correlate(Member)


def groups_of(member_id: int) -> list[tuple[Seat, Group]]:
    """The seats a member has taken, newest first, each with its group."""
    rows = db.session.execute(
        select(Seat, Group)
        .join(Group, Group.id == Seat.group_id)
        .where(Seat.member_id == member_id, Seat.state == SeatState.TAKEN)
        .order_by(Seat.id.desc())
    )
    return [(seat, group) for seat, group in rows.tuples()]


def stays_of(member_id: int, limit: int = 20) -> list[tuple[Seat, Group]]:
    """Every stay of a member in any group, newest first."""
    rows = db.session.execute(
        select(Seat, Group)
        .join(Group, Group.id == Seat.group_id)
        .where(Seat.member_id == member_id)
        .order_by(Seat.id.desc())
        .limit(limit)
    )
    return [(seat, group) for seat, group in rows.tuples()]


@dataclass(frozen=True)
class Place:
    """Where somebody stands on a waiting list: the number they were told, and how many wait before them."""

    waiting: Waiting
    ahead: int


def find_place(group_id: int, member_id: int) -> Place | None:
    """The place of a member on the waiting list of a group, or None."""
    found = db.session.scalar(
        select(Waiting).where(
            Waiting.group_id == group_id, Waiting.member_id == member_id, Waiting.state == WaitingState.QUEUED
        )
    )
    if found is None:
        return None
    ahead = db.session.scalar(
        select(func.count()).where(
            Waiting.group_id == group_id, Waiting.state == WaitingState.QUEUED, Waiting.number < found.number
        )
    )
    return Place(found, ahead or 0)


def lapsed_holds(group_id: int) -> int:
    """Holds that the clock has ended and nobody has written down yet."""
    return (
        db.session.scalar(
            select(func.count()).where(
                Seat.group_id == group_id, Seat.state == SeatState.HELD, Seat.held_until <= clock.now()
            )
        )
        or 0
    )


def seats_left(group: Group) -> int:
    """How many seats a newcomer may still take: none while somebody waits for one."""
    if group.queued:
        return 0
    return max(0, group.capacity - group.seated + lapsed_holds(group.id))


def barred_seats(group_id: int, member_id: int) -> Sequence[Seat]:
    return db.session.scalars(
        select(Seat).where(Seat.group_id == group_id, Seat.member_id == member_id, Seat.barred)
    ).all()


def sub_groups(group_id: int) -> Sequence[SubGroup]:
    """The sub-groups that have opened, by number."""
    return db.session.scalars(select(SubGroup).where(SubGroup.group_id == group_id).order_by(SubGroup.number)).all()


def open_groups() -> Sequence[Group]:
    """Groups that people may join now, by name."""
    found = db.session.scalars(
        select(Group).where(Group.state.in_([GroupState.WARM_UP, GroupState.OPEN])).order_by(Group.name, Group.id)
    )
    return [group for group in found if state_of(group) is GroupState.OPEN]


def all_groups(archived: bool = False) -> Sequence[Group]:
    """Every group by name, for choosing one."""
    statement = select(Group).order_by(Group.name, Group.id)
    if not archived:
        statement = statement.where(Group.state != GroupState.ARCHIVED)
    return db.session.scalars(statement).all()


def names(group_ids: Collection[int]) -> dict[int, str]:
    """The name of each group, in one statement."""
    wanted = set(group_ids)
    if not wanted:
        return {}
    return dict(db.session.execute(select(Group.id, Group.name).where(Group.id.in_(wanted))).tuples().all())


def next_session(group_id: int) -> LiveSession | None:
    """The live session that is on or comes next."""
    return db.session.scalar(
        select(LiveSession)
        .where(LiveSession.group_id == group_id, LiveSession.ends_at > clock.now())
        .order_by(LiveSession.starts_at, LiveSession.id)
        .limit(1)
    )


def next_sessions(group_ids: Collection[int]) -> dict[int, LiveSession]:
    """The next live session of each group of a list, in one statement."""
    rows = db.session.scalars(
        select(LiveSession)
        .where(LiveSession.group_id.in_(group_ids), LiveSession.ends_at > clock.now())
        .order_by(LiveSession.group_id, LiveSession.starts_at, LiveSession.id)
        .distinct(LiveSession.group_id)
    )
    return {session.group_id: session for session in rows}


def sessions_of(group_id: int) -> Sequence[LiveSession]:
    """The live sessions of a group, latest first."""
    return db.session.scalars(
        select(LiveSession).where(LiveSession.group_id == group_id).order_by(LiveSession.starts_at.desc())
    ).all()


def links_of(group_id: int) -> Sequence[JoinLink]:
    """The join links of a group, oldest first."""
    return db.session.scalars(select(JoinLink).where(JoinLink.group_id == group_id).order_by(JoinLink.id)).all()


def find_link(token: str) -> JoinLink | None:
    return db.session.scalar(select(JoinLink).where(JoinLink.token == token))


def roster(group_id: int, state: SeatState | None = SeatState.TAKEN) -> Select[Seat, Member]:
    """The stays in a group with their members: taken seats, or those of another state, or all with None."""
    statement = select(Seat, Member).join(Member, Member.id == Seat.member_id).where(Seat.group_id == group_id)
    return statement if state is None else statement.where(Seat.state == state)


def waiting_list(group_id: int) -> Select[Waiting, Member]:
    """Who waits in a group, or is invited from the waiting list, with the members."""
    return (
        select(Waiting, Member)
        .join(Member, Member.id == Waiting.member_id)
        .where(
            Waiting.group_id == group_id,
            or_(
                Waiting.state == WaitingState.QUEUED,
                and_(Waiting.state == WaitingState.INVITED, Waiting.invited_until > clock.now()),
            ),
        )
    )


def was_in(group_id: int, member_id: int) -> bool:
    """Whether a member has had a seat in a group before."""
    return bool(
        db.session.scalar(
            select(exists().where(Seat.group_id == group_id, Seat.member_id == member_id, Seat.state == SeatState.LEFT))
        )
    )


def sub_group_number(seat: Seat) -> int:
    return db.session.scalar(select(SubGroup.number).where(SubGroup.id == seat.sub_group_id)) or 1


def taken_seats(group: Group) -> int:
    """How many people are in a group: its counter without the seats that are only held."""
    held = db.session.scalar(
        select(func.count()).where(Seat.group_id == group.id, Seat.state == SeatState.HELD)
    )
    return max(0, group.seated - (held or 0))
