"""The arithmetic of results: differences between those who were written to and those held out, with their intervals.

Shares: the score interval of Newcombe (1998), method 10, built from two Wilson intervals; it holds at small counts, where
the usual formula does not. Means (orders and money a member): the difference with Welch's standard error and the normal
quantile, which needs groups of a size that `enough` asks for anyway. Everything is by intention to treat: who was meant to
be written to counts as such, whether the message arrived or not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

# 95 % two-sided; 80 % power.
Z = 1.959963984540054
Z_POWER = 0.8416212335729143
# The smallest relative lift that a verdict must be able to see, and the fewest people a group must have.
LIFT = 0.30
FEWEST = 50
TOUCH = timedelta(days=5)
SAME_VISIT = timedelta(minutes=10)


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
