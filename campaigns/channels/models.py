"""Ways to reach a member: accounts, their rates and health; the inbox that is always there; the contact budget."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class ChannelKind(enum.StrEnum):
    INBOX = "inbox"
    EMAIL = "email"
    SMS = "sms"
    WECOM = "wecom"  # A mass send to customers of WeCom, which staff confirm there.
    TASK = "task"  # A person of the staff calls or writes.
    WEBHOOK = "webhook"
    ROBOT = "robot"  # A robot in a group chat of Feishu, DingTalk or WeCom.
    GROUP_POST = "group_post"  # The feed of the shop's own groups.


class Account(db.Model):
    """One configured account of a channel. What must stay secret lies sealed in `secret` and is never shown again."""

    __tablename__ = "channel_account"
    id: Mapped[pk]
    name: Mapped[str]
    kind: Mapped[ChannelKind]
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    secret: Mapped[str | None]
    # Messages a second; null is as fast as it takes them.
    rate_per_second: Mapped[int | None]
    tokens: Mapped[float] = mapped_column(default=0.0)
    tokens_at: Mapped[datetime | None]
    errors_in_row: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None]
    last_error_at: Mapped[datetime | None]
    last_accepted_at: Mapped[datetime | None]
    # After a failed connection nothing is tried before this moment.
    retry_at: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    pause_reason: Mapped[str | None]
    tested_at: Mapped[datetime | None]
    tested_to: Mapped[str | None]
    # What the other side said to the latest test; null while it is on its way.
    test_outcome: Mapped[str | None]
    test_passed: Mapped[bool | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("rate_per_second > 0", name="rate"),
        # There is one inbox, and it is the shop's own.
        Index("uq_channel_account_inbox", "kind", unique=True, postgresql_where=text("kind = 'inbox'")),
    )


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

    __table_args__ = (
        Index("ix_inbox_message_member", "member_id", text("id DESC")),
        Index("ix_inbox_message_unread", "member_id", postgresql_where=text("read_at IS NULL")),
    )


class ContactLedger(db.Model):
    """The marketing contacts of a member in a calendar month of the shop's time zone, and on the latest day of it.

    One row carries both caps, so that one conditional upsert in the order of member ids takes them, exactly and without
    a deadlock. Which delivery took what stands on the delivery (`contacted_on`).
    """

    __tablename__ = "contact_ledger"
    member_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    month_on: Mapped[date] = mapped_column(primary_key=True)
    total: Mapped[int]
    day_on: Mapped[date]
    day_total: Mapped[int]

    __table_args__ = (
        CheckConstraint("total >= 0 AND day_total >= 0 AND day_total <= total", name="counts"),
        {"postgresql_with": {"fillfactor": 80}},
    )
