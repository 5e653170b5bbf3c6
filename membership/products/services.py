"""Products come to be known through the lines of orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, text

from kernel import audit, clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .models import Product


@dataclass(frozen=True)
class ProductSeen:
    """A product as an order line names it; `price` is one piece in 分."""

    title: str
    price: int


class TitleMissing(Refusal):
    status = 409
    label = _l("Nobody knows this product yet: give it a title.")


class CostAbovePrice(Refusal):
    status = 422
    label = _l("The cost is above the list price. Look at both once more.")


_INSERT = text(
    """
    INSERT INTO product (source, sku, title, category, list_price, created_at)
    SELECT :source, sku, title, '', price, :now
    FROM unnest(CAST(:skus AS text[]), CAST(:titles AS text[]), CAST(:prices AS bigint[])) AS t (sku, title, price)
    ORDER BY sku COLLATE "C"
    ON CONFLICT (source, sku) DO NOTHING
    """
)


def find_or_make_many(source: str, seen: Mapping[str, ProductSeen]) -> dict[str, int]:
    """The ids of many products of a source by SKU, made where they are new. What is already known is left as it is, so that
    no file undoes what staff wrote."""
    if not seen:
        return {}
    known = _ids(source, list(seen))
    fresh = sorted(seen.keys() - known.keys())
    if fresh:
        db.session.execute(
            _INSERT,
            {
                "source": source,
                "skus": fresh,
                "titles": [seen[sku].title for sku in fresh],
                "prices": [seen[sku].price or None for sku in fresh],
                "now": clock.now(),
            },
        )
        known |= _ids(source, fresh)
    return known


def _ids(source: str, skus: list[str]) -> dict[str, int]:
    rows = db.session.execute(
        select(Product.sku, Product.id).where(Product.source == source, Product.sku == func.any(skus))
    )
    return dict(rows.all())


def edit(
    product: Product, title: str, category: str, list_price: int | None, cost: int | None, days: int | None
) -> bool:
    """Write down what a product is, costs and how many days it lasts; returns whether anything changed.

    Prices are 分. Refuses with `CostAbovePrice` a cost above the list price.
    """
    if list_price is not None and cost is not None and cost > list_price:
        raise CostAbovePrice
    wanted = {"title": title, "category": category, "list_price": list_price, "cost": cost, "days_of_use": days}
    before = {key: getattr(product, key) for key, value in wanted.items() if getattr(product, key) != value}
    if not before:
        return False
    for key in before:
        setattr(product, key, wanted[key])
    audit.record("product.edited", "product", product.id, before=before, after={key: wanted[key] for key in before})
    db.session.flush()
    return True


def show(product: Product, picture: str | None) -> bool:
    """Give a product its picture (a key of `kernel.files`), another one or none; returns whether anything changed."""
    if product.picture == picture:
        return False
    audit.record("product.edited", "product", product.id, {"picture": product.picture}, {"picture": picture})
    product.picture = picture
    db.session.flush()
    return True


def write(source: str, sku: str, wanted: Mapping[str, Any]) -> tuple[Product, bool]:
    """Write down a product as another program knows it; returns it and whether it is new.

    `wanted` holds some of title, category, list_price, cost, days_of_use; what is not named stays. Prices are 分.
    Refuses with `TitleMissing` a new one without a title, and with `CostAbovePrice`.
    """
    fresh = not _ids(source, [sku])
    if fresh:
        if not wanted.get("title"):
            raise TitleMissing
        find_or_make_many(source, {sku: ProductSeen(wanted["title"], wanted.get("list_price") or 0)})
    product = db.session.scalars(
        select(Product).where(Product.source == source, Product.sku == sku).with_for_update()
    ).one()
    kept = {name: getattr(product, name) for name in ("title", "category", "list_price", "cost", "days_of_use")}
    new = {**kept, **wanted}
    edit(product, new["title"], new["category"], new["list_price"], new["cost"], new["days_of_use"])
    return product, fresh
