"""What happened in conversations. Ids and plain values."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class ConversationOpened(Event):
    member_id: int
    conversation_id: int


@dataclass(frozen=True, kw_only=True)
class ConversationHandedOver(Event):
    """It came to people: no bot answered, or the member asked for a person."""

    member_id: int
    conversation_id: int
    asked_for: bool


@dataclass(frozen=True, kw_only=True)
class ConversationAnswered(Event):
    """A person wrote. `question_id` and `message_id` are the member's last message and the answer, for whoever learns of them."""

    member_id: int
    conversation_id: int
    staff_id: int
    question_id: int | None
    message_id: int
    first: bool


@dataclass(frozen=True, kw_only=True)
class ConversationClosed(Event):
    """It is over; `ending` is member, staff or silence, `staff_id` whoever had it, None when no person did."""

    member_id: int
    conversation_id: int
    staff_id: int | None
    ending: str


@dataclass(frozen=True, kw_only=True)
class ConversationRated(Event):
    """The member gave 1 to 5 stars; `staff_id` is whoever had it, None when only the bot did."""

    member_id: int
    conversation_id: int
    staff_id: int | None
    stars: int


@dataclass(frozen=True, kw_only=True)
class ConversationLooked(Event):
    """The member has looked at what people wrote."""

    member_id: int
    conversation_id: int
