"""Pure decisions about tiers: values in, a standing or a list of mistakes out."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from .models import Downgrade, Metric, RefundEffect, Window

RANKS = (1, 2, 3, 4)
# Years begin by the shop's clock (`kernel.clock.ZONE`).
ZONE = ZoneInfo("Asia/Shanghai")
# The tier alone gives no more than 30 % off (7折).
LOWEST_DISCOUNT = 700
FULL_PRICE = 1000
MOST_SPEND = 100_000_000_00
MOST_ORDERS = 100_000
# Points of ten times the price are the most that a level multiplies.
MOST_MULTIPLIER = 10_000
MOST_BIRTHDAY_DAYS = 60
# Until so many days after a birthday its gift is still given, so that a late hint at the date costs nobody the gift.
BIRTHDAY_LATE_DAYS = 7
# A member is told of a coming fall so many days ahead, once each.
WARNED_DAYS = (30, 7, 1)


@dataclass(frozen=True)
class Level:
    """A rank that is on: its thresholds (`spend` in 分), and what it gives.

    `discount` is per mille paid (950 = 9.5折) and `multiplier` points per mille (1500 = 1.5 times). Gifts and offers are
    named by id: the entry gift and coupon come once at the first reaching, the birthday gift once a calendar year, the
    monthly coupon once a calendar month. `group_ids` are the groups open to this rank alone.
    """

    rank: int
    name: str
    name_en: str
    spend: int
    orders: int
    discount: int = FULL_PRICE
    benefits: str = ""
    multiplier: int = FULL_PRICE
    entry_gift_id: int | None = None
    entry_offer_id: int | None = None
    birthday_gift_id: int | None = None
    monthly_offer_id: int | None = None
    free_shipping: bool = False
    priority_service: bool = False
    group_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        # JSON knows lists only; a frozen level compares by value.
        object.__setattr__(self, "group_ids", tuple(self.group_ids))


@dataclass(frozen=True)
class Policy:
    """One version of the rules; `id` is None for the standard one before anything has been saved. Days are whole days.

    `birthday_days` is how long before a birthday its gift is given.
    """

    metric: Metric
    window: Window
    rolling_days: int | None
    valid_days: int
    grace_days: int
    downgrade: Downgrade
    refund_effect: RefundEffect
    levels: tuple[Level, ...]
    id: int | None = None
    birthday_days: int = 7

    def level(self, rank: int) -> Level | None:
        """The level of a rank, or None when it is off (or 0)."""
        return next((level for level in self.levels if level.rank == rank), None)

    def next_level(self, rank: int) -> Level | None:
        """The lowest level above a rank, or None at the top."""
        return min((level for level in self.levels if level.rank > rank), key=lambda level: level.rank, default=None)

    def rank_below(self, rank: int) -> int:
        """The highest rank that is on and below this one, 0 when there is none."""
        return max((level.rank for level in self.levels if level.rank < rank), default=0)

    @property
    def asks_spend(self) -> bool:
        return self.metric is not Metric.ORDERS

    @property
    def asks_orders(self) -> bool:
        return self.metric is not Metric.SPEND


@dataclass(frozen=True)
class CountedOrder:
    """An order that qualifies at `at`: its spend in 分 net of postage and refunds, and whether it counts as an order
    (not when it was wholly refunded)."""

    at: datetime
    spend: int
    whole: bool = True


@dataclass(frozen=True)
class Totals:
    """What the orders of a window come to: 分, and how many."""

    spend: int = 0
    orders: int = 0


@dataclass(frozen=True)
class Standing:
    """A member's own rank (manual tiers aside), until when it cannot expire, and as at when orders reached it.

    `backed_at` is None where no orders did: the policy let them keep it.
    """

    rank: int = 0
    valid_until: datetime | None = None
    backed_at: datetime | None = None


class Why(enum.StrEnum):
    """Why a rank changed."""

    EARNED = "earned"
    REFUND = "refund"
    EXPIRED = "expired"
    MANUAL = "manual"
    MANUAL_ENDED = "manual_ended"
    # Two records of one person became one, and the better tier stayed.
    MERGED = "merged"


def window_start(policy: Policy, as_at: datetime) -> datetime | None:
    """The first instant that counts in the window that ends at `as_at`; None when everything before counts."""
    match policy.window:
        case Window.ROLLING:
            return as_at - timedelta(days=policy.rolling_days or 0)
        case Window.CALENDAR:
            return datetime(as_at.astimezone(ZONE).year, 1, 1, tzinfo=ZONE)
        case _:
            return None


def totals(policy: Policy, orders: Iterable[CountedOrder], as_at: datetime) -> Totals:
    """Spend and number of the orders that qualified in the window ending at `as_at`, refunds as they are known now."""
    start = window_start(policy, as_at)
    spend = count = 0
    for order in orders:
        if order.at <= as_at and (start is None or order.at >= start):
            spend += order.spend
            count += order.whole
    return Totals(spend, count)


def reaches(policy: Policy, level: Level, sums: Totals) -> bool:
    """Whether totals reach a level's threshold."""
    match policy.metric:
        case Metric.SPEND:
            return sums.spend >= level.spend
        case Metric.ORDERS:
            return sums.orders >= level.orders
        case Metric.ALL:
            return sums.spend >= level.spend and sums.orders >= level.orders
        case _:
            return sums.spend >= level.spend or sums.orders >= level.orders


def rank_for(policy: Policy, sums: Totals) -> int:
    """The highest rank whose threshold the totals reach, 0 when none."""
    return max((level.rank for level in policy.levels if reaches(policy, level, sums)), default=0)


def tier_for(
    policy: Policy, orders: Sequence[CountedOrder], now: datetime, current: Standing
) -> tuple[Standing, Why | None]:
    """Where a member stands, and why that differs from `current` (None when the rank does not).

    `orders` are all that qualify, refunds taken off. Three steps: a higher rank that has been reached is given at once and
    holds for `valid_days`; a rank whose own orders have been refunded falls at once where the policy says `immediate`,
    but not below what the remaining orders give; a rank that is no longer valid is kept for another period when it is
    still earned, and after the grace days else follows the policy's downgrade. More orders never lower the result, and a
    refund never raises it. `services.reassess` says the same in SQL; a property test holds the two equal.
    """
    earned = rank_for(policy, totals(policy, orders, now))
    valid = timedelta(days=policy.valid_days)
    if earned > current.rank:
        return Standing(earned, now + valid, now), Why.EARNED
    if current.rank == 0:
        return Standing(), None
    standing, why = current, None
    if policy.refund_effect is RefundEffect.IMMEDIATE and standing.backed_at is not None:
        backed = rank_for(policy, totals(policy, orders, standing.backed_at))
        if backed < standing.rank:
            rank = max(backed, earned)
            why = Why.REFUND if rank < standing.rank else None
            standing = Standing(rank, standing.valid_until, now if rank == earned else standing.backed_at)
    if standing.rank == 0:
        return Standing(), why
    until = standing.valid_until
    if until is not None and now >= until:
        if earned >= standing.rank:
            # Counted on from the old date, so that a review that runs late gives nobody more time.
            periods = (now - until) // valid + 1
            standing = replace(standing, valid_until=until + periods * valid, backed_at=now)
        elif now >= until + timedelta(days=policy.grace_days):
            match policy.downgrade:
                case Downgrade.NONE:
                    rank = standing.rank
                case Downgrade.ONE_LEVEL:
                    rank = max(earned, policy.rank_below(standing.rank))
                case _:
                    rank = earned
            if rank < standing.rank:
                why = why or Why.EXPIRED
            standing = Standing(rank, now + valid, now if rank == earned else None) if rank else Standing()
    return standing, why


def rebased(
    policy: Policy, orders: Sequence[CountedOrder], current: Standing, former_grace_days: int, now: datetime
) -> Standing:
    """A standing under a new policy: never lower by the saving alone.

    Where the orders behind it do not reach it by the new thresholds, it is kept as promised until it expires, and no
    refund takes it back before. Whoever is within the former grace days keeps the whole of them.
    """
    until = current.valid_until
    shorter = former_grace_days - policy.grace_days
    if until is not None and shorter > 0 and until <= now < until + timedelta(days=former_grace_days):
        current = replace(current, valid_until=until + timedelta(days=shorter))
    if current.backed_at is None or rank_for(policy, totals(policy, orders, current.backed_at)) >= current.rank:
        return current
    return replace(current, backed_at=None)


@dataclass(frozen=True)
class Outlook:
    """When a standing falls and to which rank if nothing more is bought, and what is missing then for keeping it: `spend`
    in 分 and `orders`, None where the policy does not ask for them or the level is switched off."""

    falls_at: datetime
    falls_to: int
    spend: int | None
    orders: int | None


def outlook(policy: Policy, orders: Sequence[CountedOrder], standing: Standing, now: datetime) -> Outlook | None:
    """What the orders known today lead to at the end of a standing; None when it is kept.

    The standing is looked at as the reviews will look at it: when its validity ends (or now, in the grace days), and
    when the grace days end. `services.reviews` says the same in SQL; a property test holds the two equal.
    """
    if standing.rank == 0 or standing.valid_until is None or policy.downgrade is Downgrade.NONE:
        return None
    falls_at = standing.valid_until + timedelta(days=policy.grace_days)
    at_end = totals(policy, orders, max(standing.valid_until, now))
    at_fall = totals(policy, orders, max(falls_at, now))
    if rank_for(policy, at_end) >= standing.rank:
        return None
    earned = rank_for(policy, at_fall)
    if earned >= standing.rank:
        return None
    falls_to = max(earned, policy.rank_below(standing.rank)) if policy.downgrade is Downgrade.ONE_LEVEL else earned
    level = policy.level(standing.rank)
    missing = missing_to(policy, level, at_fall) if level is not None else None
    return Outlook(falls_at, falls_to, missing.spend if missing else None, missing.orders if missing else None)


def warning_step(falls_at: datetime, now: datetime) -> int | None:
    """Which of the warnings (30, 7 or 1 days ahead) is due now; None when it is too early or too late."""
    left = falls_at - now
    if left <= timedelta():
        return None
    return min((days for days in WARNED_DAYS if left <= timedelta(days=days)), default=None)


def birthday_in(birthday: date, year: int) -> date:
    """The day on which a birthday is kept in a year: who was born on 29 February has it on the 28th in common years."""
    try:
        return birthday.replace(year=year)
    except ValueError:
        return date(year, 2, 28)


def birthday_period(birthday: date, today: date, days_before: int) -> int | None:
    """The year whose birthday gift is due on a day: from `days_before` days before the birthday until
    `BIRTHDAY_LATE_DAYS` days after it; None on other days. A gift belongs to the year of its birthday."""
    for year in (today.year - 1, today.year, today.year + 1):
        kept = birthday_in(birthday, year)
        if kept - timedelta(days=days_before) <= today <= kept + timedelta(days=BIRTHDAY_LATE_DAYS):
            return year
    return None


def shown_rank(own_rank: int, manual_rank: int | None, manual_until: datetime | None, now: datetime) -> int:
    """The rank that counts: a manual tier lifts while it lasts, and never lowers."""
    if manual_rank is not None and (manual_until is None or now < manual_until):
        return max(own_rank, manual_rank)
    return own_rank


@dataclass(frozen=True)
class Missing:
    """What is missing to a rank: `spend` in 分, `orders`; None where the policy does not ask for it, 0 where it is reached.

    With `either`, one of the two is enough.
    """

    rank: int
    spend: int | None
    orders: int | None
    either: bool


def missing_to(policy: Policy, level: Level, sums: Totals) -> Missing:
    """What totals lack of a level's threshold."""
    return Missing(
        rank=level.rank,
        spend=max(0, level.spend - sums.spend) if policy.asks_spend else None,
        orders=max(0, level.orders - sums.orders) if policy.asks_orders else None,
        either=policy.metric is Metric.ANY,
    )


def progress_to(policy: Policy, level: Level, sums: Totals) -> int:
    """How far totals are on the way to a level, per mille: the better of the two ways with `any`, the worse with `all`."""
    parts = []
    if policy.asks_spend:
        parts.append(min(1000, sums.spend * 1000 // max(1, level.spend)))
    if policy.asks_orders:
        parts.append(min(1000, sums.orders * 1000 // max(1, level.orders)))
    return min(parts) if policy.metric is Metric.ALL else max(parts)


class Mistake(enum.StrEnum):
    """What can be wrong with a policy; `labels.MISTAKES` has the sentences."""

    NO_LEVEL = "no_level"
    NAME_EMPTY = "name_empty"
    SPEND_RANGE = "spend_range"
    ORDERS_RANGE = "orders_range"
    SPEND_ORDER = "spend_order"
    ORDERS_ORDER = "orders_order"
    DISCOUNT_RANGE = "discount_range"
    DISCOUNT_ORDER = "discount_order"
    ROLLING_DAYS = "rolling_days"
    VALID_DAYS = "valid_days"
    GRACE_DAYS = "grace_days"
    MULTIPLIER_RANGE = "multiplier_range"
    BIRTHDAY_DAYS = "birthday_days"
    BENEFIT_UNKNOWN = "benefit_unknown"
    ONE_EACH = "one_each"


@dataclass(frozen=True)
class PolicyMistake:
    """A mistake, the rank it concerns (0: the policy as a whole), and its field."""

    mistake: Mistake
    field: str
    rank: int = 0


@dataclass
class _Checks:
    found: list[PolicyMistake] = field(default_factory=list)

    def need(self, holds: bool, mistake: Mistake, field_name: str, rank: int = 0) -> None:
        if not holds:
            self.found.append(PolicyMistake(mistake, field_name, rank))


def mistakes_in(policy: Policy) -> list[PolicyMistake]:
    """Everything that keeps a policy from being saved: thresholds strictly rise, discounts strictly fall and are not below
    `LOWEST_DISCOUNT`, days are in range, one level at least is on."""
    checks = _Checks()
    checks.need(bool(policy.levels), Mistake.NO_LEVEL, "levels")
    checks.need(
        policy.window is not Window.ROLLING or 1 <= (policy.rolling_days or 0) <= 3650,
        Mistake.ROLLING_DAYS,
        "rolling_days",
    )
    checks.need(1 <= policy.valid_days <= 3650, Mistake.VALID_DAYS, "valid_days")
    checks.need(0 <= policy.grace_days <= 365, Mistake.GRACE_DAYS, "grace_days")
    checks.need(0 <= policy.birthday_days <= MOST_BIRTHDAY_DAYS, Mistake.BIRTHDAY_DAYS, "birthday_days")
    before: Level | None = None
    for level in sorted(policy.levels, key=lambda one: one.rank):
        rank = level.rank
        checks.need(bool(level.name.strip()), Mistake.NAME_EMPTY, "name", rank)
        checks.need(1 <= level.spend <= MOST_SPEND or not policy.asks_spend, Mistake.SPEND_RANGE, "spend", rank)
        checks.need(1 <= level.orders <= MOST_ORDERS or not policy.asks_orders, Mistake.ORDERS_RANGE, "orders", rank)
        checks.need(LOWEST_DISCOUNT <= level.discount <= FULL_PRICE, Mistake.DISCOUNT_RANGE, "discount", rank)
        checks.need(0 <= level.multiplier <= MOST_MULTIPLIER, Mistake.MULTIPLIER_RANGE, "multiplier", rank)
        if before is not None:
            checks.need(level.spend > before.spend or not policy.asks_spend, Mistake.SPEND_ORDER, "spend", rank)
            checks.need(level.orders > before.orders or not policy.asks_orders, Mistake.ORDERS_ORDER, "orders", rank)
            checks.need(level.discount < before.discount, Mistake.DISCOUNT_ORDER, "discount", rank)
        before = level
    return checks.found


@dataclass(frozen=True)
class Difference:
    """One setting in which two versions differ; rank 0 is the policy as a whole, None a level that is switched off."""

    field: str
    rank: int
    before: Any
    after: Any


def differences(before: Policy, after: Policy) -> list[Difference]:
    """Every setting in which two versions differ, the policy's own first, then level by level."""
    found = [
        Difference(one.name, 0, getattr(before, one.name), getattr(after, one.name))
        for one in fields(Policy)
        if one.name not in ("id", "levels") and getattr(before, one.name) != getattr(after, one.name)
    ]
    for rank in RANKS:
        former, later = before.level(rank), after.level(rank)
        if former is None or later is None:
            if former is not later:
                found.append(Difference("on", rank, former is not None, later is not None))
            continue
        found += [
            Difference(one.name, rank, getattr(former, one.name), getattr(later, one.name))
            for one in fields(Level)
            if getattr(former, one.name) != getattr(later, one.name)
        ]
    return found


def as_terms(policy: Policy) -> dict[str, Any]:
    """A policy as plain values for storing, as they come back from JSON; `from_terms` reads it."""
    terms = {key: value for key, value in asdict(policy).items() if key != "id"}
    return terms | {"levels": [level | {"group_ids": list(level["group_ids"])} for level in terms["levels"]]}


def from_terms(terms: dict[str, Any], policy_id: int | None = None) -> Policy:
    """A policy from stored terms."""
    return Policy(
        metric=Metric(terms["metric"]),
        window=Window(terms["window"]),
        rolling_days=terms["rolling_days"],
        valid_days=terms["valid_days"],
        grace_days=terms["grace_days"],
        downgrade=Downgrade(terms["downgrade"]),
        refund_effect=RefundEffect(terms["refund_effect"]),
        birthday_days=terms["birthday_days"],
        levels=tuple(sorted((Level(**level) for level in terms["levels"]), key=lambda level: level.rank)),
        id=policy_id,
    )


# What holds until the owner decides: a year's orders, by amount or number, kept for a year.
STANDARD = Policy(
    metric=Metric.ANY,
    window=Window.ROLLING,
    rolling_days=365,
    valid_days=365,
    grace_days=30,
    downgrade=Downgrade.ONE_LEVEL,
    refund_effect=RefundEffect.IMMEDIATE,
    levels=(
        Level(1, "普通会员", "Regular", 1_00, 1, 980, "生日祝福 · 会员日提醒"),
        Level(2, "高级会员", "Advanced", 500_00, 3, 950, "每月会员券 · 优先客服"),
        Level(3, "VIP会员", "VIP", 2_000_00, 8, 900, "专属群 · 新品优先 · 满额包邮"),
        Level(4, "至尊VIP", "Supreme VIP", 8_000_00, 20, 850, "年度礼盒 · 一对一顾问 · 限量优先购"),
    ),
)
