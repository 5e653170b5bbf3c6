"""Writing down frozen audiences, and counting the others anew for their list."""

from __future__ import annotations

from kernel.db import transaction
from kernel.jobs import every, job

from . import queries, services


@job(queue="bulk")
def write_down(audience_id: int) -> None:
    """Write down who is in a frozen audience now."""
    services.write_down(audience_id)


@every(seconds=60)
@job()
def write_down_waiting() -> None:
    """Find the lists again whose job was lost."""
    for audience_id in queries.waiting_lists():
        write_down.later(audience_id=audience_id)


@job(queue="bulk", own_transactions=True)
def count_again() -> None:
    """Count every audience anew, each in a transaction of its own."""
    with transaction():
        known = [audience.id for audience in queries.saved()]
    for audience_id in known:
        with transaction():
            if (audience := queries.find_audience(audience_id)) is not None:
                services.count_again(audience)


@every(seconds=3600)
@job()
def keep_counts() -> None:
    """Have the numbers of the list brought up to date."""
    count_again.later()
