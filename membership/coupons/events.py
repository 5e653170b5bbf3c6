"""What happens to coupons, as other rooms hear of it."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class CouponClaimed(Event):
    """A member has a new coupon, by claiming it or because it was granted; `source` says through what."""

    member_id: int
    coupon_id: int
    offer_id: int
    source: str


@dataclass(frozen=True, kw_only=True)
class CouponRedeemed(Event):
    """A coupon was used on the order `(source, order_external_id)`; `discount` in 分."""

    member_id: int
    coupon_id: int
    offer_id: int
    source: str
    order_external_id: str
    discount: int


@dataclass(frozen=True, kw_only=True)
class CouponRolledBack(Event):
    """The use of a coupon on an order was undone."""

    member_id: int
    coupon_id: int
    offer_id: int
    source: str
    order_external_id: str


@dataclass(frozen=True, kw_only=True)
class CouponRevoked(Event):
    """The shop took a coupon back."""

    member_id: int
    coupon_id: int
    offer_id: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class CouponTransferred(Event):
    """A member gave a coupon to another; `coupon_id` is the one that the friend has now."""

    member_id: int
    to_member_id: int
    coupon_id: int
    offer_id: int
