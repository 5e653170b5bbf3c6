"""What coupons do when something happens elsewhere."""

from __future__ import annotations

from kernel.events import subscribe
from membership.orders.events import OrderRefunded

from . import services


@subscribe(OrderRefunded)
def roll_back_coupons(event: OrderRefunded) -> None:
    """A full refund gives the order's coupons back."""
    if event.full:
        services.roll_back_order(event.source, event.external_id, "full refund")
