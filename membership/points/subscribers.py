"""Points follow orders."""

from __future__ import annotations

from kernel.events import publish_all, subscribe
from membership.members.events import MergeUndone
from membership.orders.events import (
    OrderCompleted,
    OrderDelivered,
    OrderRecorded,
    OrderRefunded,
    OrderRefused,
    OrdersImported,
    OrderUpdated,
)

from . import services
from .events import ImportToEarn


@subscribe(OrdersImported)
def slice_import(event: OrdersImported) -> None:
    """A file's orders are booked in slices, each in a transaction of its own."""
    publish_all(
        ImportToEarn(run_id=event.run_id, first_id=first, last_id=last)
        for first, last in services.slices_of_run(event.run_id)
    )


@subscribe(ImportToEarn)
def earn_by_import(event: ImportToEarn) -> None:
    services.settle_orders(services.orders_of_run(event.run_id, event.first_id, event.last_id))


@subscribe(OrderRecorded)
def earn_by_order(event: OrderRecorded) -> None:
    services.settle_order(event.order_id)


@subscribe(OrderUpdated)
def earn_after_update(event: OrderUpdated) -> None:
    services.settle_order(event.order_id)


@subscribe(OrderDelivered)
def schedule_after_delivery(event: OrderDelivered) -> None:
    services.settle_order(event.order_id)


@subscribe(OrderCompleted)
def schedule_after_completion(event: OrderCompleted) -> None:
    services.settle_order(event.order_id)


@subscribe(OrderRefunded)
def claw_back_after_refund(event: OrderRefunded) -> None:
    services.settle_order(event.order_id)


@subscribe(OrderRefused)
def claw_back_after_refusal(event: OrderRefused) -> None:
    services.settle_order(event.order_id)


@subscribe(MergeUndone)
def part_points_again(event: MergeUndone) -> None:
    """What an order earned while two records were one goes with the order."""
    services.settle_orders_of(event.member_id)
