"""Using a coupon at the counter, where somebody types what a till would send."""

from __future__ import annotations

from kernel.errors import Refusal

from ..models import Coupon
from ..rules import Basket
from .redemptions import Redeemed, redeem

SOURCE = "counter"


def redeem_at_counter(coupon: Coupon, order: str, basket: Basket) -> Redeemed | Refusal:
    """Use a coupon on a receipt, or tell why not, for the form that asked.

    What `redeem` refuses it refuses before it writes anything, so that the transaction may go on.
    """
    try:
        return redeem(coupon.code, SOURCE, order, basket)
    except Refusal as refusal:
        return refusal
