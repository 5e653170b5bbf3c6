"""Gifts that nobody claimed in time, reminders before that, and codes for whoever waits for one."""

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


@every(3600)
@job(own_transactions=True)
def remind_of_gifts() -> None:
    """Call gifts to mind that lapse soon, a slice a transaction."""
    while True:
        with transaction():
            done = services.remind_due(SLICE)
        if done < SLICE:
            return


@job(own_transactions=True)
def serve_waiting(gift_id: int) -> None:
    """Hand newly added codes to the members who wait for one, oldest first, a slice a transaction."""
    while True:
        with transaction():
            served = [services.serve(claim_id) for claim_id in services.waiting_claims(gift_id, SLICE)]
        if len(served) < SLICE or not any(served):
            return
