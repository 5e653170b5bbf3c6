"""Figures that are kept for a shop of very many members: the meetings of each day, and who had met what before they ordered.

Below `rules.KEPT_FROM` members nothing is kept and every page counts for itself. What is kept is only used while the touchpoints
name the links that they named when it was counted, and while it is fresh: otherwise the page counts as if there were nothing.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Date, cast, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from kernel import clock
from kernel.db import db
from kernel.pages import once_a_request

from . import rules
from .meetings import Ways, met
from .models import CountKind, TouchpointCount


@dataclass(frozen=True)
class Kept:
    """What is kept of a stretch: the figures of each of its days (or of the whole), and when they were counted: the oldest of the
    latest days', which are counted again and again; of days long ago alone, the oldest of them."""

    figures: dict[date, dict[str, Any]]
    counted_at: datetime


def mark_of(ways: Ways) -> str:
    """What changes when the touchpoints name other links."""
    said = [sorted(part.items()) for part in (ways.sources, ways.join_links, ways.coupons)]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def days_of(since: datetime, until: datetime) -> tuple[date, date] | None:
    """The first and the last of the shop's days that `[since, until)` is made of; None where it begins or ends within one."""
    first, after = clock.local(since).date(), clock.local(until).date()
    if (clock.at(first), clock.at(after)) != (since, until) or first >= after:
        return None
    return first, after - timedelta(days=1)


@once_a_request
def kept(kind: CountKind, since: datetime, until: datetime, ways_mark: str) -> Kept | None:
    """The figures of `[since, until)` as they are kept, or None where any is missing or too old."""
    days = days_of(since, until)
    if days is None:
        return None
    first, last = days
    asked = select(TouchpointCount.first, TouchpointCount.figures, TouchpointCount.counted_at).where(
        TouchpointCount.kind == kind, TouchpointCount.mark == ways_mark
    )
    if kind is CountKind.DAY:
        # Days that are to come have nothing to count.
        last = min(last, clock.today())
        asked = asked.where(TouchpointCount.first.between(first, last))
        wanted = (last - first).days + 1
    else:
        asked = asked.where(TouchpointCount.first == first, TouchpointCount.last == last)
        wanted = 1
    rows = db.session.execute(asked).all()
    now, today = clock.now(), clock.today()
    if len(rows) != wanted or wanted < 1:
        return None
    for row in rows:
        fresh = rules.FRESH if kind is CountKind.BEFORE or (today - row.first).days < rules.RECENT else rules.SETTLED
        if row.counted_at < now - 3 * fresh:
            return None
    latest = [row.counted_at for row in rows if (today - row.first).days < rules.RECENT]
    return Kept({row.first: row.figures for row in rows}, min(latest or [row.counted_at for row in rows]))


def by_weeks(found: Kept, until: datetime, count: int) -> dict[str, list[rules.Tally]]:
    """The tallies of each touchpoint by weeks that end with `until`, the latest last, of the days that are kept."""
    end = clock.local(until).date()
    tallies: dict[str, list[rules.Tally]] = defaultdict(lambda: [rules.Tally()] * count)
    for day, figures in found.figures.items():
        back = min(((end - day).days - 1) // 7, count - 1)
        for key, numbers in figures.items():
            tallies[key][count - 1 - back] += rules.Tally(*numbers)
    return dict(tallies)


# ── Counting ────────────────────────────────────────────────────────────────────────────────────────────────────────


def stale(ways_mark: str) -> Iterator[tuple[date, date]]:
    """The stretches of days that are to be counted now, the latest first, each of a month at most."""
    now, today = clock.now(), clock.today()
    known = {
        row.first: row.counted_at
        for row in db.session.execute(
            select(TouchpointCount.first, TouchpointCount.counted_at).where(
                TouchpointCount.kind == CountKind.DAY, TouchpointCount.mark == ways_mark
            )
        )
    }

    def old(back: int) -> bool:
        at = known.get(today - timedelta(days=back))
        return at is None or at <= now - (rules.FRESH if back < rules.RECENT else rules.SETTLED)

    back = 0
    while back < rules.KEPT_DAYS:
        end = min(back + rules.RECENT, rules.KEPT_DAYS)
        if any(old(one) for one in range(back, end)):
            yield today - timedelta(days=end - 1), today - timedelta(days=back)
        back = end


def count_days(first: date, last: date, ways: Ways) -> None:
    """Count the meetings of each of these days of the shop and keep them."""
    here = met(clock.at(first), clock.at(last + timedelta(days=1)), ways)
    day = cast(func.timezone(str(clock.ZONE), here.c.at), Date).label("day")
    rows = db.session.execute(
        select(
            here.c.key,
            day,
            func.count(),
            func.count().filter(here.c.answered),
            func.count(here.c.stars),
            func.coalesce(func.sum(here.c.stars), 0),
        ).group_by(here.c.key, day)
    )
    figures: dict[date, dict[str, Any]] = {first + timedelta(days=n): {} for n in range((last - first).days + 1)}
    for key, on, *numbers in rows:
        figures[on][key] = [int(number) for number in numbers]
    for on, found in figures.items():
        keep(CountKind.DAY, on, on, mark_of(ways), found)


def keep(kind: CountKind, first: date, last: date, ways_mark: str, figures: dict[str, Any]) -> None:
    """Keep figures in place of what was kept of the same days."""
    values = {"figures": figures, "mark": ways_mark, "counted_at": clock.now()}
    db.session.execute(
        insert(TouchpointCount)
        .values(kind=kind, first=first, last=last, **values)
        .on_conflict_do_update(index_elements=["kind", "first", "last"], set_=values)
    )


def is_stale(kind: CountKind, first: date, last: date, ways_mark: str) -> bool:
    """Whether a stretch as a whole is to be counted now."""
    at = db.session.scalar(
        select(TouchpointCount.counted_at).where(
            TouchpointCount.kind == kind,
            TouchpointCount.first == first,
            TouchpointCount.last == last,
            TouchpointCount.mark == ways_mark,
        )
    )
    return at is None or at <= clock.now() - rules.FRESH


def forget(everything: bool = False) -> None:
    """Drop what no page asks for any more: days long ago, stretches that end before today; or everything."""
    old = or_(
        TouchpointCount.first < clock.today() - timedelta(days=rules.KEPT_DAYS),
        (TouchpointCount.kind == CountKind.BEFORE) & (TouchpointCount.last < clock.today()),
    )
    db.session.execute(delete(TouchpointCount) if everything else delete(TouchpointCount).where(old))
