"""Health: what accounts have taken and refused, and when one is paused by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import update

from kernel import audit, clock
from kernel.db import db

from .. import rules
from ..models import Account


def note_accepted(account_id: int) -> None:
    """A message was taken: whatever went wrong before is over."""
    db.session.execute(
        update(Account)
        .where(Account.id == account_id)
        .values(errors_in_row=0, retry_at=None, last_accepted_at=clock.now())
        .execution_options(synchronize_session=False)
    )


def note_errors(account_id: int, errors: int, reason: str, down: bool = False, after: timedelta | None = None) -> bool:
    """Count errors in a row; at twenty the account is paused with the reason. Returns whether it is paused now.

    With `down` the account could not be reached at all and rests for a while, longer each time or as long as `after` says.
    """
    now = clock.now()
    row = db.session.execute(
        update(Account)
        .where(Account.id == account_id)
        .values(errors_in_row=Account.errors_in_row + errors, last_error=reason[:500], last_error_at=now)
        .returning(Account.errors_in_row, Account.paused_at)
        .execution_options(synchronize_session=False)
    ).one()
    values: dict[str, Any] = {}
    if down:
        values["retry_at"] = now + (after or rules.backoff(row.errors_in_row))
    if row.errors_in_row >= rules.BREAKER and row.paused_at is None:
        values["paused_at"] = now
        values["pause_reason"] = reason[:500]
        audit.record("channel_account.paused", "channel_account", account_id, after={"reason": reason[:500]})
    if values:
        db.session.execute(
            update(Account)
            .where(Account.id == account_id)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    return row.paused_at is not None or "paused_at" in values
