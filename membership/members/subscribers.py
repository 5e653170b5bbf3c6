"""What members do about orders."""

from __future__ import annotations

from kernel.events import subscribe
from membership.orders.events import BuyersChanged, OrderRecorded, OrderRefunded, OrderUpdated

from . import services
from .events import MembersMerged, MergeUndone


@subscribe(BuyersChanged)
def reassess_buyers(event: BuyersChanged) -> None:
    services.reassess_stages(event.member_ids)


@subscribe(BuyersChanged)
def revalue_buyers(event: BuyersChanged) -> None:
    """Buyers of a file are worth something else now; the others wait for the night."""
    services.revalue(event.member_ids)


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
