"""Sending briefs. Everything is found again from the tables, so that an emptied queue loses nothing."""

from __future__ import annotations

import logging

from campaigns.channels import registry
from campaigns.channels import services as channels
from campaigns.channels.adapters import Outcome, Status
from kernel import restoring
from kernel.db import transaction
from kernel.jobs import every, job

from . import services

log = logging.getLogger(__name__)
AT_ONCE = 50


@every(60)
@job(own_transactions=True)
def send_briefs() -> None:
    """Write the copies of those whose hour has come, and hand over those that wait."""
    with transaction():
        if restoring.held():
            return
        services.write_copies()
        services.doubt_lost()
    for _turn in range(AT_ONCE):
        with transaction():
            due = services.take_due()
            adapter = None if due is None else registry.adapter_of(channels.get_account(due.account_id))
        if due is None or adapter is None:
            return
        try:
            outcome = adapter.submit([due.message])[0]
        except Exception as error:
            log.exception("a brief could not be handed over")
            outcome = Outcome(Status.UNKNOWN, type(error).__name__)
        with transaction():
            services.note(due, outcome)
