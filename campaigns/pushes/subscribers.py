"""What pushes do when a channel tells what became of a message."""

from __future__ import annotations

import re

from campaigns.channels.events import MessageConfirmed, MessageReported
from kernel.errors import NotFound
from kernel.events import subscribe

from . import services

_DELIVERY = re.compile(r"delivery:(\d{1,18})", re.ASCII)


@subscribe(MessageReported)
def note_report(event: MessageReported) -> None:
    """Write down that a message arrived, or that it did not. Nothing is ever sent again because of it."""
    key = _DELIVERY.fullmatch(event.key)
    if key is not None:
        services.note_report(event.account_id, int(key[1]), event.delivered)
    else:
        services.note_numbered(event.account_id, event.key, event.delivered)


@subscribe(MessageConfirmed)
def note_confirmed(event: MessageConfirmed) -> None:
    """Write down what a person did with a message that was handed to them; what was ended meanwhile stays as it is."""
    try:
        services.confirm(event.delivery_id, event.done, event.staff_id, None if event.done else event.reason)
    except (services.TooLate, NotFound):
        return
