"""Work on imports and deliveries that runs without anybody waiting."""

from __future__ import annotations

import logging

from kernel.db import transaction
from kernel.jobs import every, job

from . import services
from .services import arrivals, connections, corrections
from .services.runs import SLICE_SECONDS

log = logging.getLogger(__name__)


@job(queue="bulk", own_transactions=True, endless=True)
def take_in_file(run_id: int) -> None:
    """Go on with an import from where it stands; a large file is looked through first."""
    if arrivals.look_through(run_id):
        return
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
    """Remove the files of imports that ended a month ago, and the texts of the lines that were rejected."""
    services.forget_files()
    corrections.forget_rows()


@job(own_transactions=True)
def take_in_delivery(receipt_id: int) -> None:
    """Take in what a shop system pushed."""
    try:
        with transaction():
            connections.work_off(receipt_id)
    except Exception as error:
        log.exception("delivery %s could not be taken in", receipt_id)
        with transaction():
            connections.note_fault(receipt_id, error)


@every(seconds=30)
@job()
def resume_deliveries() -> None:
    """Find deliveries that no worker has taken up, or that are to be tried again."""
    for receipt_id in connections.due_deliveries():
        take_in_delivery.later(receipt_id=receipt_id)


@every(seconds=86_400)
@job()
def forget_deliveries() -> None:
    """Drop the texts of old deliveries."""
    connections.forget_deliveries()
