"""What came of a push: clicks, and orders attributed to it. Direct, influenced and incremental are never mixed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class Click(db.Model):
    __tablename__ = "click"
    id: Mapped[pk]
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), index=True)
    at: Mapped[datetime]


class Attribution(db.Model):
    """An order that a run's message led to, directly (its coupon) or by influence (a click within five days, last touch)."""

    __tablename__ = "attribution"
    id: Mapped[pk]
    order_id: Mapped[int] = mapped_column(ForeignKey("order.id"))
    run_id: Mapped[int] = mapped_column(ForeignKey("push_run.id"))
    member_id: Mapped[int]
    kind: Mapped[str]  # direct | influenced
    at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("order_id", "kind"), Index("ix_attribution_run", "run_id", "kind"))
