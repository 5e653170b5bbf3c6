"""What members were given because of their tier, and how far the monthly and birthday rounds have come."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class Benefit(enum.StrEnum):
    ENTRY_GIFT = "entry_gift"
    ENTRY_COUPON = "entry_coupon"
    BIRTHDAY_GIFT = "birthday_gift"
    MONTHLY_COUPON = "monthly_coupon"


class BenefitState(enum.StrEnum):
    GIVEN = "given"
    # The stock was empty, or the offer not running; a new round gives it after all.
    MISSED = "missed"


class BenefitGrant(db.Model):
    """One benefit of one member. (member, benefit, rank, period) is unique: down and up again gives nothing twice.

    An entry benefit is of its rank and has no period; a birthday gift's period is a year (`2026`), that of a monthly
    coupon a month (`2026-11`), and these two have rank 0 in the key, so that another tier in the same period gives no
    second one. `given_rank` is the tier that gave it.
    """

    __tablename__ = "benefit_grant"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    benefit: Mapped[Benefit]
    rank: Mapped[int]
    period: Mapped[str] = mapped_column(default="")
    state: Mapped[BenefitState]
    given_rank: Mapped[int]
    offer_id: Mapped[int | None]
    gift_id: Mapped[int | None]
    coupon_id: Mapped[int | None]
    claim_id: Mapped[int | None]
    at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("member_id", "benefit", "rank", "period"),
        Index("ix_benefit_grant_latest", "benefit", text("id DESC")),
        Index("ix_benefit_grant_missed", "benefit", "id", postgresql_where=text("state = 'missed'")),
    )


class BenefitRound(db.Model):
    """One month's coupons to everybody of the tiers that have one: how far it has come, in slices by member."""

    __tablename__ = "benefit_round"
    period: Mapped[str] = mapped_column(primary_key=True)
    # Another version of the rules begins the round anew: what was given stays given.
    policy_id: Mapped[int] = mapped_column(ForeignKey("tier_policy.id"))
    cursor: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    given: Mapped[int] = mapped_column(default=0)
    missed: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
