"""Pure decisions about rates: how many messages a second, a minute, an hour and a day allow together.

A second is a bucket that fills. A minute and an hour slide: what was taken is counted in slots of a twelfth, and a slot counts
until all of it lies outside, so that no span of that length, wherever it begins, ever holds more. A day is one of the calendar,
as providers bill it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from . import rules

SLOTS = 12
SPANS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}


@dataclass(frozen=True)
class Rates:
    """Messages in each span; None is no limit."""

    second: int | None = None
    minute: int | None = None
    hour: int | None = None
    day: int | None = None

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.second, self.minute, self.hour, self.day))


@dataclass(frozen=True)
class Pace:
    """What was granted, how the account's row looks afterwards, and in how many seconds the next message may go."""

    granted: int
    tokens: float
    taken: dict[str, Any]
    wait: float


def draw(
    rates: Rates,
    tokens: float,
    tokens_at: datetime | None,
    taken: Mapping[str, Any],
    now: datetime,
    day: str,
    tomorrow: datetime,
    wanted: int,
) -> Pace:
    """Take up to `wanted` messages from all spans together, or none.

    `day` names the business day that `now` lies in and `tomorrow` is the instant at which it ends. A clock that goes back
    frees nothing.
    """
    kept: dict[str, Any] = {}
    room, wait = wanted, 0.0
    for span, long in SPANS.items():
        limit = getattr(rates, span)
        if limit is None:
            continue
        slot = long.total_seconds() / SLOTS
        number = math.floor(now.timestamp() / slot)
        # A slot is forgotten only when its whole length lies outside the span.
        rows = [[n, count] for n, count in taken.get(span, []) if n >= number - SLOTS]
        kept[span] = rows
        free = limit - sum(count for _n, count in rows)
        if free <= 0:
            due, freed = number, free
            for n, count in sorted(rows):
                freed += count
                due = n + SLOTS + 1
                if freed > 0:
                    break
            wait = max(wait, due * slot - now.timestamp())
        room = min(room, free)
    if rates.day is not None:
        of_day = taken.get("day") or ["", 0]
        # The calendar only goes forward: a worker whose clock is behind counts on the later day.
        kept["day"] = list(of_day) if of_day[0] >= day else [day, 0]
        free = rates.day - kept["day"][1]
        if free <= 0:
            wait = max(wait, (tomorrow - now).total_seconds())
        room = min(room, free)
    if room <= 0:
        return Pace(0, tokens, kept, max(wait, 0.01))
    if rates.second is not None:
        bucket = rules.draw(tokens, tokens_at, rates.second, now, room)
        if not bucket.granted:
            return Pace(0, bucket.tokens, kept, bucket.wait)
        room, tokens = bucket.granted, bucket.tokens
    for span, long in SPANS.items():
        if span in kept:
            number = math.floor(now.timestamp() / (long.total_seconds() / SLOTS))
            # Never into an earlier slot than one that is there: with a clock that went back it would be forgotten too soon.
            number = max([number, *(n for n, _count in kept[span])])
            counts = dict(kept[span])
            counts[number] = counts.get(number, 0) + room
            kept[span] = [[n, counts[n]] for n in sorted(counts)]
    if "day" in kept:
        kept["day"] = [kept["day"][0], kept["day"][1] + room]
    return Pace(room, tokens, kept, 0.0)


def give_back(taken: Mapping[str, Any], unused: int, day_began_long_ago: bool = True) -> dict[str, Any]:
    """The row's counts when so many of what was taken were not used. The oldest are forgotten first, which is never too early.

    In the first minutes of a day nothing is given back to it, for it may have been taken from the day before.
    """
    kept: dict[str, Any] = {}
    for span, rows in taken.items():
        if span == "day":
            kept[span] = [rows[0], max(rows[1] - unused, 0)] if day_began_long_ago else list(rows)
            continue
        left, now = unused, []
        for n, count in sorted(rows):
            back = min(left, count)
            left -= back
            if count > back:
                now.append([n, count - back])
        kept[span] = now
    return kept
