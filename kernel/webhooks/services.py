"""The verbs of webhook endpoints and their messages."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, select, update

from .. import audit, clock, outbound, sealing
from ..db import changed, db
from ..errors import NotFound, Refusal
from ..i18n import lazy_gettext as _l
from . import rules
from .models import DeliveryState, EndpointState, WebhookDelivery, WebhookEndpoint
from .registry import exposed_types, listens_to
from .spreading import body_of, deliver

PURPOSE = "webhook endpoint"
MOST_ENDPOINTS = 50
TEST_TYPE = "webhook.test"


class TypesUnknown(Refusal):
    status = 422
    label = _l("Choose what is told to this address.")


class TooManyEndpoints(Refusal):
    label = _l("There are %(most)s addresses already. Delete one that is no longer needed.", most=MOST_ENDPOINTS)


class EndpointOff(Refusal):
    label = _l("This address is paused. Let it go on first.")


class DeliveryUnderWay(Refusal):
    label = _l("This message is being sent at this moment. Look again in a few seconds.")


def get_endpoint(endpoint_id: int, lock: bool = False) -> WebhookEndpoint:
    """An endpoint by id; refuses with `NotFound`."""
    statement = select(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id)
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    found = db.session.scalar(statement)
    if found is None:
        raise NotFound
    return found


def get_delivery(endpoint_id: int, delivery_id: int) -> WebhookDelivery:
    """A message of an endpoint; refuses with `NotFound`."""
    found = db.session.get(WebhookDelivery, delivery_id)
    if found is None or found.endpoint_id != endpoint_id:
        raise NotFound
    return found


def check_address(url: str) -> None:
    """Refuse with `AddressRefused` what Siyu would not call, as far as the text shows it (a call looks closer)."""
    outbound.read(url)


def _checked(url: str, types: list[str]) -> list[str]:
    check_address(url)
    known = sorted(set(types) & exposed_types().keys())
    if not known or len(known) != len(set(types)):
        raise TypesUnknown
    return known


def add(url: str, types: list[str], description: str = "") -> tuple[WebhookEndpoint, str]:
    """Make an endpoint; returns its row and the secret, which is shown this once.

    Refuses with `AddressRefused`, `TypesUnknown`, `TooManyEndpoints`.
    """
    known = _checked(url, types)
    if len(db.session.scalars(select(WebhookEndpoint.id).limit(MOST_ENDPOINTS)).all()) >= MOST_ENDPOINTS:
        raise TooManyEndpoints
    secret = rules.new_secret()
    made = WebhookEndpoint(
        url=url,
        description=description.strip(),
        types=known,
        listens=listens_to(known),
        secret=sealing.seal(secret, PURPOSE),
        created_at=clock.now(),
    )
    db.session.add(made)
    db.session.flush()
    audit.record("webhook.added", "webhook_endpoint", made.id, after={"url": url, "types": known})
    return made, secret


def edit(endpoint_id: int, url: str, types: list[str], description: str = "") -> WebhookEndpoint:
    """Change where an endpoint is and what it is told. Refuses as `add` does."""
    found = get_endpoint(endpoint_id, lock=True)
    known = _checked(url, types)
    before = {"url": found.url, "types": found.types}
    found.url, found.types, found.listens, found.description = url, known, listens_to(known), description.strip()
    db.session.flush()
    audit.record("webhook.edited", "webhook_endpoint", found.id, before, {"url": url, "types": known})
    return found


def rotate(endpoint_id: int) -> str:
    """Give an endpoint a new secret, shown this once; the former one signs too for 24 hours."""
    found = get_endpoint(endpoint_id, lock=True)
    secret = rules.new_secret()
    found.previous_secret, found.previous_until = found.secret, clock.now() + rules.ROTATION
    found.secret = sealing.seal(secret, PURPOSE)
    db.session.flush()
    audit.record("webhook.secret_rotated", "webhook_endpoint", found.id)
    return secret


def secrets_of(endpoint: WebhookEndpoint, now: datetime) -> list[str]:
    """The secrets that sign a message at this moment, the newest first."""
    kept = [endpoint.secret]
    if endpoint.previous_secret and endpoint.previous_until is not None and endpoint.previous_until > now:
        kept.append(endpoint.previous_secret)
    return [secret for sealed in kept if (secret := sealing.unseal(sealed, PURPOSE))]


def pause(endpoint_id: int) -> None:
    """Send nothing to an endpoint for now; what happens meanwhile waits."""
    _switch(endpoint_id, EndpointState.PAUSED, "webhook.paused")


def resume(endpoint_id: int) -> None:
    """Send again, from what has waited."""
    from .jobs import send_webhooks

    _switch(endpoint_id, EndpointState.ACTIVE, "webhook.resumed")
    send_webhooks.later()


def _switch(endpoint_id: int, state: EndpointState, action: str) -> None:
    found = get_endpoint(endpoint_id, lock=True)
    if found.state == state:
        return
    before = found.state
    found.state = state
    found.failures, found.failing_since, found.held_until = 0, None, None
    db.session.flush()
    audit.record(action, "webhook_endpoint", found.id, {"state": before.value}, {"state": state.value})


def remove(endpoint_id: int) -> None:
    """Delete an endpoint with its messages, also those that still wait."""
    found = get_endpoint(endpoint_id, lock=True)
    audit.record("webhook.removed", "webhook_endpoint", found.id, before={"url": found.url, "types": found.types})
    db.session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.id == found.id))


def ping(endpoint_id: int) -> WebhookDelivery:
    """Send a test message. Refuses with `EndpointOff`."""
    found = get_endpoint(endpoint_id)
    if found.state != EndpointState.ACTIVE:
        raise EndpointOff
    found.held_until = None
    body = body_of(TEST_TYPE, clock.now(), {"endpoint_id": found.id})
    return deliver(TEST_TYPE, body, [found.id], None)[0]


def resend(endpoint_id: int, delivery_id: int) -> None:
    """Send a message once more under the same `webhook-id`, with all its retries. Refuses with `DeliveryUnderWay`."""
    from .jobs import send_webhooks

    found = get_delivery(endpoint_id, delivery_id)
    result = db.session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == found.id, WebhookDelivery.state != DeliveryState.SENDING)
        .values(state=DeliveryState.WAITING, attempts=0, next_at=clock.now())
    )
    if changed(result) != 1:
        raise DeliveryUnderWay
    get_endpoint(endpoint_id, lock=True).held_until = None
    audit.record("webhook.resent", "webhook_delivery", found.id)
    send_webhooks.later()


def resend_failed(endpoint_id: int, since: datetime) -> int:
    """Send every message again that failed since an instant, given up or waiting for its next try; returns how many."""
    from .jobs import send_webhooks

    endpoint = get_endpoint(endpoint_id, lock=True)
    count = changed(
        db.session.execute(
            update(WebhookDelivery)
            .where(
                WebhookDelivery.endpoint_id == endpoint.id,
                WebhookDelivery.created_at >= since,
                WebhookDelivery.attempts > 0,
                WebhookDelivery.state.in_([DeliveryState.DEAD, DeliveryState.WAITING]),
            )
            .values(state=DeliveryState.WAITING, attempts=0, next_at=clock.now())
            .execution_options(synchronize_session=False)
        )
    )
    endpoint.held_until = None
    audit.record("webhook.failed_resent", "webhook_endpoint", endpoint.id, after={"messages": count})
    send_webhooks.later()
    return count


KEPT = timedelta(days=30)
