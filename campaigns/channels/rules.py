"""Pure decisions of the channels: when it is quiet, how many messages a rate allows, when an account rests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

BREAKER = 20
# Instants are whole microseconds, so that a bucket may be filled up to this much too late.
ROUNDING = 1e-3
FIRST_BACKOFF = timedelta(seconds=15)
LONGEST_BACKOFF = timedelta(minutes=10)


@dataclass(frozen=True)
class Budget:
    """The contact budget: marketing messages a member on a calendar day and in a calendar month; None is no cap."""

    per_day: int | None = 1
    per_month: int | None = 4


@dataclass(frozen=True)
class Quiet:
    """The hours of the shop's wall clock in which nothing that makes a sound is sent; equal ends mean none."""

    since: time = time(22, 0)
    until: time = time(8, 0)


def quiet_end(wall: datetime, quiet: Quiet) -> datetime | None:
    """When the quiet hours that hold at an instant on the shop's wall clock end, or None when it is not quiet.

    `wall` is aware, in the shop's time zone, and so is the answer.
    """
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


def month_of(day: date) -> date:
    """The first day of a date's month: the window of the monthly cap."""
    return day.replace(day=1)
