"""Pure decisions of the channels: when it is quiet, how many messages a rate allows, when an account rests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from .models import ContactClass

BREAKER = 20
# Instants are whole microseconds, so that a bucket may be filled up to this much too late.
ROUNDING = 1e-3
FIRST_BACKOFF = timedelta(seconds=15)
LONGEST_BACKOFF = timedelta(minutes=10)


WINDOWS = ("day", "week", "month")
RANKS = 5


@dataclass(frozen=True)
class Caps:
    """How many messages a member may get on a calendar day, in a week from Monday, in a calendar month; None is no cap."""

    per_day: int | None = None
    per_week: int | None = None
    per_month: int | None = None

    @property
    def windows(self) -> tuple[int | None, int | None, int | None]:
        return self.per_day, self.per_week, self.per_month


@dataclass(frozen=True)
class Budget:
    """The contact budget: caps on all marketing messages together, each beside the caps of its own class."""

    per_day: int | None = 1
    per_week: int | None = None
    per_month: int | None = 4
    by_class: Mapping[ContactClass, Caps] = field(default_factory=dict)
    # A tier's caps stand in the place of the first three.
    by_rank: Mapping[int, Caps] = field(default_factory=dict)
    # So many more than usual on these days, in every window.
    extra: Mapping[date, int] = field(default_factory=dict)

    def caps_of(self, rank: int, day: date) -> tuple[int | None, int | None, int | None]:
        """The caps over all classes of a member of a tier on a day: a day's, a week's, a month's."""
        windows = self.by_rank[rank].windows if rank in self.by_rank else (self.per_day, self.per_week, self.per_month)
        day_cap, week_cap, month_cap = (None if cap is None else cap + self.extra.get(day, 0) for cap in windows)
        return day_cap, week_cap, month_cap

    def caps_of_class(self, contact_class: ContactClass, day: date) -> tuple[int | None, int | None, int | None]:
        """The caps of one class on a day."""
        windows = self.by_class[contact_class].windows if contact_class in self.by_class else (None, None, None)
        day_cap, week_cap, month_cap = (None if cap is None else cap + self.extra.get(day, 0) for cap in windows)
        return day_cap, week_cap, month_cap


def full_window(
    counts: Mapping[str, int], class_counts: Mapping[str, int], caps: Sequence[int | None], own: Sequence[int | None]
) -> str | None:
    """Which cap a member has reached, the longest window first: `month`, `week`, `day`, then `class_month` and so on."""
    for prefix, used, limits in (("", counts, caps), ("class_", class_counts, own)):
        for window, cap in reversed(list(zip(WINDOWS, limits, strict=True))):
            if cap is not None and used.get(window, 0) >= cap:
                return prefix + window
    return None


@dataclass(frozen=True)
class Quiet:
    """The hours of the shop's wall clock in which nothing that makes a sound is sent; equal ends mean none.

    The days named are quiet from midnight to midnight.
    """

    since: time = time(22, 0)
    until: time = time(8, 0)
    days: frozenset[date] = frozenset()


def quiet_end(wall: datetime, quiet: Quiet) -> datetime | None:
    """When the quiet that holds at an instant on the shop's wall clock ends, or None when it is not quiet.

    `wall` is aware, in the shop's time zone, and so is the answer. A quiet day runs into the quiet hours after it.
    """
    found: datetime | None = None
    at = wall
    for _turn in range(2 * len(quiet.days) + 2):
        ends = _hours_end(at, quiet)
        if ends is None and at.date() in quiet.days:
            ends = datetime.combine(at.date() + timedelta(days=1), time(0), tzinfo=at.tzinfo)
        if ends is None:
            break
        found = at = ends
    return found


def _hours_end(wall: datetime, quiet: Quiet) -> datetime | None:
    at, today = wall.timetz().replace(tzinfo=None), wall.date()
    if quiet.since == quiet.until:
        return None
    if quiet.since < quiet.until:
        inside, day = quiet.since <= at < quiet.until, today
    else:
        inside = at >= quiet.since or at < quiet.until
        day = today + timedelta(days=1) if at >= quiet.since else today
    return datetime.combine(day, quiet.until, tzinfo=wall.tzinfo) if inside else None


def quiet_map(quiet: Quiet) -> list[bool]:
    """For each of the 24 hours of a day whether any part of it is quiet."""
    if quiet.since == quiet.until:
        return [False] * 24
    since, until = quiet.since.hour, quiet.until.hour + (1 if quiet.until.minute else 0)
    if quiet.since < quiet.until:
        return [since <= hour < until for hour in range(24)]
    return [hour >= since or hour < until for hour in range(24)]


@dataclass(frozen=True)
class Draught:
    """What was taken from a token bucket: how many, what is left, and in how many seconds the next one is there."""

    granted: int
    tokens: float
    wait: float


def draw(tokens: float, tokens_at: datetime | None, rate: float, now: datetime, wanted: int) -> Draught:
    """Take up to `wanted` tokens from a bucket that fills with `rate` a second and holds one second's worth, at least one.

    Nothing is granted before half a second's worth is there, so that messages go in handfuls and not one by one.
    A clock that went back adds nothing. A bucket that was never used is full.
    """
    size = max(float(rate), 1.0)
    if tokens_at is None:
        filled = size
    else:
        filled = min(size, tokens + rate * max((now - tokens_at).total_seconds(), 0.0))
    least = min(float(wanted), max(rate / 2, 1.0))
    if filled + ROUNDING < least:
        return Draught(0, filled, (least - filled) / rate)
    granted = min(wanted, math.floor(filled + ROUNDING))
    return Draught(granted, max(filled - granted, 0.0), 0.0)


def backoff(errors: int) -> timedelta:
    """How long an account rests after its `errors`-th failed connection in a row: 15 s, doubled each time, at most 10 min."""
    doubled: timedelta = FIRST_BACKOFF * 2 ** min(max(errors - 1, 0), 12)
    return min(doubled, LONGEST_BACKOFF)


def week_of(day: date) -> date:
    """The Monday of a date's week: the window of the weekly cap."""
    return day - timedelta(days=day.weekday())


def month_of(day: date) -> date:
    """The first day of a date's month: the window of the monthly cap."""
    return day.replace(day=1)
