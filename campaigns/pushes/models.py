"""Pushes and their delivery ledger: one row a target and run, from planned to its end."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class RunState(enum.StrEnum):
    DRAFT = "draft"
    SCHEDULED = "scheduled"
    MATERIALISING = "materialising"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"


class DeliveryState(enum.StrEnum):
    READY = "ready"
    CLAIMED = "claimed"
    SUBMITTING = "submitting"
    ACCEPTED = "accepted"
    SUPPRESSED = "suppressed"
    CAPPED = "capped"
    CONTROL = "control"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    RENDER_FAILED = "render_failed"
    UNKNOWN = "unknown"


class Push(db.Model):
    """What is to be said to whom, and when. `definition` of the audience is copied in, so that it stays what was seen."""

    __tablename__ = "push"
    id: Mapped[pk]
    name: Mapped[str]
    contact_class: Mapped[str] = mapped_column(default="repurchase")
    account_id: Mapped[int] = mapped_column(ForeignKey("channel_account.id"))
    audience: Mapped[dict[str, Any]]
    subject: Mapped[str]
    body: Mapped[str]
    # A personal coupon of this offer goes with each message, granted in the transaction that claims the delivery.
    offer_id: Mapped[int | None] = mapped_column(ForeignKey("offer.id"))
    # Messages a second for this push; null leaves it to the account.
    rate_per_second: Mapped[int | None]
    attribution_days: Mapped[int] = mapped_column(default=14)
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]


class Run(db.Model):
    __tablename__ = "push_run"
    id: Mapped[pk]
    push_id: Mapped[int] = mapped_column(ForeignKey("push.id"))
    # Which time of a recurring push; a one-off has the occurrence "once".
    occurrence: Mapped[str] = mapped_column(default="once")
    state: Mapped[RunState] = mapped_column(default=RunState.DRAFT)
    scheduled_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    # Fan-out goes by member id; everything up to here has its rows.
    cursor: Mapped[int] = mapped_column(default=0)
    through_id: Mapped[int | None]
    planned: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    failure: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("push_id", "occurrence"),
        Index("ix_push_run_due", "scheduled_at", postgresql_where=text("state = 'scheduled'")),
    )


class Slice(db.Model):
    """A leased stretch of a run's deliveries; the token fences a holder that comes back too late."""

    __tablename__ = "push_slice"
    id: Mapped[pk]
    run_id: Mapped[int] = mapped_column(ForeignKey("push_run.id"))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(default="ready")  # ready | leased | done
    token: Mapped[str | None]
    leased_until: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("run_id", "number"),
        Index("ix_push_slice_open", "run_id", "number", postgresql_where=text("state <> 'done'")),
    )


class Delivery(db.Model):
    __tablename__ = "delivery"
    id: Mapped[pk]
    run_id: Mapped[int] = mapped_column(ForeignKey("push_run.id"))
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    slice_number: Mapped[int] = mapped_column(default=0)
    state: Mapped[DeliveryState]
    reason: Mapped[str | None]
    coupon_id: Mapped[int | None]
    provider_id: Mapped[str | None]
    token: Mapped[str | None]
    claimed_until: Mapped[datetime | None]
    accepted_at: Mapped[datetime | None]
    clicked_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("run_id", "member_id"),
        Index("ix_delivery_open", "run_id", "slice_number", postgresql_where=text("state = 'ready'")),
        Index("ix_delivery_leased", "claimed_until", postgresql_where=text("state IN ('claimed', 'submitting')")),
        Index("ix_delivery_member", "member_id", text("id DESC")),
    )
