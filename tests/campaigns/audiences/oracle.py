"""Who is in an audience, worked out in plain Python from a shop that lies in memory: what the SQL is held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from campaigns.audiences import rules
from kernel import clock
from membership.orders import rules as order_rules
from membership.orders.models import OrderState

BOUGHT = set(OrderState) - {OrderState.CLOSED, OrderState.REFUSED, OrderState.PLACED}


@dataclass
class Bought:
    sku: str
    title: str
    category: str
    quantity: int = 1
    refunded_quantity: int = 0


@dataclass
class Placed:
    source: str
    state: OrderState
    placed_at: datetime
    paid_at: datetime | None
    paid_amount: int
    postage: int = 0
    refunded_amount: int = 0
    lines: list[Bought] = field(default_factory=list)

    @property
    def counts(self) -> bool:
        return order_rules.counts(self.state, self.paid_at, self.paid_amount, self.postage, self.refunded_amount)

    @property
    def spend(self) -> int:
        return order_rules.spend_of(self.paid_amount, self.postage, self.refunded_amount)


@dataclass
class Person:
    """One member with everything that a rule may ask."""

    id: int = 0
    rank: int = 0
    stage: str = "lead"
    stage_since: datetime | None = None
    created_at: datetime | None = None
    enrolled_at: datetime | None = None
    birthday: date | None = None
    city: str = ""
    source: str = ""
    value_index: int = 0
    value_label: str | None = None
    orders_count: int = 0
    spend: int = 0
    first_order_at: datetime | None = None
    last_order_at: datetime | None = None
    points: int = 0
    tags: set[int] = field(default_factory=set)
    # (group, when they joined)
    seats: list[tuple[int, datetime]] = field(default_factory=list)
    # The latest word on each way.
    consents: dict[str, bool] = field(default_factory=dict)
    orders: list[Placed] = field(default_factory=list)
    deeds: list[tuple[str, datetime]] = field(default_factory=list)
    gone: bool = False


def _since(days: int | None) -> datetime | None:
    return None if days is None else clock.day_bounds(clock.today() - timedelta(days=days))[0]


def _late(at: datetime, days: int | None) -> bool:
    since = _since(days)
    return since is None or at >= since


def _between(value: int, low: int, high: int | None) -> bool:
    return value >= low and (high is None or value <= high)


def _days_ago(at: datetime | None, low: int, high: int | None) -> bool:
    if at is None:
        return False
    days = (clock.today() - clock.local(at).date()).days
    return _between(days, low, high)


def _orders(person: Person, days: int | None, source: str | None) -> list[Placed]:
    return [o for o in person.orders if o.counts and _late(o.placed_at, days) and source in (None, o.source)]


def _bought(person: Person, days: int | None, fits: Any) -> bool:
    return any(
        order.state in BOUGHT and _late(order.placed_at, days) and line.quantity > line.refunded_quantity and fits(line)
        for order in person.orders
        for line in order.lines
    )


def holds(rule: Any, person: Person, saved: dict[int, Any]) -> bool:
    """Whether a rule holds for a person; `saved` are the definitions (or sets of ids) of the audiences by number."""
    match rule:
        case rules.Nested():
            said = [holds(one, person, saved) for one in rule.rules]
            return (all(said) if rule.match == "all" else any(said)) is not rule.negated
        case rules.TierRule():
            return person.rank in rule.ranks
        case rules.LastOrderRule():
            return _days_ago(person.last_order_at, rule.from_days, rule.to_days)
        case rules.DaysAgoRule():
            moments = {
                "first_order": person.first_order_at,
                "enrolled": person.enrolled_at,
                "known": person.created_at,
                "stage": person.stage_since,
            }
            return _days_ago(moments[rule.moment], rule.from_days, rule.to_days)
        case rules.BoughtRule():
            words = rule.words.lower()
            return rule.ever is _bought(
                person, rule.within_days, lambda line: line.sku.lower() == words or words in line.title.lower()
            )
        case rules.CategoryRule():
            return rule.ever is _bought(person, rule.within_days, lambda line: line.category == rule.category)
        case rules.OrderedOnRule():
            return rule.ever is bool(_orders(person, rule.within_days, rule.source))
        case rules.GroupRule():
            sits = any(
                rule.group_id in (None, group_id) and _late(at, rule.within_days) for group_id, at in person.seats
            )
            return rule.inside is sits
        case rules.TagRule():
            return rule.carried is bool(person.tags & set(rule.tag_ids))
        case rules.SpendRule():
            spent = (
                person.spend
                if rule.within_days is None and rule.source is None
                else sum(order.spend for order in _orders(person, rule.within_days, rule.source))
            )
            return _between(spent, rule.from_fen, rule.to_fen)
        case rules.OrdersRule():
            placed = (
                person.orders_count
                if rule.within_days is None and rule.source is None
                else len(_orders(person, rule.within_days, rule.source))
            )
            return _between(placed, rule.from_count, rule.to_count)
        case rules.PointsRule():
            return _between(person.points, rule.from_points, rule.to_points)
        case rules.StageRule():
            return person.stage in rule.stages
        case rules.ValueRule():
            return _between(person.value_index, rule.from_index, rule.to_index)
        case rules.TieRule():
            return person.value_label in rule.ties
        case rules.BirthdayRule():
            return person.birthday is not None and _birthday(person.birthday, rule.in_days)
        case rules.CityRule():
            return rule.inside is any(name.lower() in person.city.lower() for name in rule.names)
        case rules.CameFromRule():
            return person.source in rule.sources
        case rules.DidRule():
            return rule.ever is any(deed == rule.deed and _late(at, rule.within_days) for deed, at in person.deeds)
        case rules.EnrolledRule():
            return rule.value is (person.enrolled_at is not None)
        case rules.ConsentRule():
            return rule.given is person.consents.get(rule.channel.value, False)
        case rules.SavedRule():
            known = saved[rule.audience_id]
            there = person.id in known if isinstance(known, set) else belongs(known, person, saved)
            return rule.inside is there
    raise AssertionError(rule)


def _birthday(born: date, in_days: int) -> bool:
    for ahead in range(in_days + 1):
        day = clock.today() + timedelta(days=ahead)
        kept = born
        if (born.month, born.day) == (2, 29):
            try:
                kept = born.replace(year=day.year)
            except ValueError:
                kept = date(day.year, 3, 1)
        if (kept.month, kept.day) == (day.month, day.day):
            return True
    return False


def belongs(definition: rules.Definition, person: Person, saved: dict[int, Any]) -> bool:
    """Whether a person is in an audience."""
    if person.gone:
        return False
    said = [holds(rule, person, saved) for rule in definition.rules]
    return not said or (all(said) if definition.match == "all" else any(said))
