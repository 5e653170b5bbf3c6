"""What orders do when something else happens."""

from __future__ import annotations

from kernel.events import subscribe

from . import services
from .events import OrdersImported


@subscribe(OrdersImported)
def tell_of_buyers(event: OrdersImported) -> None:
    services.tell_of_buyers(event.run_id)
