"""The clock ends draws: the list is frozen, the draw is held, and the prizes go out."""

from __future__ import annotations

from kernel.db import transaction
from kernel.jobs import every, job

from . import services


@every(seconds=5)
@job(own_transactions=True)
def settle() -> None:
    """Hold every draw that is due and give what is owed, each step in a transaction of its own."""
    with transaction():
        waiting = services.due()
    for lottery_id in waiting:
        with transaction():
            services.freeze(lottery_id)
        with transaction():
            services.draw(lottery_id)
    with transaction():
        winners = services.owed()
    for entry_id in winners:
        with transaction():
            services.hand_over(entry_id)
