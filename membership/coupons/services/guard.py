"""The margin guard: what an offer would lead to on the goods it is for, and who said that it may run all the same."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from kernel import audit, shop
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from kernel.money import yuan
from membership.products.models import Product
from membership.tiers import queries as tiers

from .. import combination, margin
from ..models import CouponKind, Offer, OfferState, OfferVersion

MOST_GOODS = 5_000


class MarginUnconfirmed(Refusal):
    status = 422
    title = _l("Below the floor")
    label = _l(
        "With this offer some goods could be sold below what they cost. Type the offer's name to start it all the same."
    )


def deepest_tier(min_rank: int) -> int:
    """The deepest tier discount (per mille paid) of those who may claim; the lowest tier's own where it is for all."""
    levels = [level.discount for level in tiers.policy().levels if level.rank >= min_rank]
    return min(levels, default=1000)


def weigh(terms: Any, offer_id: int = 0) -> tuple[list[margin.Case], int]:
    """The worst cases of an offer (its version, or a draft of one), and how many goods lie below their floor in all."""
    return margin.worst_of(terms, _goods(terms, offer_id), deepest_tier(terms.min_rank), floor_share())


def floor_share() -> int:
    """The share of the list price (per mille) below which nothing is sold where the cost is not known."""
    return int(shop.get("margin.floor", margin.FLOOR))


def count_without_cost() -> int:
    """How many products the share counts for: a list price is known, what they cost is not."""
    unknown = select(func.count()).where(Product.cost.is_(None), Product.list_price.is_not(None))
    return db.session.scalar(unknown) or 0


def set_floor(share: int) -> None:
    """Set the share of the list price (per mille, 0 to 1,000) below which an offer asks before it starts.

    It counts for goods of which nobody has said what they cost, from the next offer on; `ValueError` beyond the range.
    """
    if not 0 <= share <= 1000:
        raise ValueError("a share of the list price lies between 0 and 1,000 per mille")
    before = floor_share()
    if share != before:
        shop.put("margin.floor", share)
        audit.record("margin_floor.changed", "shop", None, before={"share": before}, after={"share": share})


def _goods(terms: Any, offer_id: int) -> list[margin.Goods]:
    wanted = [sku.strip().lower() for sku in terms.skus if sku.strip()]
    statement = select(Product.sku, Product.title, Product.list_price, Product.cost).where(Product.list_price > 0)
    if wanted:
        statement = statement.where(func.lower(Product.sku).in_(wanted))
    # Those with the thinnest margin first: of very many goods these are the ones that matter.
    thin = func.coalesce(Product.cost, 0) * 1.0 / Product.list_price
    prices = group_prices(terms, offer_id)
    found = []
    for sku, title, price, cost in db.session.execute(statement.order_by(thin.desc(), Product.id).limit(MOST_GOODS)):
        group_price, name = prices.get(sku.strip().lower(), (None, ""))
        found.append(margin.Goods(sku, title, price or 0, cost, group_price, name))
    return found


def group_prices(terms: Any, but: int = 0) -> dict[str, tuple[int, str]]:
    """The lowest running fixed price of each SKU that goes together with an offer's terms, and whose it is."""
    if terms.kind == CouponKind.FIXED_PRICE:
        return {}
    rows = db.session.execute(
        select(OfferVersion, Offer.name)
        .join(Offer, Offer.version_id == OfferVersion.id)
        .where(
            Offer.state == OfferState.ACTIVE,
            Offer.id != but,
            OfferVersion.kind == CouponKind.FIXED_PRICE,
            OfferVersion.stack_group != "",
        )
        .limit(500)
    )
    lowest: dict[str, tuple[int, str]] = {}
    for version, name in rows:
        if not combination.go_together(terms, version) or (terms.with_tier and not version.with_tier):
            continue
        for sku in version.skus:
            key = sku.strip().lower()
            if key not in lowest or version.value < lowest[key][0]:
                lowest[key] = (version.value, name)
    return lowest


def refuse_unconfirmed(offer: Offer, version: OfferVersion, typed: str) -> None:
    """Let an offer start only when nothing falls below its floor, or somebody has typed its name having seen what does.

    Refuses with `MarginUnconfirmed`. What was confirmed is kept in the audit.
    """
    cases, number = weigh(version, offer.id)
    if not number:
        return
    if typed.strip() != offer.name:
        raise MarginUnconfirmed
    audit.record(
        "offer.margin_confirmed",
        "offer",
        offer.id,
        after={
            "goods": number,
            "worst": [{"sku": c.goods.sku, "price": yuan(c.final), "floor": yuan(c.floor)} for c in cases],
        },
    )
