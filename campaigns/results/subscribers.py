"""Orders and coupons become results."""

from __future__ import annotations

from kernel.events import subscribe
from membership.coupons.events import CouponRedeemed, CouponRolledBack
from membership.orders.events import OrderRecorded, OrdersImported

from . import services


@subscribe(OrderRecorded)
def credit_order(event: OrderRecorded) -> None:
    services.credit_order(event.order_id)


@subscribe(OrdersImported)
def credit_import(event: OrdersImported) -> None:
    services.credit_import(event.run_id)


@subscribe(CouponRedeemed)
def credit_redemption(event: CouponRedeemed) -> None:
    services.credit_redemption(event.coupon_id)


@subscribe(CouponRolledBack)
def take_credit_back(event: CouponRolledBack) -> None:
    services.take_credit_back(event.source, event.order_external_id)
