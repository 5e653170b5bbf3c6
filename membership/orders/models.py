"""Orders as the shop's channels report them, and the runs that brought them in."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class OrderState(enum.StrEnum):
    PLACED = "placed"
    PAID = "paid"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    COMPLETED = "completed"
    CLOSED = "closed"
    REFUSED = "refused"


class Payment(enum.StrEnum):
    ONLINE = "online"
    ON_DELIVERY = "on_delivery"


class Order(db.Model):
    """One order. All amounts are 分; `version_at` is when the source last changed it: an older report never overwrites."""

    __tablename__ = "order"
    id: Mapped[pk]
    source: Mapped[str]
    external_id: Mapped[str]
    member_id: Mapped[int | None] = mapped_column(ForeignKey("member.id"))
    state: Mapped[OrderState]
    payment: Mapped[Payment] = mapped_column(default=Payment.ONLINE)
    placed_at: Mapped[datetime]
    paid_at: Mapped[datetime | None]
    shipped_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    paid_amount: Mapped[int]
    postage: Mapped[int] = mapped_column(default=0)
    discount: Mapped[int] = mapped_column(default=0)
    refunded_amount: Mapped[int] = mapped_column(default=0)
    version_at: Mapped[datetime]
    content_hash: Mapped[str]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("import_run.id"))
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        CheckConstraint("paid_amount >= 0 AND postage >= 0 AND refunded_amount >= 0", name="amounts"),
        Index("ix_order_member", "member_id", text("placed_at DESC")),
        Index("ix_order_placed", text("placed_at DESC"), text("id DESC")),
    )


class OrderLine(db.Model):
    __tablename__ = "order_line"
    id: Mapped[pk]
    order_id: Mapped[int] = mapped_column(ForeignKey("order.id", ondelete="CASCADE"))
    position: Mapped[int]
    product_id: Mapped[int | None] = mapped_column(ForeignKey("product.id"))
    sku: Mapped[str]
    title: Mapped[str]
    quantity: Mapped[int]
    unit_price: Mapped[int]
    amount: Mapped[int]
    refunded_quantity: Mapped[int] = mapped_column(default=0)

    __table_args__ = (
        UniqueConstraint("order_id", "position"),
        Index("ix_order_line_product", "product_id", "order_id"),
    )


class Refund(db.Model):
    """A refund as reported; it may arrive before its order, and is applied when the order comes."""

    __tablename__ = "refund"
    id: Mapped[pk]
    source: Mapped[str]
    external_id: Mapped[str]
    order_external_id: Mapped[str]
    order_id: Mapped[int | None] = mapped_column(ForeignKey("order.id"), index=True)
    amount: Mapped[int]
    at: Mapped[datetime]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("import_run.id"))

    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        Index("ix_refund_waiting", "source", "order_external_id", postgresql_where=text("order_id IS NULL")),
    )


class RunState(enum.StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class ImportRun(db.Model):
    """One file: rows_in = accepted + duplicate + rejected, always, once it is done."""

    __tablename__ = "import_run"
    id: Mapped[pk]
    source: Mapped[str]
    format: Mapped[str]
    filename: Mapped[str]
    file_key: Mapped[str]
    encoding: Mapped[str] = mapped_column(default="")
    state: Mapped[RunState] = mapped_column(default=RunState.WAITING)
    failure: Mapped[str | None]
    size: Mapped[int] = mapped_column(default=0)
    # How far the file has been taken in: bytes for the bar, data lines for resuming.
    bytes_done: Mapped[int] = mapped_column(default=0)
    rows_in: Mapped[int] = mapped_column(default=0)
    accepted: Mapped[int] = mapped_column(default=0)
    duplicate: Mapped[int] = mapped_column(default=0)
    rejected: Mapped[int] = mapped_column(default=0)
    orders_new: Mapped[int] = mapped_column(default=0)
    orders_changed: Mapped[int] = mapped_column(default=0)
    members_new: Mapped[int] = mapped_column(default=0)
    checkpoint: Mapped[dict[str, Any]] = mapped_column(default=dict)
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class ImportReject(db.Model):
    __tablename__ = "import_reject"
    id: Mapped[pk]
    run_id: Mapped[int] = mapped_column(ForeignKey("import_run.id", ondelete="CASCADE"), index=True)
    line: Mapped[int]
    column: Mapped[str]
    reason: Mapped[str]
    value: Mapped[str] = mapped_column(default="")
    row: Mapped[list[str]] = mapped_column(default=list)
