"""What the desk does when a parcel arrives or is refused."""

from __future__ import annotations

from kernel.events import subscribe
from membership.orders.events import OrderDelivered, OrderRefused

from . import services
from .models import CallReason


@subscribe(OrderDelivered)
def open_call_after_delivery(event: OrderDelivered) -> None:
    if event.member_id is not None:
        services.open_for_order(event.order_id, event.member_id, CallReason.DELIVERED, event.delivered_at)


@subscribe(OrderRefused)
def open_call_after_refusal(event: OrderRefused) -> None:
    if event.member_id is not None:
        services.open_for_order(event.order_id, event.member_id, CallReason.REFUSED_PARCEL)
