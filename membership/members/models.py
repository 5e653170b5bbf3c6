"""A person, how each channel knows them, what they agreed to, and what staff wrote about them."""

from __future__ import annotations

import enum
from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class Channel(enum.StrEnum):
    """Where an identity comes from."""

    TAOBAO = "taobao"
    TMALL = "tmall"
    DOUYIN = "douyin"
    SHOP = "shop"
    COUNTER = "counter"
    WECOM = "wecom"
    WECHAT = "wechat"
    PHONE = "phone"
    EMAIL = "email"


class Stage(enum.StrEnum):
    LEAD = "lead"
    CUSTOMER = "customer"
    MEMBER = "member"
    ACTIVE = "active"
    DORMANT = "dormant"
    LOST = "lost"


class CustomerType(enum.StrEnum):
    """How a customer likes to be answered."""

    RATIONAL = "rational"
    IRRITABLE = "irritable"
    HAGGLER = "haggler"
    PRESSING = "pressing"
    NO_SAYER = "no_sayer"


class Contact(enum.StrEnum):
    """The channels that a consent speaks of."""

    INBOX = "inbox"
    EMAIL = "email"
    SMS = "sms"
    CALL = "call"


class Purpose(enum.StrEnum):
    MARKETING = "marketing"
    SERVICE = "service"


class Member(db.Model):
    __tablename__ = "member"
    id: Mapped[pk]
    name: Mapped[str] = mapped_column(default="")
    nickname: Mapped[str] = mapped_column(default="")
    # Canonical E.164; the same text is an identity of the channel `phone`.
    phone: Mapped[str | None] = mapped_column(unique=True)
    email: Mapped[str | None] = mapped_column(unique=True)
    birthday: Mapped[date | None]
    customer_type: Mapped[CustomerType | None]
    hobbies: Mapped[str] = mapped_column(default="")
    city: Mapped[str] = mapped_column(default="")
    address: Mapped[str] = mapped_column(default="")
    locale: Mapped[str] = mapped_column(default="zh_Hans")
    source: Mapped[str] = mapped_column(default="")
    stage: Mapped[Stage] = mapped_column(default=Stage.LEAD)
    stage_since: Mapped[datetime]
    # The person's rank 0–4, kept by membership.tiers; benefits count from `enrolled_at`.
    rank: Mapped[int] = mapped_column(default=0)
    enrolled_at: Mapped[datetime | None]
    # Kept by membership.orders from the orders themselves: all orders that were paid and not wholly refunded.
    orders_count: Mapped[int] = mapped_column(default=0)
    spend: Mapped[int] = mapped_column(default=0)
    first_order_at: Mapped[datetime | None]
    last_order_at: Mapped[datetime | None]
    merged_into_id: Mapped[int | None] = mapped_column(ForeignKey("member.id"))
    erased_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("rank BETWEEN 0 AND 4", name="rank"),
        Index(
            "ix_member_list", text("created_at DESC"), text("id DESC"), postgresql_where=text("merged_into_id IS NULL")
        ),
        Index("ix_member_rank", "rank", text("id DESC"), postgresql_where=text("merged_into_id IS NULL")),
        Index("ix_member_spend", text("spend DESC"), text("id DESC"), postgresql_where=text("merged_into_id IS NULL")),
        # Whoever never ordered sorts as if it had been very long ago; see `queries.LAST_ORDER`.
        Index(
            "ix_member_last_order",
            text("COALESCE(last_order_at, '1970-01-01 00:00:00+00'::timestamp with time zone) DESC"),
            text("id DESC"),
        ),
        Index("ix_member_source", "source"),
        # The tail of a phone is what people at a counter know.
        Index("ix_member_phone_tail", text("reverse(phone) text_pattern_ops")),
    )

    @property
    def shown_name(self) -> str:
        return self.nickname or self.name or f"#{self.id}"


class MemberIdentity(db.Model):
    __tablename__ = "member_identity"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    channel: Mapped[Channel]
    external_id: Mapped[str]
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("channel", "external_id"),)


class Consent(db.Model):
    """Append-only; the latest row of (member, channel, purpose) rules, and none means no."""

    __tablename__ = "consent"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    channel: Mapped[Contact]
    purpose: Mapped[Purpose]
    granted: Mapped[bool]
    source: Mapped[str]
    text_version: Mapped[str]
    # The staff member who wrote it down, or empty when the person did it themselves.
    author: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime]

    __table_args__ = (Index("ix_consent_latest", "member_id", "channel", "purpose", text("id DESC")),)


class OptOut(db.Model):
    """A refusal that outlives the person's row: a keyed hash of phone or e-mail, so that no re-import brings them back."""

    __tablename__ = "opt_out"
    id: Mapped[pk]
    address_hash: Mapped[str]
    channel: Mapped[Contact]
    at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("address_hash", "channel"),)


class Tag(db.Model):
    __tablename__ = "tag"
    id: Mapped[pk]
    name: Mapped[str] = mapped_column(unique=True)


class MemberTag(db.Model):
    __tablename__ = "member_tag"
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id", ondelete="CASCADE"), primary_key=True)
    tag_id: Mapped[int] = mapped_column(ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True, index=True)
    at: Mapped[datetime]


class Note(db.Model):
    """What staff wrote about a member."""

    __tablename__ = "member_note"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    staff_id: Mapped[int | None]
    author: Mapped[str]
    body: Mapped[str]
    at: Mapped[datetime]


class SignInCode(db.Model):
    """A one-time code sent by e-mail. The code itself is kept nowhere: it follows from the row under the shop's key."""

    __tablename__ = "sign_in_code"
    id: Mapped[pk]
    # Empty for an address that nobody here has: the row is made all the same, so that both look alike from outside.
    member_id: Mapped[int | None]
    nonce: Mapped[str] = mapped_column(unique=True)
    tries: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
