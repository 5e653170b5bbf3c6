"""Pure decisions about looking ahead: how long a piece lasts, when somebody is due, and what a fit is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from .models import Basis

# A product's own gaps count from so many on; those of its category or of the whole shop from more.
LEAST_GAPS, LEAST_SHARED_GAPS = 8, 24
# Who comes back for a thing after two years has not been using the one piece all the time.
LONGEST_GAP = 730
LONGEST_USE = 3_650
# Gaps are shown in so many bins, the last one for whatever lies beyond.
BINS = 12
# Without a spread of its own a product's days are good to a quarter; no window is narrower or wider than so many days each way.
UNKNOWN_SPREAD = 0.25
LEAST_WINDOW, LONGEST_WINDOW = 2, 14
# What makes the median absolute deviation a standard deviation, were the gaps normal (Rousseeuw, Croux 1993).
MAD = 1.4826
# The night's work begins at this hour of the shop.
NIGHT = 3

# Fewer customers, fewer who came back, or fewer days say nothing that may be shown.
LEAST_CUSTOMERS, LEAST_REPEATERS, LEAST_DAYS = 100, 30, 56
# More customers than this are fitted on a sample of them; each of them is forecast all the same.
MOST_FITTED = 100_000
# The days ahead that are worked out for each member, and between which the rest is read off; the one that pages show first.
HORIZONS = (7, 30, 90, 180, 365, 730)
SHOWN_HORIZON = 90
# Customers by their repeat purchases, the last bucket whoever has more.
BUCKETS = 7


def begins(last: datetime | None, now: datetime) -> bool:
    """Whether it is time for a new night's work: both instants as the shop's wall clock shows them."""
    return last is None or (now.date() > last.date() and now.hour >= NIGHT)


@dataclass(frozen=True)
class Lasts:
    """How many days a piece is used, give or take."""

    days: float
    spread: float
    basis: Basis


def weighted_median(values: Sequence[tuple[float, int]]) -> float:
    """The middle of values that each stand for so many: half of the weight lies at or below it."""
    ordered = sorted(values)
    half = sum(weight for _value, weight in ordered) / 2
    seen = 0
    for value, weight in ordered:
        seen += weight
        if seen >= half:
            return value
    raise ValueError("there is no middle of nothing")


@dataclass(frozen=True)
class Learned:
    """What a product's own gaps say: their middle and spread (days a piece), and how many they are."""

    category: str
    days: float
    spread: float
    gaps: int


def shared(found: Sequence[Learned], basis: Basis) -> Lasts | None:
    """What many products say together; none while their gaps are few."""
    if sum(one.gaps for one in found) < LEAST_SHARED_GAPS:
        return None
    days = weighted_median([(one.days, one.gaps) for one in found])
    return Lasts(days, weighted_median([(one.spread, one.gaps) for one in found]), basis)


def fallbacks(found: Sequence[Learned]) -> tuple[dict[str, Lasts], Lasts | None]:
    """What categories say, and the whole shop: for products that somebody has bought again, but not often enough."""
    categories: dict[str, list[Learned]] = {}
    for one in found:
        if one.category:
            categories.setdefault(one.category, []).append(one)
    said = {name: shared(ones, Basis.CATEGORY) for name, ones in categories.items()}
    return {name: lasts for name, lasts in said.items() if lasts is not None}, shared(found, Basis.SHOP)


def choose(
    set_days: int | None, learned: tuple[float, float] | None, gaps: int, fallback: Lasts | None
) -> Lasts | None:
    """The days that count: those that staff set, else those learned from enough gaps, else the category's or the shop's.

    `learned` are days and spread; a product's own spread goes with the days that were set, too. None: nothing is known, and
    nobody is ever due.
    """
    own = learned if gaps >= LEAST_GAPS else None
    if set_days is not None:
        return Lasts(float(set_days), own[1] if own else set_days * UNKNOWN_SPREAD, Basis.SET)
    if own is not None:
        return Lasts(own[0], own[1], Basis.LEARNED)
    return fallback


def lasts_for(days: float, pieces: int) -> int:
    """How many days so many pieces last, at least one."""
    return int(min(LONGEST_USE, max(1, round(days * pieces))))


def window(spread: float, pieces: int, total: int) -> int:
    """How many days before and after the day on which `total` days are over somebody may be expected; at most half of them,
    and two weeks."""
    most = min(LONGEST_WINDOW, max(LEAST_WINDOW, total // 2))
    return int(min(most, max(LEAST_WINDOW, round(spread * pieces))))


@dataclass(frozen=True)
class DueDay:
    """The business date on which something is used up, and the window around it (both ends included)."""

    due_on: date
    from_on: date
    until_on: date


def due_day(bought_on: date, pieces: int, days: float, spread: float) -> DueDay:
    """When somebody who bought so many pieces needs more."""
    total = lasts_for(days, pieces)
    room = timedelta(days=window(spread, pieces, total))
    due = bought_on + timedelta(days=total)
    return DueDay(due, due - room, due + room)


def bin_width(middle: float) -> int:
    """How many days a bin of the histogram covers: the middle of the gaps lies in the fourth or fifth."""
    return max(1, math.ceil(middle / 4))


# ── Forecasts ───────────────────────────────────────────────────────────────────────────────────────────────────────


def enough(customers: int, repeaters: int, first: date | None, last: date) -> bool:
    """Whether there is enough to fit: customers, those among them who came back, and days."""
    return (
        customers >= LEAST_CUSTOMERS
        and repeaters >= LEAST_REPEATERS
        and first is not None
        and (last - first).days >= LEAST_DAYS
    )


def around(days: int) -> tuple[int, int]:
    """The two neighbours in `HORIZONS` between which so many days lie (7 to 730)."""
    place = next(place for place, end in enumerate(HORIZONS[1:]) if days <= end)
    return HORIZONS[place], HORIZONS[place + 1]


def read_off(days: int, low: int, high: int, at_low: Any, at_high: Any) -> Any:
    """The orders expected in `days`, from those expected in `low` and in `high` days; numbers or columns.

    Of t days t / E(t) is taken to be a straight line: it is one for E(t) = t / (a + b t), hardly bent for whatever else rises
    ever more slowly, and what is read off never falls with t. Against the models themselves it was at most 2 % off for one
    customer and 1 % for many, over parameters from hardly ever coming back to hardly ever leaving.
    """
    share = (days - low) / (high - low)
    return days / ((1 - share) * low / at_low + share * high / at_high)


def split_day(first: date, last: date) -> date:
    """The last day of the part that a trial is fitted on: two thirds of the time; the rest is held back."""
    return first + timedelta(days=(last - first).days * 2 // 3)


@dataclass(frozen=True)
class Bucket:
    """Customers with so many repeat purchases in the first part: their means in the part held back."""

    repeats: int
    people: int
    actual: float
    expected: float
    naive: float


@dataclass(frozen=True)
class Calibration:
    """A trial on held-back time: fitted up to `split_on`, compared with what came in the `days` after it."""

    split_on: str
    days: int
    people: int
    actual: float
    expected: float
    naive: float
    buckets: tuple[Bucket, ...]

    @property
    def error(self) -> float | None:
        """How far the expected total was off, as a share of the actual one."""
        return self.expected / self.actual - 1 if self.actual else None

    @property
    def naive_error(self) -> float | None:
        """The same for going on as before: each customer's own rate, times the days."""
        return self.naive / self.actual - 1 if self.actual else None

    def dump(self) -> dict[str, Any]:
        return asdict(self)


def calibration(stored: dict[str, Any]) -> Calibration:
    """What `Calibration.dump` wrote."""
    return Calibration(**{**stored, "buckets": tuple(Bucket(**one) for one in stored["buckets"])})


def calibrate(
    split_on: date,
    days: int,
    repeats: Sequence[int],
    ages: Sequence[float],
    expected: Sequence[float],
    actual: Sequence[int],
) -> Calibration:
    """Compare what was expected of each customer in the held-back `days` with what came. `ages` are in weeks at the split."""
    weeks = days / 7
    # Somebody who came for the first time on the last day has no rate yet.
    naive = [x / age * weeks if age > 0 else 0.0 for x, age in zip(repeats, ages, strict=True)]
    sums: dict[int, list[float]] = {}
    for x, real, model, rate in zip(repeats, actual, expected, naive, strict=True):
        row = sums.setdefault(min(x, BUCKETS), [0, 0.0, 0.0, 0.0])
        for place, value in enumerate((1, real, model, rate)):
            row[place] += value
    buckets = tuple(
        Bucket(x, int(n), round(real / n, 4), round(model / n, 4), round(rate / n, 4))
        for x, (n, real, model, rate) in sorted(sums.items())
    )
    return Calibration(
        split_on.isoformat(),
        days,
        len(repeats),
        float(sum(actual)),
        round(sum(expected), 2),
        round(sum(naive), 2),
        buckets,
    )
