"""The night's work, in slices: learning how long things last, and fitting the forecasts."""

from __future__ import annotations

import time

from kernel.db import transaction
from kernel.jobs import every, job

from . import services
from .abacus import Abacus

SECONDS = 20.0


@every(120)
@job(queue="bulk", own_transactions=True)
def keep_clocks() -> None:
    """Begin the night's learning when it is time, and go on with it for some seconds."""
    with transaction():
        services.start_learning()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with transaction():
            more = services.learn_on()
        if not more:
            return
    with transaction():
        keep_clocks.later()


@every(60)
@job(queue="bulk", own_transactions=True)
def keep_due_days() -> None:
    """Take up days of use that were set elsewhere, and work out whoever bought what now lasts otherwise."""
    with transaction():
        services.spot_changed()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with transaction():
            more = services.refresh_stale()
        if not more:
            return
    with transaction():
        keep_due_days.later()


@every(120)
@job(queue="bulk", own_transactions=True)
def keep_forecasts() -> None:
    """Begin the night's fit when it is time, and go on with it for some seconds."""
    with transaction():
        services.start_fitting()
    until = time.monotonic() + SECONDS
    with Abacus() as abacus:
        while time.monotonic() < until:
            with transaction():
                more = services.fit_on(abacus)
            if not more:
                return
    with transaction():
        keep_forecasts.later()
