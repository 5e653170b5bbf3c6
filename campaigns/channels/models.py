"""Ways to reach a member: accounts, their rates and health; the inbox that is always there; the contact budget."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class ChannelKind(enum.StrEnum):
    INBOX = "inbox"
    EMAIL = "email"
    WEBHOOK = "webhook"


class Account(db.Model):
    """One configured account of a channel. `secret` fields of the settings are never shown again."""

    __tablename__ = "channel_account"
    id: Mapped[pk]
    name: Mapped[str]
    kind: Mapped[ChannelKind]
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    # Messages a second; null is as fast as it takes them.
    rate_per_second: Mapped[int | None]
    tokens: Mapped[float] = mapped_column(default=0.0)
    tokens_at: Mapped[datetime | None]
    errors_in_row: Mapped[int] = mapped_column(default=0)
    paused_at: Mapped[datetime | None]
    pause_reason: Mapped[str | None]
    created_at: Mapped[datetime]


class InboxMessage(db.Model):
    """A message on the member's own page."""

    __tablename__ = "inbox_message"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    # "delivery:<id>" or "notice:<id>": the same message arrives once, however often it is handed over.
    key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    title: Mapped[str]
    body: Mapped[str]
    path: Mapped[str | None]
    sent_at: Mapped[datetime]
    read_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_inbox_message_member", "member_id", text("id DESC")),)


class ContactLedger(db.Model):
    """One marketing contact of a member on a business date; what the contact budget counts."""

    __tablename__ = "contact_ledger"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    on: Mapped[date] = mapped_column("on_date")
    contact_class: Mapped[str]
    delivery_id: Mapped[int] = mapped_column(unique=True)
    at: Mapped[datetime]

    __table_args__ = (Index("ix_contact_ledger_member", "member_id", "on_date"), UniqueConstraint("member_id", "on_date", "delivery_id"))
