"""Counting ahead for shops of very many members. A stretch is a transaction; what was not counted is found again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

from kernel import clock
from kernel.db import transaction
from kernel.jobs import every, job
from kernel.pages import TooSlow, instants, patience

from . import counts, queries, rules
from .models import CountKind

# Nobody waits for it, and nothing is to hold the database up.
PATIENCE = 240.0

log = logging.getLogger(__name__)


@contextmanager
def _stretch(first: date, last: date) -> Iterator[None]:
    """One stretch in a transaction of its own. What takes too long is given up until the next time, and keeps no other back."""
    try:
        with transaction(), patience(PATIENCE):
            yield
    except TooSlow:
        log.warning("touchpoints from %s to %s are not counted: it took longer than %d s", first, last, PATIENCE)


@every(300)
@job(queue="bulk", own_transactions=True)
def count_meetings() -> None:
    """Count the days that are missing or were counted too long ago, and who had met what in the stretches that pages open with."""
    with transaction():
        if queries.size_of_shop() < rules.KEPT_FROM:
            counts.forget(everything=True)
            return
        counts.forget()
        ways = queries.ways()
        mark = counts.mark_of(ways)
        stretches = list(counts.stale(mark))
    for first, last in stretches:
        with _stretch(first, last):
            counts.count_days(first, last, ways)
    today = clock.today()
    for days in rules.OPENED:
        first = today - timedelta(days=days - 1)
        with _stretch(first, today):
            if counts.is_stale(CountKind.BEFORE, first, today, mark):
                found = queries.count_shares(*instants(first, today))
                figures = {"buyers": found.buyers, "met": found.met, "one_in": found.one_in}
                counts.keep(CountKind.BEFORE, first, today, mark, figures)
