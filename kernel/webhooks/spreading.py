"""From an event to one delivery an endpoint, in the transaction in which the event is delivered."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select

from .. import clock, events
from ..db import db
from ..events import Event
from .models import WebhookDelivery, WebhookEndpoint


def message_id() -> str:
    """A new `webhook-id`: the receiver's key for recognising a message that comes twice."""
    return f"msg_{secrets.token_urlsafe(18)}"


def body_of(type_name: str, at: datetime, data: Any) -> str:
    """The message as it is signed and sent: `{"type", "timestamp", "data"}`."""
    plain = data.model_dump(mode="json") if isinstance(data, BaseModel) else data
    at_text = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps(
        {"type": type_name, "timestamp": at_text, "data": plain}, ensure_ascii=False, separators=(",", ":")
    )


def spread(event: Event) -> None:
    """Write a delivery for each endpoint that listens to the event; paused and disabled ones get theirs when they are on again."""
    from .registry import find_exposed  # The registry subscribes this function.

    exposed = find_exposed(type(event).__name__)
    if exposed is None:
        return
    endpoints = db.session.scalars(
        select(WebhookEndpoint.id).where(WebhookEndpoint.types.contains([exposed.name])).order_by(WebhookEndpoint.id)
    ).all()
    data = exposed.payload(event) if endpoints else None
    if data is None:
        return
    record = events.delivering()
    body = body_of(exposed.name, record.occurred_at, data)
    deliver(exposed.name, body, endpoints, record.id)


def deliver(type_name: str, body: str, endpoint_ids: Sequence[int], event_id: int | None) -> list[WebhookDelivery]:
    """Write the deliveries of one message and wake a worker after the commit."""
    from .jobs import send_webhooks  # The job reads what this module writes.

    now, name = clock.now(), message_id()
    rows = [
        WebhookDelivery(
            endpoint_id=endpoint_id,
            event_id=event_id,
            message_id=name,
            type=type_name,
            body=body,
            created_at=now,
            next_at=now,
        )
        for endpoint_id in endpoint_ids
    ]
    db.session.add_all(rows)
    db.session.flush()
    send_webhooks.later()
    return rows


events.only_if(
    spread, "EXISTS (SELECT 1 FROM webhook_endpoint WHERE webhook_endpoint.listens @> to_jsonb(CAST({name} AS text)))"
)
