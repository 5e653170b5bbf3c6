"""Sending briefs. Everything is found again from the tables, so that an emptied queue loses nothing."""

from __future__ import annotations

from campaigns.channels import copies
from kernel import restoring
from kernel.db import transaction
from kernel.jobs import every, job

from . import services
from .models import BriefCopy


@every(60)
@job(own_transactions=True)
def send_briefs() -> None:
    """Write the copies of those whose hour has come, and hand over those that wait."""
    with transaction():
        if restoring.held():
            return
        services.write_copies()
        copies.doubt_lost(BriefCopy)
    copies.hand_over(services.take_due)
