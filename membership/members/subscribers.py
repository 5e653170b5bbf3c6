"""What members do about orders."""

from __future__ import annotations

from kernel.events import subscribe
from membership.orders import queries as orders
from membership.orders.events import OrderRecorded, OrderRefunded, OrdersImported, OrderUpdated

from . import services
from .events import MembersMerged, MergeUndone
from .services.value import CHUNK


@subscribe(OrdersImported)
def reassess_everybody(event: OrdersImported) -> None:
    services.reassess_stages()


@subscribe(OrdersImported)
def revalue_buyers(event: OrdersImported) -> None:
    """Buyers of a file are worth something else now; the others wait for the night."""
    ids = orders.members_of_run(event.run_id)
    for start in range(0, len(ids), CHUNK):
        services.revalue(ids[start : start + CHUNK])


@subscribe(OrderRecorded)
def reassess_buyer(event: OrderRecorded) -> None:
    if event.member_id is not None:
        services.reassess_stages([event.member_id])
        services.revalue([event.member_id])


@subscribe(OrderUpdated)
def revalue_buyer(event: OrderUpdated) -> None:
    if event.member_id is not None:
        services.revalue([event.member_id])


@subscribe(OrderRefunded)
def revalue_after_refund(event: OrderRefunded) -> None:
    if event.member_id is not None:
        services.revalue([event.member_id])


@subscribe(MembersMerged)
def revalue_survivor(event: MembersMerged) -> None:
    services.revalue([event.member_id])


@subscribe(MergeUndone)
def revalue_separated(event: MergeUndone) -> None:
    services.revalue([event.member_id])
