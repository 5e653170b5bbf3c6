"""The adapter of each account, kept by the process so that connections are used again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from flask import current_app

from community.posts.models import PostKind
from kernel import shop
from membership.members.models import Contact

from .adapters import Adapter
from .adapters.aliyun import ENDPOINT, Access, Aliyun
from .adapters.email import Email, Server, parse_url
from .adapters.feed import Feed
from .adapters.gateway import Form, Gateway
from .adapters.inbox import Inbox
from .adapters.robot import Chat, Robot, RobotKind
from .adapters.tasks import Tasks
from .adapters.texting import Texting
from .adapters.webhook import Hook, Webhook
from .adapters.wecom import ENDPOINT as WECOM_ENDPOINT
from .adapters.wecom import Corp, Wecom
from .models import Account, ChannelKind
from .sealing import unseal
from .services import texts
from .services.accounts import secrets_of


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


def texting_of(account: Account) -> Texting:
    """The way an account sends text messages: over Aliyun, or over a gateway of the shop's choice."""
    said, terms = account.settings, texts.terms_of(account)
    if said["provider"] == "aliyun":
        return Aliyun(
            Access(
                key_id=said["key_id"],
                key_secret=unseal(account.secret),
                terms=terms,
                templates=texts.templates_of(account),
                endpoint=said.get("endpoint") or ENDPOINT,
                timeout_seconds=said.get("timeout_seconds", 10.0),
            )
        )
    return Gateway(
        Form(
            url=said["url"],
            terms=terms,
            template=said["template"],
            form=said.get("form", "json"),
            headers=said.get("headers", ""),
            secret=unseal(account.secret),
            ok_path=said.get("ok_path", ""),
            ok_value=said.get("ok_value", ""),
            id_path=said.get("id_path", ""),
            reason_path=said.get("reason_path", ""),
            idempotent=said.get("idempotent", False),
            timeout_seconds=said.get("timeout_seconds", 10.0),
        )
    )


def chat_of(account: Account) -> Chat:
    """The chat of a robot. Its address has its key in it, and so lies sealed like its secret."""
    sealed = secrets_of(account)
    return Chat(
        RobotKind(account.settings["robot"]),
        sealed.get("url", ""),
        sealed.get("secret", ""),
        account.settings.get("timeout_seconds", 10.0),
    )


def corp_of(account: Account) -> Corp:
    """The company at WeCom of an account."""
    said = account.settings
    return Corp(
        account_id=account.id,
        corp_id=said["corp_id"],
        secret=secrets_of(account).get("secret", ""),
        sender=said.get("sender", ""),
        per_month=said.get("per_month", 4),
        endpoint=said.get("endpoint") or WECOM_ENDPOINT,
        timeout_seconds=said.get("timeout_seconds", 10.0),
    )


_makers: dict[ChannelKind, Callable[[Account], Adapter]] = {
    ChannelKind.INBOX: lambda account: Inbox(),
    ChannelKind.EMAIL: lambda account: Email(server_of(account)),
    ChannelKind.SMS: texting_of,
    ChannelKind.WECOM: lambda account: Wecom(corp_of(account)),
    ChannelKind.TASK: lambda account: Tasks(account.id, account.settings.get("days", 2)),
    ChannelKind.WEBHOOK: lambda account: Webhook(hook_of(account)),
    ChannelKind.ROBOT: lambda account: Robot(chat_of(account)),
    ChannelKind.GROUP_POST: lambda account: Feed(
        account.id, account.settings.get("groups", []), PostKind(account.settings.get("post_kind", "promotion"))
    ),
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
