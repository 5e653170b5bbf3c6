"""Conversations between a member and the shop, and what was said in them."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk

from .rules import Band


class TalkState(enum.StrEnum):
    """With the bot; waiting for a person; with a person; over."""

    BOT = "bot"
    QUEUED = "queued"
    OPEN = "open"
    CLOSED = "closed"


class Sender(enum.StrEnum):
    MEMBER = "member"
    STAFF = "staff"
    BOT = "bot"
    SYSTEM = "system"


class Ending(enum.StrEnum):
    MEMBER = "member"
    STAFF = "staff"
    SILENCE = "silence"


class Conversation(db.Model):
    """What a member asks, from the first word to the last. A member has one that is not over.

    `waits_since` is when the first word came that no person has answered yet; `answer_seconds` how long the first answer
    of a person took, in hours of the desk, since the conversation came to people.
    """

    __tablename__ = "conversation"
    id: Mapped[pk]
    public_id: Mapped[str] = mapped_column(unique=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    state: Mapped[TalkState]
    assignee_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    assigned_at: Mapped[datetime | None]
    # Who gave it back last: it is handed to others first.
    released_by_id: Mapped[int | None]
    # How often the bot has offered without an answer that fitted.
    tries: Mapped[int] = mapped_column(default=0)
    opened_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    waits_since: Mapped[datetime | None]
    first_answered_at: Mapped[datetime | None]
    first_answered_by_id: Mapped[int | None]
    answer_seconds: Mapped[int | None]
    last_message_id: Mapped[int] = mapped_column(default=0)
    # The last message that the member has looked at, as far as the shop knows.
    seen_message_id: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    last_from: Mapped[Sender]
    last_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[Ending | None]
    ticket_id: Mapped[int | None] = mapped_column(ForeignKey("ticket.id"))
    satisfaction: Mapped[int | None]
    satisfaction_note: Mapped[str] = mapped_column(default="")
    rated_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("satisfaction BETWEEN 1 AND 5", name="satisfaction"),
        CheckConstraint("(closed_at IS NOT NULL) = (state = 'closed')", name="closed"),
        CheckConstraint("state <> 'open' OR assignee_id IS NOT NULL", name="assigned"),
        Index("uq_conversation_live", "member_id", unique=True, postgresql_where=text("state <> 'closed'")),
        Index("ix_conversation_member", "member_id", text("id DESC")),
        Index("ix_conversation_queue", "last_at", "id", postgresql_where=text("state <> 'closed'")),
        Index("ix_conversation_opened", text("opened_at DESC"), text("id DESC")),
        Index(
            "ix_conversation_first_answered",
            "first_answered_at",
            postgresql_where=text("first_answered_at IS NOT NULL"),
        ),
        Index("ix_conversation_rated", "rated_at", postgresql_where=text("rated_at IS NOT NULL")),
    )

    @property
    def live(self) -> bool:
        return self.state is not TalkState.CLOSED


class Message(db.Model):
    """Words or one picture. Of the bot: how sure it was, what it offered to tap, and what it answered with.

    `shown` is a picture of the shop's own that belongs to an answer, `link_url` with `link_label` where it leads on.
    """

    __tablename__ = "message"
    id: Mapped[pk]
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversation.id", ondelete="CASCADE"))
    sender: Mapped[Sender]
    staff_id: Mapped[int | None]
    body: Mapped[str] = mapped_column(default="")
    picture: Mapped[str | None]
    band: Mapped[Band | None]
    # Pairs of key and words, as they were shown.
    choices: Mapped[list[Any]]
    answer_key: Mapped[str] = mapped_column(default="")
    shown: Mapped[str | None]
    link_url: Mapped[str] = mapped_column(default="", server_default=text("''"))
    link_label: Mapped[str] = mapped_column(default="", server_default=text("''"))
    at: Mapped[datetime]

    __table_args__ = (
        Index("ix_message_conversation", "conversation_id", "id"),
        Index("ix_message_picture", "picture", postgresql_where=text("picture IS NOT NULL")),
    )
