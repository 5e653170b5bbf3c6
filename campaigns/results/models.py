"""What came of a push: clicks, and orders attributed to it. Direct, influenced and incremental are never mixed."""

from __future__ import annotations

import enum
from datetime import date, datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from campaigns.channels.copies import OPEN, Copied
from kernel.db import db, pk


class Kind(enum.StrEnum):
    DIRECT = "direct"
    INFLUENCED = "influenced"


class Click(db.Model):
    """A visit through a message's link; a member's visits within ten minutes of one another count once.

    Those whom no browser knows (`NOBODY`) come through a place's link alone. They count one by one, at most thirty of a
    message from one network address in each ten minutes of the clock.
    """

    __tablename__ = "click"
    id: Mapped[pk]
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"))
    run_id: Mapped[int]
    member_id: Mapped[int]
    target: Mapped[str]
    at: Mapped[datetime]

    __table_args__ = (
        Index("ix_click_delivery", "delivery_id", text("id DESC")),
        Index("ix_click_member", "member_id", text("at DESC")),
        Index("ix_click_run", "run_id"),
    )


class Attribution(db.Model):
    """An order that a run's message led to, directly (its coupon) or by influence (a click within five days, last touch)."""

    __tablename__ = "attribution"
    id: Mapped[pk]
    order_id: Mapped[int] = mapped_column(ForeignKey("order.id"))
    run_id: Mapped[int] = mapped_column(ForeignKey("push_run.id"))
    member_id: Mapped[int]
    kind: Mapped[Kind]
    at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("order_id", "kind"), Index("ix_attribution_run", "run_id", "kind"))


class Rhythm(enum.StrEnum):
    WEEKLY = "weekly"
    MONTHLY = "monthly"


class ReportPlan(db.Model):
    """A report on what pushes brought that goes by e-mail to some of the staff, after each week or month."""

    __tablename__ = "report_plan"
    id: Mapped[pk]
    name: Mapped[str]
    rhythm: Mapped[Rhythm]
    account_id: Mapped[int] = mapped_column(ForeignKey("channel_account.id"))
    # The language it is written in.
    locale: Mapped[str]
    # Who gets it: `[staff id, …]`.
    staff_ids: Mapped[list[int]]
    paused_at: Mapped[datetime | None]
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]


class ReportCopy(Copied, db.Model):
    """One person's copy of a report for a period: the key lets it exist once, whatever repeats."""

    __tablename__ = "report_copy"
    plan_id: Mapped[int] = mapped_column(ForeignKey("report_plan.id", ondelete="CASCADE"), primary_key=True)
    # The first day of the week or month.
    period: Mapped[date] = mapped_column(primary_key=True)
    staff_id: Mapped[int] = mapped_column(primary_key=True)

    __table_args__ = (Index("ix_report_copy_open", "changed_at", postgresql_where=OPEN),)
