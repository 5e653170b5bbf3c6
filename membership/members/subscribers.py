"""What members do about orders."""

from __future__ import annotations

from kernel.events import subscribe
from membership.orders.events import OrderRecorded, OrdersImported

from . import services


@subscribe(OrdersImported)
def reassess_everybody(event: OrdersImported) -> None:
    services.reassess_stages()


@subscribe(OrderRecorded)
def reassess_buyer(event: OrderRecorded) -> None:
    if event.member_id is not None:
        services.reassess_stages([event.member_id])
