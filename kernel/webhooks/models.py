"""Endpoints of other programs, and each message on its way to one."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ..db import db, pk


class EndpointState(enum.StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    # By itself, after days without one success.
    DISABLED = "disabled"


class DeliveryState(enum.StrEnum):
    WAITING = "waiting"
    SENDING = "sending"
    DELIVERED = "delivered"
    DEAD = "dead"


class WebhookEndpoint(db.Model):
    """Where messages go. `types` are public names, `listens` the event classes behind them, by which events find it."""

    __tablename__ = "webhook_endpoint"
    id: Mapped[pk]
    url: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    types: Mapped[list[str]]
    listens: Mapped[list[str]]
    # Sealed (kernel/sealing.py). The former one signs too until `previous_until`.
    secret: Mapped[str]
    previous_secret: Mapped[str | None]
    previous_until: Mapped[datetime | None]
    state: Mapped[EndpointState] = mapped_column(default=EndpointState.ACTIVE)
    # Failures in a row, since when, and until when it is left alone because of them.
    failures: Mapped[int] = mapped_column(default=0)
    failing_since: Mapped[datetime | None]
    held_until: Mapped[datetime | None]
    last_success_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class WebhookDelivery(db.Model):
    """One message to one endpoint. `message_id` is the `webhook-id`, the same however often it is sent."""

    __tablename__ = "webhook_delivery"
    id: Mapped[pk]
    endpoint_id: Mapped[int] = mapped_column(ForeignKey("webhook_endpoint.id", ondelete="CASCADE"))
    # The row in `event`; none for a test message.
    event_id: Mapped[int | None]
    message_id: Mapped[str]
    type: Mapped[str]
    body: Mapped[str]
    state: Mapped[DeliveryState] = mapped_column(default=DeliveryState.WAITING)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime]
    lease: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    last_status: Mapped[int | None]
    last_error: Mapped[str | None]
    last_answer: Mapped[str | None]
    took_ms: Mapped[int | None]
    sent_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (
        UniqueConstraint("endpoint_id", "message_id"),
        # An event makes one message an endpoint, however often it is handed over.
        UniqueConstraint("endpoint_id", "event_id"),
        Index("ix_webhook_delivery_due", "endpoint_id", "next_at", postgresql_where=text("state = 'waiting'")),
        Index("ix_webhook_delivery_sending", "lease_until", postgresql_where=text("state = 'sending'")),
        Index("ix_webhook_delivery_log", "endpoint_id", text("id DESC")),
        Index("ix_webhook_delivery_state", "endpoint_id", "state", text("id DESC")),
    )
