"""The calendar of pushes: what goes on which day of a month, the series to come, and the festivals."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from flask import render_template, request

from campaigns.channels import services as channels
from community.posts import labels as words
from kernel import clock
from kernel.auth import staff

from .. import labels, queries
from . import bp

# So many years around the present one are shown.
FAR = 50


@bp.get("/pushes/calendar")
@staff("pushes.view")
def calendar() -> Any:
    first = _month()
    after = (first + timedelta(days=31)).replace(day=1)
    entries: dict[date, list[queries.Entry]] = {}
    for entry in queries.between(clock.day_bounds(first)[0], clock.day_bounds(after)[0]):
        entries.setdefault(clock.local(entry.at).date(), []).append(entry)
    festivals: dict[date, list[Any]] = {}
    for festival in channels.festivals(first, after):
        for day in channels.days_of(festival):
            festivals.setdefault(day, []).append(festival)
    grid = first - timedelta(days=first.weekday())
    weeks = [[grid + timedelta(days=7 * week + day) for day in range(7)] for week in range(6)]
    return render_template(
        "pushes/calendar.html",
        first=first,
        before=(first - timedelta(days=1)).replace(day=1),
        after=after,
        weeks=[week for week in weeks if week[0] < after],
        entries=entries,
        festivals=festivals,
        today=clock.today(),
        labels=labels,
        words=words,
    )


def _month() -> date:
    present = clock.today().replace(day=1)
    try:
        asked = date.fromisoformat(request.args.get("month", "") + "-01")
    except ValueError:
        return present
    return asked if abs(asked.year - present.year) <= FAR else present
