"""How important a touchpoint is and how well it does, and what follows: importance–performance analysis.

Martilla and James (1977), "Importance-Performance Analysis", Journal of Marketing 41(1), 77–79: what matters to customers and
how well it is done stand across from one another in four quadrants. Both axes go from 1 to 5 here.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

LOWEST, MIDDLE, HIGHEST = 1.0, 3.0, 5.0
# Fewer meetings or fewer stars say too little.
FEWEST_MET = 30
FEWEST_RATED = 10
# The usual rate is the median of so many weeks, each of a touchpoint with so many meetings, at the least.
WEEKS = 12
FEWEST_WEEKS = 4
FEWEST_A_WEEK = 10
# An order so long after a meeting is one that the meeting may have led to.
BEFORE = timedelta(days=30)
# So long after somebody joined a group they have been welcomed, or not.
WELCOMED = timedelta(days=7)
# So many people at the least are followed one by one; of more, every so-manieth is.
FOLLOWED = 20_000
# A shop with so many members at the least is looked at in a sample where one number needs all of its members.
SURVEYED = 50_000
# From so many members on the meetings of each day are counted ahead, for so many days; the latest of them again after `FRESH`,
# for responses come late, and those before them after `SETTLED`.
KEPT_FROM = 100_000
KEPT_DAYS = 400
RECENT = 30
FRESH = timedelta(minutes=30)
SETTLED = timedelta(days=1)
# The stretches of days, up to today, with which pages open.
OPENED = (30, 90, 180)
# With fewer points than that the lines lie in the middle of the scales.
FEWEST_POINTS = 4


def one_in(people: int, enough: int) -> int:
    """Of how many people one is looked at so that at least `enough` are, 1 for everybody."""
    return max(1, people // enough)


def off_by(followed: int) -> float:
    """How far a share of this many people who were picked evenly may be off, as a share of all (95 %, at its worst: a half)."""
    return 1.96 * math.sqrt(0.25 / followed) if followed else 0.0


class Answer(enum.StrEnum):
    """What somebody does at a touchpoint that asks for it. Rates are compared only with those of the same answer."""

    CLICK = "click"
    REACT = "react"
    COME = "come"
    USE = "use"
    CLAIM = "claim"
    KEEP = "keep"
    ARRIVE = "arrive"
    REPLY = "reply"


class Basis(enum.StrEnum):
    """Where a performance comes from, or why there is none."""

    STARS = "stars"
    RATE = "rate"
    TOO_FEW = "too_few"
    NO_USUAL = "no_usual"
    NOT_RECORDED = "not_recorded"


class Quadrant(enum.StrEnum):
    """The quadrants of Martilla and James."""

    CONCENTRATE = "concentrate"
    KEEP_UP = "keep_up"
    LOW_PRIORITY = "low_priority"
    OVERKILL = "overkill"


@dataclass(frozen=True)
class Tally:
    """Meetings, how many of them had the answer that was hoped for, how many were rated, and the sum of their stars."""

    met: int = 0
    answered: int = 0
    rated: int = 0
    stars: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.met + other.met, self.answered + other.answered, self.rated + other.rated, self.stars + other.stars
        )

    @property
    def rate(self) -> float | None:
        return self.answered / self.met if self.met else None

    @property
    def mean_stars(self) -> float | None:
        return self.stars / self.rated if self.rated else None


@dataclass(frozen=True)
class Performance:
    """How well a touchpoint does, from 1 to 5, or None with the reason as its basis."""

    score: float | None
    basis: Basis


def usual_rate(weeks: Sequence[Tally]) -> float | None:
    """The median of the weekly rates of all touchpoints with the same answer; None while there are too few such weeks."""
    rates = [week.answered / week.met for week in weeks if week.met >= FEWEST_A_WEEK]
    return median(rates) if len(rates) >= FEWEST_WEEKS else None


def score_of_rate(rate: float, usual: float) -> float:
    """A rate against the usual one: as usual is 3, twice as good 4, half as good 2, never below 1 or above 5."""
    if rate == usual:
        return MIDDLE
    if rate == 0:
        return LOWEST
    if usual == 0:
        return HIGHEST
    return min(HIGHEST, max(LOWEST, MIDDLE + math.log2(rate / usual)))


def performance(tally: Tally, answer: Answer | None, usual: float | None, recorded: bool = True) -> Performance:
    """Stars where members gave enough of them, else the rate of answers against the usual one; to a tenth, as it is shown, so
    that nothing changes its quadrant by less than can be seen."""
    if not recorded:
        return Performance(None, Basis.NOT_RECORDED)
    if tally.mean_stars is not None and tally.rated >= FEWEST_RATED:
        return Performance(round(tally.mean_stars, 1), Basis.STARS)
    if answer is None or tally.rate is None or tally.met < FEWEST_MET:
        return Performance(None, Basis.TOO_FEW)
    if usual is None:
        return Performance(None, Basis.NO_USUAL)
    return Performance(round(score_of_rate(tally.rate, usual), 1), Basis.RATE)


def measured_importance(buyers: int, most: int) -> float | None:
    """How important a touchpoint is by how many buyers met it before they ordered: the one most met is 5, one that none met 1.

    To a tenth, as it is shown.
    """
    return round(LOWEST + (HIGHEST - LOWEST) * buyers / most, 1) if most else None


@dataclass(frozen=True)
class Lines:
    """Where the two lines stand that part the quadrants."""

    importance: float
    performance: float


def lines(points: Sequence[tuple[float, float]]) -> Lines:
    """The medians of (importance, performance): what counts is how touchpoints stand to one another. Few points: the middle."""
    if len(points) < FEWEST_POINTS:
        return Lines(MIDDLE, MIDDLE)
    return Lines(median(point[0] for point in points), median(point[1] for point in points))


def quadrant(importance: float, performed: float, at: Lines) -> Quadrant:
    """The quadrant of a point; one that lies on a line belongs to the higher side."""
    if importance >= at.importance:
        return Quadrant.KEEP_UP if performed >= at.performance else Quadrant.CONCENTRATE
    return Quadrant.OVERKILL if performed >= at.performance else Quadrant.LOW_PRIORITY
