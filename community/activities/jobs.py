"""The clock ends draws: the list is frozen, the draw is held, and the prizes go out."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kernel.db import transaction
from kernel.jobs import every, job

from . import services

log = logging.getLogger(__name__)


@every(seconds=5)
@job(own_transactions=True)
def settle() -> None:
    """Hold every draw that is due and give what is owed, each step in a transaction of its own."""
    with transaction():
        waiting = services.due()
    for lottery_id in waiting:
        _step(services.freeze, lottery_id)
        _step(services.draw, lottery_id)
    with transaction():
        winners = services.owed()
    for entry_id in winners:
        _step(services.hand_over, entry_id)


def _step(act: Callable[[int], object], row_id: int) -> None:
    """Do one step; one that fails is due again in the next round, and holds up nobody else's draw meanwhile."""
    try:
        with transaction():
            act(row_id)
    except Exception:
        log.exception("a step of a draw failed on row %s", row_id)
