"""What offers come to: how many coupons are out and what they could still cost, what was given and what it brought."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from sqlalchemy import BigInteger, Date, and_, case, cast, func, select

from kernel import clock
from kernel.db import db
from membership.limits import services as limits
from membership.orders.models import Order
from membership.products.models import Product

from .models import Coupon, CouponKind, CouponState, Offer, OfferVersion, Redemption
from .services.caps import budget_name

S = CouponState
DAYS = 30


@dataclass
class Liability:
    """One offer's books, amounts in 分.

    `outstanding` can still be used (frozen ones too); `most` is the most that they can take off, `unbounded` how many of
    them have no such bound. `revenue` is what the orders with its coupons paid for, net of refunds where the orders are
    known, `average` per order.
    """

    offer: Offer
    issued: int = 0
    redeemed: int = 0
    expired: int = 0
    revoked: int = 0
    outstanding: int = 0
    most: int = 0
    unbounded: int = 0
    given: int = 0
    revenue: int = 0
    orders: int = 0
    budget_left: int | None = None

    @property
    def average(self) -> int:
        # Rounded half up, as everywhere.
        return (2 * self.revenue + self.orders) // (2 * self.orders) if self.orders else 0


@dataclass
class Totals:
    """The sums over all offers."""

    rows: list[Liability] = field(default_factory=list)

    def __getattr__(self, name: str) -> int:
        if name not in (
            "issued",
            "redeemed",
            "expired",
            "revoked",
            "outstanding",
            "most",
            "unbounded",
            "given",
            "revenue",
            "orders",
        ):
            raise AttributeError(name)
        return sum(getattr(row, name) for row in self.rows)


def most_off(version: OfferVersion, dearest: dict[str, int]) -> int | None:
    """The most that one coupon can take off (分); None where the terms set no bound. `dearest` has list prices by SKU."""
    match version.kind:
        case CouponKind.AMOUNT:
            return version.value
        case CouponKind.PERCENT | CouponKind.FREE_SHIPPING:
            return version.discount_cap
        case CouponKind.FIXED_PRICE:
            prices = [dearest[sku.strip().lower()] for sku in version.skus if sku.strip().lower() in dearest]
            return max(0, max(prices) - version.value) if prices else None
        case _:
            return 0


def _prices(versions: list[OfferVersion]) -> dict[str, int]:
    wanted = {sku.strip().lower() for v in versions if v.kind == CouponKind.FIXED_PRICE for sku in v.skus}
    if not wanted:
        return {}
    lower = func.lower(Product.sku)
    rows = db.session.execute(
        select(lower, func.max(Product.list_price))
        .where(lower.in_(wanted), Product.list_price.is_not(None))
        .group_by(lower)
    )
    return {row[0]: row[1] for row in rows}


def liabilities(offer_ids: list[int] | None = None) -> list[Liability]:
    """The books of offers (all but the archived ones when none are named), the largest liability first."""
    offers = select(Offer)
    offers = (
        offers.where(Offer.id.in_(offer_ids)) if offer_ids is not None else offers.where(Offer.archived_at.is_(None))
    )
    found = {offer.id: Liability(offer) for offer in db.session.scalars(offers)}
    now = clock.now()
    over = and_(Coupon.state.in_([S.ISSUED, S.RESERVED, S.FROZEN]), Coupon.usable_until <= now)
    shown = case((over, S.EXPIRED.value), else_=Coupon.state)
    rows = db.session.execute(
        select(Coupon.version_id, shown, func.count(), func.count().filter(Coupon.parent_id.is_(None)))
        .where(Coupon.offer_id.in_(found))
        .group_by(Coupon.version_id, shown)
    ).all()
    versions = {
        v.id: v for v in db.session.scalars(select(OfferVersion).where(OfferVersion.id.in_({row[0] for row in rows})))
    }
    dearest = _prices(list(versions.values()))
    for version_id, state, number, own in rows:
        version = versions[version_id]
        book = found[version.offer_id]
        book.issued += own
        match CouponState(state):
            case S.REDEEMED:
                book.redeemed += number
            case S.EXPIRED:
                book.expired += number
            case S.REVOKED:
                book.revoked += number
            case S.ISSUED | S.RESERVED | S.FROZEN:
                book.outstanding += number
                bound = most_off(version, dearest)
                if bound is None:
                    book.unbounded += number
                else:
                    book.most += number * bound
    _add_money(found)
    for book in found.values():
        _bound_by_budget(book)
    return sorted(found.values(), key=lambda book: (-book.most, -book.unbounded, -book.offer.id))


def _add_money(found: dict[int, Liability]) -> None:
    paid = func.coalesce(
        Order.paid_amount - Order.refunded_amount, Redemption.amount - Redemption.discount - Redemption.tier_discount
    )
    of_order = (
        select(
            Redemption.offer_id,
            Redemption.source,
            Redemption.order_external_id,
            func.sum(Redemption.discount).label("given"),
            func.max(paid).label("paid"),
        )
        .outerjoin(Order, and_(Order.source == Redemption.source, Order.external_id == Redemption.order_external_id))
        .where(Redemption.offer_id.in_(found), Redemption.rolled_back_at.is_(None))
        .group_by(Redemption.offer_id, Redemption.source, Redemption.order_external_id)
        .subquery()
    )
    rows = db.session.execute(
        select(
            of_order.c.offer_id,
            cast(func.sum(of_order.c.given), BigInteger),
            cast(func.sum(of_order.c.paid), BigInteger),
            func.count(),
        ).group_by(of_order.c.offer_id)
    )
    for offer_id, given, revenue, orders in rows:
        found[offer_id].given, found[offer_id].revenue, found[offer_id].orders = given, max(0, revenue), orders


def _bound_by_budget(book: Liability) -> None:
    budget = book.offer.budget
    if budget is None:
        return
    left = book.budget_left = max(0, budget - limits.used(budget_name(book.offer.id)))
    if book.unbounded or book.most > left:
        book.most, book.unbounded = (left if book.outstanding else 0), 0


@dataclass(frozen=True)
class Day:
    """What happened with an offer's coupons on one day in the shop's zone."""

    day: date
    claimed: int
    redeemed: int


def curve(offer_id: int, days: int = DAYS) -> list[Day]:
    """Claims and redemptions of the last so many days, one row a day, the oldest first."""
    last = clock.today()
    first = last - timedelta(days=days - 1)
    begin = clock.day_bounds(first)[0]

    def by_day(at: Any, *where: Any) -> dict[date, int]:
        local = cast(func.timezone("Asia/Shanghai", at), Date)
        rows = db.session.execute(select(local, func.count()).where(at >= begin, *where).group_by(local))
        return {row[0]: row[1] for row in rows}

    claimed = by_day(Coupon.issued_at, Coupon.offer_id == offer_id)
    redeemed = by_day(Redemption.redeemed_at, Redemption.offer_id == offer_id, Redemption.rolled_back_at.is_(None))
    every = [first + timedelta(days=i) for i in range(days)]
    return [Day(day, claimed.get(day, 0), redeemed.get(day, 0)) for day in every]


def export(rows: list[Liability]) -> Iterator[list[Any]]:
    """The books as rows of a file, amounts in yuan."""
    for book in rows:
        yield [
            book.offer.name,
            book.issued,
            book.redeemed,
            book.expired,
            book.revoked,
            book.outstanding,
            f"{book.most / 100:.2f}",
            book.unbounded,
            f"{book.given / 100:.2f}",
            book.orders,
            f"{book.revenue / 100:.2f}",
            f"{book.average / 100:.2f}",
        ]
