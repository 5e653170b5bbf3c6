"""What other programs are told of orders."""

from __future__ import annotations

from kernel.db import db
from kernel.http import Instant, Strict
from kernel.i18n import lazy_gettext as _l
from kernel.webhooks import expose

from .events import OrderDelivered, OrderRecorded, OrderRefunded
from .models import Order


class OrderRecordedMessage(Strict):
    """`amount` is what was paid, in 分."""

    order_id: int
    source: str
    order: str
    member_id: int | None
    amount: int


class OrderDeliveredMessage(Strict):
    order_id: int
    source: str
    order: str
    member_id: int | None
    delivered_at: Instant


class OrderRefundedMessage(Strict):
    """`amount` is what was given back since the last report, in 分; `full`: nothing of the goods is left."""

    order_id: int
    source: str
    order: str
    member_id: int | None
    amount: int
    full: bool


def recorded(event: OrderRecorded) -> OrderRecordedMessage:
    return OrderRecordedMessage(
        order_id=event.order_id,
        source=event.source,
        order=event.external_id,
        member_id=event.member_id,
        amount=event.amount,
    )


def delivered(event: OrderDelivered) -> OrderDeliveredMessage | None:
    order = db.session.get(Order, event.order_id)
    if order is None:
        return None
    return OrderDeliveredMessage(
        order_id=order.id,
        source=order.source,
        order=order.external_id,
        member_id=event.member_id,
        delivered_at=event.delivered_at,
    )


def refunded(event: OrderRefunded) -> OrderRefundedMessage:
    return OrderRefundedMessage(
        order_id=event.order_id,
        source=event.source,
        order=event.external_id,
        member_id=event.member_id,
        amount=event.amount,
        full=event.full,
    )


expose(OrderRecorded, "order.recorded", recorded, _l("A paid order has come in singly (not by a file)."))
expose(OrderDelivered, "order.delivered", delivered, _l("A parcel has arrived."))
expose(OrderRefunded, "order.refunded", refunded, _l("Money was given back on an order."))
