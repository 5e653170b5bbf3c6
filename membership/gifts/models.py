"""Gifts: the catalogue with its stock, and each member's gift on its way."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class GiftKind(enum.StrEnum):
    PHYSICAL = "physical"
    DIGITAL = "digital"
    RED_PACKET = "red_packet"


class GiftState(enum.StrEnum):
    OFFERED = "offered"
    CLAIMED = "claimed"
    ADDRESS_PENDING = "address_pending"
    QUEUED = "queued"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    FORFEITED = "forfeited"
    CANCELLED = "cancelled"
    FAILED = "failed"
    RETURNED = "returned"


class Gift(db.Model):
    __tablename__ = "gift"
    id: Mapped[pk]
    name: Mapped[str]
    kind: Mapped[GiftKind]
    description: Mapped[str] = mapped_column(default="")
    picture: Mapped[str | None]
    # Stock is held by membership.limits under "gift:<id>:stock"; null is unlimited.
    stock: Mapped[int | None]
    value: Mapped[int] = mapped_column(default=0)
    claim_days: Mapped[int] = mapped_column(default=14)
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]


class GiftClaim(db.Model):
    """One member's gift. `benefit` and `period` say why: (member, benefit, period) is unique, so joining three groups gives one."""

    __tablename__ = "gift_claim"
    id: Mapped[pk]
    gift_id: Mapped[int] = mapped_column(ForeignKey("gift.id"))
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    state: Mapped[GiftState]
    benefit: Mapped[str]
    period: Mapped[str] = mapped_column(default="")
    group_id: Mapped[int | None]
    recipient: Mapped[str] = mapped_column(default="")
    phone: Mapped[str] = mapped_column(default="")
    address: Mapped[str] = mapped_column(default="")
    carrier: Mapped[str] = mapped_column(default="")
    tracking_number: Mapped[str] = mapped_column(default="")
    # What a digital gift consists of (a code, a link, a sentence), once staff have sent it.
    content: Mapped[str] = mapped_column(default="")
    # Why it failed, was cancelled or came back, in words.
    reason: Mapped[str] = mapped_column(default="")
    offered_at: Mapped[datetime]
    claimed_at: Mapped[datetime | None]
    claim_until: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    shipped_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    # When the member was reminded that the deadline is near.
    reminded_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("member_id", "benefit", "period"),
        CheckConstraint("benefit <> ''", name="benefit"),
        Index("ix_gift_claim_gift", "gift_id", text("id DESC")),
        Index("ix_gift_claim_open", "state", text("id DESC")),
        Index("ix_gift_claim_member", "member_id", text("id DESC")),
        Index(
            "ix_gift_claim_deadline", "claim_until", postgresql_where=text("state IN ('offered', 'address_pending')")
        ),
    )


class GiftCode(db.Model):
    """A code that a digital gift consists of. One without a claim is free; one that was handed out never becomes free again."""

    __tablename__ = "gift_code"
    id: Mapped[pk]
    gift_id: Mapped[int] = mapped_column(ForeignKey("gift.id"))
    code: Mapped[str]
    claim_id: Mapped[int | None] = mapped_column(ForeignKey("gift_claim.id"), unique=True)
    added_at: Mapped[datetime]
    handed_out_at: Mapped[datetime | None]

    __table_args__ = (
        Index("uq_gift_code_lower", "gift_id", text("lower(code)"), unique=True),
        Index("ix_gift_code_free", "gift_id", "id", postgresql_where=text("claim_id IS NULL")),
    )
