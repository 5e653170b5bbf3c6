"""Tiers follow orders."""

from __future__ import annotations

from kernel.events import subscribe
from membership.orders import queries as orders
from membership.orders.events import OrderRecorded, OrderRefunded, OrdersImported, OrderUpdated

from . import services


@subscribe(OrdersImported)
def reassess_members_of_run(event: OrdersImported) -> None:
    """Everybody whose orders a file changed, unless their tiers were judged when their sums were written."""
    if event.ranked:
        return
    ids = orders.members_of_run(event.run_id)
    for start in range(0, len(ids), services.CHUNK):
        services.reassess(ids[start : start + services.CHUNK])


@subscribe(OrderRecorded)
def reassess_after_order(event: OrderRecorded) -> None:
    if event.member_id is not None:
        services.reassess([event.member_id])


@subscribe(OrderUpdated)
def reassess_after_update(event: OrderUpdated) -> None:
    if event.member_id is not None:
        services.reassess([event.member_id])


@subscribe(OrderRefunded)
def reassess_after_refund(event: OrderRefunded) -> None:
    if event.member_id is not None:
        services.reassess([event.member_id])
