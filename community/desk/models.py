"""The desk: call-backs after delivery, and the scripts that help to hold them."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class CallState(enum.StrEnum):
    OPEN = "open"
    RETRY = "retry"
    REACHED = "reached"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


class CallReason(enum.StrEnum):
    DELIVERED = "delivered"
    REFUSED_PARCEL = "refused_parcel"
    WRONG_ADDRESS = "wrong_address"
    FOLLOW_UP = "follow_up"


class CallTask(db.Model):
    __tablename__ = "call_task"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    order_id: Mapped[int | None] = mapped_column(ForeignKey("order.id"))
    reason: Mapped[CallReason]
    state: Mapped[CallState] = mapped_column(default=CallState.OPEN)
    due_at: Mapped[datetime]
    assignee_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    tries: Mapped[int] = mapped_column(default=0)
    outcome_note: Mapped[str] = mapped_column(default="")
    satisfaction: Mapped[int | None]
    # Which group the member was invited to, so that the funnel can be followed.
    invited_group_id: Mapped[int | None] = mapped_column(ForeignKey("group.id"))
    closed_at: Mapped[datetime | None]
    closed_by_id: Mapped[int | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("order_id", "reason"),
        Index("ix_call_task_due", "due_at", "id", postgresql_where=text("state IN ('open', 'retry')")),
        Index("ix_call_task_member", "member_id", text("id DESC")),
    )


class Script(db.Model):
    """What to say, by reason and customer type; `{name}`-like places are filled for the customer at hand."""

    __tablename__ = "script"
    id: Mapped[pk]
    title: Mapped[str]
    reason: Mapped[CallReason | None]
    customer_type: Mapped[str | None]
    voice: Mapped[str] = mapped_column(default="")
    body: Mapped[str]
    created_at: Mapped[datetime]
