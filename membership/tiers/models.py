"""The tier policy in its versions, and every member's way through the tiers."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class Metric(enum.StrEnum):
    ANY = "any"
    ALL = "all"
    SPEND = "spend"
    ORDERS = "orders"


class Window(enum.StrEnum):
    LIFETIME = "lifetime"
    ROLLING = "rolling"
    CALENDAR = "calendar"


class Downgrade(enum.StrEnum):
    NONE = "none"
    ONE_LEVEL = "one_level"
    REASSESS = "reassess"


class RefundEffect(enum.StrEnum):
    IMMEDIATE = "immediate"
    AT_REVIEW = "at_review"


class TierPolicy(db.Model):
    """One version; the one with the greatest id is in force. `levels` lists, for ranks 1–4 that are on:
    {"rank", "name", "name_en", "spend" (分), "orders", "discount" (per mille paid: 950 = 9.5折), "benefits" (text)}."""

    __tablename__ = "tier_policy"
    id: Mapped[pk]
    metric: Mapped[Metric]
    window: Mapped[Window]
    rolling_days: Mapped[int | None]
    valid_days: Mapped[int]
    grace_days: Mapped[int]
    downgrade: Mapped[Downgrade]
    refund_effect: Mapped[RefundEffect]
    levels: Mapped[list[Any]]
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]


class MemberTier(db.Model):
    """Where a member stands. `member.rank` is the same number as `rank`, kept there for lists and rules.

    `own_rank`, `valid_until` and `backed_at` are what `rules.tier_for` says; `rank` is lifted by a manual tier while that
    lasts. `backed_at` is the instant as at which orders reached `own_rank`: a refund of those orders may take it back.
    """

    __tablename__ = "member_tier"
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id", ondelete="CASCADE"), primary_key=True)
    rank: Mapped[int]
    since: Mapped[datetime]
    own_rank: Mapped[int]
    valid_until: Mapped[datetime | None]
    backed_at: Mapped[datetime | None]
    spend: Mapped[int]
    orders: Mapped[int]
    manual_rank: Mapped[int | None]
    manual_reason: Mapped[str | None]
    manual_until: Mapped[datetime | None]
    policy_id: Mapped[int] = mapped_column(ForeignKey("tier_policy.id"))
    reviewed_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_member_tier_due", "valid_until", postgresql_where=text("valid_until IS NOT NULL")),
        Index("ix_member_tier_manual", "manual_until", postgresql_where=text("manual_until IS NOT NULL")),
    )


class TierChange(db.Model):
    __tablename__ = "tier_change"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id", ondelete="CASCADE"))
    from_rank: Mapped[int]
    to_rank: Mapped[int]
    reason: Mapped[str]
    spend: Mapped[int]
    orders: Mapped[int]
    policy_id: Mapped[int] = mapped_column(ForeignKey("tier_policy.id"))
    staff_id: Mapped[int | None]
    at: Mapped[datetime]

    __table_args__ = (Index("ix_tier_change_member", "member_id", text("id DESC")),)
