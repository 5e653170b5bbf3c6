"""One-time sign-in codes, sent over the mail server of the environment."""

from __future__ import annotations

import secrets
from dataclasses import replace
from urllib.parse import urlsplit

from flask import current_app

from kernel import shop
from kernel.i18n import gettext as _

from ..adapters import Message, Status
from ..adapters.email import Email, parse_url


class MailFailed(Exception):
    """The mail server did not take a message."""


def mail_code(address: str, code: str) -> None:
    """Send a one-time sign-in code to an address, over the mail server of the environment.

    Raises `MailFailed` when it is not taken; no transaction may be open, for the mail server may be slow.
    """
    site = urlsplit(current_app.extensions["settings"].site_url).hostname or "localhost"
    server = parse_url(current_app.extensions["settings"].smtp_url or "", site)
    name = shop.shop_name()
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
    if outcome.status is not Status.ACCEPTED:
        raise MailFailed(outcome.reason)
