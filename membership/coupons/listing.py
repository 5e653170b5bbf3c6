"""Offers as the console lists and weighs them: sorted, with what their coupons cost and what they brought."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Select, cast, func, select

from kernel.db import db
from kernel.pages import Count, Page, capped_count, keyset, order_by
from membership.products.models import Product

from .models import CouponKind, CouponState, Offer, OfferState, OfferVersion, Redemption
from .queries import OfferRow, Used, used_of

PAGE = 30


@dataclass(frozen=True)
class OfferFilter:
    """What narrows the list of offers; anything unknown narrows nothing."""

    q: str = ""
    state: OfferState | None = None
    kind: CouponKind | None = None
    sort: str = ""
    archived: bool = False


@dataclass(frozen=True)
class Yield:
    """Live redemptions of one offer: how many, what they took off and what the goods cost before (分)."""

    redeemed: int
    cost: int
    goods: int


def _used() -> Any:
    """Live redemptions by offer, as a table to join."""
    return (
        select(
            Redemption.offer_id,
            func.count().label("redeemed"),
            cast(func.sum(Redemption.discount), BigInteger).label("cost"),
        )
        .where(Redemption.rolled_back_at.is_(None))
        .group_by(Redemption.offer_id)
        .subquery()
    )


def _statement(wanted: OfferFilter) -> tuple[Select[Any, Any], list[Any]]:
    statement = select(Offer, OfferVersion).join(OfferVersion, OfferVersion.id == Offer.version_id)
    statement = statement.where(Offer.archived_at.is_not(None) if wanted.archived else Offer.archived_at.is_(None))
    if wanted.q:
        statement = statement.where(Offer.name.icontains(wanted.q, autoescape=True))
    if wanted.state is not None:
        statement = statement.where(Offer.state == wanted.state)
    if wanted.kind is not None:
        statement = statement.where(OfferVersion.kind == wanted.kind)
    columns: dict[str, Any] = {"name": Offer.name, "claimed": Offer.claimed}
    if (key := wanted.sort.removeprefix("-")) in ("redeemed", "cost"):
        used = _used()
        statement = statement.outerjoin(used, used.c.offer_id == Offer.id)
        columns[key] = func.coalesce(used.c[key], 0)
    return statement, order_by(wanted.sort, columns, [Offer.id], [Offer.id.desc()])


def page_of(wanted: OfferFilter, cursor: str | None) -> tuple[list[OfferRow], Page, Count]:
    """One page of offers as asked for, the newest first unless sorted otherwise."""
    statement, order = _statement(wanted)
    page = keyset(statement, order, cursor, PAGE)
    return _rows(page.rows), page, capped_count(statement)


def _rows(rows: Sequence[Any]) -> list[OfferRow]:
    used = used_of([row[0].id for row in rows])
    return [OfferRow(row[0], row[1], used.get(row[0].id, Used())) for row in rows]


def export_of(wanted: OfferFilter) -> Iterator[OfferRow]:
    """Every offer as asked for, for a file."""
    cursor: str | None = None
    while True:
        statement, order = _statement(wanted)
        page = keyset(statement, order, cursor, 500)
        yield from _rows(page.rows)
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


def yield_of(offer_id: int) -> Yield:
    """What the live redemptions of one offer come to."""
    row = db.session.execute(
        select(
            func.count(), func.coalesce(func.sum(Redemption.discount), 0), func.coalesce(func.sum(Redemption.amount), 0)
        ).where(Redemption.offer_id == offer_id, Redemption.rolled_back_at.is_(None))
    ).one()
    return Yield(row[0], int(row[1]), int(row[2]))


def dearer_than(skus: Sequence[str], price: int) -> list[tuple[str, str, int]]:
    """Of these goods, those whose known cost lies above a price (分): (sku, title, cost), dearest first; at most three."""
    if not skus:
        return []
    rows = db.session.execute(
        select(Product.sku, Product.title, Product.cost)
        .where(Product.sku.in_(skus), Product.cost.is_not(None), Product.cost > price)
        .order_by(Product.cost.desc())
        .limit(3)
    )
    return [(row[0], row[1], row[2] or 0) for row in rows]


def usable(states: dict[CouponState, int]) -> int:
    """How many coupons can still be used."""
    return states.get(CouponState.ISSUED, 0) + states.get(CouponState.RESERVED, 0)


def known_titles(skus: Sequence[str]) -> dict[str, str]:
    """What goods are called, as far as the shop knows them."""
    if not skus:
        return {}
    rows = db.session.execute(select(Product.sku, Product.title).where(Product.sku.in_(skus)))
    return {row[0]: row[1] for row in rows}
