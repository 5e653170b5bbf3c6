"""Sending reports. Everything is found again from the tables, so that an emptied queue loses nothing."""

from __future__ import annotations

import logging
from datetime import timedelta

from campaigns.channels import registry
from campaigns.channels import services as channels
from campaigns.channels.adapters import Outcome, Status
from kernel import clock, restoring
from kernel.db import transaction
from kernel.jobs import every, job

from . import mailing, services

log = logging.getLogger(__name__)
AT_ONCE = 50


@every(60)
@job(own_transactions=True)
def send_reports() -> None:
    """Write the copies of what has ended, and hand over those that wait."""
    with transaction():
        # The numbers are wrong, too, until the orders since the backup have been brought in.
        if restoring.held():
            return
        mailing.write_copies()
        mailing.doubt_lost()
    for _turn in range(AT_ONCE):
        with transaction():
            due = mailing.take_due()
            adapter = None if due is None else registry.adapter_of(channels.get_account(due.account_id))
        if due is None or adapter is None:
            return
        try:
            outcome = adapter.submit([due.message])[0]
        except Exception as error:
            log.exception("a report could not be handed over")
            outcome = Outcome(Status.UNKNOWN, type(error).__name__)
        with transaction():
            mailing.note(due, outcome)


@every(86_400)
@job()
def forget_networks() -> None:
    """Drop what visits were counted for network addresses until yesterday."""
    services.forget_networks(clock.now() - timedelta(days=1))
