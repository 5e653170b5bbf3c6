"""The sweep over gifts that nobody claimed in time."""

from __future__ import annotations

from kernel.db import transaction
from kernel.jobs import every, job

from . import services

SLICE = 500


@every(300)
@job(own_transactions=True)
def forfeit_gifts() -> None:
    """Forfeit what is past its deadline, a slice a transaction, so that others can have it."""
    while True:
        with transaction():
            done = services.forfeit_due(SLICE)
        if done < SLICE:
            return
