"""Pure decisions: what a result of the staff is, which are compared, who stands where, and what went well.

People are compared by shares and means, never by bare counts, and only where there is enough to tell. There is no sum of all
results: whoever answers mail and whoever fills groups do different work, and one number would hide that.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import Final


class Figure(enum.StrEnum):
    """What is counted. `docs/staff-results.md` says of each what counts."""

    JOINED = "joined"
    CALLS = "calls"
    TICKETS = "tickets"
    TALKS = "talks"
    STARS = "stars"
    POSTS = "posts"
    ORDERS = "orders"


# An order counts for whoever touched its buyer last within so many days before it.
TOUCH_DAYS: Final = 14
# A conversation has no promise of its own: its first answer is in time within so many seconds of the desk's hours.
TALK_SECONDS: Final = 300
# Below so many there is nothing to compare: a share of three says more about luck than about anybody.
FEWEST: Final[Mapping[Figure, int]] = {
    Figure.JOINED: 10,
    Figure.CALLS: 10,
    Figure.TICKETS: 10,
    Figure.TALKS: 10,
    Figure.STARS: 5,
    Figure.POSTS: 50,
    Figure.ORDERS: 20,
}
# A median of fewer people would tell one what the other has.
FEWEST_PEOPLE: Final = 3
CONTENT: Final = 4
# So many days are counted at once: a year, and a month beside it.
MOST_DAYS: Final = 400


@dataclass(frozen=True)
class Part:
    """One person's result. `n` is what it is about, `good` how much of that went well, and the share is `good / n`.

    `pieces` counts what was done where that is another number than `n` (calls made, posts published, orders), `total` is a sum
    (stars, money in 分), `middle` a median (working minutes of tickets, working seconds of conversations).
    """

    n: int = 0
    good: int = 0
    pieces: int = 0
    total: int = 0
    middle: float | None = None


NOTHING: Final = Part()


def rate(figure: Figure, part: Part) -> float | None:
    """The number by which people are compared: mean stars, else the share that went well; None when there is nothing."""
    if part.n == 0:
        return None
    return part.total / part.n if figure is Figure.STARS else part.good / part.n


def enough(figure: Figure, part: Part) -> bool:
    """Whether there is enough to compare."""
    return part.n >= FEWEST[figure]


def as_shown(figure: Figure, part: Part) -> str:
    """The rate as it is printed: whole per cent, a tenth of a star, a tenth of a per cent where shares are small."""
    found = rate(figure, part)
    if found is None:
        return ""
    if figure is Figure.STARS:
        return f"{found:.1f}"
    return f"{100 * found:.{1 if figure is Figure.POSTS else 0}f}%"


def _compared(figure: Figure, part: Part) -> float:
    """What is printed, as a number: who shows the same stands in the same place."""
    return float(as_shown(figure, part).rstrip("%"))


def places(figure: Figure, parts: Mapping[int, Part]) -> dict[int, int]:
    """Who stands where by the rate, 1 first; only people with enough. Equals share a place, and the next one is left out."""
    able = {staff_id: _compared(figure, part) for staff_id, part in parts.items() if enough(figure, part)}
    return {staff_id: 1 + sum(other > own for other in able.values()) for staff_id, own in able.items()}


def team_median(figure: Figure, parts: Mapping[int, Part]) -> float | None:
    """The middle of the rates of everybody with enough; None for fewer than `FEWEST_PEOPLE`."""
    able = [found for part in parts.values() if enough(figure, part) and (found := rate(figure, part)) is not None]
    return median(able) if len(able) >= FEWEST_PEOPLE else None


class Against(enum.StrEnum):
    TEAM = "team"
    PAST = "past"


def went_well(figure: Figure, own: Part, before: Part, team: float | None) -> Against | None:
    """Whether a result is worth a good word: better than the team's median, else than one's own last period."""
    found = rate(figure, own)
    if found is None or not enough(figure, own):
        return None
    if team is not None and found > team:
        return Against.TEAM
    past = rate(figure, before)
    if past is not None and enough(figure, before) and found > past:
        return Against.PAST
    return None


def a_day(count: int, days: int) -> float | None:
    """How much was done a day with work, so that half a week is not held against a whole one."""
    return count / days if days else None


# ── Periods ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _quarter(day: date) -> date:
    return date(day.year, 3 * ((day.month - 1) // 3) + 1, 1)


def _after_months(first: date, months: int) -> date:
    """The first of the month so many months on (or back) from the first of one."""
    there = 12 * first.year + first.month - 1 + months
    return date(there // 12, there % 12 + 1, 1)


class Span(enum.StrEnum):
    THIS_WEEK = "this_week"
    LAST_WEEK = "last_week"
    THIS_MONTH = "this_month"
    LAST_MONTH = "last_month"
    THIS_QUARTER = "this_quarter"
    LAST_QUARTER = "last_quarter"


def spans(today: date) -> dict[Span, tuple[date, date]]:
    """The first and last day of the usual periods; those that are running end today."""
    monday = today - timedelta(days=today.weekday())
    month, quarter = today.replace(day=1), _quarter(today)
    one = timedelta(days=1)
    return {
        Span.THIS_WEEK: (monday, today),
        Span.LAST_WEEK: (monday - 7 * one, monday - one),
        Span.THIS_MONTH: (month, today),
        Span.LAST_MONTH: (_after_months(month, -1), month - one),
        Span.THIS_QUARTER: (quarter, today),
        Span.LAST_QUARTER: (_after_months(quarter, -3), quarter - one),
    }


def too_long(first: date, last: date) -> bool:
    """Whether the days from `first` to `last`, both included, are more than `MOST_DAYS`."""
    return (last - first).days >= MOST_DAYS


def preceding(first: date, last: date) -> tuple[date, date]:
    """The period that a period is compared with: as long, and like for like.

    A month (a quarter) from its first day is compared with the same days of the one before, a whole one with the whole one
    before; anything else with the same days of the week before it.
    """
    one = timedelta(days=1)
    for months, begins in ((1, first.day == 1), (3, first == _quarter(first))):
        ends = _after_months(first.replace(day=1), months)
        if begins and last < ends:
            start = _after_months(first, -months)
            if last == ends - one:
                return start, first - one
            return start, min(start + (last - first), first - one)
    weeks = -(-((last - first).days + 1) // 7)
    return first - weeks * 7 * one, last - weeks * 7 * one


def ordered(figure: Figure, parts: Mapping[int, Part], names: Mapping[int, str]) -> Sequence[int]:
    """People by their place in a result, then those without enough by how much they did, then by name."""
    place = places(figure, parts)
    return sorted(
        names,
        key=lambda i: (place.get(i, len(names) + 1), -parts.get(i, NOTHING).n, names[i], i),
    )
