"""The clock stops the moment somebody buys, and goes on where it was when they give it back."""

from __future__ import annotations

from kernel.events import subscribe
from membership.members.events import MembersMerged, MergeUndone
from membership.orders.events import BuyersChanged, OrderRecorded, OrderRefunded, OrderRefused, OrderUpdated

from . import services


@subscribe(OrderRecorded)
def move_on_after_order(event: OrderRecorded) -> None:
    services.watch([event.member_id])


@subscribe(OrderUpdated)
def move_after_update(event: OrderUpdated) -> None:
    services.watch([event.member_id])


@subscribe(OrderRefunded)
def move_back_after_refund(event: OrderRefunded) -> None:
    services.watch([event.member_id])


@subscribe(OrderRefused)
def move_back_after_refusal(event: OrderRefused) -> None:
    services.watch([event.member_id])


@subscribe(BuyersChanged)
def move_after_import(event: BuyersChanged) -> None:
    services.watch(event.member_ids)


@subscribe(MembersMerged)
def join_clocks(event: MembersMerged) -> None:
    services.watch([event.member_id, event.absorbed_id])


@subscribe(MergeUndone)
def part_clocks(event: MergeUndone) -> None:
    services.watch([event.member_id])
