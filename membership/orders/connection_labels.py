"""Words about order connections in the reader's language."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from kernel.i18n import lazy_gettext as _l

from .feeds.signatures import Doubt, Kind
from .models import ConnectionState, OrderConnection, Outcome

KINDS = {
    Kind.SHOPIFY: "Shopify",
    Kind.WOOCOMMERCE: "WooCommerce",
    Kind.YOUZAN: _l("Youzan"),
    Kind.STANDARD: _l("Another system"),
}
KIND_LINES = {
    Kind.SHOPIFY.value: _l("Webhooks of the shop or of an app of yours."),
    Kind.WOOCOMMERCE.value: _l("Webhooks of a WordPress shop."),
    Kind.YOUZAN.value: _l("The message push of an application in the Youzan cloud."),
    Kind.STANDARD.value: _l("Signed by the Standard Webhooks rules, orders in our own form."),
}
STATES = {ConnectionState.ACTIVE: _l("Active"), ConnectionState.PAUSED: _l("Paused")}
OUTCOMES = {
    Outcome.RECEIVED: _l("Waiting"),
    Outcome.ACCEPTED: _l("Imported"),
    Outcome.DUPLICATE: _l("Nothing new"),
    Outcome.IGNORED: _l("Not about orders"),
    Outcome.REJECTED: _l("Rejected"),
    Outcome.FAILED: _l("Failed"),
}
OUTCOME_TONES = {
    Outcome.RECEIVED: "running",
    Outcome.ACCEPTED: "positive",
    Outcome.DUPLICATE: "neutral",
    Outcome.IGNORED: "neutral",
    Outcome.REJECTED: "negative",
    Outcome.FAILED: "negative",
}
CURRENCIES = {
    "CNY": _l("Only yuan (CNY)"),
    "USD": "USD",
    "EUR": "EUR",
    "HKD": "HKD",
    "TWD": "TWD",
    "JPY": "JPY",
    "GBP": "GBP",
    "SGD": "SGD",
    "MYR": "MYR",
    "THB": "THB",
    "KRW": "KRW",
    "AUD": "AUD",
    "CAD": "CAD",
}
# At which field a refusal of the service is shown.
FIELD_OF = {"SourceInvalid": "source", "SecretNeeded": "secret", "ClientNeeded": "client_id", "RateNeeded": "rate"}
REFUSALS = {
    Doubt.MISSING: _l("The header with the signature is missing"),
    Doubt.FORM: _l("The signature is not written as this shop system writes it"),
    Doubt.WRONG: _l("The signature does not fit: another secret was used, or the text was changed on its way"),
    Doubt.STALE: _l("The time of the request is more than five minutes away from ours"),
    Doubt.DELIVERY: _l("The header with the number of the delivery is missing"),
}
STEPS = {
    Kind.SHOPIFY: (
        _l(
            "In Shopify open Settings › Notifications › Webhooks and create a webhook for each of: order creation, "
            "order update, order payment, order fulfilment, order cancellation, refund creation."
        ),
        _l("Choose the format JSON and paste this address."),
        _l("Shopify shows below the list with which secret it signs. That secret belongs here."),
    ),
    Kind.WOOCOMMERCE: (
        _l("In WordPress open WooCommerce › Settings › Advanced › Webhooks and add one for each of: order created, order updated."),
        _l("Paste this address and the secret, and choose version 3 of the interface."),
        _l("Refunds come with the order's own news."),
    ),
    Kind.YOUZAN: (
        _l("In the Youzan cloud console open your application and its message push."),
        _l("Paste this address, and switch on the messages about trades."),
        _l("Client id and client secret of that application belong here."),
    ),
    Kind.STANDARD: (
        _l("Send each change of an order as a POST to this address, signed with the secret by the Standard Webhooks rules."),
        _l("The body is {\"type\": \"order.updated\", \"timestamp\": …, \"data\": {…}}; in data stands what POST /api/v1/orders takes."),
        _l("Refunds go with the type refund.created and what POST /api/v1/refunds takes."),
    ),
}  # fmt: skip


def refusal_text(doubt: str | None) -> str:
    """Why a request was turned away, in the reader's language."""
    return str(REFUSALS.get(doubt, doubt or ""))  # type: ignore[call-overload]


def shown(connection: OrderConnection) -> Any:
    """A connection as its form shows it; secrets are never put in."""
    return SimpleNamespace(
        name=connection.name,
        kind=connection.kind.value,
        source=connection.source,
        client_id=connection.client_id,
        currency=connection.currency,
        rate=Decimal(connection.rate) / 1_000_000 if connection.rate is not None else None,
    )
