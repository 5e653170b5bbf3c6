"""What points do by the clock."""

from __future__ import annotations

from kernel.db import transaction
from kernel.jobs import every, job

from . import services


@every(seconds=300)
@job(queue="bulk", own_transactions=True)
def settle_due() -> None:
    """Write down what has become usable and what has lapsed, in slices."""
    while True:
        with transaction():
            done = services.settle_due()
        if not done:
            return


@every(seconds=3_600)
@job(queue="bulk", own_transactions=True)
def tell_expiring() -> None:
    """Tell members of points that lapse soon."""
    while True:
        with transaction():
            told = services.tell_expiring()
        if not told:
            return


@every(seconds=600)
@job(queue="bulk", own_transactions=True)
def earn_backlog() -> None:
    """Go through the orders that a new version of the settings lets earn, in slices; a stopped run goes on where it was."""
    while True:
        with transaction():
            more = services.earn_next()
        if not more:
            return
