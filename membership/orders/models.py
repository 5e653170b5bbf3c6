"""Orders as the shop's channels report them, and the runs that brought them in."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk
from kernel.guards import points_at

from .feeds.signatures import Kind


class OrderState(enum.StrEnum):
    PLACED = "placed"
    PAID = "paid"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    COMPLETED = "completed"
    CLOSED = "closed"
    REFUSED = "refused"

    # Equal to its text and so of the same hash, which is worked out once and without a call.
    __hash__ = str.__hash__


class Payment(enum.StrEnum):
    ONLINE = "online"
    ON_DELIVERY = "on_delivery"


class Order(db.Model):
    """One order. All amounts are 分.

    `member_id` and `run_id` are no foreign keys, nor are the order and the product of a line: a key is looked up for every row
    that is written, and the ids come from the very transaction that writes them. Deleting what they name is refused by the tables
    that it is in (`kernel.guards`); tests hold that no row is left without its other.

    `version_at` is when the source last changed it, `version_mark` decides between reports of the same instant (see
    `rules.version_mark`): the greater pair wins, whatever arrives first. `reported_refund` is what the order's own report
    says was given back; `refunded_amount` takes single refunds in as well and is what counts. `buyer` is the source's own
    number of the customer, under which cancellations that name no order find it.
    """

    __tablename__ = "order"
    id: Mapped[pk]
    source: Mapped[str]
    external_id: Mapped[str]
    member_id: Mapped[int | None] = mapped_column(info=points_at("member"))
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
    run_id: Mapped[int | None] = mapped_column(info=points_at("import_run"))
    created_at: Mapped[datetime]

    __table_args__ = (
        # The number leads, because people look for it without its source, and for its beginning.
        Index(
            "uq_order_number", "external_id", "source", unique=True, postgresql_ops={"external_id": "text_pattern_ops"}
        ),
        CheckConstraint("paid_amount >= 0 AND postage >= 0 AND refunded_amount >= 0", name="amounts"),
        Index("ix_order_member", "member_id", text("placed_at DESC")),
        Index("ix_order_placed", text("placed_at DESC"), text("id DESC")),
        Index("ix_order_buyer", "source", "buyer", postgresql_where=text("buyer IS NOT NULL")),
        Index("ix_order_run", "run_id"),
        # Programs that follow what has changed.
        Index("ix_order_version", "version_at", "id"),
        Index("ix_order_delivered", "delivered_at", postgresql_where=text("delivered_at IS NOT NULL")),
        Index("ix_order_completed", "completed_at", postgresql_where=text("completed_at IS NOT NULL")),
        # Parcels under way that are expected at a known moment.
        Index("ix_order_expected", "delivered_at", postgresql_where=text("state = 'shipped'")),
    )


class OrderLine(db.Model):
    __tablename__ = "order_line"
    id: Mapped[pk]
    # Whose they are and of what; see `Order` about why these are no foreign keys.
    order_id: Mapped[int] = mapped_column(info=points_at("order"))
    position: Mapped[int]
    product_id: Mapped[int | None] = mapped_column(info=points_at("product"))
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


class OrderDetail(db.Model):
    """The lines of one order as a file of details (Taobao's 子订单) has them, before or after the order itself.

    Once the order is known its lines are these; the newest report of them counts, see `Order`. `refunded_amount` (分) is
    what was given back over all lines.
    """

    __tablename__ = "order_detail"
    id: Mapped[pk]
    source: Mapped[str]
    order_external_id: Mapped[str]
    version_at: Mapped[datetime]
    version_mark: Mapped[str]
    refunded_amount: Mapped[int] = mapped_column(default=0)
    # [[sku, title, quantity, unit_price, amount, goods], …]
    lines: Mapped[list[Any]] = mapped_column(default=list)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("import_run.id"))

    __table_args__ = (
        UniqueConstraint("source", "order_external_id"),
        CheckConstraint("refunded_amount >= 0", name="refunded"),
        Index("ix_order_detail_run", "run_id"),
    )


class ColumnMapping(db.Model):
    """How the columns of a file that nobody else knows are read; `formats.mapped.Plan` is what `plan` holds.

    `heading` is the file's heading as `formats.sheet.name_of` gives it; a file with the same columns is read by the mapping
    that was saved last.
    """

    __tablename__ = "column_mapping"
    id: Mapped[pk]
    name: Mapped[str]
    heading: Mapped[list[str]] = mapped_column(default=list)
    heading_key: Mapped[str] = mapped_column(index=True)
    plan: Mapped[dict[str, Any]] = mapped_column(default=dict)
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("name"),)


class OrderStep(db.Model):
    """News that said no more of an order than how far it has come (Youzan's pushes); kept, so that it counts whichever comes
    first, and again after an older report of the whole order."""

    __tablename__ = "order_step"
    id: Mapped[pk]
    source: Mapped[str]
    order_external_id: Mapped[str]
    state: Mapped[OrderState]
    at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("source", "order_external_id", "state", "at"),)


class ConnectionState(enum.StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"


class OrderConnection(db.Model):
    """A shop system that pushes its orders to `/hooks/orders/<token>`; each request is signed with the secret.

    The secrets lie sealed. After a change the former one is good until `previous_until`. `rate` is how many millionths of a
    yuan one unit of `currency` is worth; without it only yuan are taken. What comes while it is paused waits.
    """

    __tablename__ = "order_connection"
    id: Mapped[pk]
    name: Mapped[str]
    kind: Mapped[Kind]
    source: Mapped[str]
    token: Mapped[str] = mapped_column(unique=True)
    secret: Mapped[str]
    previous_secret: Mapped[str | None]
    previous_until: Mapped[datetime | None]
    # Youzan's name of the application that the secret belongs to.
    client_id: Mapped[str] = mapped_column(default="")
    currency: Mapped[str] = mapped_column(default="CNY")
    rate: Mapped[int | None]
    state: Mapped[ConnectionState] = mapped_column(default=ConnectionState.ACTIVE)
    last_received_at: Mapped[datetime | None]
    # Requests that were turned away at the door; they leave no receipt.
    refused: Mapped[int] = mapped_column(default=0)
    refused_at: Mapped[datetime | None]
    refusal: Mapped[str | None]
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("rate > 0", name="rate"),)


class Outcome(enum.StrEnum):
    RECEIVED = "received"
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    REJECTED = "rejected"
    FAILED = "failed"


class HookReceipt(db.Model):
    """A signed delivery of a connection, committed before it is answered and worked on from here.

    `reasons` are [[place, sentence], …]: why it was rejected, or what was left out. `orders` are the numbers it is about.
    """

    __tablename__ = "hook_receipt"
    id: Mapped[pk]
    connection_id: Mapped[int] = mapped_column(ForeignKey("order_connection.id", ondelete="CASCADE"))
    delivery_id: Mapped[str]
    topic: Mapped[str] = mapped_column(default="")
    received_at: Mapped[datetime] = mapped_column(index=True)
    outcome: Mapped[Outcome] = mapped_column(default=Outcome.RECEIVED)
    reasons: Mapped[list[Any]] = mapped_column(default=list)
    orders: Mapped[list[str]] = mapped_column(default=list)
    # How often the same delivery came again.
    repeats: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime]
    done_at: Mapped[datetime | None]
    size: Mapped[int] = mapped_column(default=0)
    # Dropped after a while; what came is in the orders by then.
    body: Mapped[bytes | None]

    __table_args__ = (
        UniqueConstraint("connection_id", "delivery_id"),
        Index("ix_hook_receipt_list", "connection_id", text("id DESC")),
        Index("ix_hook_receipt_due", "due_at", postgresql_where=text("outcome IN ('received', 'failed')")),
        Index("ix_hook_receipt_orders", "orders", postgresql_using="gin"),
    )


class RunState(enum.StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class ImportRun(db.Model):
    """One file. `rows_in` = accepted + duplicate + rejected at every moment; once the run is done it is `rows_total`.

    A run waits until somebody has looked at its preview; without a format it waits for a mapping of its columns. While it
    runs, whoever holds `lease_token` works on it; when `lease_until` has passed, a sweep gives it to somebody else, who goes
    on at `checkpoint["entries"]`.
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
    # What the reader was told beside the file: {"mapping": …}, {"rates": …}, {"workbook": …}; frozen with the run.
    options: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    # The run whose rejected lines this file brings corrected.
    corrects_id: Mapped[int | None] = mapped_column(ForeignKey("import_run.id", ondelete="SET NULL"), index=True)
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
    # The order that the line belongs to, as far as it says so: its lines are corrected together.
    external_id: Mapped[str] = mapped_column(default="", server_default="")
    # The line of the first file that this one corrects, in a file of corrections.
    origin_line: Mapped[int | None]
    # The run that took the line in after it had been corrected.
    corrected_by_id: Mapped[int | None] = mapped_column(ForeignKey("import_run.id", ondelete="SET NULL"), index=True)
