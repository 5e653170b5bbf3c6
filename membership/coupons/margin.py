"""How deep prices may fall when discounts come together: the worst piece of goods an offer could lead to. Pure.

A piece costs its list price, or a running group price for it that goes together with the offer; the deepest tier discount
of those who may claim comes off that where the offer allows it, then the coupon. The floor is what the piece costs the
shop, or a share of its list price where nobody has said what it costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kernel.money import percent_of

from . import rules
from .models import CouponKind

# product.md: without a known cost, a price below 40 % of the list price is taken for one below cost.
FLOOR = 400
SHOWN = 5


class MarginTerms(rules.Terms, Protocol):
    @property
    def with_tier(self) -> bool: ...


@dataclass(frozen=True)
class Goods:
    """A product in scope: `price` is its list price, `cost` what it costs the shop or None, `group_price` a running
    fixed price for one piece that goes together with the offer, or None. All in 分."""

    sku: str
    title: str
    price: int
    cost: int | None = None
    group_price: int | None = None
    group_offer: str = ""


@dataclass(frozen=True)
class Case:
    """A piece that could be sold for less than its floor, and the steps that lead there (分)."""

    goods: Goods
    group_price: int | None
    tier: int
    after_tier: int
    coupon: int
    final: int
    floor: int
    by_cost: bool

    @property
    def short(self) -> int:
        """How far below the floor it is sold."""
        return self.floor - self.final


def coupon_on_piece(terms: rules.Terms, price: int) -> int:
    """The most that a coupon takes off one piece of this price, on the basket that is best for the buyer.

    An amount from a minimum is spread over the pieces that reach the minimum; from no minimum it meets a single piece.
    """
    match terms.kind:
        case CouponKind.AMOUNT:
            pieces = max(1, -(-terms.min_spend // price)) if price else 1
            return min(price, -(-terms.value // pieces))
        case CouponKind.PERCENT:
            off = price - percent_of(price, terms.value)
            return min(off, terms.discount_cap) if terms.discount_cap is not None else off
        case CouponKind.FIXED_PRICE:
            return max(0, price - terms.value)
        case _:
            return 0


def worst(terms: MarginTerms, goods: Goods, tier_per_mille: int, floor_share: int = FLOOR) -> Case | None:
    """The lowest price of one piece with everything together, when that lies below its floor; else None."""
    floor = goods.cost if goods.cost is not None else percent_of(goods.price, floor_share)
    tier = tier_per_mille if terms.with_tier else 1000
    found: Case | None = None
    for start in (None, goods.group_price) if goods.group_price is not None else (None,):
        price = start if start is not None else goods.price
        after = percent_of(price, tier)
        off = coupon_on_piece(terms, after)
        final = after - off
        if final < floor and (found is None or final < found.final):
            found = Case(goods, start, tier, after, off, final, floor, goods.cost is not None)
    return found


def worst_of(
    terms: MarginTerms, goods: Sequence[Goods], tier_per_mille: int, floor_share: int = FLOOR
) -> tuple[list[Case], int]:
    """The worst cases, furthest below their floor first, and how many there are in all."""
    cases = [case for one in goods if (case := worst(terms, one, tier_per_mille, floor_share)) is not None]
    cases.sort(key=lambda case: (-case.short, case.goods.sku))
    return cases[:SHOWN], len(cases)
