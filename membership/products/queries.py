"""Reads about products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, case, func, or_, select

from kernel import files
from kernel.db import db
from kernel.errors import NotFound
from kernel.pages import Count, Page, capped_count, keyset
from membership.orders.models import Order, OrderLine

from .models import Product

NO_CATEGORY = "-"
LIST_PRICE = func.coalesce(Product.list_price, 0)
SORTS: dict[str, list[Any]] = {
    "": [Product.created_at.desc(), Product.id.desc()],
    "title": [Product.title, Product.id],
    "-title": [Product.title.desc(), Product.id.desc()],
    "price": [LIST_PRICE, Product.id],
    "-price": [LIST_PRICE.desc(), Product.id.desc()],
}


def get_product(product_id: int) -> Product:
    """A product by id; refuses with `NotFound` when there is none."""
    found = db.session.get(Product, product_id)
    if found is None:
        raise NotFound
    return found


@files.public_in_use.fill
def pictures_in_use(keys: Sequence[str]) -> set[str]:
    """Which of these pictures a product has."""
    return {key for key in db.session.scalars(select(Product.picture).where(Product.picture.in_(keys))) if key}


def listed(q: str = "", category: str = "", source: str = "", lacks: str = "", sku: str = "") -> Select[Product]:
    """The products that fit: words of the title or a SKU, a category (`-` is none), a source, what is not filled in yet, a
    whole SKU."""
    statement = select(Product)
    if q:
        statement = statement.where(
            or_(Product.title.icontains(q, autoescape=True), Product.sku.istartswith(q, autoescape=True))
        )
    if category:
        statement = statement.where(Product.category == ("" if category == NO_CATEGORY else category))
    if source:
        statement = statement.where(Product.source == source)
    if sku:
        statement = statement.where(Product.sku == sku)
    lacking = {"cost": Product.cost, "days": Product.days_of_use, "price": Product.list_price}.get(lacks)
    if lacking is not None:
        statement = statement.where(lacking.is_(None))
    return statement


def page_of(statement: Select[Product], sort: str, cursor: str | None) -> tuple[Page, Count]:
    """One page of products and how many there are in all."""
    return keyset(statement, SORTS.get(sort, SORTS[""]), cursor), capped_count(statement)


def categories() -> Sequence[str]:
    """Every category that a product has, by name."""
    return db.session.scalars(
        select(Product.category).where(Product.category != "").distinct().order_by(Product.category).limit(200)
    ).all()


def sources() -> Sequence[str]:
    return db.session.scalars(select(Product.source).distinct().order_by(Product.source).limit(50)).all()


@dataclass(frozen=True)
class Sold:
    """What became of a product: pieces kept by their buyers, the people, and how many of those came back for it."""

    pieces: int
    buyers: int
    came_back: int


def sold(product_id: int) -> Sold:
    """The sales of one product over all orders that were paid."""
    of_buyer = (
        select(
            Order.member_id,
            func.count(Order.id.distinct()).label("orders"),
            func.sum(OrderLine.quantity - OrderLine.refunded_quantity).label("pieces"),
        )
        .join(Order, Order.id == OrderLine.order_id)
        .where(
            OrderLine.product_id == product_id,
            Order.paid_at.is_not(None),
            OrderLine.quantity > OrderLine.refunded_quantity,
        )
        .group_by(Order.member_id)
        .subquery()
    )
    row = db.session.execute(
        select(
            func.coalesce(func.sum(of_buyer.c.pieces), 0),
            func.count(of_buyer.c.member_id),
            func.count(case((of_buyer.c.orders > 1, of_buyer.c.member_id))),
        )
    ).one()
    return Sold(int(row[0]), row[1], row[2])


def rows_of(statement: Select[Product]) -> Iterator[list[Any]]:
    """The products of a statement as plain rows for a file, read in portions."""
    for product in db.session.scalars(statement.order_by(Product.id).execution_options(yield_per=1000)):
        price, cost = (None if fen is None else fen / 100 for fen in (product.list_price, product.cost))
        yield [product.sku, product.title, product.category, price, cost, product.days_of_use, product.source]
