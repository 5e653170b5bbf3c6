"""Adapters: how each kind of channel hands a batch of messages over, and what may be said of each message afterwards.

An adapter is told messages and answers one outcome each, in order. It never touches the database while it talks, with one
exception: a transactional adapter's medium *is* the database, and it writes in the caller's transaction.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from membership.members.models import Contact

from ..models import ChannelKind


@dataclass(frozen=True, slots=True)
class Card:
    """A product shown below a message's text: its name, its price as people read it, where it leads, and its picture.

    `picture` is its key (`kernel.files`) for pages of ours, `picture_url` its full address for those elsewhere.
    """

    title: str
    price: str
    url: str
    picture: str | None = None
    picture_url: str | None = None

    @property
    def line(self) -> str:
        """The card in words, for a channel that shows no pictures."""
        return "\n".join(("  ".join(filter(None, (self.title, self.price))), self.url))


@dataclass(frozen=True, slots=True)
class Message:
    """One message, rendered. `key` is the same however often it is handed over."""

    key: str
    delivery_id: int
    member_id: int
    address: str
    subject: str
    body: str
    unsubscribe: str | None = None
    # Where the message leads, as a path of this site (the inbox shows it as a button).
    path: str | None = None
    kind: str = "push"
    # Products below the text, and what stands below everything.
    cards: tuple[Card, ...] = ()
    footer: str = ""

    @property
    def text(self) -> str:
        """The whole message in words."""
        if not self.cards and not self.footer:
            return self.body
        parts = (self.body.rstrip(), *(card.line for card in self.cards), self.footer)
        return "\n\n".join(part for part in parts if part)


class Status(enum.StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"  # The other side said no, for good.
    RETRY = "retry"  # Certainly not taken; it may be offered again later.
    UNKNOWN = "unknown"  # Nobody can say whether it was taken.
    ASSIGNED = "assigned"  # A person has it now, and says later what became of it.


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message. `down` says that the whole account could not be reached.

    `bounced` says that the address itself is no good: there is no such mailbox or number, and never will be.
    """

    status: Status
    reason: str = ""
    provider_id: str | None = None
    after: timedelta | None = None
    down: bool = False
    bounced: bool = False


@dataclass(frozen=True)
class Abilities:
    """What an adapter can do and needs."""

    kind: ChannelKind
    # Which consent it needs, and with it which address.
    contact: Contact
    # The other side keeps each key once, so that offering it again does no harm.
    idempotent: bool = False
    # The medium is our own database.
    transactional: bool = False
    # It makes no sound, so that quiet hours do not concern it.
    silent: bool = False
    # A message is handed to a person (`Status.ASSIGNED`), who confirms later that it was sent.
    human: bool = False
    # One message says it to everybody in a group: it goes to no member, needs no consent and counts against no budget.
    shared: bool = False
    # Carriers refuse links that differ from one message to the next: a link must be the same for all, or be a code.
    constant_links: bool = False
    # The other side tells later what became of each message.
    receipts: bool = False
    # Messages between two commits of intent, and with it the most that a crash can leave in doubt.
    batch_size: int = 20
    # Messages go one by one within a batch, so that batches may begin small and grow with the pace of the channel.
    gradual: bool = False
    # The longest that handing over one batch can take.
    longest: timedelta = field(default_factory=lambda: timedelta(seconds=60))


class Adapter(Protocol):
    @property
    def abilities(self) -> Abilities: ...

    def submit(self, batch: Sequence[Message]) -> list[Outcome]:
        """Hand a batch over; one outcome a message, in order. Never raises for what the other side does."""

    def probe(self) -> str | None:
        """Try, without sending anything, whether the other side is there: None, or what is wrong."""

    def close(self) -> None:
        """Let go of connections."""
