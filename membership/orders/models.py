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
    """One order. All amounts are 分.

    `version_at` is when the source last changed it, `version_mark` decides between reports of the same instant (see
    `rules.version_mark`): the greater pair wins, whatever arrives first. `reported_refund` is what the order's own report
    says was given back; `refunded_amount` takes single refunds in as well and is what counts. `buyer` is the source's own
    number of the customer, under which cancellations that name no order find it.
    """

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
    reported_refund: Mapped[int] = mapped_column(default=0)
    refunded_amount: Mapped[int] = mapped_column(default=0)
    buyer: Mapped[str | None]
    version_at: Mapped[datetime]
    version_mark: Mapped[str]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("import_run.id"))
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        CheckConstraint("paid_amount >= 0 AND postage >= 0 AND refunded_amount >= 0", name="amounts"),
        Index("ix_order_member", "member_id", text("placed_at DESC")),
        Index("ix_order_placed", text("placed_at DESC"), text("id DESC")),
        Index("ix_order_number", "external_id", postgresql_ops={"external_id": "text_pattern_ops"}),
        Index("ix_order_buyer", "source", "buyer", postgresql_where=text("buyer IS NOT NULL")),
        Index("ix_order_run", "run_id"),
        Index("ix_order_delivered", "delivered_at", postgresql_where=text("delivered_at IS NOT NULL")),
        Index("ix_order_completed", "completed_at", postgresql_where=text("completed_at IS NOT NULL")),
        # Parcels under way that are expected at a known moment.
        Index("ix_order_expected", "delivered_at", postgresql_where=text("state = 'shipped'")),
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
    # Set on what follows from a cancellation; such rows are worked out anew when an earlier purchase arrives late.
    returned_line_id: Mapped[int | None] = mapped_column(ForeignKey("returned_line.id"), index=True)

    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        Index("ix_refund_waiting", "source", "order_external_id", postgresql_where=text("order_id IS NULL")),
    )


class EntryKind(enum.StrEnum):
    CANCELLATION = "cancellation"
    BOOK_KEEPING = "book_keeping"


class FeedEntry(db.Model):
    """Something a feed lists among the orders that is none: a cancellation that names no order, or book-keeping."""

    __tablename__ = "feed_entry"
    id: Mapped[pk]
    source: Mapped[str]
    external_id: Mapped[str]
    kind: Mapped[EntryKind]
    buyer: Mapped[str | None]
    at: Mapped[datetime | None]
    note: Mapped[str] = mapped_column(default="")
    run_id: Mapped[int | None] = mapped_column(ForeignKey("import_run.id"))

    __table_args__ = (UniqueConstraint("source", "external_id"),)


class ReturnedLine(db.Model):
    """A line of a cancellation: so many pieces of a product that a buyer gave back, without saying from which order.

    `unmatched` is how many pieces no earlier purchase has been found for.
    """

    __tablename__ = "returned_line"
    id: Mapped[pk]
    entry_id: Mapped[int] = mapped_column(ForeignKey("feed_entry.id", ondelete="CASCADE"))
    position: Mapped[int]
    source: Mapped[str]
    buyer: Mapped[str]
    sku: Mapped[str]
    quantity: Mapped[int]
    unit_price: Mapped[int]
    at: Mapped[datetime]
    unmatched: Mapped[int]

    __table_args__ = (
        UniqueConstraint("entry_id", "position"),
        Index("ix_returned_line_buyer", "source", "buyer", "sku"),
    )


class RunState(enum.StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class ImportRun(db.Model):
    """One file. `rows_in` = accepted + duplicate + rejected at every moment; once the run is done it is `rows_total`.

    A run waits until somebody has looked at its preview. While it runs, whoever holds `lease_token` works on it; when
    `lease_until` has passed, a sweep gives it to somebody else, who goes on at `checkpoint["entries"]`.
    """

    __tablename__ = "import_run"
    id: Mapped[pk]
    source: Mapped[str]
    format: Mapped[str]
    filename: Mapped[str]
    file_key: Mapped[str]
    encoding: Mapped[str] = mapped_column(default="")
    state: Mapped[RunState] = mapped_column(default=RunState.WAITING)
    # What is wrong with the file as a whole: {"code": a value of `formats.sheet.Wrong`, …what its sentence needs}.
    failure: Mapped[dict[str, Any] | None]
    size: Mapped[int] = mapped_column(default=0)
    rows_total: Mapped[int] = mapped_column(default=0)
    rows_in: Mapped[int] = mapped_column(default=0)
    accepted: Mapped[int] = mapped_column(default=0)
    duplicate: Mapped[int] = mapped_column(default=0)
    rejected: Mapped[int] = mapped_column(default=0)
    orders_new: Mapped[int] = mapped_column(default=0)
    orders_changed: Mapped[int] = mapped_column(default=0)
    members_new: Mapped[int] = mapped_column(default=0)
    checkpoint: Mapped[dict[str, Any]] = mapped_column(default=dict)
    lease_token: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_import_run_running", "lease_until", postgresql_where=text("state = 'running'")),)


class ImportReject(db.Model):
    __tablename__ = "import_reject"
    id: Mapped[pk]
    run_id: Mapped[int] = mapped_column(ForeignKey("import_run.id", ondelete="CASCADE"), index=True)
    line: Mapped[int]
    column: Mapped[str]
    reason: Mapped[str]
    value: Mapped[str] = mapped_column(default="")
    row: Mapped[list[str]] = mapped_column(default=list)
