"""Accounts: set up, paused and tried out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flask import current_app
from sqlalchemy import func, select, union
from sqlalchemy.dialects.postgresql import insert

from community.groups import queries as groups
from kernel import audit, clock
from kernel.db import db
from kernel.errors import NotFound
from kernel.i18n import gettext as _

from .. import pace
from ..models import Account, ChannelKind
from ..sealing import seal, unseal


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
    rates: pace.Rates,
    secret: str | dict[str, str] | None,
    account: Account | None = None,
) -> Account:
    """Set an account up, or change one; a secret of None keeps the present one. The secret never goes into the audit.

    A kind with several secrets is given those that are new by their names.
    """
    before = {"name": account.name, **account.settings} if account is not None else None
    if account is None:
        account = Account(kind=kind, created_at=clock.now())
        db.session.add(account)
    account.name = " ".join(name.split())
    account.settings = settings
    account.rate_per_second, account.rate_per_minute = rates.second, rates.minute
    account.rate_per_hour, account.rate_per_day = rates.hour, rates.day
    if isinstance(secret, dict):
        account.secret = seal(json.dumps(secrets_of(account) | secret)) if secret else account.secret
    elif secret is not None:
        account.secret = seal(secret)
    db.session.flush()
    audit.record("channel_account.saved", "channel_account", account.id, before, {"name": account.name, **settings})
    return account


def secrets_of(account: Account) -> dict[str, str]:
    """The secrets of an account that has several, by their names; empty when there are none or they cannot be read."""
    try:
        found = json.loads(unseal(account.secret) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def pause_account(account: Account, reason: str) -> None:
    """Send nothing over an account until it is let go on by a person. One that the breaker paused stays so for good."""
    if account.paused_at is not None and account.tripped:
        account.tripped, account.probe_at = False, None
        audit.record("channel_account.paused", "channel_account", account.id, after={"reason": reason})
    elif account.paused_at is None:
        account.paused_at, account.pause_reason = clock.now(), reason
        audit.record("channel_account.paused", "channel_account", account.id, after={"reason": reason})


def resume_account(account: Account) -> None:
    """Let an account go on, with its errors forgotten."""
    account.paused_at = account.pause_reason = account.retry_at = account.probe_at = None
    account.errors_in_row = account.probes = 0
    account.tripped = False
    audit.record("channel_account.resumed", "channel_account", account.id)


def shown_name(account: Account) -> str:
    """An account's name as staff read it."""
    return str(_("Inbox on the member's page")) if account.kind == ChannelKind.INBOX else account.name


def people_in(account: Account) -> int | None:
    """How many members a shared place reaches: those seated in its groups, each once; None for a chat, which does not say."""
    if account.kind is not ChannelKind.GROUP_POST:
        return None
    seats = [groups.seated_in(group_id) for group_id in account.settings.get("groups", [])]
    return db.session.scalar(select(func.count()).select_from(union(*seats).subquery())) or 0 if seats else 0


def groups_of(account: Account) -> list[str]:
    """The names of the groups that an account posts to."""
    found = groups.names(account.settings.get("groups", []))
    return [found[group_id] for group_id in account.settings.get("groups", []) if group_id in found]


def makes_no_sound(account: Account) -> bool:
    """Whether quiet hours do not concern an account."""
    return account.kind in (ChannelKind.INBOX, ChannelKind.TASK, ChannelKind.GROUP_POST)


def rests_until(account: Account, now: datetime) -> datetime | None:
    """Until when an account tries nothing after failed connections, or None."""
    return account.retry_at if account.retry_at is not None and account.retry_at > now else None
