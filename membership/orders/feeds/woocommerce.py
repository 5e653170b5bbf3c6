"""Orders and refunds as WooCommerce's REST interface (v2, v3) and its webhooks write them.

Instants are taken from the fields that end in `_gmt`; they carry no offset and are UTC. Amounts are decimal strings, unit
prices numbers. A completed order is one that has been fulfilled; "on hold" waits for a bank transfer. The order's number here is
its `id`: `number` may be rewritten by plugins. Facts: WooCommerce REST API documentation, "Order properties".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from ..formats.drafts import Buyer, LineDraft, RefundDraft
from ..models import OrderState, Payment
from . import fields
from .fields import Exchange, Fields, Payload
from .reasons import Reason

STATES = {
    "pending": OrderState.PLACED,
    "on-hold": OrderState.PLACED,
    "processing": OrderState.PAID,
    # Plugins for parcels add these two.
    "shipped": OrderState.SHIPPED,
    "delivered": OrderState.DELIVERED,
    "completed": OrderState.COMPLETED,
    "cancelled": OrderState.CLOSED,
    "failed": OrderState.CLOSED,
    "refunded": OrderState.CLOSED,
    "trash": OrderState.CLOSED,
}
DRAFTS = ("checkout-draft", "auto-draft", "draft")
TOPICS = frozenset({"order.created", "order.updated", "order.restored", "action.woocommerce_order_refunded"})
_PARENT = re.compile(r"/orders/([0-9]{1,40})/refunds(?:/|$)")


def read(body: Any, exchange: Exchange, now: datetime, topic: str | None = None) -> Payload:
    """One order, one refund, or a list of up to 500 of either. With a `topic` (webhooks) others than those of orders are
    ignored. A refund names its order in `parent_id`, `order_id` or its links. Refuses with `PayloadRefused`."""
    if topic is not None and topic not in TOPICS:
        return Payload(ignored=Reason.TOPIC)
    return fields.several(
        body, ("orders", "refunds"), lambda one, place, faults: _one(one, place, faults, exchange, now)
    )


def _one(body: Any, place: str, faults: list[tuple[str, str]], exchange: Exchange, now: datetime) -> Payload:
    said = Fields(body, now, place, faults)
    if said.has("amount") and not said.has("status"):
        return _refund(said, exchange)
    return _order(said, exchange)


def _refund(said: Fields, exchange: Exchange) -> Payload:
    if said.has("currency"):
        said.currency("currency", exchange)
    else:
        # Refunds name no currency of their own: they are in their order's, which is the connection's.
        said.rate = exchange.rate
    number = said.number("id", needed=True)
    order = said.number("parent_id") or said.number("order_id") or _parent(said)
    if order is None:
        said.fault("parent_id", Reason.MISSING)
    at = said.moment("date_created_gmt", UTC, needed=True)
    amount = said.amount("amount", needed=True)
    if amount == 0:
        return Payload(ignored=Reason.NO_REFUND_YET)
    if number is None or order is None or at is None:
        return Payload()
    return Payload([RefundDraft(number, order, amount, at)])


def _parent(said: Fields) -> str | None:
    """The order that a refund's own links lead to."""
    for kind in ("up", "self"):
        for link in said.child("_links").children(kind):
            if match := _PARENT.search(link.text("href", 500) + "/refunds"):
                return match[1]
    return None


def _order(said: Fields, exchange: Exchange) -> Payload:
    remarks: list[str] = []
    if said.body.get("status") in DRAFTS:
        return Payload(ignored=Reason.DRAFT_ORDER)
    said.currency("currency", exchange)
    number = said.number("id", needed=True)
    state: OrderState = said.choice("status", STATES, default=None) or OrderState.PLACED
    placed_at = said.moment("date_created_gmt", UTC, needed=True)
    updated_at = said.moment("date_modified_gmt", UTC)
    paid_at = said.after("date_paid_gmt", placed_at, UTC)
    completed_at = said.after("date_completed_gmt", placed_at, UTC)
    on_delivery = said.text("payment_method") == "cod"
    total = said.amount("total", needed=True)
    # What a refund gave back is written below zero in the order, above it in the refund.
    refunded = sum(abs(one.amount("total", needed=True, negative=True)) for one in said.children("refunds"))
    if said.text("status") == "refunded" and not refunded:
        refunded = total
    if refunded > total:
        said.fault("refunds", Reason.REFUND_TOO_LARGE)
    never_paid = state is OrderState.PLACED or (state is OrderState.CLOSED and paid_at is None and not refunded)
    paid = 0 if never_paid else total
    postage = said.amount("shipping_total") + said.amount("shipping_tax")
    discount = said.amount("discount_total") + said.amount("discount_tax")
    buyer = _buyer(said, remarks)
    lines = _lines(said)
    if number is None or placed_at is None:
        return Payload()
    closed_at = (updated_at or placed_at) if state is OrderState.CLOSED else None
    if closed_at is not None:
        closed_at = max(closed_at, placed_at)
    moments: dict[str, Any] = {
        "paid_at": None if state is OrderState.PLACED else paid_at,
        "completed_at": completed_at if state is OrderState.COMPLETED else None,
        "closed_at": closed_at,
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
        discount=discount,
        buyer=buyer,
        lines=lines,
    )


def _lines(said: Fields) -> tuple[LineDraft, ...]:
    lines = []
    for line in said.children("line_items"):
        pieces = line.pieces("quantity")
        before = line.amount("subtotal") + line.amount("subtotal_tax")
        total = line.amount("total", needed=True) + line.amount("total_tax")
        product = line.number("variation_id") or line.number("product_id") or line.number("id")
        sku = line.text("sku", 80) or f"product:{product or '?'}"
        if pieces:
            # `subtotal` is before coupons; the piece costs that, the line came to `total`.
            price = (before or total) // pieces
            lines.append(LineDraft(sku, line.text("name") or sku, pieces, price, total=total))
    return tuple(lines)


def _buyer(said: Fields, remarks: list[str]) -> Buyer | None:
    billing, shipping = said.child("billing"), said.child("shipping")
    address = " ".join(
        filter(None, (shipping.text("state", 60), shipping.text("city", 80), shipping.text("address_1", 120)))
    )
    name = " ".join(filter(None, (billing.text("first_name", 40), billing.text("last_name", 40))))
    buyer = Buyer(
        number=said.number("customer_id"),
        name=name or " ".join(filter(None, (shipping.text("first_name", 40), shipping.text("last_name", 40)))),
        phone=fields.phone([(billing, "phone"), (shipping, "phone")], remarks),
        email=fields.email([(billing, "email")], remarks),
        city=shipping.text("city", 80) or billing.text("city", 80),
        address=address[:200],
    )
    return buyer if buyer.known else None
