"""Rules as conditions on `member`: parameters only, true or false for everybody, never unknown.

What a rule asks of other tables is a set of member ids (`member.id IN (SELECT …)`), which the planner joins where the rule
must hold and hashes where it stands under "or" and "not". A `Scope` narrows those sets as well, so that a question about one
member, a chunk or a sample reads no more of the orders than theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    extract,
    false,
    func,
    not_,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import distinct_on

from community.desk.models import CallState, CallTask
from community.groups.models import Seat, SeatState, Waiting
from community.posts.models import Reaction, ReactionKind
from kernel import clock
from kernel.db import db, escaped
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from kernel.ports import Port
from membership.coupons.models import Coupon
from membership.members.models import Consent, Member, MemberTag, Purpose
from membership.orders import queries as orders
from membership.orders.models import Order, OrderLine, OrderState
from membership.points import queries as points
from membership.points.models import PointsAccount, PointsLot
from membership.products.models import Product

from . import rules
from .models import Audience, AudienceMember

# Who did a deed and when, as a statement with the columns `member_id` and `at`; filled by the rooms above, which keep the
# messages and the clicks.
deeds: Port[[str], Select[Any] | None] = Port("audiences.deeds")

# Of whom a `DueRule` or a `ForecastRule` holds, as a statement with the column `member_id`; filled by the room that looks ahead.
foreseen: Port[[rules.DueRule | rules.ForecastRule], Select[Any]] = Port("audiences.foreseen")


class InACircle(Refusal):
    status = 422
    label = _l(
        "These audiences stand for one another in a circle, so nobody can say who is in them. Take one of them out."
    )


class NotWrittenDownYet(Refusal):
    status = 409
    label = _l("A list of people that this audience speaks of is being written down. Try again in a moment.")


@dataclass(frozen=True)
class Scope:
    """Whom a question is about; `narrow` gives the conditions on a column of member ids."""

    narrow: Callable[[Any], Sequence[ColumnElement[bool]]]


EVERYBODY = Scope(lambda column: ())


def between(after: Any, through: Any) -> Scope:
    """Members with `after < id <= through`; numbers or parameters of a statement."""
    return Scope(lambda column: (column > after, column <= through))


def these(ids: Sequence[int]) -> Scope:
    """The members with these ids."""
    known = list(ids)
    return Scope(lambda column: (column == func.any(bindparam(None, known, type_=ARRAY(BigInteger), unique=True)),))


def _start(days: int | None) -> datetime | None:
    """The beginning of the shop's day so many days ago."""
    return None if days is None else clock.day_bounds(clock.today() - timedelta(days=days))[0]


def _among(statement: Select[Any], wanted: bool = True) -> ColumnElement[bool]:
    found = Member.id.in_(statement)
    return found if wanted else not_(found)


def _holds(column: Any, low: int, high: int | None) -> ColumnElement[bool]:
    return column >= low if high is None else and_(column >= low, column <= high)


def _counted(people: Any, column: Any, amount: Any, low: int, high: int | None) -> ColumnElement[bool]:
    """An amount over somebody's rows lies between two numbers; whoever has no row has nothing."""
    grouped = people.group_by(column)
    if low > 0:
        return _among(grouped.having(_holds(amount, low, high)))
    return true() if high is None else _among(grouped.having(amount > high), wanted=False)


def _in_days(column: Any, since: date | None, until: date) -> ColumnElement[bool]:
    """A moment lies on the business dates `[since, until)`; false where there is none."""
    bounds = [column.is_not(None), column < clock.at(until)]
    return and_(*bounds) if since is None else and_(*bounds, column >= clock.at(since))


def _bought(products: Any, ever: bool, within_days: int | None, scope: Scope) -> ColumnElement[bool]:
    buyers = (
        select(Order.member_id)
        .join(OrderLine, OrderLine.order_id == Order.id)
        .where(
            OrderLine.product_id.in_(select(Product.id).where(products)),
            OrderLine.quantity > OrderLine.refunded_quantity,
            Order.member_id.is_not(None),
            Order.state.not_in([OrderState.CLOSED, OrderState.REFUSED, OrderState.PLACED]),
            *scope.narrow(Order.member_id),
        )
    )
    if (since := _start(within_days)) is not None:
        buyers = buyers.where(Order.placed_at >= since)
    return _among(buyers, ever)


def _orders(within_days: int | None, source: str | None, scope: Scope) -> Select[Any]:
    """The orders that count (`orders.counts`) of the last days, of one channel."""
    found = select(Order.member_id).where(Order.member_id.is_not(None), orders.counts(), *scope.narrow(Order.member_id))
    if (since := _start(within_days)) is not None:
        found = found.where(Order.placed_at >= since)
    return found if source is None else found.where(Order.source == source)


def who_did(deed: str) -> Any:
    """Who did it and when: a statement with the columns `member_id` and `at`."""
    match deed:
        case "claimed":
            return select(Coupon.member_id, Coupon.issued_at.label("at")).where(Coupon.grant_key.is_(None))
        case "redeemed":
            return select(Coupon.member_id, Coupon.redeemed_at.label("at")).where(Coupon.redeemed_at.is_not(None))
        case "seen" | "liked":
            return select(Reaction.member_id, Reaction.at.label("at")).where(Reaction.kind == ReactionKind(deed))
        case "entered":
            # Pressing the button of a group's link holds a seat or, in a full group, a place in the line.
            return union_all(
                select(Seat.member_id, Seat.held_at.label("at")), select(Waiting.member_id, Waiting.queued_at)
            )
        case "called":
            return select(CallTask.member_id, CallTask.called_at.label("at")).where(
                CallTask.state == CallState.REACHED, CallTask.called_at.is_not(None)
            )
    answers = [answer for answer in deeds.call(deed) if answer is not None]
    if not answers:
        raise rules.AudienceInvalid
    return answers[0] if len(answers) == 1 else union_all(*answers)


def _did(rule: rules.DidRule, scope: Scope) -> ColumnElement[bool]:
    acts = who_did(rule.deed).subquery()
    people = select(acts.c.member_id).where(acts.c.member_id.is_not(None), *scope.narrow(acts.c.member_id))
    if (since := _start(rule.within_days)) is not None:
        people = people.where(acts.c.at >= since)
    return _among(people, rule.ever)


def _foreseen(rule: rules.DueRule | rules.ForecastRule, scope: Scope) -> ColumnElement[bool]:
    answers = foreseen.call(rule)
    if not answers:
        raise rules.AudienceInvalid
    people = answers[0].subquery()
    return _among(select(people.c.member_id).where(*scope.narrow(people.c.member_id)))


def _in_group(rule: rules.GroupRule, scope: Scope) -> ColumnElement[bool]:
    seats = select(Seat.member_id).where(Seat.state == SeatState.TAKEN, *scope.narrow(Seat.member_id))
    if rule.group_id is not None:
        seats = seats.where(Seat.group_id == rule.group_id)
    if (since := _start(rule.within_days)) is not None:
        seats = seats.where(Seat.joined_at >= since)
    return _among(seats, rule.inside)


def _agreed(rule: rules.ConsentRule, scope: Scope) -> ColumnElement[bool]:
    """The latest word on the channel, read once from its index instead of once a member."""
    latest = (
        select(Consent.member_id, Consent.granted)
        .ext(distinct_on(Consent.member_id))
        .where(
            Consent.channel == rule.contact,
            Consent.purpose == Purpose.MARKETING,
            *scope.narrow(Consent.member_id),
        )
        .order_by(Consent.member_id.desc(), Consent.id.desc())
        .subquery()
    )
    return _among(select(latest.c.member_id).where(latest.c.granted), rule.given)


def _points(rule: rules.PointsRule, scope: Scope) -> ColumnElement[bool]:
    lots = (
        select(PointsAccount.member_id)
        .join(PointsLot, PointsLot.account_id == PointsAccount.id)
        .where(
            PointsAccount.member_id.is_not(None),
            points.usable(clock.now()),
            *scope.narrow(PointsAccount.member_id),
        )
    )
    return _counted(lots, PointsAccount.member_id, func.sum(PointsLot.remaining), rule.from_points, rule.to_points)


_MOMENTS = {
    "first_order": Member.first_order_at,
    "enrolled": Member.enrolled_at,
    "known": Member.created_at,
    "stage": Member.stage_since,
}


def _birthday(rule: rules.BirthdayRule) -> ColumnElement[bool]:
    days = rules.birthdays(rule.in_days, clock.today())
    wanted = bindparam(None, [month * 100 + day for month, day in days], type_=ARRAY(Integer), unique=True)
    month, day = extract("month", Member.birthday), extract("day", Member.birthday)
    return and_(
        Member.birthday.is_not(None),
        month.in_(sorted({one for one, _day in days})),
        (month * 100 + day) == func.any(wanted),
    )


def _saved(rule: rules.SavedRule, scope: Scope, behind: tuple[int, ...]) -> ColumnElement[bool]:
    if rule.audience_id in behind or len(behind) >= rules.MOST_BEHIND:
        raise InACircle
    audience = db.session.get(Audience, rule.audience_id)
    if audience is None:
        # Nobody can say who was in it; taking it for nobody would let "not in it" reach everybody.
        raise rules.AudienceInvalid
    if audience.frozen:
        if audience.frozen_at is None:
            raise NotWrittenDownYet
        listed = select(AudienceMember.member_id).where(
            AudienceMember.audience_id == audience.id, *scope.narrow(AudienceMember.member_id)
        )
        return _among(listed, rule.inside)
    inner = joined(rules.parse(audience.definition), scope, (*behind, audience.id))
    return inner if rule.inside else not_(inner)


def clause(rule: Any, scope: Scope = EVERYBODY, behind: tuple[int, ...] = ()) -> ColumnElement[bool]:
    """One rule as a condition on `member`. Refuses with `AudienceInvalid` what speaks of an audience that is gone, with
    `InACircle` and `NotWrittenDownYet`."""
    match rule:
        case rules.Nested():
            inner = [clause(one, scope, behind) for one in rule.rules]
            found = and_(true(), *inner) if rule.match == "all" else or_(false(), *inner)
            return not_(found.self_group()) if rule.negated else found.self_group()
        case rules.TierRule():
            return Member.rank.in_(sorted(set(rule.ranks)))
        case rules.LastOrderRule():
            return _in_days(Member.last_order_at, *rules.order_window(rule, clock.today()))
        case rules.DaysAgoRule():
            window = rules.days_window(rule.from_days, rule.to_days, clock.today())
            return _in_days(_MOMENTS[rule.moment], *window)
        case rules.BoughtRule():
            named = or_(
                func.lower(Product.sku) == rule.words.lower(),
                Product.title.ilike(f"%{escaped(rule.words)}%"),
            )
            return _bought(named, rule.ever, rule.within_days, scope)
        case rules.CategoryRule():
            return _bought(Product.category == rule.category, rule.ever, rule.within_days, scope)
        case rules.OrderedOnRule():
            return _among(_orders(rule.within_days, rule.source, scope), rule.ever)
        case rules.GroupRule():
            return _in_group(rule, scope)
        case rules.TagRule():
            tagged = select(MemberTag.member_id).where(
                MemberTag.tag_id.in_(rule.tag_ids), *scope.narrow(MemberTag.member_id)
            )
            return _among(tagged, rule.carried)
        case rules.SpendRule() if rule.within_days is None and rule.source is None:
            return _holds(Member.spend, rule.from_fen, rule.to_fen)
        case rules.SpendRule():
            placed = _orders(rule.within_days, rule.source, scope)
            return _counted(placed, Order.member_id, func.sum(orders.spend()), rule.from_fen, rule.to_fen)
        case rules.OrdersRule() if rule.within_days is None and rule.source is None:
            return _holds(Member.orders_count, rule.from_count, rule.to_count)
        case rules.OrdersRule():
            placed = _orders(rule.within_days, rule.source, scope)
            return _counted(placed, Order.member_id, func.count(), rule.from_count, rule.to_count)
        case rules.PointsRule():
            return _points(rule, scope)
        case rules.StageRule():
            return Member.stage.in_(sorted(set(rule.stages)))
        case rules.ValueRule():
            return _holds(Member.value_index, rule.from_index, rule.to_index)
        case rules.TieRule():
            return and_(Member.value_label.is_not(None), Member.value_label.in_(sorted(set(rule.ties))))
        case rules.BirthdayRule():
            return _birthday(rule)
        case rules.CityRule():
            lives = or_(*(Member.city.ilike(f"%{escaped(name)}%") for name in rule.names))
            return lives if rule.inside else not_(lives)
        case rules.CameFromRule():
            return Member.source.in_(sorted(set(rule.sources)))
        case rules.DidRule():
            return _did(rule, scope)
        case rules.DueRule() | rules.ForecastRule():
            return _foreseen(rule, scope)
        case rules.EnrolledRule():
            return Member.enrolled_at.is_not(None) if rule.value else Member.enrolled_at.is_(None)
        case rules.ConsentRule():
            return _agreed(rule, scope)
        case rules.SavedRule():
            return _saved(rule, scope, behind)
    raise rules.AudienceInvalid


def joined(definition: rules.Definition, scope: Scope = EVERYBODY, behind: tuple[int, ...] = ()) -> ColumnElement[bool]:
    """All rules of a definition as one condition, as its `match` says; true when it has none."""
    inner = [clause(rule, scope, behind) for rule in definition.rules]
    if not inner:
        return true()
    return and_(true(), *inner).self_group() if definition.match == "all" else or_(false(), *inner).self_group()
