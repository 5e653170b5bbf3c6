"""The arithmetic of results: differences between those who were written to and those held out, with their intervals.

Shares: the score interval of Newcombe (1998), method 10, built from two Wilson intervals; it holds at small counts, where
the usual formula does not. Means (orders and money a member): the difference with Welch's standard error and the normal
quantile, which needs groups of a size that `enough` asks for anyway. Everything is by intention to treat: who was meant to
be written to counts as such, whether the message arrived or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Self

# 95 % two-sided; 80 % power.
Z = 1.959963984540054
Z_POWER = 0.8416212335729143
# A split that chance brings about once in a thousand times is taken for a fault.
ALARM = 0.001
# What an influenced order and a result are, until the shop says otherwise, in days.
TOUCH_DAYS = 5
WINDOW_DAYS = 14
LONGEST_TOUCH_DAYS = 30
# Prices of messages are kept in hundredths of a 分: a text message costs ¥0.045 or so.
PER_FEN = 100
# The smallest relative lift that a verdict must be able to see, and the fewest people a group must have.
LIFT = 0.30
FEWEST = 50
SAME_VISIT = timedelta(minutes=10)
# So many visits by people unknown count for one link's message from one network address within that time.
MOST_UNKNOWN_VISITS = 30


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: people, buyers, and the sums of orders and money (分) with those of their squares."""

    people: int = 0
    buyers: int = 0
    orders: int = 0
    orders_squared: int = 0
    money: int = 0
    money_squared: int = 0

    @property
    def share(self) -> float:
        return self.buyers / self.people if self.people else 0.0


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    low: float
    value: float
    high: float

    def times(self, factor: float) -> Interval:
        return Interval(self.low * factor, self.value * factor, self.high * factor)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def wilson(hits: int, people: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927). `people` is positive."""
    share = hits / people
    centre = share + Z * Z / (2 * people)
    spread = Z * math.sqrt(share * (1 - share) / people + Z * Z / (4 * people * people))
    scale = 1 + Z * Z / people
    return max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0)


def share_difference(treated: Arm, control: Arm) -> Interval | None:
    """The difference of the shares of buyers with its interval; None while a group is empty."""
    if not treated.people or not control.people:
        return None
    p, q = treated.share, control.share
    low_p, high_p = wilson(treated.buyers, treated.people)
    low_q, high_q = wilson(control.buyers, control.people)
    difference = p - q
    return Interval(
        difference - math.sqrt((p - low_p) ** 2 + (high_q - q) ** 2),
        difference,
        difference + math.sqrt((high_p - p) ** 2 + (q - low_q) ** 2),
    )


def _mean_and_error(total: int, squares: int, people: int) -> tuple[float, float]:
    mean = total / people
    variance = max(squares - people * mean * mean, 0.0) / (people - 1)
    return mean, variance / people


def mean_difference(treated: tuple[int, int, int], control: tuple[int, int, int]) -> Interval | None:
    """The difference of two means, each given as (sum, sum of squares, people); None while a group has fewer than two."""
    if treated[2] < 2 or control[2] < 2:
        return None
    mean_t, error_t = _mean_and_error(*treated)
    mean_c, error_c = _mean_and_error(*control)
    spread = Z * math.sqrt(error_t + error_c)
    difference = mean_t - mean_c
    return Interval(difference - spread, difference, difference + spread)


def orders_difference(treated: Arm, control: Arm) -> Interval | None:
    """How many more orders a member placed who was written to."""
    return mean_difference(
        (treated.orders, treated.orders_squared, treated.people),
        (control.orders, control.orders_squared, control.people),
    )


def money_difference(treated: Arm, control: Arm) -> Interval | None:
    """How much more a member spent who was written to, in 分."""
    return mean_difference(
        (treated.money, treated.money_squared, treated.people), (control.money, control.money_squared, control.people)
    )


def needed_in_control(treated: Arm, control: Arm) -> int | None:
    """How many people the hold-out must have to see a lift of 30 % with 80 % power; None while nobody has bought at all."""
    people = treated.people + control.people
    buyers = treated.buyers + control.buyers
    if not buyers or not treated.people:
        return None
    base = buyers / people
    lifted = min(base * (1 + LIFT), 1.0)
    ratio = treated.people / max(control.people, 1)
    if lifted <= base:
        return FEWEST
    spread = lifted * (1 - lifted) / ratio + base * (1 - base)
    return max(math.ceil((Z + Z_POWER) ** 2 * spread / (lifted - base) ** 2), FEWEST)


def enough(treated: Arm, control: Arm) -> bool:
    """Whether the comparison can carry a verdict."""
    needed = needed_in_control(treated, control)
    return needed is not None and control.people >= needed and treated.people >= FEWEST


def window_of(started_at: datetime, days: int) -> tuple[datetime, datetime]:
    """The half-open interval in which orders are looked at."""
    return started_at, started_at + timedelta(days=days)


# ── What is fixed when a push begins ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Terms:
    """How a run is measured, fixed when it begins.

    `window_days`: orders so long after the start are compared with those of the hold-out. `touch_days`: an order so soon
    after a click is influenced. `price`: one message, in hundredths of a 分; `margin`: what remains of the price of goods
    after what they cost, in percent; either is None where the shop has not said it. `holdout`, `control`: percentages that
    were to be held out of all pushes and of this one; `shares`: the percentages of the wordings.
    """

    window_days: int = WINDOW_DAYS
    touch_days: int = TOUCH_DAYS
    price: int | None = None
    margin: int | None = None
    holdout: float | None = None
    control: float = 0.0
    shares: tuple[int, ...] = ()

    @classmethod
    def read(cls, said: Mapping[str, Any] | None, window_days: int = WINDOW_DAYS) -> Self:
        """The terms that a run holds; one from before they were kept is measured by its push's own window."""
        kept = dict(said or {"window_days": window_days})
        kept["shares"] = tuple(kept.get("shares") or ())
        return cls(**kept)

    def written(self) -> dict[str, Any]:
        """As they are kept with the run."""
        return {
            "window_days": self.window_days,
            "touch_days": self.touch_days,
            "price": self.price,
            "margin": self.margin,
            "holdout": self.holdout,
            "control": self.control,
            "shares": list(self.shares),
        }


# ── Money ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def messages_cost(sent: int, price: int | None) -> int | None:
    """What messages cost (分, rounded half up) at a price in hundredths of a 分 each; None without a price."""
    return None if price is None else (sent * price + PER_FEN // 2) // PER_FEN


def profit_of(money: float, coupons: float, messages: int, margin: int) -> float:
    """What remains of `money` (分, paid after coupons and net of refunds) after the goods and the messages.

    The goods were worth what was paid for them and what the coupons took off; all but the margin (percent) of that is what
    they cost the shop. So the cost of the coupons is borne by the shop in full.
    """
    return money - (money + coupons) * (100 - margin) / 100 - messages


# ── Whether people were shared out as meant ─────────────────────────────────────────────────────────────────────────


def chi_square_p(statistic: float, freedom: int) -> float:
    """The chance of so great a chi-square statistic or a greater one (closed forms for 1, 2 and 3 degrees of freedom)."""
    if freedom == 2:
        return math.exp(-statistic / 2)
    tail = math.erfc(math.sqrt(statistic / 2))
    if freedom == 1:
        return tail
    if freedom == 3:
        return tail + math.sqrt(2 * statistic / math.pi) * math.exp(-statistic / 2)
    raise ValueError(f"{freedom} degrees of freedom")


@dataclass(frozen=True)
class Split:
    """How many people came into each group, against the shares that were meant (they sum to 1)."""

    found: tuple[int, ...]
    meant: tuple[float, ...]

    @property
    def expected(self) -> tuple[float, ...]:
        return tuple(share * sum(self.found) for share in self.meant)

    @property
    def p(self) -> float | None:
        """The chance of a split as odd as this one; None where a group is meant to have fewer than five people (Cochran)."""
        if len(self.found) < 2 or min(self.expected) < 5:
            return None
        pairs = zip(self.found, self.expected, strict=True)
        return chi_square_p(sum((found - meant) ** 2 / meant for found, meant in pairs), len(self.found) - 1)

    @property
    def alarming(self) -> bool:
        """A sample ratio mismatch: what the groups did must not be compared before the cause is known."""
        return self.p is not None and self.p < ALARM


def holdout_split(written_to: int, held_out: int, control: int, terms: Terms) -> Split | None:
    """Those written to, held out of everything, and held out of this push, against what was meant; None where nobody was to be."""
    if terms.holdout is None:
        return None
    everywhere = terms.holdout / 100
    own = (1 - everywhere) * terms.control / 100
    groups = [(written_to, 1 - everywhere - own), (held_out, everywhere), (control, own)]
    meant = [(found, share) for found, share in groups if share > 0]
    if len(meant) < 2:
        return None
    return Split(tuple(found for found, _ in meant), tuple(share for _, share in meant))


def wording_split(found: Sequence[int], shares: Sequence[int]) -> Split | None:
    """How many got each wording, against the shares (percent); None for one wording."""
    if len(shares) < 2 or not sum(shares) or len(found) != len(shares):
        return None
    return Split(tuple(found), tuple(share / sum(shares) for share in shares))


def difference_of(one: Interval, other: Interval) -> Interval:
    """The difference of two values that were found apart from one another, with its interval (square-and-add, Zou 2008)."""
    value = one.value - other.value
    low = value - math.hypot(one.value - one.low, other.high - other.value)
    high = value + math.hypot(one.high - one.value, other.value - other.low)
    return Interval(low, value, high)


# ── Months and periods ──────────────────────────────────────────────────────────────────────────────────────────────


def months_between(first: date, last: date) -> list[date]:
    """The first days of all months from one to the other, both included."""
    found, at = [], first.replace(day=1)
    while at <= last:
        found.append(at)
        at = month_after(at)
    return found


def month_after(first: date) -> date:
    """The first day of the next month."""
    return (first.replace(day=1) + timedelta(days=32)).replace(day=1)


@dataclass(frozen=True)
class Cohort:
    """The members of a month: how many, and how many of them ordered again so many months later, by number."""

    month: date
    people: int
    again: Mapping[int, int] = field(default_factory=dict)

    def share(self, after: int) -> float:
        return self.again.get(after, 0) / self.people if self.people else 0.0


def period_before(today: date, weekly: bool) -> tuple[date, date]:
    """The last whole week (from Monday) or month before today, half open."""
    if weekly:
        until = today - timedelta(days=today.weekday())
        return until - timedelta(days=7), until
    until = today.replace(day=1)
    return (until - timedelta(days=1)).replace(day=1), until
