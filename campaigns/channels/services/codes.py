"""One-time sign-in codes: by SMS over an account that is set up for them, by e-mail over the shop's mail server."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import replace
from urllib.parse import urlsplit

from flask import current_app
from sqlalchemy import select

from kernel import shop
from kernel.db import db, transaction
from kernel.i18n import gettext as _
from membership.members.models import Channel

from ..adapters import Message, Outcome, Status
from ..adapters.email import Email, Server, parse_url
from ..models import Account, ChannelKind
from . import health, rates, texts

log = logging.getLogger(__name__)


class MailFailed(Exception):
    """A code was certainly not taken by the mail server or the gateway."""


def ways_of_codes() -> frozenset[Channel]:
    """By which ways a code can be sent at this moment."""
    there = {Channel.EMAIL: mailing() is not None, Channel.PHONE: texting() is not None}
    return frozenset(way for way, can in there.items() if can)


def mailing() -> Server | None:
    """The mail server for codes: that of the environment, else that of the first e-mail account that does not stand still."""
    from .. import registry  # It reads accounts through this package.

    settings = current_app.extensions["settings"]
    if settings.smtp_url:
        return parse_url(settings.smtp_url, urlsplit(settings.site_url).hostname or "localhost")
    account = db.session.scalar(
        select(Account)
        .where(
            Account.kind == ChannelKind.EMAIL,
            Account.paused_at.is_(None),
            Account.settings["environment"].as_boolean().is_not(True),
        )
        .order_by(Account.id)
        .limit(1)
    )
    return registry.server_of(account) if account is not None else None


def texting() -> Account | None:
    """The account for text messages that sends codes, or None: set up for it, able to, and not standing still."""
    rows = db.session.scalars(
        select(Account).where(Account.kind == ChannelKind.SMS, Account.paused_at.is_(None)).order_by(Account.id)
    )
    return next((row for row in rows if row.settings.get("codes") and texts.code_text(row, "000000") is not None), None)


def text_code(phone: str, code: str) -> None:
    """Send a one-time sign-in code to a phone, over the account that is set up for codes.

    It counts against the account's rates like any message. Raises `MailFailed` when it is certainly not taken; one of which
    nobody knows is not sent again. No transaction may be open, for the gateway may be slow.
    """
    from .. import registry  # It reads accounts through this package.

    with transaction():
        account = texting()
        if account is None:
            raise MailFailed("no account for codes")
        words = texts.code_text(account, code) or ""
        account_id, adapter = account.id, registry.adapter_of(account)
        if not rates.take_tokens((Account, account_id), rates.rates_of(account), 1).granted:
            raise MailFailed("the account's rate is used up")
    message = Message(key=f"code:{secrets.token_hex(12)}", delivery_id=0, member_id=0, address=phone, subject="",
                      body=words, kind="code")  # fmt: skip
    began = time.monotonic()
    outcome = adapter.submit([message])[0]
    health.note_call(account_id, [message], [outcome], time.monotonic() - began, flush=True)
    _judge(outcome)


def mail_code(address: str, code: str) -> None:
    """Send a one-time sign-in code to an e-mail address.

    Raises `MailFailed` when it is not taken; no transaction may be open, for the mail server may be slow.
    """
    with transaction():
        server, name = mailing(), shop.shop_name()
    if server is None:
        raise MailFailed("no mail server")
    message = Message(
        key=f"code:{secrets.token_hex(12)}",
        delivery_id=0,
        member_id=0,
        address=address,
        subject=str(_("%(code)s is your code for %(shop)s", code=code, shop=name)),
        body=str(
            _("Your code is %(code)s. It is good for 10 minutes. If you did not ask for it, do nothing.", code=code)
        ),
        kind="code",
    )
    adapter = Email(replace(server, sender_name=server.sender_name or name))
    outcome = adapter.submit([message])[0]
    adapter.close()
    _judge(outcome)


def _judge(outcome: Outcome) -> None:
    if outcome.status is Status.UNKNOWN:
        # It may have arrived; whoever waits in vain asks for another one.
        log.warning("nobody knows whether a sign-in code was taken: %s", outcome.reason)
    elif outcome.status is not Status.ACCEPTED:
        raise MailFailed(outcome.reason)
