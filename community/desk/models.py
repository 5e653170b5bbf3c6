"""The desk: call-backs after delivery, and the scripts that help to hold them."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk
from membership.members.models import CustomerType


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
    """Somebody to be called. A member has one live task at a time: a further parcel joins it (`CallTaskOrder`)."""

    __tablename__ = "call_task"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    # The order the call is mainly about; the others that joined are in `call_task_order`.
    order_id: Mapped[int | None] = mapped_column(ForeignKey("order.id"))
    reason: Mapped[CallReason]
    # What a colleague wants to be asked or said, when somebody opened the task by hand.
    about: Mapped[str] = mapped_column(default="")
    state: Mapped[CallState] = mapped_column(default=CallState.OPEN)
    due_at: Mapped[datetime]
    assignee_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    # How often it was tried; what an agent records counts only for the try they saw on their page.
    tries: Mapped[int] = mapped_column(default=0)
    called_at: Mapped[datetime | None]
    outcome_note: Mapped[str] = mapped_column(default="")
    satisfaction: Mapped[int | None]
    # Which group the member was invited to, when and by whom, so that the funnel can be followed.
    invited_group_id: Mapped[int | None] = mapped_column(ForeignKey("group.id"))
    invited_at: Mapped[datetime | None]
    invited_by_id: Mapped[int | None]
    closed_at: Mapped[datetime | None]
    closed_by_id: Mapped[int | None]
    opened_by_id: Mapped[int | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("satisfaction BETWEEN 1 AND 5", name="satisfaction"),
        CheckConstraint("(closed_at IS NULL) = (state IN ('open', 'retry'))", name="closed"),
        Index("uq_call_task_live", "member_id", unique=True, postgresql_where=text("state IN ('open', 'retry')")),
        Index("ix_call_task_due", "due_at", "id", postgresql_where=text("state IN ('open', 'retry')")),
        Index("ix_call_task_closed", text("closed_at DESC"), postgresql_where=text("closed_at IS NOT NULL")),
        Index("ix_call_task_member", "member_id", text("id DESC")),
    )


class CallTaskOrder(db.Model):
    """An order that a call is about. An order is asked about once for each reason, whatever became of the task."""

    __tablename__ = "call_task_order"
    order_id: Mapped[int] = mapped_column(ForeignKey("order.id"), primary_key=True)
    reason: Mapped[CallReason] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("call_task.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime]


class Script(db.Model):
    """What to say, by reason and customer type; `{name}`-like places are filled for the customer at hand."""

    __tablename__ = "script"
    id: Mapped[pk]
    title: Mapped[str]
    reason: Mapped[CallReason | None]
    customer_type: Mapped[CustomerType | None]
    # The role in whose voice it is written (a value of `kernel.auth.Role`); empty suits everybody.
    voice: Mapped[str] = mapped_column(default="")
    body: Mapped[str]
    # Whose own it is; nobody's is everybody's.
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    # How often it was sent to somebody, or used in a call.
    used: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    created_at: Mapped[datetime]
