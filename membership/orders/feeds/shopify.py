"""Orders and refunds as Shopify's Admin REST interface and its webhooks write them.

The order's number here is Shopify's `id`, which never changes and is what refunds name. Amounts are decimal strings in the
shop's currency; `total_price` is what the customer pays, taxes and shipping in it, discounts off. What Shopify calls closed is
only archived; a cancelled order is closed here. Facts: shopify.dev, "Order", "Refund" and "Fulfillment" of the Admin REST API.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ..formats.drafts import Buyer, LineDraft, RefundDraft
from ..models import OrderState, Payment
from . import fields
from .fields import Exchange, Fields, Payload
from .reasons import Reason

# What Shopify says of the money; cash on delivery is pending until the parcel is there.
FINANCIAL = {
    "pending": False,
    "authorized": False,
    "partially_paid": False,
    "unpaid": False,
    "expired": False,
    "voided": False,
    "paid": True,
    "partially_refunded": True,
    "refunded": True,
}
SENT = ("success", "pending", "open")
# A parcel that nobody follows is expected so long after it was sent; the order is delivered by the clock then.
ARRIVES_AFTER = timedelta(days=7)
# Topics that carry a whole order, and those that carry a refund.
ORDER_TOPICS = frozenset(
    f"orders/{name}" for name in ("create", "updated", "paid", "partially_fulfilled", "fulfilled", "cancelled")
)
REFUND_TOPICS = frozenset({"refunds/create"})


def read(body: Any, exchange: Exchange, now: datetime, topic: str | None = None) -> Payload:
    """One order, one refund, or a list of up to 500 of either. With a `topic` (webhooks) others than those of orders and
    refunds are ignored. Refuses with `PayloadRefused`."""
    if topic is not None and topic not in ORDER_TOPICS | REFUND_TOPICS:
        return Payload(ignored=Reason.TOPIC)
    return fields.several(
        body, ("orders", "refunds"), lambda one, place, faults: _one(one, place, faults, exchange, now)
    )


def _one(body: Any, place: str, faults: list[tuple[str, str]], exchange: Exchange, now: datetime) -> Payload:
    for key in ("order", "refund"):
        if isinstance(body, dict) and isinstance(body.get(key), dict):
            body, place = body[key], f"{place}.{key}".lstrip(".")
    said = Fields(body, now, place, faults)
    if said.has("order_id") and (said.has("transactions") or said.has("refund_line_items")):
        return _refund(said, exchange)
    return _order(said, exchange)


def _succeeded(refund: Fields, exchange: Exchange) -> int:
    """What a refund has really given back, in 分."""
    total = 0
    for transaction in refund.children("transactions"):
        if transaction.has("currency"):
            transaction.currency("currency", exchange)
        if transaction.text("kind") == "refund" and transaction.text("status") == "success":
            total += transaction.amount("amount", needed=True)
    return total


def _refund(said: Fields, exchange: Exchange) -> Payload:
    number, order = said.number("id", needed=True), said.number("order_id", needed=True)
    at = said.moment("processed_at") or said.moment("created_at", needed=True)
    amount = _succeeded(said, exchange)
    if amount == 0:
        return Payload(ignored=Reason.NO_REFUND_YET)
    if number is None or order is None or at is None:
        return Payload()
    return Payload([RefundDraft(number, order, amount, at)])


def _order(said: Fields, exchange: Exchange) -> Payload:
    remarks: list[str] = []
    if said.body.get("test") is True:
        return Payload(ignored=Reason.TEST_ORDER)
    said.currency("currency", exchange)
    number = said.number("id", needed=True)
    # `created_at` is when the row was made; orders brought over from elsewhere were placed before.
    placed_at = said.moment("processed_at") or said.moment("created_at", needed=True)
    updated_at = said.moment("updated_at")
    cancelled_at = said.after("cancelled_at", placed_at)
    paid_up = said.choice("financial_status", FINANCIAL, default=False)
    voided = said.text("financial_status") == "voided"
    on_delivery = any(
        isinstance(name, str) and ("cash on delivery" in name.lower() or "(cod)" in name.lower())
        for name in [*_list(said, "payment_gateway_names"), said.body.get("gateway")]
    )
    total = said.amount("total_price", needed=True)
    refunds = said.children("refunds")
    refunded = sum(_succeeded(one, exchange) for one in refunds)
    if not refunds and said.text("financial_status") == "refunded":
        refunded = total
    shipped_at, delivered_at, expected_at = _sent(said, placed_at)
    state = OrderState.PAID
    if cancelled_at is not None or voided:
        state = OrderState.CLOSED
    elif delivered_at is not None:
        state = OrderState.DELIVERED
    elif shipped_at is not None:
        state = OrderState.SHIPPED
    if state is not OrderState.CLOSED and not paid_up and not on_delivery:
        state = OrderState.PLACED
    paid = total if paid_up or (on_delivery and state is not OrderState.CLOSED) else 0
    if refunded > total:
        said.fault("refunds", Reason.REFUND_TOO_LARGE)
    postage = sum(
        line.amount("discounted_price" if line.has("discounted_price") else "price")
        for line in said.children("shipping_lines")
    )
    buyer = _buyer(said, remarks)
    lines = _lines(said)
    if number is None or placed_at is None:
        return Payload()
    moments: dict[str, Any] = {
        "shipped_at": shipped_at,
        "delivered_at": delivered_at or (expected_at if state is OrderState.SHIPPED else None),
        "closed_at": cancelled_at,
    }
    return fields.one_order(
        remarks,
        moments,
        external_id=number,
        state=state,
        payment=Payment.ON_DELIVERY if on_delivery else Payment.ONLINE,
        placed_at=placed_at,
        updated_at=updated_at,
        paid=paid,
        postage=postage,
        refunded=refunded,
        discount=said.amount("total_discounts"),
        buyer=buyer,
        lines=lines,
    )


def _list(said: Fields, name: str) -> Sequence[Any]:
    value = said.body.get(name)
    return value if isinstance(value, list) else []


def _sent(said: Fields, placed_at: datetime | None) -> tuple[datetime | None, datetime | None, datetime | None]:
    """When the whole order was sent, when all of it had arrived, and when it is expected where no carrier is followed."""
    parcels = [one for one in said.children("fulfillments") if one.text("status") in SENT]
    if said.text("fulfillment_status") != "fulfilled":
        return None, None, None
    sent = [at for one in parcels if (at := one.after("created_at", placed_at)) is not None]
    # An order may be marked as sent with no parcel told.
    shipped_at = max(sent, default=None) or said.moment("updated_at") or placed_at
    arrived = [one.after("updated_at", placed_at) for one in parcels if one.text("shipment_status") == "delivered"]
    if parcels and len(arrived) == len(parcels) and None not in arrived:
        return shipped_at, max(at for at in arrived if at is not None), None
    if shipped_at is None or any(one.has("shipment_status") for one in parcels):
        return shipped_at, None, None
    return shipped_at, None, shipped_at + ARRIVES_AFTER


def _lines(said: Fields) -> tuple[LineDraft, ...]:
    lines = []
    for line in said.children("line_items"):
        pieces = line.pieces("quantity")
        price = line.amount("price", needed=True)
        off = sum(one.amount("amount") for one in line.children("discount_allocations")) or line.amount(
            "total_discount"
        )
        sku = line.text("sku", 80)
        if not sku:
            inner = line.number("variant_id") or line.number("product_id") or line.number("id") or "?"
            sku = f"{'variant' if line.has('variant_id') else 'product' if line.has('product_id') else 'line'}:{inner}"
        title = line.text("name") or line.text("title") or sku
        if pieces:
            lines.append(LineDraft(sku, title, pieces, price, total=max(0, pieces * price - off) if off else None))
    return tuple(lines)


def _buyer(said: Fields, remarks: list[str]) -> Buyer | None:
    customer = said.child("customer")
    home = customer.child("default_address")
    shipping, billing = said.child("shipping_address"), said.child("billing_address")
    named = [shipping.text("name", 80), billing.text("name", 80)]
    own = " ".join(filter(None, (customer.text("first_name", 40), customer.text("last_name", 40))))
    address = " ".join(filter(None, (shipping.text("province"), shipping.text("city"), shipping.text("address1"))))
    buyer = Buyer(
        number=customer.number("id"),
        name=own or next(filter(None, named), ""),
        phone=fields.phone(
            [(said, "phone"), (customer, "phone"), (shipping, "phone"), (billing, "phone"), (home, "phone")], remarks
        ),
        email=fields.email([(said, "email"), (said, "contact_email"), (customer, "email")], remarks),
        city=shipping.text("city", 80) or billing.text("city", 80),
        address=address[:200],
    )
    return buyer if buyer.known else None
