"""What the channels tell the rooms above them."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class MessageReported(Event):
    """The other side reported what became of a message that it had taken. `key` is `delivery:12`, or its own number of it.

    What is not signed may be told to people, but must never lead to sending anything again.
    """

    account_id: int
    key: str
    delivered: bool
    code: str
    signed: bool


@dataclass(frozen=True, kw_only=True)
class MessageConfirmed(Event):
    """A person has said what became of a message that was handed to them: `done`, or why not."""

    delivery_id: int
    done: bool
    reason: str
    staff_id: int | None


@dataclass(frozen=True, kw_only=True)
class ChannelPaused(Event):
    """The breaker has paused an account."""

    account_id: int
    reason: str
