"""Work of the channels that nobody waits for."""

from __future__ import annotations

from kernel.db import transaction
from kernel.i18n import gettext as _
from kernel.jobs import job

from . import registry, services
from .adapters import Message


@job(own_transactions=True)
def send_test(account_id: int) -> None:
    """Hand one test message over, and write down what the other side said."""
    with transaction():
        account = services.get_account(account_id)
        if account.tested_to is None or account.test_outcome is not None:
            return
        adapter = registry.adapter_of(account)
        message = Message(
            key=services.test_key(account),
            delivery_id=0,
            member_id=0,
            address=account.tested_to,
            subject=str(_("A test from Siyu")),
            body=str(_("If you can read this, the channel works.")),
            kind="test",
        )
    outcome = adapter.submit([message])[0]
    with transaction():
        services.note_test(account_id, outcome)
