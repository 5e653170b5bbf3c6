"""Offers in their versions, the coupons that members hold, and what happened to each."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, UniqueConstraint, false, text, true
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk
from kernel.guards import points_at


class CouponKind(enum.StrEnum):
    AMOUNT = "amount"
    PERCENT = "percent"
    FIXED_PRICE = "fixed_price"
    GIFT_ITEM = "gift_item"
    FREE_SHIPPING = "free_shipping"


class OfferState(enum.StrEnum):
    DRAFT = "draft"
    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"


class CouponState(enum.StrEnum):
    ISSUED = "issued"
    RESERVED = "reserved"
    REDEEMED = "redeemed"
    EXPIRED = "expired"
    REVOKED = "revoked"
    TRANSFERRED = "transferred"
    FROZEN = "frozen"


class PoolKind(enum.StrEnum):
    SHARED = "shared"
    SINGLE = "single"


class TransferState(enum.StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    CANCELLED = "cancelled"


class Offer(db.Model):
    """What can be claimed. Its terms live in versions; stock and claim limits are the offer's own."""

    __tablename__ = "offer"
    id: Mapped[pk]
    name: Mapped[str]
    state: Mapped[OfferState] = mapped_column(default=OfferState.DRAFT)
    version_id: Mapped[int | None]
    # Null is unlimited. `claimed` counts coupons really inserted and is changed only under this row's lock.
    stock: Mapped[int | None]
    claimed: Mapped[int] = mapped_column(default=0)
    per_member: Mapped[int | None]
    # How many are given out a day to all together; `claimed_today` counts those of the shop's day `claimed_on`.
    per_day: Mapped[int | None]
    claimed_on: Mapped[date | None]
    claimed_today: Mapped[int] = mapped_column(default=0)
    claim_from: Mapped[datetime | None]
    claim_until: Mapped[datetime | None]
    open_to_new: Mapped[bool] = mapped_column(default=False)
    # Caps that are counters of `membership.limits`: what all its coupons may take off together (分), how many one natural
    # person may have over all their records, how many go out through one group.
    budget: Mapped[int | None]
    per_person: Mapped[int | None]
    per_group: Mapped[int | None]
    # So many hours before a coupon ends its owner is reminded, once.
    remind_hours: Mapped[int | None]
    archived_at: Mapped[datetime | None]
    # Drawn for the form that made it, so that a double click makes one offer.
    form_key: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("claimed >= 0 AND (stock IS NULL OR claimed <= stock)", name="stock"),)


class OfferVersion(db.Model):
    """The terms of an offer; never changed, so that a coupon's terms stay what they were when it was claimed."""

    __tablename__ = "offer_version"
    id: Mapped[pk]
    offer_id: Mapped[int] = mapped_column(ForeignKey("offer.id"), index=True)
    number: Mapped[int]
    kind: Mapped[CouponKind]
    # 分 for amount and fixed price; per mille paid for percent (850 = 8.5折).
    value: Mapped[int]
    discount_cap: Mapped[int | None]
    min_spend: Mapped[int] = mapped_column(default=0)
    skus: Mapped[list[str]] = mapped_column(default=list)
    item_title: Mapped[str] = mapped_column(default="")
    usable_from: Mapped[datetime | None]
    usable_until: Mapped[datetime | None]
    valid_days: Mapped[int | None]
    min_rank: Mapped[int] = mapped_column(default=0)
    group_id: Mapped[int | None]
    channels: Mapped[list[str]] = mapped_column(default=list)
    stack_group: Mapped[str] = mapped_column(default="")
    exclusive: Mapped[bool] = mapped_column(default=False)
    # Coupons of a smaller number are taken off first; a percentage counts on what is left then.
    priority: Mapped[int] = mapped_column(default=100)
    # Whether the owner's tier discount counts beside it, and whether its owner may give it to a friend.
    with_tier: Mapped[bool] = mapped_column(default=True, server_default=true())
    transferable: Mapped[bool] = mapped_column(default=False, server_default=false())
    terms: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("offer_id", "number"),)


class Coupon(db.Model):
    """A member's coupon. Whoever writes one holds its offer's row, which names the version, and the member's: three foreign keys
    would look for them a second time, under the lock for which a crowd waits (`kernel.guards`)."""

    __tablename__ = "coupon"
    id: Mapped[pk]
    offer_id: Mapped[int] = mapped_column(info=points_at("offer"))
    version_id: Mapped[int] = mapped_column(info=points_at("offer_version", kept=True))
    member_id: Mapped[int] = mapped_column(info=points_at("member"))
    # At least 64 random bits, unique ignoring case.
    code: Mapped[str]
    state: Mapped[CouponState] = mapped_column(default=CouponState.ISSUED)
    # The first, second … coupon of this offer for this member: with the unique key, what holds "one each" under a crowd.
    ordinal: Mapped[int] = mapped_column(default=1)
    # Why it was granted without a claim, e.g. "push:12:345"; granting twice under one key gives one coupon.
    grant_key: Mapped[str | None]
    source: Mapped[str] = mapped_column(default="")
    # Half open: [usable_from, usable_until).
    usable_from: Mapped[datetime]
    usable_until: Mapped[datetime]
    issued_at: Mapped[datetime]
    # The order that holds it while its buyer pays, and until when.
    reserved_source: Mapped[str | None]
    reserved_order: Mapped[str | None]
    reserved_until: Mapped[datetime | None]
    redeemed_at: Mapped[datetime | None]
    reminded_at: Mapped[datetime | None]
    # Keyed hashes of the address and the browser that it was claimed from, to find those who claim for many.
    network: Mapped[str | None]
    device: Mapped[str | None]
    # The coupon of a friend that became this one.
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("coupon.id"))

    __table_args__ = (
        # The member leads: a member's coupons are found by it too, an offer's by the index below.
        UniqueConstraint("member_id", "offer_id", "ordinal"),
        Index("uq_coupon_code_lower", text("lower(code)"), unique=True),
        Index("uq_coupon_grant_key", "grant_key", unique=True, postgresql_where=text("grant_key IS NOT NULL")),
        Index("ix_coupon_offer", "offer_id", text("id DESC")),
        # Insertion follows time, so that a BRIN index finds a week of claims and costs a claim next to nothing.
        Index("ix_coupon_issued", "issued_at", postgresql_using="brin"),
        Index("ix_coupon_expiring", "usable_until", postgresql_where=text("state = 'issued'")),
        Index("ix_coupon_reserved", "reserved_until", postgresql_where=text("state = 'reserved'")),
        CheckConstraint("usable_from <= usable_until", name="interval"),
    )


class Redemption(db.Model):
    """A coupon used on an order. One live one a coupon; rolling back keeps the row."""

    __tablename__ = "redemption"
    id: Mapped[pk]
    coupon_id: Mapped[int] = mapped_column(ForeignKey("coupon.id"))
    offer_id: Mapped[int] = mapped_column(ForeignKey("offer.id"), index=True)
    source: Mapped[str]
    order_external_id: Mapped[str]
    # What the goods cost before any coupon, and what this one took off (goods and postage together).
    amount: Mapped[int]
    discount: Mapped[int]
    # How the discount on goods lies on the order's lines, in their order.
    shares: Mapped[list[int]] = mapped_column(default=list)
    # What the buyer's tier took off the goods before any coupon; the same on every redemption of an order.
    tier_discount: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    # The postage that the tier took off, likewise.
    tier_postage: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    redeemed_at: Mapped[datetime]
    rolled_back_at: Mapped[datetime | None]
    rollback_reason: Mapped[str | None]

    __table_args__ = (
        Index("uq_redemption_live", "coupon_id", unique=True, postgresql_where=text("rolled_back_at IS NULL")),
        Index("ix_redemption_order", "source", "order_external_id"),
        CheckConstraint("discount >= 0", name="discount"),
    )


class CouponEvent(db.Model):
    """Each change of a coupon's state; the state is the fold of these."""

    __tablename__ = "coupon_event"
    id: Mapped[pk]
    coupon_id: Mapped[int] = mapped_column(primary_key=True, info=points_at("coupon"))
    from_state: Mapped[CouponState | None]
    to_state: Mapped[CouponState]
    at: Mapped[datetime]
    reason: Mapped[str] = mapped_column(default="")
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)

    # One index for the key and for a coupon's story.
    __table_args__ = (PrimaryKeyConstraint("coupon_id", "id"),)


class ClaimLink(db.Model):
    """A public way to an offer: anyone may open it, and says who they are before claiming."""

    __tablename__ = "claim_link"
    id: Mapped[pk]
    token: Mapped[str] = mapped_column(unique=True)
    offer_id: Mapped[int] = mapped_column(ForeignKey("offer.id"), index=True)
    # Where it is shown (a poster, a parcel card, a live room); coupons claimed through it carry `link:<id>`.
    name: Mapped[str] = mapped_column(default="")
    revoked_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class CodePool(db.Model):
    """Codes that can be typed for a coupon of an offer: one public code for all, or many of which each gives one coupon.

    Making or reading in many codes is a run: `done` of `total`, and what was refused in `rejects`.
    """

    __tablename__ = "code_pool"
    id: Mapped[pk]
    offer_id: Mapped[int] = mapped_column(ForeignKey("offer.id"), index=True)
    name: Mapped[str]
    kind: Mapped[PoolKind]
    # How generated codes look: letters in front, then random characters in groups of so many.
    prefix: Mapped[str] = mapped_column(default="")
    length: Mapped[int] = mapped_column(default=13)
    group: Mapped[int] = mapped_column("group_length", default=0)
    total: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    accepted: Mapped[int] = mapped_column(default=0)
    # The text of a file that is being read in, emptied at the end; (line, code, why) of what was refused.
    body: Mapped[str | None]
    rejects: Mapped[list[Any]] = mapped_column(default=list)
    finished_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_code_pool_open", "id", postgresql_where=text("finished_at IS NULL")),
        CheckConstraint("done <= total", name="progress"),
    )


class PoolCode(db.Model):
    """One code of a pool. A single-use code belongs to one coupon at most; a shared one lets each member claim theirs."""

    __tablename__ = "pool_code"
    id: Mapped[pk]
    pool_id: Mapped[int] = mapped_column(ForeignKey("code_pool.id"))
    code: Mapped[str]
    coupon_id: Mapped[int | None] = mapped_column(ForeignKey("coupon.id"), unique=True)

    __table_args__ = (
        Index("uq_pool_code_lower", text("lower(code)"), unique=True),
        Index("ix_pool_code_free", "pool_id", "id", postgresql_where=text("coupon_id IS NULL")),
        Index("ix_pool_code_pool", "pool_id", "id"),
    )


class CouponTransfer(db.Model):
    """A coupon on its way to a friend: a link that whoever opens it may accept, until its owner calls it back."""

    __tablename__ = "coupon_transfer"
    id: Mapped[pk]
    coupon_id: Mapped[int] = mapped_column(ForeignKey("coupon.id"), index=True)
    from_member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    state: Mapped[TransferState] = mapped_column(default=TransferState.OPEN)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    to_member_id: Mapped[int | None] = mapped_column(ForeignKey("member.id"), index=True)
    new_coupon_id: Mapped[int | None] = mapped_column(ForeignKey("coupon.id"))

    __table_args__ = (
        Index("uq_coupon_transfer_open", "coupon_id", unique=True, postgresql_where=text("state = 'open'")),
    )


class CouponClearance(db.Model):
    """Somebody has looked at a suspicious coupon and found it well: the report leaves it out from then on."""

    __tablename__ = "coupon_clearance"
    coupon_id: Mapped[int] = mapped_column(ForeignKey("coupon.id"), primary_key=True)
    staff_id: Mapped[int | None]
    at: Mapped[datetime]


class GrantRun(db.Model):
    """Coupons for many members at once, from a file or an audience, in slices that can be gone on with."""

    __tablename__ = "grant_run"
    id: Mapped[pk]
    offer_id: Mapped[int] = mapped_column(ForeignKey("offer.id"), index=True)
    name: Mapped[str]
    # Whom it is for, in order; `done` of them have been seen to.
    members: Mapped[list[int]] = mapped_column(default=list)
    total: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    granted: Mapped[int] = mapped_column(default=0)
    had_already: Mapped[int] = mapped_column(default=0)
    without: Mapped[int] = mapped_column(default=0)
    # (line, text, why) of the lines of a file that name nobody.
    rejects: Mapped[list[Any]] = mapped_column(default=list)
    form_key: Mapped[str | None] = mapped_column(unique=True)
    finished_at: Mapped[datetime | None]
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_grant_run_open", "id", postgresql_where=text("finished_at IS NULL")),
        CheckConstraint("done <= total", name="progress"),
    )
