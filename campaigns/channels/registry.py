"""The adapter of each account, kept by the process so that connections are used again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .adapters import Adapter
from .adapters.inbox import Inbox
from .models import Account, ChannelKind

_makers: dict[ChannelKind, Callable[[Account], Adapter]] = {ChannelKind.INBOX: lambda account: Inbox()}
_kept: dict[int, tuple[Any, Adapter]] = {}


def adapter_of(account: Account) -> Adapter:
    """The adapter of an account; made anew when its settings have changed."""
    stamp = (account.kind, repr(sorted(account.settings.items())), account.secret)
    known = _kept.get(account.id)
    if known is not None:
        if known[0] == stamp:
            return known[1]
        known[1].close()
    made = _makers[account.kind](account)
    _kept[account.id] = (stamp, made)
    return made


def forget(account_id: int) -> None:
    """Close and drop what is kept for an account."""
    known = _kept.pop(account_id, None)
    if known is not None:
        known[1].close()
