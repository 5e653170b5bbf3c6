"""What came of a group: who joined and left, what they claimed and bought, what it cost and what remains.

An order counts for a group when its buyer sat in it as the order was placed, or used a coupon of the group on it. The money
is what was paid without postage and net of refunds, so the group's coupons are off it already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Subquery, and_, exists, func, literal, or_, select

from kernel import clock
from kernel.db import db
from kernel.i18n import gettext as _
from kernel.staff import services as staff_services
from membership.coupons.models import Coupon, Offer, OfferVersion, Redemption
from membership.coupons.services import guard
from membership.gifts.models import Gift, GiftClaim, GiftState
from membership.members import queries as members
from membership.orders import queries as orders
from membership.orders.models import Order, OrderLine
from membership.products.models import Product

from . import labels, queries
from .models import Group, GroupState, JoinLink, Seat, SeatState

# Ends of a gift that cost the shop nothing.
NOT_GIVEN = (GiftState.OFFERED, GiftState.FORFEITED, GiftState.CANCELLED, GiftState.FAILED, GiftState.RETURNED)
# Why a seat ended when its owner went on to the group that follows.
SUCCESSOR = "successor"
FRIEND_SOURCE = "friend:"


@dataclass
class Tally:
    """What people brought, all of them or those who came one way. Money in 分."""

    joined: int = 0
    here: int = 0
    left: int = 0
    moved_on: int = 0
    buyers: int = 0
    orders: int = 0
    money: int = 0
    goods: int = 0
    guessed: int = 0

    def add(self, stay: Stay, bought: Bought | None) -> None:
        self.joined += 1
        self.here += stay.state is SeatState.TAKEN
        self.left += stay.state in (SeatState.LEFT, SeatState.REMOVED)
        self.moved_on += stay.state is SeatState.MOVED and stay.end_reason == SUCCESSOR
        if bought is not None:
            self.buyers += 1
            self.orders += bought.orders
            self.money += bought.money
            self.goods += bought.goods
            self.guessed += bought.guessed


@dataclass(frozen=True)
class Stay:
    """A member's latest stay, with the way that brought them in the first time."""

    member_id: int
    state: SeatState
    end_reason: str | None
    source: str
    link_id: int | None
    staff_id: int | None
    inviter_id: int | None


@dataclass(frozen=True)
class Bought:
    """What one member bought that counts for a group (分); `guessed` is the part of `goods` that nobody has said."""

    orders: int
    money: int
    goods: int
    guessed: int


@dataclass(frozen=True)
class Way:
    """One way in with what came by it; `opened` only where openings are counted."""

    name: str
    tally: Tally
    opened: int | None = None
    link_id: int | None = None


@dataclass
class Result:
    """What came of a group. Money in 分; `profit` is what remains of the money after goods and gifts."""

    all: Tally = field(default_factory=Tally)
    claimed: int = 0
    claimants: int = 0
    used: int = 0
    coupons: int = 0
    gifts: int = 0
    gift_cost: int = 0
    sources: list[Way] = field(default_factory=list)
    links: list[Way] = field(default_factory=list)
    staff: list[Way] = field(default_factory=list)
    inviters: list[Way] = field(default_factory=list)

    @property
    def cost(self) -> int:
        """What the group cost: its coupons and its gifts."""
        return self.coupons + self.gift_cost

    @property
    def profit(self) -> int:
        return self.all.money - self.all.goods - self.gift_cost


def offers_of(group_id: int) -> Sequence[Offer]:
    """The offers that are only for people in a group, newest first."""
    return db.session.scalars(
        select(Offer)
        .join(OfferVersion, OfferVersion.id == Offer.version_id)
        .where(OfferVersion.group_id == group_id, Offer.archived_at.is_(None))
        .order_by(Offer.id.desc())
    ).all()


def _offer_ids(group_id: int) -> list[int]:
    """Every offer that was ever scoped to a group, in whichever version."""
    return list(
        db.session.scalars(select(OfferVersion.offer_id).where(OfferVersion.group_id == group_id).distinct()).all()
    )


def _end(group: Group, now: datetime) -> datetime:
    """Until when orders count: now, or when the group closed."""
    if queries.state_of(group) in (GroupState.CLOSED, GroupState.ARCHIVED):
        return group.closed_at or group.closes_at or now
    return now


def _stays(group_id: int) -> dict[int, Stay]:
    """The people who ever joined: their latest stay, attributed to the way of their first."""
    rows = db.session.execute(
        select(Seat.member_id, Seat.state, Seat.end_reason, Seat.source, Seat.link_id, Seat.staff_id, Seat.inviter_id)
        .where(Seat.group_id == group_id, Seat.joined_at.is_not(None))
        .order_by(Seat.id)
    )
    found: dict[int, Stay] = {}
    for row in rows:
        first = found.get(row.member_id) or row
        found[row.member_id] = Stay(
            row.member_id, row.state, row.end_reason, first.source, first.link_id, first.staff_id, first.inviter_id
        )
    return found


def _counted(group: Group, offer_ids: Sequence[int]) -> Subquery:
    """SQL: the orders that count for a group, each once, with whose they are and their money."""
    until = _end(group, clock.now())
    inside = exists().where(
        Seat.group_id == group.id,
        Seat.member_id == Order.member_id,
        Seat.joined_at <= Order.placed_at,
        Order.placed_at < func.least(func.coalesce(Seat.ended_at, until), until),
    )
    used = exists().where(
        Redemption.source == Order.source,
        Redemption.order_external_id == Order.external_id,
        Redemption.rolled_back_at.is_(None),
        Redemption.offer_id == func.any(list(offer_ids)),
    )
    people = select(Seat.member_id).where(Seat.group_id == group.id, Seat.joined_at.is_not(None))
    return (
        select(Order.id, Order.member_id, orders.spend().label("money"))
        .where(Order.member_id.in_(people), orders.counts(), or_(inside, used) if offer_ids else inside)
        .subquery()
    )


def _bought(group: Group, offer_ids: Sequence[int]) -> dict[int, Bought]:
    counted = _counted(group, offer_ids)
    pieces = OrderLine.quantity - OrderLine.refunded_quantity
    guess = OrderLine.unit_price * literal(guard.floor_share()) / 1000
    lines = (
        select(
            counted.c.id,
            func.sum(pieces * func.coalesce(Product.cost, guess)).label("goods"),
            func.sum(pieces * guess).filter(Product.cost.is_(None)).label("guessed"),
        )
        .join(OrderLine, OrderLine.order_id == counted.c.id)
        .outerjoin(Product, Product.id == OrderLine.product_id)
        .group_by(counted.c.id)
        .subquery()
    )
    rows = db.session.execute(
        select(
            counted.c.member_id,
            func.count(),
            func.sum(counted.c.money),
            func.coalesce(func.sum(lines.c.goods), 0),
            func.coalesce(func.sum(lines.c.guessed), 0),
        )
        .select_from(counted.outerjoin(lines, lines.c.id == counted.c.id))
        .group_by(counted.c.member_id)
    )
    return {row[0]: Bought(row[1], int(row[2]), int(row[3]), int(row[4])) for row in rows}


def _ways(
    stays: Iterable[Stay],
    bought: dict[int, Bought],
    key: Callable[[Stay], Any],
    name: Callable[[Any], str],
) -> list[Way]:
    tallies: dict[Any, Tally] = defaultdict(Tally)
    for stay in stays:
        if (found := key(stay)) is not None:
            tallies[found].add(stay, bought.get(stay.member_id))
    ways = [Way(name(found), tally) for found, tally in tallies.items()]
    return sorted(ways, key=lambda way: (-way.tally.joined, -way.tally.money, way.name))


def _by_link(group_id: int, stays: Iterable[Stay], bought: dict[int, Bought]) -> list[Way]:
    """Every link of the group, also one that nobody came by."""
    tallies: dict[int, Tally] = defaultdict(Tally)
    for stay in stays:
        if stay.link_id is not None:
            tallies[stay.link_id].add(stay, bought.get(stay.member_id))
    return [Way(link_name(link), tallies[link.id], link.opened, link.id) for link in queries.links_of(group_id)]


def link_name(link: JoinLink) -> str:
    """What a link is called; the one that every group has by itself has no name of its own."""
    return link.name or _("The group's own link")


def result_of(group: Group) -> Result:
    """Everything that came of a group, in a handful of statements however many people it has."""
    offer_ids = _offer_ids(group.id)
    stays, bought = _stays(group.id), _bought(group, offer_ids)
    result = Result()
    for stay in stays.values():
        result.all.add(stay, bought.get(stay.member_id))
    _count_claims(group, offer_ids, result)
    staff = staff_services.names({stay.staff_id for stay in stays.values() if stay.staff_id is not None})
    people = members.names({s.inviter_id for s in stays.values() if s.inviter_id is not None})
    everybody = list(stays.values())
    result.sources = _ways(everybody, bought, lambda s: s.source, lambda found: labels.source_name(found) or "–")
    result.links = _by_link(group.id, everybody, bought)
    result.staff = _ways(everybody, bought, lambda s: s.staff_id, lambda found: staff.get(found, "–"))
    result.inviters = _ways(everybody, bought, lambda s: s.inviter_id, lambda found: people.get(found, "–"))
    return result


def _count_claims(group: Group, offer_ids: Sequence[int], result: Result) -> None:
    """Coupons and gifts of the group: how many, whose, and what they cost."""
    mine = or_(
        and_(
            Coupon.offer_id == func.any(list(offer_ids)),
            Coupon.version_id == OfferVersion.id,
            OfferVersion.group_id == group.id,
        ),
        Coupon.source == f"{FRIEND_SOURCE}{group.id}",
    )
    coupons = (
        select(Coupon.id, Coupon.member_id)
        .join(OfferVersion, OfferVersion.id == Coupon.version_id)
        .where(mine)
        .subquery()
    )
    result.claimed = db.session.scalar(select(func.count()).select_from(coupons)) or 0
    result.used, result.coupons = db.session.execute(
        select(func.count(), func.coalesce(func.sum(Redemption.discount), 0))
        .join(coupons, coupons.c.id == Redemption.coupon_id)
        .where(Redemption.rolled_back_at.is_(None))
    ).one()
    result.coupons = int(result.coupons)
    result.gifts, cost = db.session.execute(
        select(func.count(), func.coalesce(func.sum(Gift.value), 0))
        .select_from(GiftClaim)
        .join(Gift, Gift.id == GiftClaim.gift_id)
        .where(GiftClaim.group_id == group.id, GiftClaim.state.not_in(NOT_GIVEN))
    ).one()
    result.gift_cost = int(cost)
    both = select(coupons.c.member_id).union(
        select(GiftClaim.member_id).where(GiftClaim.group_id == group.id, GiftClaim.state.not_in(NOT_GIVEN))
    )
    result.claimants = db.session.scalar(select(func.count()).select_from(both.subquery())) or 0
