"""Holding coupons for an order while its buyer pays, and letting go of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import update

from kernel import clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from membership.members.models import Member

from ..models import Coupon, CouponState
from .checkout import refuse_state, refuse_terms
from .locking import coupon_of, locked_all, tell
from .states import move, settle

RESERVED_FOR = timedelta(minutes=30)


class NotReserved(Refusal):
    title = _l("Not held")
    label = _l("This order does not hold the coupon.")


def reserve_all(wanted: Sequence[str], source: str, order: str, buyer: Member | None = None) -> list[Coupon]:
    """Hold coupons for an order while its buyer pays (30 minutes), all or none; the same order again holds them anew.

    Refuses as `redeem_all` does, but for the basket.
    """
    found = locked_all(wanted, buyer, f"code:{source}")
    # A code may only now have become a coupon, which is usable from that instant.
    now = clock.now()
    refusals: dict[str, Refusal] = {}
    for code, one in found.items():
        try:
            refuse_state(coupon_of(one), now, source, order)
            refuse_terms(one.version, source, coupon_of(one).member_id)
        except Refusal as refusal:
            refusals[code] = refusal
    tell(wanted, refusals)
    for one in found.values():
        _hold(coupon_of(one), now, source, order)
    return [coupon_of(one) for one in found.values()]


def _hold(coupon: Coupon, now: datetime, source: str, order: str) -> None:
    settle(coupon, now)
    until = min(now + RESERVED_FOR, coupon.usable_until)
    if coupon.state == CouponState.RESERVED:
        db.session.execute(update(Coupon).where(Coupon.id == coupon.id).values(reserved_until=until))
        return
    move(
        coupon, CouponState.RESERVED, "reserved", {"source": source, "order": order},
        reserved_source=source, reserved_order=order, reserved_until=until,
    )  # fmt: skip


def reserve(code: str, source: str, order: str) -> Coupon:
    """`reserve_all` for one coupon, whose refusal is raised as it is."""
    return reserve_all([code], source, order)[0]


def release_all(wanted: Sequence[str], source: str, order: str) -> list[Coupon]:
    """Let go of coupons that an order holds, all or none. Refuses with `NotReserved` and `UnknownCode`."""
    now = clock.now()
    found = locked_all(wanted)
    refusals: dict[str, Refusal] = {}
    for code, one in found.items():
        coupon = coupon_of(one)
        settle(coupon, now)
        if coupon.state != CouponState.RESERVED or (coupon.reserved_source, coupon.reserved_order) != (source, order):
            refusals[code] = NotReserved()
    tell(wanted, refusals)
    for one in found.values():
        coupon = coupon_of(one)
        after = CouponState.EXPIRED if coupon.usable_until <= now else CouponState.ISSUED
        move(coupon, after, "released", reserved_source=None, reserved_order=None, reserved_until=None)
    return [coupon_of(one) for one in found.values()]


def release(code: str, source: str, order: str) -> Coupon:
    """`release_all` for one coupon."""
    return release_all([code], source, order)[0]
