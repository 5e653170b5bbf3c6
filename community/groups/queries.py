"""Reads about groups that more than one place needs. What they say is true at this moment, whether or not a sweep ran."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import aliased

from kernel import clock, today
from kernel.db import UtcDateTime, db
from kernel.errors import NotFound
from kernel.pages import order_by
from kernel.ports import Port
from membership.coupons.models import Offer, OfferVersion
from membership.gifts.models import Gift, GiftClaim, GiftState
from membership.members import queries as members
from membership.members.models import Member
from membership.products.models import Product

from .models import (
    Group,
    GroupKind,
    GroupState,
    JoinLink,
    LiveDrop,
    LiveSession,
    OutsideCode,
    Seat,
    SeatRole,
    SeatState,
    SubGroup,
    Waiting,
    WaitingState,
)
from .rules import state_at

# From here on a group counts as nearly full.
NEARLY_FULL_PERCENT = 92


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


# Written out, because no plan that is made for any state uses an index of one state.
_HELD: ColumnElement[Any] = literal_column(f"'{SeatState.HELD}'")
_TAKEN: ColumnElement[Any] = literal_column(f"'{SeatState.TAKEN}'")


@dataclass(frozen=True)
class Visit:
    """What a group's page needs of the group and of the member who looks at it, and whether there is more of some things."""

    group: Group
    member: Member
    seat: Seat | None
    sub_group_number: int
    # Seats that are only held.
    held: int
    # The session that is on or comes next, and the last one that can be watched again.
    session: LiveSession | None
    replay: LiveSession | None
    has_codes: bool
    has_drops: bool
    has_offers: bool
    has_gift: bool

    @property
    def people(self) -> int:
        """How many people are in the group."""
        return max(0, self.group.seated - self.held)


_PUBLIC: ColumnElement[str] = bindparam("public_id", type_=Text())
_VISITOR: ColumnElement[int] = bindparam("member_id", type_=BigInteger())


@cache
def _visit() -> Select[Any]:
    now: Any = bindparam("now", type_=UtcDateTime())
    coming: Any = aliased(LiveSession, _coming_session(Group.id, now).limit(1).lateral())
    over: Any = aliased(LiveSession, _past_sessions(Group.id, now).limit(1).lateral())
    held = select(func.count()).where(Seat.group_id == Group.id, Seat.state == _HELD).correlate(Group)
    drops = exists().where(LiveDrop.session_id == LiveSession.id, LiveSession.group_id == Group.id)
    offers = exists().where(
        OfferVersion.group_id == Group.id, Offer.version_id == OfferVersion.id, Offer.archived_at.is_(None)
    )
    gift = exists().where(
        GiftClaim.member_id == _VISITOR, GiftClaim.benefit == func.concat("welcome:", Group.id), waiting_claim()
    )
    found: Any = select(
        Group,
        Member,
        Seat,
        func.coalesce(SubGroup.number, 1),
        held.scalar_subquery(),
        coming,
        over,
        exists().where(OutsideCode.group_id == Group.id).correlate(Group),
        drops.correlate(Group),
        offers.correlate(Group),
        gift.correlate(Group),
    )
    return (
        found.select_from(Group)
        .join(Member, Member.id == _VISITOR)
        .outerjoin(Seat, and_(Seat.group_id == Group.id, Seat.member_id == _VISITOR, Seat.state == _TAKEN))
        .outerjoin(SubGroup, SubGroup.id == Seat.sub_group_id)
        .outerjoin(coming, true())
        .outerjoin(over, true())
        .where(Group.public_id == _PUBLIC)
    )


def visit(public_id: str, member_id: int) -> Visit:
    """What the page of a public address needs for a member, in one statement, or 404."""
    values = {"public_id": public_id, "member_id": member_id, "now": clock.now()}
    row = db.session.execute(_visit(), values).one_or_none()
    if row is None:
        raise NotFound
    if row[1].merged_into_id is not None:
        return visit(public_id, _whoever_is_now(row[1]).id)
    return Visit(*row)


@cache
def _at_the_door() -> Select[Group, Member]:
    return select(Group, Member).join(Member, Member.id == _VISITOR).where(Group.public_id == _PUBLIC)


def at_the_door(public_id: str, member_id: int) -> tuple[Group, Member]:
    """The group of a public address and a member, or whoever they were merged into, in one statement; or 404."""
    row = db.session.execute(_at_the_door(), {"public_id": public_id, "member_id": member_id}).one_or_none()
    if row is None:
        raise NotFound
    return row[0], row[1] if row[1].merged_into_id is None else _whoever_is_now(row[1])


def _whoever_is_now(member: Member) -> Member:
    found = members.find_member(member.id)
    if found is None:
        raise NotFound
    return found


def waiting_claim() -> ColumnElement[bool]:
    """SQL: a claimed gift waits for its member or is on its way."""
    return GiftClaim.state.not_in([GiftState.FORFEITED, GiftState.CANCELLED, GiftState.DELIVERED, GiftState.RETURNED])


def state_of(group: Group) -> GroupState:
    """The state a group is in by the clock."""
    return state_at(group.state, group.opens_at, group.closes_at, clock.now())


def is_over(group: Group) -> bool:
    """Whether a group has closed by now: its people can read it, and nothing new begins in it."""
    return state_of(group) in (GroupState.CLOSED, GroupState.ARCHIVED)


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
    return (
        exists()
        .where(Seat.group_id == group_id, Seat.member_id == Member.id, Seat.state == SeatState.TAKEN)
        .correlate(Member)
    )


def seated_in(group_id: int) -> Select[int]:
    """SQL: the ids of the members who have taken a seat in the group, each once."""
    return select(Seat.member_id).where(Seat.group_id == group_id, Seat.state == SeatState.TAKEN)


def acts_of(member_ids: Sequence[int]) -> Select[int, str, int]:
    """SQL: how many groups each member sits in and how many people they brought, for `members.queries.acts_of`."""
    sits = (
        select(Seat.member_id, literal("groups").label("kind"), func.count().label("n"))
        .where(Seat.member_id == func.any(list(member_ids)), Seat.state == SeatState.TAKEN)
        .group_by(Seat.member_id)
    )
    brought = (
        select(Seat.inviter_id, literal("brought"), func.count(Seat.member_id.distinct()))
        .where(Seat.inviter_id == func.any(list(member_ids)), Seat.joined_at.is_not(None))
        .group_by(Seat.inviter_id)
    )
    both = union_all(sits, brought).subquery()
    return select(both.c.member_id, both.c.kind, both.c.n)


def groups_of(member_id: int) -> list[tuple[Seat, Group]]:
    """The seats a member has taken, newest first, each with its group."""
    rows = db.session.execute(
        select(Seat, Group)
        .join(Group, Group.id == Seat.group_id)
        .where(Seat.member_id == member_id, Seat.state == SeatState.TAKEN)
        .order_by(Seat.id.desc())
    )
    return [(seat, group) for seat, group in rows]


def stays_of(member_id: int, limit: int = 20) -> list[tuple[Seat, Group]]:
    """Every stay of a member in any group, newest first."""
    rows = db.session.execute(
        select(Seat, Group)
        .join(Group, Group.id == Seat.group_id)
        .where(Seat.member_id == member_id)
        .order_by(Seat.id.desc())
        .limit(limit)
    )
    return [(seat, group) for seat, group in rows]


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
    return dict(db.session.execute(select(Group.id, Group.name).where(Group.id.in_(wanted))).all())


def _coming_session(group_id: Any, now: Any) -> Select[LiveSession]:
    return (
        select(LiveSession)
        .where(LiveSession.group_id == group_id, LiveSession.ends_at > now)
        .order_by(LiveSession.starts_at, LiveSession.id)
    )


def _past_sessions(group_id: Any, now: Any) -> Select[LiveSession]:
    """SQL: the sessions of a group that are over and can be watched again, the last one first."""
    return (
        select(LiveSession)
        .where(LiveSession.group_id == group_id, LiveSession.ends_at <= now, LiveSession.replay_url != "")
        .order_by(LiveSession.ends_at.desc(), LiveSession.id.desc())
    )


def next_session(group_id: int) -> LiveSession | None:
    """The live session that is on or comes next."""
    return db.session.scalar(_coming_session(group_id, clock.now()).limit(1))


def next_sessions(group_ids: Collection[int]) -> dict[int, LiveSession]:
    """The next live session of each group of a list, in one statement."""
    rows = db.session.scalars(
        select(LiveSession)
        .where(LiveSession.group_id.in_(group_ids), LiveSession.ends_at > clock.now())
        .order_by(LiveSession.group_id, LiveSession.starts_at, LiveSession.id)
        .ext(distinct_on(LiveSession.group_id))
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


def leaders(group_id: int, most: int = 20) -> Sequence[Row[Seat, Member]]:
    """Who looks after a group among those who sit in it, the longest there first."""
    asked = roster(group_id).where(Seat.role != SeatRole.MEMBER).order_by(Seat.id).limit(most)
    return db.session.execute(asked).all()


def waiting_list(group_id: int, q: str = "") -> Select[Waiting, Member]:
    """Who waits in a group, or is invited from the waiting list, with the members; `q` is in a name or ends a phone."""
    statement = (
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
    return statement.where(_named(q)) if q else statement


def was_in(group_id: int, member_id: int) -> bool:
    """Whether a member has had a seat in a group before."""
    return bool(
        db.session.scalar(
            select(exists().where(Seat.group_id == group_id, Seat.member_id == member_id, Seat.state == SeatState.LEFT))
        )
    )


def missed_seat(group_id: int, member_id: int) -> datetime | None:
    """Until when a seat was kept for a member who let the time run out, if that is how they stand with a group; or None."""
    last = db.session.execute(
        select(Seat.state, Seat.held_until, Seat.ended_at, Seat.end_reason)
        .where(Seat.group_id == group_id, Seat.member_id == member_id)
        .order_by(Seat.id.desc())
        .limit(1)
    ).one_or_none()
    if last is None:
        return None
    if last.state is SeatState.LAPSED and last.end_reason == "lapsed":
        return last.ended_at
    return last.held_until if last.state is SeatState.HELD else None


def taken_seats(group: Group) -> int:
    """How many people are in a group: its counter without the seats that are only held."""
    held = db.session.scalar(select(func.count()).where(Seat.group_id == group.id, Seat.state == SeatState.HELD))
    return max(0, group.seated - (held or 0))


def models(limit: int = 12) -> Sequence[Group]:
    """Groups to copy: templates first, then those that closed last, then the others by age."""
    return db.session.scalars(
        select(Group)
        .order_by(Group.template.desc(), func.coalesce(Group.closed_at, Group.created_at).desc(), Group.id.desc())
        .limit(limit)
    ).all()


@dataclass(frozen=True)
class Moment:
    """Something on the calendar of groups: `what` is `opens`, `closes` or `session`, or what a higher room calls it.

    A higher room says with it what it is (`label`), its icon and its address.
    """

    at: datetime
    what: str
    group: Group
    title: str = ""
    label: str = ""
    icon: str = ""
    url: str = ""


# Asked with an interval `[since, until)`: what higher rooms have on the calendar of groups in it.
moments: Port[[datetime, datetime], list[Moment]] = Port("groups.moments")


def calendar(since: datetime, until: datetime) -> list[Moment]:
    """What opens, closes and goes live in an interval `[since, until)`, in its order; archived groups too, drafts as planned."""
    found: list[Moment] = []
    opened, closed = func.coalesce(Group.opened_at, Group.opens_at), func.coalesce(Group.closed_at, Group.closes_at)
    for at, what in ((opened, "opens"), (closed, "closes")):
        rows = db.session.execute(select(at, Group).where(at >= since, at < until).limit(1_000))
        found += [Moment(row[0], what, row[1]) for row in rows]
    sessions = db.session.execute(
        select(LiveSession, Group)
        .join(Group, Group.id == LiveSession.group_id)
        .where(LiveSession.starts_at >= since, LiveSession.starts_at < until)
        .limit(1_000)
    )
    found += [Moment(session.starts_at, "session", group, session.title) for session, group in sessions]
    found += [moment for answer in moments.call(since, until) for moment in answer]
    return sorted(found, key=lambda moment: (moment.at, moment.group.id, moment.what))


# ── The console's lists ─────────────────────────────────────────────────────────────────────────────────────────────


def state_expression() -> ColumnElement[str]:
    """SQL: the state of a group by the clock, as `rules.state_at` says it."""
    now = clock.now()
    running = Group.state.in_([GroupState.WARM_UP, GroupState.OPEN, GroupState.PAUSED])
    return case(
        (and_(running, Group.closes_at <= now), GroupState.CLOSED.value),
        (and_(Group.state == GroupState.WARM_UP, Group.opens_at <= now), GroupState.OPEN.value),
        else_=cast(Group.state, Text),
    )


@dataclass(frozen=True)
class GroupFilter:
    """What the list of groups is narrowed to; empty means no narrowing, but archived groups show only when asked for."""

    q: str = ""
    kind: str = ""
    state: str = ""
    full: bool = False
    waiting: bool = False


SORTS: dict[str, Any] = {
    "name": Group.name,
    "seats": Group.seated,
    "waiting": Group.queued,
    "active": Group.active_week,
    "created": Group.created_at,
}


def listing(wanted: GroupFilter) -> Select[Group]:
    """The groups that a filter lets through."""
    statement = select(Group)
    if wanted.q:
        statement = statement.where(Group.name.icontains(wanted.q, autoescape=True))
    if wanted.kind in list(GroupKind):
        statement = statement.where(Group.kind == wanted.kind)
    if wanted.state in list(GroupState):
        statement = statement.where(state_expression() == wanted.state)
    else:
        statement = statement.where(Group.state != GroupState.ARCHIVED)
    if wanted.full:
        statement = statement.where(Group.seated * 100 >= Group.capacity * NEARLY_FULL_PERCENT)
    if wanted.waiting:
        statement = statement.where(Group.queued > 0)
    return statement


def order_of(sort: str) -> list[Any]:
    """The order that a list's address asks for (`seats`, `-seats`); newest first when it asks for none."""
    return order_by(sort, SORTS, [Group.id], [Group.created_at.desc(), Group.id.desc()])


@dataclass(frozen=True)
class Consequences:
    """How many people a change of state concerns."""

    taken: int
    held: int
    queued: int


def consequences(group: Group) -> Consequences:
    taken = taken_seats(group)
    return Consequences(taken=taken, held=max(0, group.seated - taken - lapsed_holds(group.id)), queued=group.queued)


ROSTER_STATES = {"taken": SeatState.TAKEN, "held": SeatState.HELD, "left": SeatState.LEFT, "removed": SeatState.REMOVED}


def _named(q: str) -> ColumnElement[bool]:
    """Members whose name or nickname has these letters, or whose phone ends with them."""
    return or_(
        Member.name.icontains(q, autoescape=True),
        Member.nickname.icontains(q, autoescape=True),
        Member.phone.endswith(q, autoescape=True),
    )


def people(
    group_id: int, state: SeatState, q: str = "", sub_group: int | None = None, silent: bool = False
) -> Select[Seat, Member, int]:
    """The stays of one state in a group, each with the member and the sub-group's number.

    `silent` keeps those who have not looked in for seven days.
    """
    statement = (
        select(Seat, Member, SubGroup.number)
        .join(Member, Member.id == Seat.member_id)
        .join(SubGroup, SubGroup.id == Seat.sub_group_id)
        .where(Seat.group_id == group_id, Seat.state == state)
    )
    if state is SeatState.HELD:
        statement = statement.where(Seat.held_until > clock.now())
    if silent:
        statement = statement.where(or_(Seat.seen_at.is_(None), Seat.seen_at <= clock.now() - timedelta(days=7)))
    if q:
        statement = statement.where(_named(q))
    if sub_group is not None:
        statement = statement.where(SubGroup.number == sub_group)
    return statement


def joined_since(group_id: int, days: int) -> int:
    """How many people took a seat in the last so many days."""
    since = clock.now() - timedelta(days=days)
    return db.session.scalar(select(func.count()).where(Seat.group_id == group_id, Seat.joined_at >= since)) or 0


def joined_by_day(group_id: int, days: int = 14) -> list[tuple[date, int]]:
    """How many people joined on each of the last business days, oldest first."""
    first = clock.today() - timedelta(days=days - 1)
    on = func.date(func.timezone(str(clock.ZONE), Seat.joined_at))
    rows = db.session.execute(
        select(on, func.count())
        .where(Seat.group_id == group_id, Seat.joined_at >= clock.day_bounds(first)[0])
        .group_by(on)
    )
    counts: dict[date, int] = dict(rows.all())
    return [(first + timedelta(days=n), counts.get(first + timedelta(days=n), 0)) for n in range(days)]


def sources_of(group_id: int, limit: int = 20) -> list[tuple[str, int]]:
    """Where the people of a group came from, the most frequent first."""
    rows = db.session.execute(
        select(Seat.source, func.count())
        .where(Seat.group_id == group_id, Seat.joined_at.is_not(None))
        .group_by(Seat.source)
        .order_by(func.count().desc(), Seat.source)
        .limit(limit)
    )
    return [(first, second) for first, second in rows]


def barred_people(group_id: int) -> list[tuple[Seat, Member]]:
    """Who may not come back to a group."""
    rows = db.session.execute(
        select(Seat, Member)
        .join(Member, Member.id == Seat.member_id)
        .where(Seat.group_id == group_id, Seat.barred)
        .order_by(Seat.id.desc())
        .limit(200)
    )
    return [(first, second) for first, second in rows]


def product_title(sku: str) -> str | None:
    """The title of a product, or None when no feed has named it."""
    return db.session.scalar(select(Product.title).where(Product.sku == sku).order_by(Product.id).limit(1))


def products(limit: int = 200) -> list[tuple[str, str]]:
    """Products to choose from, by title, as (sku, title)."""
    rows = db.session.execute(select(Product.sku, Product.title).order_by(Product.title, Product.sku).limit(limit))
    return [(first, second) for first, second in rows]


def gifts() -> list[tuple[int, str]]:
    """Gifts that are given now, to choose from."""
    rows = db.session.execute(select(Gift.id, Gift.name).where(Gift.active).order_by(Gift.name, Gift.id))
    return [(first, second) for first, second in rows]


def groups_with_lapsed_holds() -> Sequence[int]:
    """The groups in which the clock has ended a hold that is not written down yet."""
    return db.session.scalars(
        select(Seat.group_id)
        .where(Seat.state == SeatState.HELD, Seat.held_until <= clock.now())
        .distinct()
        .order_by(Seat.group_id)
    ).all()


# ── The brief ───────────────────────────────────────────────────────────────────────────────────────────────────────


def place_of(group: Group) -> today.Place:
    """A group as the part of the shop that a task of the first page is about."""
    return today.Place(f"group:{group.id}", group.name, group.owner_id)


def nearly_full() -> Sequence[Group]:
    """Open groups with hardly a seat left, the fullest first."""
    return db.session.scalars(
        select(Group)
        .where(state_expression() == GroupState.OPEN.value, Group.seated * 100 >= Group.capacity * NEARLY_FULL_PERCENT)
        .order_by((Group.seated * 1000 / Group.capacity).desc(), Group.id)
        .limit(10)
    ).all()


def closing_within(hours: int) -> Sequence[Group]:
    """Groups that the clock closes within so many hours, the next first."""
    now = clock.now()
    return db.session.scalars(
        select(Group)
        .where(
            Group.state.in_([GroupState.OPEN, GroupState.PAUSED]),
            Group.closes_at > now,
            Group.closes_at <= now + timedelta(hours=hours),
        )
        .order_by(Group.closes_at, Group.id)
        .limit(10)
    ).all()


def closed_flash(days: int = 3) -> Sequence[Group]:
    """Flash groups that closed in the last so many days, the latest first: somebody looks at what came of them."""
    return db.session.scalars(
        select(Group)
        .where(
            Group.kind == GroupKind.FLASH,
            Group.state == GroupState.CLOSED,
            Group.closed_at >= clock.now() - timedelta(days=days),
        )
        .order_by(Group.closed_at.desc(), Group.id)
        .limit(5)
    ).all()


def with_waiting_list() -> Sequence[Group]:
    """Groups in which people wait, the longest list first."""
    return db.session.scalars(
        select(Group)
        .where(Group.queued > 0, Group.state.in_([GroupState.OPEN, GroupState.PAUSED]))
        .order_by(Group.queued.desc(), Group.id)
        .limit(10)
    ).all()


def joined_between(since: datetime, until: datetime) -> int:
    """How many seats were taken in an interval `[since, until)`."""
    return db.session.scalar(select(func.count()).where(Seat.joined_at >= since, Seat.joined_at < until)) or 0


def found_by_name(words: str, limit: int = 8) -> Sequence[Group]:
    """Groups whose name holds some words, archived ones last."""
    return db.session.scalars(
        select(Group)
        .where(Group.name.icontains(words, autoescape=True))
        .order_by((Group.state == GroupState.ARCHIVED), Group.created_at.desc(), Group.id.desc())
        .limit(limit)
    ).all()


def waits_of(member_id: int) -> list[tuple[Waiting, Group]]:
    """The waiting lists on which a member has a number, or from which a seat is kept for them."""
    rows = db.session.execute(
        select(Waiting, Group)
        .join(Group, Group.id == Waiting.group_id)
        .where(
            Waiting.member_id == member_id,
            or_(
                Waiting.state == WaitingState.QUEUED,
                and_(Waiting.state == WaitingState.INVITED, Waiting.invited_until > clock.now()),
            ),
            Group.state.in_([GroupState.OPEN, GroupState.PAUSED]),
        )
        .order_by(Waiting.id.desc())
    )
    return [(first, second) for first, second in rows]
