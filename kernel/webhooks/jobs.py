"""Sending: claim a few messages with a lease, call with no session open, record the outcome if the lease still holds."""

from __future__ import annotations

import logging
import secrets
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import delete, select, text, update

from .. import audit, clock, outbound
from ..db import changed, db, transaction
from ..jobs import every, job
from . import rules, services
from .models import DeliveryState, EndpointState, WebhookDelivery, WebhookEndpoint

log = logging.getLogger(__name__)
# A slice: so many at once of one endpoint and in all, so that one that hangs does not keep the others waiting.
OF_ONE, IN_ALL, AT_ONCE = 8, 32, 8
LEASE = timedelta(seconds=120)
SHOWN_ANSWER = 2_000
_SWEPT_AT_ONCE = 5_000


@dataclass(frozen=True)
class Parcel:
    """All that a call needs, read before the session is closed."""

    delivery_id: int
    endpoint_id: int
    lease: str
    url: str
    body: bytes
    headers: dict[str, str]
    local: bool


@dataclass(frozen=True)
class Outcome:
    """What came of a call."""

    status: int | None
    error: str | None
    answer: str | None
    took_ms: int | None
    retry_after: int | None = None


# Addresses take turns by chance, so that a few with much to send do not keep the others waiting.
_PICK = text(
    """
    SELECT due.id FROM (
        SELECT id FROM webhook_endpoint
        WHERE state = 'active' AND (held_until IS NULL OR held_until <= :now)
        ORDER BY random()
    ) AS e
    CROSS JOIN LATERAL (
        SELECT d.id FROM webhook_delivery d
        WHERE d.endpoint_id = e.id AND d.state = 'waiting' AND d.next_at <= :now
        ORDER BY d.next_at LIMIT :of_one FOR UPDATE SKIP LOCKED
    ) AS due
    LIMIT :in_all
    """
)


def _claim() -> list[Parcel]:
    """Lease what is due. A lease that ran out means that its worker died: the message is sent again under the same id."""
    now, lease = clock.now(), secrets.token_hex(8)
    db.session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.state == DeliveryState.SENDING, WebhookDelivery.lease_until <= now)
        .values(state=DeliveryState.WAITING, lease=None, lease_until=None, next_at=now)
        .execution_options(synchronize_session=False)
    )
    due = db.session.scalars(_PICK, {"now": now, "of_one": OF_ONE, "in_all": IN_ALL}).all()
    if not due:
        return []
    rows = db.session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id.in_(due), WebhookDelivery.state == DeliveryState.WAITING)
        .values(
            state=DeliveryState.SENDING, attempts=WebhookDelivery.attempts + 1, lease=lease, lease_until=now + LEASE
        )
        .returning(WebhookDelivery.id, WebhookDelivery.endpoint_id, WebhookDelivery.message_id, WebhookDelivery.body)
        .execution_options(synchronize_session=False)
    ).all()
    endpoints = {
        one.id: one
        for one in db.session.scalars(
            select(WebhookEndpoint).where(WebhookEndpoint.id.in_({r.endpoint_id for r in rows}))
        )
    }
    local = current_app.extensions["settings"].outbound_local
    parcels = []
    for row in rows:
        endpoint, body = endpoints[row.endpoint_id], row.body.encode()
        keys = services.secrets_of(endpoint, now)
        headers = rules.headers(keys, row.message_id, now, body)
        parcels.append(Parcel(row.id, endpoint.id, lease, endpoint.url, body, headers, local))
    return parcels


def _call(parcel: Parcel) -> Outcome:
    try:
        answer = outbound.post(parcel.url, parcel.body, parcel.headers, parcel.local)
    except outbound.AddressRefused:
        return Outcome(None, rules.CLOSED, None, None)
    except outbound.CallFailed as failed:
        log.info("message %s has not arrived: %s", parcel.delivery_id, failed)
        return Outcome(None, failed.fault.value, None, None)
    wait = answer.headers.get("retry-after", "")
    return Outcome(
        answer.status,
        None if rules.taken(answer.status) else rules.ANSWERED,
        answer.body.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")[:SHOWN_ANSWER],
        answer.took_ms,
        int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 8 else None,
    )


def _record(parcel: Parcel, outcome: Outcome) -> None:
    now = clock.now()
    # Endpoint before delivery, as wherever both are written.
    endpoint = db.session.scalar(
        select(WebhookEndpoint).where(WebhookEndpoint.id == parcel.endpoint_id).with_for_update()
    )
    if endpoint is None:
        return
    said: dict[str, Any] = {
        "last_status": outcome.status,
        "last_error": outcome.error,
        "last_answer": outcome.answer,
        "took_ms": outcome.took_ms,
        "sent_at": now,
        "lease": None,
        "lease_until": None,
    }
    mine = (WebhookDelivery.id == parcel.delivery_id, WebhookDelivery.lease == parcel.lease)
    attempts = db.session.scalar(select(WebhookDelivery.attempts).where(*mine))
    if attempts is None:
        log.info("delivery %s was taken over by another worker", parcel.delivery_id)
        return
    if rules.taken(outcome.status):
        said["state"] = DeliveryState.DELIVERED
        endpoint.failures, endpoint.failing_since, endpoint.held_until = 0, None, None
        endpoint.last_success_at = now
    else:
        said["state"], said["next_at"] = rules.next_attempt(attempts, now, outcome.retry_after)
        _note_failure(endpoint, outcome, now)
    db.session.execute(update(WebhookDelivery).where(*mine).values(**said).execution_options(synchronize_session=False))


def _note_failure(endpoint: WebhookEndpoint, outcome: Outcome, now: datetime) -> None:
    endpoint.failures += 1
    endpoint.failing_since = endpoint.failing_since or now
    endpoint.held_until = rules.held_until(endpoint.failures, now)
    if endpoint.state == EndpointState.ACTIVE and rules.to_be_disabled(endpoint.failing_since, outcome.status, now):
        endpoint.state = EndpointState.DISABLED
        audit.record("webhook.disabled", "webhook_endpoint", endpoint.id, after={"error": outcome.error})


@every(2)
@job(own_transactions=True)
def send_webhooks() -> None:
    """Send what is due until nothing is."""
    while True:
        with transaction():
            parcels = _claim()
        if not parcels:
            return
        with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(parcels))) as pool:
            calls = {pool.submit(_call, parcel): parcel for parcel in parcels}
            for call in as_completed(calls):
                with transaction():
                    _record(calls[call], call.result())


@every(3_600)
@job(own_transactions=True)
def sweep_webhook_deliveries() -> None:
    """Forget messages that are older than `services.KEPT`, whatever became of them."""
    while True:
        with transaction():
            old = (
                select(WebhookDelivery.id)
                .where(WebhookDelivery.created_at < clock.now() - services.KEPT)
                .limit(_SWEPT_AT_ONCE)
                .with_for_update(skip_locked=True)
            )
            gone = changed(
                db.session.execute(
                    delete(WebhookDelivery)
                    .where(WebhookDelivery.id.in_(old))
                    .execution_options(synchronize_session=False)
                )
            )
        if gone < _SWEPT_AT_ONCE:
            return
