"""The adapter of each account, kept by the process so that connections are used again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from flask import current_app

from kernel import shop
from membership.members.models import Contact

from .adapters import Adapter
from .adapters.email import Email, Server, parse_url
from .adapters.inbox import Inbox
from .adapters.webhook import Hook, Webhook
from .models import Account, ChannelKind
from .sealing import unseal


def server_of(account: Account) -> Server:
    """The mail server of an account: its own settings, or those of the environment."""
    settings = current_app.extensions["settings"]
    site = urlsplit(settings.site_url).hostname or "localhost"
    said = account.settings
    if said.get("environment"):
        server = parse_url(settings.smtp_url or "", site)
        return server if server.sender_name else replace(server, sender_name=shop.shop_name())
    return Server(
        host=said["host"],
        port=said["port"],
        sender=said["sender"],
        sender_name=said.get("sender_name") or shop.shop_name(),
        security=said["security"],
        username=said.get("username", ""),
        password=unseal(account.secret),
        reply_to=said.get("reply_to", ""),
        timeout_seconds=said.get("timeout_seconds", 15.0),
        site=site,
    )


def hook_of(account: Account) -> Hook:
    """The webhook of an account."""
    said = account.settings
    return Hook(
        url=said["url"],
        secret=unseal(account.secret),
        contact=Contact(said.get("contact", Contact.SMS.value)),
        idempotent=said.get("idempotent", False),
        timeout_seconds=said.get("timeout_seconds", 10.0),
        batch_size=said.get("batch_size", 50),
    )


_makers: dict[ChannelKind, Callable[[Account], Adapter]] = {
    ChannelKind.INBOX: lambda account: Inbox(),
    ChannelKind.EMAIL: lambda account: Email(server_of(account)),
    ChannelKind.WEBHOOK: lambda account: Webhook(hook_of(account)),
}
_kept: dict[int, tuple[Any, Adapter]] = {}
_lock = threading.Lock()


def adapter_of(account: Account) -> Adapter:
    """The adapter of an account; made anew when its settings have changed.

    The former one is only dropped, not closed: somebody may be in the middle of a batch with it.
    """
    stamp = (account.kind, repr(sorted(account.settings.items())), account.secret)
    with _lock:
        known = _kept.get(account.id)
        if known is None or known[0] != stamp:
            known = _kept[account.id] = (stamp, _makers[account.kind](account))
        return known[1]
