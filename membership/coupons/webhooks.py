"""What other programs are told of coupons: their numbers here, never the code, which is as good as the coupon."""

from __future__ import annotations

from kernel.http import Strict
from kernel.i18n import lazy_gettext as _l
from kernel.webhooks import expose

from .events import CouponClaimed, CouponRedeemed, CouponRevoked, CouponRolledBack


class CouponClaimedMessage(Strict):
    """`source` says through what the member has it."""

    coupon_id: int
    offer_id: int
    member_id: int
    source: str


class CouponRedeemedMessage(Strict):
    """`discount` in 分; `source` and `order` name the order."""

    coupon_id: int
    offer_id: int
    member_id: int
    source: str
    order: str
    discount: int


class CouponRolledBackMessage(Strict):
    coupon_id: int
    offer_id: int
    member_id: int
    source: str
    order: str


class CouponRevokedMessage(Strict):
    coupon_id: int
    offer_id: int
    member_id: int
    reason: str


def redeemed(event: CouponRedeemed) -> CouponRedeemedMessage:
    return CouponRedeemedMessage(
        coupon_id=event.coupon_id,
        offer_id=event.offer_id,
        member_id=event.member_id,
        source=event.source,
        order=event.order_external_id,
        discount=event.discount,
    )


def rolled_back(event: CouponRolledBack) -> CouponRolledBackMessage:
    return CouponRolledBackMessage(
        coupon_id=event.coupon_id,
        offer_id=event.offer_id,
        member_id=event.member_id,
        source=event.source,
        order=event.order_external_id,
    )


expose(CouponClaimed, "coupon.claimed", CouponClaimedMessage, _l("A member has a new coupon."))
expose(CouponRedeemed, "coupon.redeemed", redeemed, _l("A coupon was used on an order."))
expose(CouponRolledBack, "coupon.rolled_back", rolled_back, _l("The use of a coupon was undone."))
expose(CouponRevoked, "coupon.revoked", CouponRevokedMessage, _l("The shop took a coupon back."))
