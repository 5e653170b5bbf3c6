"""Reads about journeys: whom the clock brings in, where everybody stands, how many passed where."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    and_,
    case,
    cast,
    column,
    exists,
    extract,
    func,
    literal,
    or_,
    select,
    values,
)
from sqlalchemy.orm import aliased

from campaigns.audiences import queries as audiences
from campaigns.audiences import rules as audience_rules
from campaigns.channels.models import Account
from community.groups import queries as groups
from community.groups.models import Group, GroupState
from kernel import clock
from kernel.db import UtcDateTime, db, escaped
from kernel.errors import NotFound
from kernel.pages import order_by
from kernel.ports import Port
from membership.coupons.models import Coupon, CouponState, Offer, OfferState
from membership.members import queries as members
from membership.members.models import Channel, Member
from membership.members.rules import EmailInvalid, PhoneInvalid, canonical_email, canonical_phone
from membership.orders.models import Order, OrderState, Payment

from . import rules
from .models import (
    Journey,
    JourneyLog,
    JourneyMember,
    JourneyPush,
    JourneyState,
    JourneyVersion,
    PlaceState,
    ReceivedEvent,
)
from .rules import Kind

LIVE = JourneyMember.state == PlaceState.ACTIVE
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Due:
    """A member who is due to buy again: `key` names the purchase that is used up, `since` when it was made."""

    member_id: int
    key: str
    since: datetime


# Who is due to buy something again within so many days, as a repurchase clock says. Asked by journeys.
due_members: Port[[int], list[Due]] = Port("journeys.due_members")


def get_journey(journey_id: int) -> Journey:
    """A journey; refuses with `NotFound`."""
    found = db.session.get(Journey, journey_id)
    if found is None:
        raise NotFound
    return found


def version_of(journey: Journey) -> JourneyVersion | None:
    """The version that people enter, if one was published."""
    return db.session.get(JourneyVersion, journey.version_id) if journey.version_id is not None else None


def plan_of(version: JourneyVersion) -> rules.Plan:
    return rules.parse(version.plan)


def push_of(version_id: int, step: str, trial: bool) -> int:
    """The push that sends what a step says."""
    return db.session.scalars(
        select(JourneyPush.push_id).where(
            JourneyPush.version_id == version_id, JourneyPush.step == step, JourneyPush.trial == trial
        )
    ).one()


# ── What brings people in ───────────────────────────────────────────────────────────────────────────────────────────


def waiting_for(kind: Kind) -> Sequence[Journey]:
    """The journeys that are on and begin with this."""
    return db.session.scalars(
        select(Journey).where(Journey.state == JourneyState.ON, Journey.trigger == kind.value).order_by(Journey.id)
    ).all()


def to_look_for() -> list[int]:
    """The journeys that are on and for which it is time to look whom the clock brings in."""
    now = clock.now()
    late = or_(
        *(
            and_(Journey.trigger == kind.value, or_(Journey.looked_at.is_(None), Journey.looked_at <= now - every))
            for kind, every in rules.LOOKED_FOR.items()
        )
    )
    return list(
        db.session.scalars(select(Journey.id).where(Journey.state == JourneyState.ON, late).order_by(Journey.id))
    )


def _late(at: Any, now: datetime, on_since: datetime) -> ColumnElement[bool]:
    """That a moment has come, not long ago, and since the journey is on."""
    return and_(at <= now, at > now - rules.LATE, at >= on_since)


def _key(prefix: str, number: Any) -> Any:
    return literal(prefix, Text) + cast(number, Text)


def _epoch(at: Any) -> Any:
    return cast(func.floor(extract("epoch", at)), BigInteger)


def _orders(state: Any, moment: Any, now: datetime, on_since: datetime) -> Any:
    return (
        select(Member.id, _key("order:", Order.id), moment)
        .join(Order, Order.member_id == Member.id)
        .where(state, _late(moment, now, on_since))
    )


def brought(trigger: rules.Trigger, on_since: datetime) -> Any:
    """Whom the clock brings in now, as (member, key, since), over `member`.

    `on_since` is when the journey was switched on: what came true before does not count, but for `present`.
    """
    now = clock.now()
    days, hours = timedelta(days=trigger.days or 0), timedelta(hours=trigger.hours or 0)
    match trigger.kind:
        case Kind.ARRIVING:
            expected = Order.delivered_at - hours
            return (
                select(Member.id, _key("order:", Order.id), Order.shipped_at)
                .join(Order, Order.member_id == Member.id)
                .where(
                    Order.state == OrderState.SHIPPED,
                    Order.shipped_at.is_not(None),
                    Order.delivered_at > now,
                    expected <= now,
                    Order.delivered_at >= on_since,
                )
            )
        case Kind.DELIVERED:
            arrived = Order.state.in_([OrderState.DELIVERED, OrderState.COMPLETED])
            bounds = and_(Order.delivered_at <= now - days, Order.delivered_at > now - days - rules.LATE)
            return _orders(and_(arrived, bounds), Order.delivered_at + days, now, on_since).with_only_columns(
                Member.id, _key("order:", Order.id), Order.delivered_at
            )
        case Kind.UNCONFIRMED:
            bounds = and_(Order.delivered_at <= now - days, Order.delivered_at > now - days - rules.LATE)
            waits = and_(Order.state == OrderState.DELIVERED, Order.completed_at.is_(None), bounds)
            return _orders(waits, Order.delivered_at + days, now, on_since).with_only_columns(
                Member.id, _key("order:", Order.id), Order.delivered_at
            )
        case Kind.BIRTHDAY:
            return _birthdays(days, now, on_since)
        case Kind.ANNIVERSARY:
            begun = Member.first_order_at if trigger.basis == "first_order" else Member.enrolled_at
            name = f"{trigger.basis}:{trigger.days}:"
            return select(Member.id, _key(name, Member.id), begun + days).where(_late(begun + days, now, on_since))
        case Kind.COUPON_ENDING:
            return (
                select(Member.id, _key("coupon:", Coupon.id), Coupon.issued_at)
                .join(Coupon, Coupon.member_id == Member.id)
                .where(
                    Coupon.state == CouponState.ISSUED,
                    Coupon.usable_until > now,
                    Coupon.usable_until <= now + days,
                    # Whoever got it only now need not be reminded of it.
                    Coupon.issued_at < Coupon.usable_until - days,
                )
            )
        case Kind.CART:
            return _carts(hours, now, on_since)
        case Kind.DORMANT:
            since = Member.last_order_at + days
            when = since <= now if trigger.present else _late(since, now, on_since)
            return select(Member.id, _key("dormant:", _epoch(Member.last_order_at)) + _key(":", Member.id),
                          Member.last_order_at).where(when)  # fmt: skip
        case Kind.DUE:
            return _listed([due for answer in due_members.call(trigger.days or 0) for due in answer])
    return select(Member.id, literal("", Text), literal(now, UtcDateTime)).where(literal(False))


def _listed(found: Sequence[Due]) -> Any:
    rows = values(
        column("member_id", BigInteger), column("key", Text), column("since", UtcDateTime), name="found"
    ).data([(one.member_id, one.key, one.since) for one in found] or [(0, "", clock.now())])
    return select(Member.id, rows.c.key, cast(rows.c.since, UtcDateTime)).join(rows, rows.c.member_id == Member.id)


def _birthdays(ahead: timedelta, now: datetime, on_since: datetime) -> Any:
    """Those whose birthday is `ahead` days from today, or was so within the last two days, from nine o'clock on."""
    first = clock.local(now).date() if clock.local(now).hour >= 9 else clock.local(now).date() - DAY
    days = [first - timedelta(days=back) for back in range(rules.LATE.days)]
    born: list[tuple[date, ColumnElement[bool]]] = []
    for noticed in days:
        day = noticed + ahead
        if clock.day_bounds(noticed)[1] <= on_since:
            continue
        dates = {(day.month, day.day)}
        if rules.birthday_in(date(2000, 2, 29), day.year) == day:
            dates.add((2, 29))
        born += [
            (day, and_(extract("month", Member.birthday) == month, extract("day", Member.birthday) == number))
            for month, number in sorted(dates)
        ]
    if not born:
        return select(Member.id, literal("", Text), literal(now, UtcDateTime)).where(literal(False))
    year = case(*((is_it, str(day.year)) for day, is_it in born), else_="")
    key = literal("birthday:", Text) + year + _key(":", Member.id)
    return select(Member.id, key, literal(now, UtcDateTime)).where(or_(*(is_it for _day, is_it in born)))


def _carts(hours: timedelta, now: datetime, on_since: datetime) -> Any:
    """Those whose last word about a cart was that it holds something, so long ago, and who have not ordered since."""
    later = aliased(ReceivedEvent)
    return (
        select(Member.id, _key("cart:", ReceivedEvent.id), ReceivedEvent.at)
        .join(ReceivedEvent, ReceivedEvent.member_id == Member.id)
        .where(
            ReceivedEvent.type == rules.CART_CHANGED,
            ReceivedEvent.at <= now - hours,
            ReceivedEvent.at > now - hours - rules.LATE,
            ReceivedEvent.at + hours >= on_since,
            ~exists().where(
                later.member_id == Member.id,
                later.type.in_([rules.CART_CHANGED, rules.CART_EMPTIED]),
                or_(later.at > ReceivedEvent.at, and_(later.at == ReceivedEvent.at, later.id > ReceivedEvent.id)),
            ),
            ~bought_since(Member.id, ReceivedEvent.at),
        )
    )


def may_enter(journey_id: int, plan: rules.Plan) -> list[ColumnElement[bool]]:
    """That a member may enter: is in the audience, is not inside, and was not inside lately."""
    inside = aliased(JourneyMember)
    been = [inside.journey_id == journey_id, inside.member_id == Member.id, ~inside.trial]
    if plan.again_after is not None:
        recently = inside.entered_at > clock.now() - timedelta(days=plan.again_after)
        been.append(or_(inside.state == PlaceState.ACTIVE, recently))
    return [*audiences.conditions(audience_rules.parse(plan.audience)), ~exists().where(*been)]


def candidates(journey_id: int, plan: rules.Plan, found: Select[Any], limit: int) -> Sequence[Any]:
    """Of whom a trigger brings, those who may enter and whom this very thing has not brought in before."""
    member_id, key, since = found.selected_columns
    known = aliased(JourneyMember)
    statement = (
        found.with_only_columns(member_id.label("member_id"), key.label("key"), since.label("since"))
        .where(*may_enter(journey_id, plan), ~exists().where(known.journey_id == journey_id, known.key == key))
        .order_by(Member.id)
        .limit(limit)
    )
    return db.session.execute(statement).all()


def one_candidate(member_id: int, key: str, since: datetime) -> Any:
    """A member whom an event brings, in the form of `brought`."""
    return select(Member.id, literal(key, Text), literal(since, UtcDateTime)).where(Member.id == member_id)


def bought_since(member_id: Any, since: Any) -> ColumnElement[bool]:
    """That a member has ordered since an instant: an order that is paid for, or to be paid at the door, and stands."""
    standing = or_(
        Order.state.not_in([OrderState.PLACED, OrderState.CLOSED, OrderState.REFUSED]),
        and_(Order.state == OrderState.PLACED, Order.payment == Payment.ON_DELIVERY),
    )
    return exists().where(Order.member_id == member_id, Order.placed_at > since, standing)


# ── Where everybody stands ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Counts:
    """What happened at one step: who waits there, who passed by which outcome, who left there."""

    here: int = 0
    passed: int = 0
    left: int = 0
    failed: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)


def counts(version_id: int, trial: bool = False) -> dict[str, Counts]:
    """The counts of a version's steps; under "" those who entered."""
    found: dict[str, Counts] = {}
    for step, outcome, people in db.session.execute(
        select(JourneyLog.step, JourneyLog.outcome, func.count())
        .where(JourneyLog.version_id == version_id, JourneyLog.trial == trial)
        .group_by(JourneyLog.step, JourneyLog.outcome)
    ):
        one = found.setdefault(step, Counts())
        if outcome == "left":
            one.left += people
        elif outcome == "failed":
            one.failed += people
        else:
            one.passed += people
            one.outcomes[outcome] = people
    for here, people in db.session.execute(
        select(JourneyMember.step, func.count())
        .where(JourneyMember.version_id == version_id, JourneyMember.trial == trial, LIVE)
        .group_by(JourneyMember.step)
    ):
        found.setdefault(here or "", Counts()).here = people
    return found


@dataclass(frozen=True)
class Sums:
    """A journey in four numbers, trials left out."""

    inside: int = 0
    done: int = 0
    left: int = 0
    failed: int = 0

    @property
    def entered(self) -> int:
        return self.inside + self.done + self.left + self.failed


_FIELDS = {
    PlaceState.ACTIVE: "inside",
    PlaceState.DONE: "done",
    PlaceState.LEFT: "left",
    PlaceState.FAILED: "failed",
}


def sums(journey_ids: Sequence[int]) -> Mapping[int, Sums]:
    """The numbers of several journeys."""
    found: dict[int, dict[str, int]] = {journey_id: {} for journey_id in journey_ids}
    for journey_id, state, people in db.session.execute(
        select(JourneyMember.journey_id, JourneyMember.state, func.count())
        .where(JourneyMember.journey_id.in_(journey_ids), ~JourneyMember.trial)
        .group_by(JourneyMember.journey_id, JourneyMember.state)
    ):
        found[journey_id][_FIELDS[state]] = people
    return {journey_id: Sums(**numbers) for journey_id, numbers in found.items()}


def in_older_versions(journey: Journey) -> int:
    """How many are inside versions before the present one."""
    return (
        db.session.scalar(
            select(func.count())
            .select_from(JourneyMember)
            .where(
                JourneyMember.journey_id == journey.id,
                JourneyMember.version_id != journey.version_id,
                ~JourneyMember.trial,
                LIVE,
            )
        )
        or 0
    )


def listed(wanted: str = "", state: JourneyState | None = None) -> Any:
    """Journeys, for the list."""
    statement = select(Journey)
    if wanted:
        statement = statement.where(Journey.name.ilike(f"%{escaped(wanted)}%"))
    if state is not None:
        statement = statement.where(Journey.state == state)
    return statement


def order_of(sort: str) -> list[Any]:
    """The columns of a sort (`name`, `state`, `entered`, each with a minus for the other way), the last one unique; unknown
    ones mean those that are on first, the newest of them first."""
    entered = (
        select(func.count())
        .where(JourneyMember.journey_id == Journey.id, ~JourneyMember.trial)
        .correlate(Journey)
        .scalar_subquery()
    )
    columns: dict[str, Any] = {"name": Journey.name, "state": Journey.state, "entered": entered}
    return order_by(sort, columns, [Journey.id], [Journey.state.desc(), Journey.id.desc()])


def exported(wanted: str, state: JourneyState | None, sort: str) -> Sequence[Journey]:
    """Every journey of a list (no more than 20,000), for a file."""
    return db.session.scalars(listed(wanted, state).order_by(*order_of(sort)).limit(20_000)).all()


def people(
    journey_id: int, wanted: str = "", state: PlaceState | None = None, step: str = "", trial: bool = False
) -> Any:
    """Who is or was in a journey; `wanted` is a part of a name, a whole phone, or a member's number."""
    statement = (
        select(JourneyMember, Member)
        .join(Member, Member.id == JourneyMember.member_id)
        .where(JourneyMember.journey_id == journey_id, JourneyMember.trial == trial)
    )
    if wanted:
        number = wanted.removeprefix("#")
        same = Member.id == int(number) if number.isascii() and number.isdigit() and len(number) < 19 else None
        words = [column.ilike(f"%{escaped(wanted)}%") for column in (Member.nickname, Member.name)]
        statement = statement.where(or_(*words, *([same] if same is not None else [])))
    if state is not None:
        statement = statement.where(JourneyMember.state == state)
    if step:
        statement = statement.where(JourneyMember.step == step)
    return statement


def logged(journey_id: int, trial: bool = False, wanted: str = "") -> Any:
    """What happened in a journey, with whom; `wanted` finds a member."""
    statement = (
        select(JourneyLog, JourneyMember, Member)
        .join(JourneyMember, JourneyMember.id == JourneyLog.place_id)
        .join(Member, Member.id == JourneyMember.member_id)
        .where(JourneyMember.journey_id == journey_id, JourneyLog.trial == trial)
    )
    return statement.where(members.sought(wanted)) if wanted else statement


def get_place(journey_id: int, place_id: int) -> JourneyMember:
    """A person's way through a journey; refuses with `NotFound`."""
    found = db.session.get(JourneyMember, place_id)
    if found is None or found.journey_id != journey_id:
        raise NotFound
    return found


def way_of(place_id: int) -> Sequence[JourneyLog]:
    """What happened on one person's way."""
    return db.session.scalars(select(JourneyLog).where(JourneyLog.place_id == place_id).order_by(JourneyLog.id)).all()


def trials(journey_id: int, limit: int = 5) -> Sequence[Any]:
    """The latest trials of a journey with their people."""
    return db.session.execute(
        select(JourneyMember, Member)
        .join(Member, Member.id == JourneyMember.member_id)
        .where(JourneyMember.journey_id == journey_id, JourneyMember.trial)
        .order_by(JourneyMember.id.desc())
        .limit(limit)
    ).all()


def of_member(member_id: int, limit: int = 5) -> Sequence[Any]:
    """The journeys a member is or was in, newest first."""
    return db.session.execute(
        select(JourneyMember, Journey)
        .join(Journey, Journey.id == JourneyMember.journey_id)
        .where(JourneyMember.member_id == member_id, ~JourneyMember.trial)
        .order_by(JourneyMember.id.desc())
        .limit(limit)
    ).all()


def stuck(since: datetime) -> Sequence[Any]:
    """Journeys in which people failed since an instant, with how many."""
    return db.session.execute(
        select(Journey, func.count())
        .join(JourneyMember, JourneyMember.journey_id == Journey.id)
        .where(JourneyMember.state == PlaceState.FAILED, JourneyMember.ended_at >= since, ~JourneyMember.trial)
        .group_by(Journey.id)
        .order_by(Journey.id)
    ).all()


# ── What there is to choose from ────────────────────────────────────────────────────────────────────────────────────


def account_choices() -> list[tuple[int, str]]:
    """The channel accounts a step may speak through: those that reach the member, and no chat or feed of a whole group."""
    rows = db.session.execute(select(Account.id, Account.name, Account.kind).order_by(Account.id))
    return [(row.id, row.name) for row in rows if not row.kind.shared]


def offer_choices() -> list[tuple[int, str]]:
    """The offers that run."""
    return [
        (row.id, row.name)
        for row in db.session.execute(
            select(Offer.id, Offer.name).where(Offer.state == OfferState.ACTIVE).order_by(Offer.id.desc())
        )
    ]


def group_choices() -> list[tuple[int, str]]:
    """The groups that let people in, now or soon."""
    found = db.session.scalars(select(Group).order_by(Group.name, Group.id)).all()
    return [
        (group.id, group.name) for group in found if groups.state_of(group) in (GroupState.OPEN, GroupState.WARM_UP)
    ]


def known() -> rules.Known:
    """What a plan may name now."""
    return rules.Known(
        accounts=frozenset(one for one, _name in account_choices()),
        offers=frozenset(one for one, _name in offer_choices()),
        groups=frozenset(one for one, _name in group_choices()),
        readable=_readable,
    )


def _readable(definition: dict[str, Any]) -> bool:
    """Whether rules are ours, and the saved audiences that they follow are there."""
    try:
        named = audience_rules.parse(definition).named()
    except audience_rules.AudienceInvalid:
        return False
    return all(audiences.find_audience(one) is not None for one in named)


def following(audience_ids: Collection[int]) -> dict[int, list[Journey]]:
    """The journeys that follow each of these saved audiences by name, in the draft or in a version that people enter or walk through."""
    walked = select(JourneyMember.version_id).where(LIVE)
    versions = db.session.scalars(
        select(JourneyVersion).where(
            JourneyVersion.id.in_(walked) | JourneyVersion.id.in_(select(Journey.version_id)),
            cast(JourneyVersion.plan, Text).contains("audience_id"),
        )
    )
    live: dict[int, set[int]] = {}
    for version in versions:
        live.setdefault(version.journey_id, set()).update(rules.followed(plan_of(version)))
    found: dict[int, list[Journey]] = {}
    for journey in db.session.scalars(select(Journey).order_by(Journey.id)):
        named = live.get(journey.id, set()).union(rules.followed(rules.parse(journey.draft)))
        for audience_id in named.intersection(audience_ids):
            found.setdefault(audience_id, []).append(journey)
    return found


def found(wanted: str) -> Sequence[Journey]:
    """At most ten journeys by name."""
    return db.session.scalars(listed(wanted).order_by(Journey.id.desc()).limit(10)).all()


def names() -> tuple[dict[int, str], dict[int, str], dict[int, str]]:
    """The names of all offers, groups and accounts, for sentences about steps."""
    return (
        {row.id: row.name for row in db.session.execute(select(Offer.id, Offer.name))},
        {row.id: row.name for row in db.session.execute(select(Group.id, Group.name))},
        dict(account_choices()),
    )


def plans(version_ids: Collection[int]) -> dict[int, rules.Plan]:
    """The plans of several versions."""
    rows = db.session.scalars(select(JourneyVersion).where(JourneyVersion.id.in_(list(version_ids))))
    return {version.id: plan_of(version) for version in rows}


def version_ids(journey_id: int) -> Sequence[int]:
    """Every version of a journey, tried drafts too."""
    return db.session.scalars(select(JourneyVersion.id).where(JourneyVersion.journey_id == journey_id)).all()


def member_of(place: JourneyMember) -> Member:
    return db.session.get_one(Member, place.member_id)


def streamed(statement: Any) -> Iterator[Any]:
    """The rows of a statement, fetched a thousand at a time."""
    yield from db.session.execute(statement.execution_options(yield_per=1_000))


def find_person(said: str) -> Member | None:
    """A live member by phone, e-mail address or number."""
    text = said.strip().removeprefix("#").replace("\x00", "")
    found: Member | None = None
    try:
        if "@" in text:
            found = members.find_by_identity(Channel.EMAIL, canonical_email(text))
        else:
            found = members.find_by_phone(canonical_phone(text))
    except (PhoneInvalid, EmailInvalid):
        found = None
    if found is None and text.isascii() and text.isdigit() and len(text) < 19:
        found = members.find_member(int(text))
    return found if found is not None and found.erased_at is None else None
