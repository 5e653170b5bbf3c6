"""Accounts: set up, paused and tried out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flask import current_app
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock
from kernel.db import db
from kernel.errors import NotFound
from kernel.i18n import gettext as _

from ..adapters import Outcome, Status
from ..models import Account, ChannelKind
from ..sealing import seal


def inbox_account() -> Account:
    """The account of the inbox; it is always there."""
    found = db.session.scalar(select(Account).where(Account.kind == ChannelKind.INBOX))
    if found is None:
        db.session.execute(
            insert(Account)
            .values(
                name="inbox", kind=ChannelKind.INBOX, settings={}, tokens=0.0, errors_in_row=0, created_at=clock.now()
            )
            .on_conflict_do_nothing()
        )
        found = db.session.scalars(select(Account).where(Account.kind == ChannelKind.INBOX)).one()
    return found


def accounts() -> Sequence[Account]:
    """Every account, the inbox first; a mail server that the environment names has one too."""
    inbox_account()
    if current_app.extensions["settings"].smtp_url:
        environment_account()
    return db.session.scalars(select(Account).order_by(Account.kind != ChannelKind.INBOX, Account.id)).all()


def environment_account() -> Account:
    """The account of the mail server that `SMTP_URL` names."""
    found = db.session.scalar(select(Account).where(Account.settings["environment"].as_boolean()))
    if found is None:
        found = Account(name="SMTP_URL", kind=ChannelKind.EMAIL, settings={"environment": True}, created_at=clock.now())
        db.session.add(found)
        db.session.flush()
    return found


def get_account(account_id: int) -> Account:
    """One account; refuses with `NotFound`."""
    found = db.session.get(Account, account_id)
    if found is None:
        raise NotFound
    return found


def save_account(
    kind: ChannelKind,
    name: str,
    settings: dict[str, Any],
    rate_per_second: int | None,
    secret: str | None,
    account: Account | None = None,
) -> Account:
    """Set an account up, or change one; a secret of None keeps the present one. The secret never goes into the audit."""
    before = {"name": account.name, **account.settings} if account is not None else None
    if account is None:
        account = Account(kind=kind, created_at=clock.now())
        db.session.add(account)
    account.name = " ".join(name.split())
    account.settings = settings
    account.rate_per_second = rate_per_second
    if secret is not None:
        account.secret = seal(secret)
    db.session.flush()
    audit.record("channel_account.saved", "channel_account", account.id, before, {"name": account.name, **settings})
    return account


def pause_account(account: Account, reason: str) -> None:
    """Send nothing over an account until it is let go on."""
    if account.paused_at is None:
        account.paused_at, account.pause_reason = clock.now(), reason
        audit.record("channel_account.paused", "channel_account", account.id, after={"reason": reason})


def resume_account(account: Account) -> None:
    """Let an account go on, with its errors forgotten."""
    account.paused_at = account.pause_reason = account.retry_at = None
    account.errors_in_row = 0
    audit.record("channel_account.resumed", "channel_account", account.id)


def ask_test(account: Account, address: str) -> None:
    """Note that a test is to be sent; a job sends it."""
    account.tested_at, account.tested_to = clock.now(), address
    account.test_outcome = account.test_passed = None
    audit.record("channel_account.tested", "channel_account", account.id)


def test_key(account: Account) -> str:
    """The key of an account's latest test."""
    return f"test:{account.id}.{int(account.tested_at.timestamp()) if account.tested_at else 0}"


def note_test(account_id: int, outcome: Outcome) -> None:
    """Write down what became of a test. One that was taken ends a rest, but no pause: somebody decides that."""
    account = get_account(account_id)
    account.test_passed = outcome.status is Status.ACCEPTED
    account.test_outcome = str(outcome.reason or outcome.provider_id or outcome.status.value)[:500]
    if account.test_passed:
        account.retry_at = None
        if account.paused_at is None:
            account.errors_in_row = 0


def shown_name(account: Account) -> str:
    """An account's name as staff read it."""
    return str(_("Inbox on the member's page")) if account.kind == ChannelKind.INBOX else account.name


def makes_no_sound(account: Account) -> bool:
    """Whether quiet hours do not concern an account."""
    return account.kind == ChannelKind.INBOX


def rests_until(account: Account, now: datetime) -> datetime | None:
    """Until when an account tries nothing after failed connections, or None."""
    return account.retry_at if account.retry_at is not None and account.retry_at > now else None
