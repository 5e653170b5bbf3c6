"""Orders and coupons become results."""

from __future__ import annotations

from kernel.events import publish_all, subscribe
from membership.coupons.events import CouponRedeemed, CouponRolledBack
from membership.orders import queries as orders
from membership.orders.events import OrderRecorded, OrdersImported

from . import services
from .events import ImportToCredit


@subscribe(OrderRecorded)
def credit_order(event: OrderRecorded) -> None:
    services.credit_order(event.order_id)


@subscribe(OrdersImported)
def credit_import(event: OrdersImported) -> None:
    """A file's orders are credited in slices, each in a transaction of its own."""
    publish_all(
        ImportToCredit(run_id=event.run_id, first_id=first, last_id=last)
        for first, last in orders.slices_of_run(event.run_id, services.SLICE)
    )


@subscribe(ImportToCredit)
def credit_slice(event: ImportToCredit) -> None:
    services.credit_import(event.run_id, event.first_id, event.last_id)


@subscribe(CouponRedeemed)
def credit_redemption(event: CouponRedeemed) -> None:
    services.credit_redemption(event.coupon_id)


@subscribe(CouponRolledBack)
def take_credit_back(event: CouponRolledBack) -> None:
    services.take_credit_back(event.source, event.order_external_id)
