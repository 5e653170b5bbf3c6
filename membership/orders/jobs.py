"""Work on imports and deliveries that runs without anybody waiting."""

from __future__ import annotations

from kernel.db import transaction
from kernel.jobs import every, job

from . import services
from .services.runs import SLICE_SECONDS


@job(queue="bulk", own_transactions=True)
def take_in_file(run_id: int) -> None:
    """Go on with an import from where it stands."""
    if not services.work(run_id, seconds=SLICE_SECONDS):
        # Given back with work left (or somebody else's): whoever comes next sees which.
        with transaction():
            if run_id in services.abandoned():
                take_in_file.later(run_id=run_id)


@every(seconds=15)
@job()
def resume_imports() -> None:
    """Find imports that nobody works on any more, and have them gone on with."""
    for run_id in services.abandoned():
        take_in_file.later(run_id=run_id)


@every(seconds=300)
@job()
def deliver_due_orders() -> None:
    """Let parcels arrive whose expected delivery has come."""
    services.deliver_due()


@every(seconds=86_400)
@job()
def forget_import_files() -> None:
    """Remove the files of imports that ended a month ago."""
    services.forget_files()
