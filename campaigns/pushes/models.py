"""Pushes and their delivery ledger: one row a target and run, from planned to its end."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class ContactClass(enum.StrEnum):
    """What kind of marketing contact a push is; all of them count against the contact budget."""

    REPURCHASE = "repurchase"
    BROADCAST = "broadcast"


class CouponMode(enum.StrEnum):
    """How a push's coupon gets to the member."""

    LINK = "link"  # They take it with one tap; stock is used by those who do.
    GRANT = "grant"  # It lies in their coupons already when the message arrives.


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


OPEN_STATES = (DeliveryState.READY, DeliveryState.CLAIMED, DeliveryState.SUBMITTING)


class Push(db.Model):
    """What is to be said to whom, and when. `audience` is copied in, so that it stays what was seen."""

    __tablename__ = "push"
    id: Mapped[pk]
    name: Mapped[str]
    contact_class: Mapped[ContactClass] = mapped_column(default=ContactClass.REPURCHASE)
    account_id: Mapped[int] = mapped_column(ForeignKey("channel_account.id"))
    audience: Mapped[dict[str, Any]]
    subject: Mapped[str]
    body: Mapped[str]
    # Where {link} leads: a path of this site or an https address.
    link_url: Mapped[str | None]
    offer_id: Mapped[int | None] = mapped_column(ForeignKey("offer.id"))
    coupon_mode: Mapped[CouponMode] = mapped_column(default=CouponMode.LINK)
    # Messages a second for this push; null leaves it to the account.
    rate_per_second: Mapped[int | None]
    # Whoever has bought meanwhile is not asked to buy again.
    stop_when_bought: Mapped[bool] = mapped_column(default=True)
    attribution_days: Mapped[int] = mapped_column(default=14)
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("rate_per_second > 0", name="rate"),)


class Run(db.Model):
    __tablename__ = "push_run"
    id: Mapped[pk]
    push_id: Mapped[int] = mapped_column(ForeignKey("push.id"))
    # Which time of a recurring push; a one-off has the occurrence "once".
    occurrence: Mapped[str] = mapped_column(default="once")
    state: Mapped[RunState] = mapped_column(default=RunState.DRAFT)
    scheduled_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    # Fan-out goes by member id; everything up to the cursor has its rows, and who comes after `through_id` is too late.
    cursor: Mapped[int] = mapped_column(default=0)
    through_id: Mapped[int | None]
    slices: Mapped[int] = mapped_column(default=0)
    planned: Mapped[int] = mapped_column(default=0)
    tokens: Mapped[float] = mapped_column(default=0.0)
    tokens_at: Mapped[datetime | None]
    woken_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    # An order from here on means "has bought meanwhile": the end of the audience's window, else the start.
    bought_since: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    failure: Mapped[str | None]
    # Final counts by state and reason, written once the last delivery has come to its end.
    tally: Mapped[dict[str, Any] | None]

    __table_args__ = (
        UniqueConstraint("push_id", "occurrence"),
        Index("ix_push_run_due", "scheduled_at", postgresql_where=text("state = 'scheduled'")),
        Index("ix_push_run_live", "id", postgresql_where=text("state IN ('materialising', 'running', 'paused')")),
    )


class Slice(db.Model):
    """A stretch of a run's deliveries that one worker leases at a time.

    Every change of its deliveries first moves this row under the holder's token, which both fences a holder that comes
    back too late and keeps the counts beside the rows they count.
    """

    __tablename__ = "push_slice"
    id: Mapped[pk]
    run_id: Mapped[int] = mapped_column(ForeignKey("push_run.id"))
    number: Mapped[int]
    # The members, from the first to the last one inclusive, whose deliveries of this number it holds.
    from_member: Mapped[int]
    to_member: Mapped[int]
    state: Mapped[str] = mapped_column(default="ready")  # ready | leased | done
    token: Mapped[str | None]
    leased_until: Mapped[datetime | None]
    # Not to be leased before this moment (a retry, the end of quiet hours, new tokens).
    due_at: Mapped[datetime | None]
    total: Mapped[int]
    accepted: Mapped[int] = mapped_column(default=0)
    # Came to an end without having been sent.
    unsent: Mapped[int] = mapped_column(default=0)
    unknown: Mapped[int] = mapped_column(default=0)

    __table_args__ = (
        UniqueConstraint("run_id", "number"),
        CheckConstraint("state IN ('ready', 'leased', 'done')", name="state"),
        CheckConstraint(
            "accepted >= 0 AND unsent >= 0 AND unknown >= 0 AND accepted + unsent + unknown <= total", name="counts"
        ),
        Index("ix_push_slice_open", "run_id", "number", postgresql_where=text("state <> 'done'")),
        # Few rows at a time; without the moment itself, so that prolonging a lease touches no index.
        Index("ix_push_slice_leased", "run_id", postgresql_where=text("state = 'leased'")),
        Index("ix_push_slice_unknown", "run_id", postgresql_where=text("unknown > 0")),
        {"postgresql_with": {"fillfactor": 50}},
    )


class Delivery(db.Model):
    """One message to one member.

    No index holds the state, so that the way from ready to accepted rewrites rows in their own pages (HOT) and touches no
    index. There are no foreign keys to run and member: rows come from these very tables in one INSERT … SELECT, members
    and runs are never deleted, and checking would lock each member's row.
    """

    __tablename__ = "delivery"
    id: Mapped[pk]
    run_id: Mapped[int]
    member_id: Mapped[int]
    # 0: decided while planning (held out, no consent, no address); the others are sent by slice.
    slice_number: Mapped[int] = mapped_column(default=0)
    state: Mapped[DeliveryState]
    reason: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0, server_default=text("0"))
    not_before: Mapped[datetime | None]
    # The business date on which it took its part of the contact budget, while it holds it.
    contacted_on: Mapped[date | None]
    coupon_id: Mapped[int | None]
    provider_id: Mapped[str | None]
    accepted_at: Mapped[datetime | None]
    clicked_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("run_id", "member_id"),
        Index("ix_delivery_member", "member_id", text("id DESC")),
        # Claiming rewrites every row of a page at once, and the new versions are to find their place beside the old.
        {"postgresql_with": {"fillfactor": 50}},
    )
