"""Sending reports. Everything is found again from the tables, so that an emptied queue loses nothing."""

from __future__ import annotations

from datetime import timedelta

from campaigns.channels import copies
from kernel import clock, restoring
from kernel.db import transaction
from kernel.jobs import every, job

from . import mailing, services
from .models import ReportCopy


@every(60)
@job(own_transactions=True)
def send_reports() -> None:
    """Write the copies of what has ended, and hand over those that wait."""
    with transaction():
        # The numbers are wrong, too, until the orders since the backup have been brought in.
        if restoring.held():
            return
        mailing.write_copies()
        copies.doubt_lost(ReportCopy)
    copies.hand_over(mailing.take_due)


@every(86_400)
@job()
def forget_networks() -> None:
    """Drop what visits were counted for network addresses until yesterday."""
    services.forget_networks(clock.now() - timedelta(days=1))
