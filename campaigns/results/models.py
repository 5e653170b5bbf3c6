"""What came of a push: clicks, and orders attributed to it. Direct, influenced and incremental are never mixed."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class Kind(enum.StrEnum):
    DIRECT = "direct"
    INFLUENCED = "influenced"


class Click(db.Model):
    """A visit through a message's link; visits within ten minutes of one another count once."""

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
