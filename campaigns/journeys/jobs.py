"""Jobs of journeys. The tables say who is due and what came true; an emptied queue loses nothing."""

from __future__ import annotations

import time

from kernel import restoring
from kernel.db import transaction
from kernel.jobs import every, job

from . import queries, services

SECONDS = 10.0


@every(3)
@job(queue="bulk", own_transactions=True)
def move_people_on() -> None:
    """Do the steps that are due, batch by batch, for some seconds."""
    with transaction():
        if restoring.held():
            return
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with transaction():
            if not services.advance().people:
                return
    with transaction():
        move_people_on.later()


@every(20)
@job(own_transactions=True)
def look_who_comes() -> None:
    """Bring people into the journeys whose moment the clock has brought."""
    with transaction():
        services.ensure_recipes()
    with transaction():
        found = queries.to_look_for() if not restoring.held() else []
    for journey_id in found:
        more = True
        while more:
            with transaction():
                more = services.look(journey_id)
