"""Reads: draws with their entries, sales with their offers, and one list of both. The seed is read by `services.draws` alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    String,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import defer

from community.groups.models import Group
from kernel import clock
from kernel.db import UtcDateTime, db
from kernel.errors import NotFound
from kernel.money import short_yuan
from kernel.pages import once_a_request
from membership.coupons.models import Coupon, Offer, OfferState, OfferVersion, Redemption
from membership.gifts.models import Gift
from membership.members.models import Member
from membership.orders.models import Order
from membership.products.models import Product

from . import rules
from .models import Lottery, LotteryEntry, LotteryPrize, LotteryState, PrizeState, Sale, SaleKind
from .rules import Phase

SHOWN_DAYS = 3


# ── Draws ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def get_lottery(lottery_id: int, lock: bool = False) -> Lottery:
    """A draw, or 404."""
    statement = select(Lottery).where(Lottery.id == lottery_id)
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    found = db.session.scalar(statement)
    if found is None:
        raise NotFound
    return found


def find_lottery(lottery_id: int) -> Lottery | None:
    return db.session.get(Lottery, lottery_id)


def get_announced(public_id: str) -> Lottery:
    """The draw of a public address, or 404; one that has not been announced has no address yet."""
    found = db.session.scalar(select(Lottery).where(Lottery.public_id == public_id, Lottery.announced_at.is_not(None)))
    if found is None:
        raise NotFound
    return found


def path_of(lottery: Lottery) -> str:
    """The path of a draw's page, which anybody may read."""
    return f"/draws/{lottery.public_id}"


def phase_of(lottery: Lottery) -> Phase:
    """What a draw is by the clock."""
    return rules.lottery_phase(lottery.state, lottery.opens_at, lottery.closes_at, clock.now())


def prizes_of(lottery_id: int) -> Sequence[LotteryPrize]:
    """What can be won, the first prize first."""
    return db.session.scalars(
        select(LotteryPrize).where(LotteryPrize.lottery_id == lottery_id).order_by(LotteryPrize.position)
    ).all()


def prizes_among(lottery_ids: Collection[int]) -> dict[int, list[LotteryPrize]]:
    """The prizes of several draws, in one statement."""
    found: dict[int, list[LotteryPrize]] = {}
    for prize in db.session.scalars(
        select(LotteryPrize).where(LotteryPrize.lottery_id.in_(lottery_ids)).order_by(LotteryPrize.position)
    ):
        found.setdefault(prize.lottery_id, []).append(prize)
    return found


def prize_names(prizes: Sequence[LotteryPrize]) -> dict[int, str]:
    """What each prize is called: its gift's or its offer's name."""
    if not prizes:
        return {}
    rows = db.session.execute(
        select(LotteryPrize.id, func.coalesce(Gift.name, Offer.name))
        .outerjoin(Gift, Gift.id == LotteryPrize.gift_id)
        .outerjoin(Offer, Offer.id == LotteryPrize.offer_id)
        .where(LotteryPrize.id.in_([prize.id for prize in prizes]))
    )
    return {row[0]: row[1] for row in rows}


def entry_of(lottery_id: int, member_id: int) -> LotteryEntry | None:
    """A member's ticket, or None."""
    return db.session.scalar(
        select(LotteryEntry).where(LotteryEntry.lottery_id == lottery_id, LotteryEntry.member_id == member_id)
    )


def entries_of(lottery_ids: Collection[int], member_id: int) -> dict[int, LotteryEntry]:
    """A member's tickets among several draws, by draw."""
    rows = db.session.scalars(
        select(LotteryEntry).where(LotteryEntry.lottery_id.in_(lottery_ids), LotteryEntry.member_id == member_id)
    )
    return {entry.lottery_id: entry for entry in rows}


def entered(lottery_ids: Collection[int]) -> dict[int, int]:
    """How many tickets were taken for each draw."""
    rows = db.session.execute(
        select(LotteryEntry.lottery_id, func.count())
        .where(LotteryEntry.lottery_id.in_(lottery_ids))
        .group_by(LotteryEntry.lottery_id)
    )
    return {row[0]: row[1] for row in rows}


def left_out(lottery_id: int) -> int:
    """How many tickets are not on the frozen list because their owners had left the group."""
    return (
        db.session.scalar(select(func.count()).where(LotteryEntry.lottery_id == lottery_id, LotteryEntry.left_out)) or 0
    )


def entrants(lottery_id: int) -> list[tuple[int, str]]:
    """Who has a ticket: (member_id, locale)."""
    rows = db.session.execute(
        select(Member.id, Member.locale)
        .join(LotteryEntry, LotteryEntry.member_id == Member.id)
        .where(LotteryEntry.lottery_id == lottery_id, Member.erased_at.is_(None))
        .order_by(Member.id)
    )
    return [(row[0], row[1]) for row in rows]


def winners_of(lottery_id: int) -> list[tuple[LotteryEntry, Member, LotteryPrize]]:
    """Who has won, first place first, with the prize."""
    rows = db.session.execute(
        select(LotteryEntry, Member, LotteryPrize)
        .join(Member, Member.id == LotteryEntry.member_id)
        .join(LotteryPrize, LotteryPrize.id == LotteryEntry.prize_id)
        .where(LotteryEntry.lottery_id == lottery_id, LotteryEntry.place.is_not(None))
        .order_by(LotteryEntry.place)
    )
    return [(row[0], row[1], row[2]) for row in rows]


def missed_prizes() -> list[tuple[Lottery, int]]:
    """Draws with prizes that could not be given to people who are still there, and how many."""
    rows = db.session.execute(
        select(Lottery, func.count())
        .join(LotteryEntry, LotteryEntry.lottery_id == Lottery.id)
        .join(Member, Member.id == LotteryEntry.member_id)
        .where(LotteryEntry.prize_state == PrizeState.MISSED, Member.erased_at.is_(None))
        .group_by(Lottery.id)
        .order_by(Lottery.id)
        .limit(10)
    )
    return [(row[0], row[1]) for row in rows]


# ── Sales ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class OnSale:
    """A sale with everything that a page says of it."""

    sale: Sale
    offer: Offer
    version: OfferVersion
    product: Product
    mine: Sequence[Coupon] = ()

    @property
    def phase(self) -> Phase:
        offer = self.offer
        return rules.sale_phase(
            offer.state, offer.claim_from, offer.claim_until, offer.stock, offer.claimed, clock.now()
        )

    @property
    def left(self) -> int | None:
        """How many pieces are left, None where there is no limit."""
        return None if self.offer.stock is None else max(0, self.offer.stock - self.offer.claimed)

    @property
    def may_have_more(self) -> bool:
        """Whether the member of whom it was asked may claim another one."""
        return self.offer.per_member is None or len(self.mine) < self.offer.per_member


def get_sale(sale_id: int) -> Sale:
    """A sale, or 404."""
    found = db.session.get(Sale, sale_id)
    if found is None:
        raise NotFound
    return found


def source_of(sale: Sale) -> str:
    """Where a coupon of a sale says that it comes from; the group leads, for caps a group."""
    return f"group:{sale.group_id}/sale:{sale.id}"


def product_choices() -> list[tuple[int, str]]:
    """Products that can be sold for less: those with a list price, by title, each with it."""
    rows = db.session.execute(
        select(Product.id, Product.title, Product.sku, Product.list_price)
        .where(Product.list_price > 1)
        .order_by(Product.title, Product.id)
        .limit(2_000)
    )
    return [(row[0], f"{row[1] or row[2]} · {short_yuan(row[3] or 0)}") for row in rows]


def _sales() -> Select[Sale, Offer, OfferVersion, Product]:
    return (
        select(Sale, Offer, OfferVersion, Product)
        .join(Offer, Offer.id == Sale.offer_id)
        .join(OfferVersion, OfferVersion.id == Offer.version_id)
        .join(Product, Product.id == Sale.product_id)
    )


def on_sale(sale_id: int) -> OnSale:
    """A sale with its offer and product, or 404."""
    row = db.session.execute(_sales().where(Sale.id == sale_id)).one_or_none()
    if row is None:
        raise NotFound
    return OnSale(*row)


def get_started(group_id: int, public_id: str, member_id: int | None = None) -> OnSale:
    """The sale of an address in a group, with what the member has of it, or 404; a draft has no address yet."""
    row = db.session.execute(
        _sales().where(Sale.group_id == group_id, Sale.public_id == public_id, Offer.state != OfferState.DRAFT)
    ).one_or_none()
    if row is None:
        raise NotFound
    sale, offer, version, product = row
    mine = coupons_of([offer.id], member_id).get(offer.id, []) if member_id else ()
    return OnSale(sale, offer, version, product, mine)


def coupons_of(offer_ids: Collection[int], member_id: int) -> dict[int, list[Coupon]]:
    """A member's coupons among several offers, by offer, the first one first."""
    found: dict[int, list[Coupon]] = {}
    for coupon in db.session.scalars(
        select(Coupon)
        .where(Coupon.offer_id.in_(offer_ids), Coupon.member_id == member_id)
        .order_by(Coupon.offer_id, Coupon.ordinal)
    ):
        found.setdefault(coupon.offer_id, []).append(coupon)
    return found


def sales_of_group(group_id: int) -> list[tuple[Sale, Offer, OfferVersion]]:
    """Every sale of a group with its offer, the oldest first."""
    rows = db.session.execute(_sales().where(Sale.group_id == group_id).order_by(Sale.id))
    return [(row[0], row[1], row[2]) for row in rows]


def offers_shown(group_id: int) -> set[int]:
    """Offers that a group's page shows as sales or keeps for its announced draws, and so not among its other coupons."""
    sales = select(Sale.offer_id).where(Sale.group_id == group_id)
    prizes = (
        select(LotteryPrize.offer_id)
        .join(Lottery, Lottery.id == LotteryPrize.lottery_id)
        .where(
            Lottery.group_id == group_id,
            Lottery.state.not_in([LotteryState.DRAFT, LotteryState.CANCELLED]),
            LotteryPrize.offer_id.is_not(None),
        )
    )
    return set(db.session.scalars(union_all(sales, prizes)))


@dataclass(frozen=True)
class Outcome:
    """What came of a sale: coupons claimed and used, what they took off and what was paid for the goods (分)."""

    claimed: int
    redeemed: int
    discount: int
    pieces: int
    orders: int
    paid: int


def outcome_of(sale: Sale, offer: Offer) -> Outcome:
    """What came of a sale: live redemptions, the pieces' money by its price, and the whole orders they were part of."""
    uses = db.session.execute(
        select(func.count(), func.coalesce(func.sum(Redemption.discount), 0)).where(
            Redemption.offer_id == offer.id, Redemption.rolled_back_at.is_(None)
        )
    ).one()
    money = (
        select(func.coalesce(func.sum(OfferVersion.value), 0))
        .select_from(Redemption)
        .join(Coupon, Coupon.id == Redemption.coupon_id)
        .join(OfferVersion, OfferVersion.id == Coupon.version_id)
        .where(Redemption.offer_id == offer.id, Redemption.rolled_back_at.is_(None))
    )
    used_on = (
        select(Redemption.source, Redemption.order_external_id)
        .where(Redemption.offer_id == offer.id, Redemption.rolled_back_at.is_(None))
        .distinct()
        .subquery()
    )
    orders = db.session.execute(
        select(func.count(), func.coalesce(func.sum(Order.paid_amount - Order.refunded_amount), 0)).join_from(
            used_on, Order, and_(Order.source == used_on.c.source, Order.external_id == used_on.c.order_external_id)
        )
    ).one()
    return Outcome(offer.claimed, uses[0], int(uses[1]), int(db.session.scalar(money) or 0), orders[0], int(orders[1]))


# ── What a group's page shows ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Drawn:
    """A draw with everything that a page says of it to one member."""

    lottery: Lottery
    phase: Phase
    prizes: list[tuple[str, int]]
    entered: int
    mine: LotteryEntry | None


_GROUP: ColumnElement[int] = bindparam("group_id", type_=BigInteger())
_NOW: ColumnElement[datetime] = bindparam("now", type_=UtcDateTime())


@cache
def _sold() -> Select[Any]:
    found: Any = _sales()
    return found.where(
        Sale.group_id == _GROUP,
        Offer.state.in_([OfferState.ACTIVE, OfferState.PAUSED]),
        or_(Offer.claim_until.is_(None), Offer.claim_until > _NOW),
    )


@cache
def _drawn() -> Select[Any]:
    found: Any = select(Lottery)
    return found.where(
        Lottery.group_id == _GROUP,
        or_(
            Lottery.state.in_([LotteryState.OPEN, LotteryState.FROZEN]),
            and_(
                Lottery.state.in_([LotteryState.DRAWN, LotteryState.CANCELLED]),
                Lottery.announced_at.is_not(None),
                func.coalesce(Lottery.drawn_at, Lottery.cancelled_at) > _NOW - _shown_for(),
            ),
        ),
    )


@cache
def _anything() -> Select[bool, bool]:
    one = literal(1)
    return select(_sold().with_only_columns(one).exists(), _drawn().with_only_columns(one).exists())


@once_a_request
def shown_in(group_id: int, member_id: int) -> tuple[list[OnSale], list[Drawn]]:
    """The sales and draws of a group for one of its members: what runs, what comes, and draws of the last three days."""
    values = {"group_id": group_id, "now": clock.now()}
    # Most groups have neither at the moment: one statement says so.
    selling, drawing = db.session.execute(_anything(), values).one()
    sales: list[OnSale] = []
    lotteries: list[Lottery] = []
    if selling:
        rows = db.session.execute(_sold().order_by(Offer.claim_until, Sale.id).limit(20), values).all()
        held = coupons_of([row[1].id for row in rows], member_id)
        sales = [
            OnSale(sale, offer, version, product, held.get(offer.id, [])) for sale, offer, version, product in rows
        ]
    if drawing:
        # A list of thousands of tickets is read by the draw's own page alone.
        found = _drawn().options(defer(Lottery.tickets)).order_by(Lottery.closes_at, Lottery.id).limit(10)
        lotteries = list(db.session.scalars(found, values))
    return sales, drawn_rows(lotteries, member_id)


def _shown_for() -> Any:
    return func.make_interval(0, 0, 0, SHOWN_DAYS)


def drawn_rows(lotteries: Sequence[Lottery], member_id: int | None) -> list[Drawn]:
    """Draws with their prizes, how many take part, and the member's ticket: a fixed number of statements."""
    if not lotteries:
        return []
    ids = [lottery.id for lottery in lotteries]
    prizes = prizes_among(ids)
    names = prize_names([prize for found in prizes.values() for prize in found])
    numbers = entered(ids)
    mine = entries_of(ids, member_id) if member_id is not None else {}
    return [
        Drawn(
            lottery,
            phase_of(lottery),
            [(names.get(prize.id, ""), prize.number) for prize in prizes.get(lottery.id, [])],
            numbers.get(lottery.id, 0),
            mine.get(lottery.id),
        )
        for lottery in lotteries
    ]


# ── One list of everything ──────────────────────────────────────────────────────────────────────────────────────────


KINDS = ("lottery", SaleKind.FLASH_SALE.value, SaleKind.GROUP_PRICE.value)


@dataclass(frozen=True)
class ActivityFilter:
    """What the list is narrowed to; empty means no narrowing."""

    q: str = ""
    kind: str = ""
    phase: str = ""
    group_id: int | None = None


def _lottery_phase(now: datetime) -> ColumnElement[str]:
    """SQL: `rules.lottery_phase`."""
    return case(
        (Lottery.state == LotteryState.DRAFT, Phase.DRAFT.value),
        (Lottery.state == LotteryState.CANCELLED, Phase.CANCELLED.value),
        (Lottery.state == LotteryState.DRAWN, Phase.DRAWN.value),
        (or_(Lottery.state == LotteryState.FROZEN, Lottery.closes_at <= now), Phase.DRAWING.value),
        (Lottery.opens_at > now, Phase.COMING.value),
        else_=Phase.RUNNING.value,
    )


def _sale_phase(now: datetime) -> ColumnElement[str]:
    """SQL: `rules.sale_phase`."""
    return case(
        (Offer.state == OfferState.DRAFT, Phase.DRAFT.value),
        (or_(Offer.state == OfferState.ENDED, Offer.claim_until <= now), Phase.OVER.value),
        (Offer.claimed >= Offer.stock, Phase.SOLD_OUT.value),
        (Offer.state == OfferState.PAUSED, Phase.PAUSED.value),
        (Offer.claim_from > now, Phase.COMING.value),
        else_=Phase.RUNNING.value,
    )


def _everything() -> Any:
    now = clock.now()
    number = select(func.count()).where(LotteryEntry.lottery_id == Lottery.id).correlate(Lottery).scalar_subquery()
    lotteries = select(
        literal("lottery").label("kind"),
        Lottery.id.label("id"),
        Lottery.group_id.label("group_id"),
        Lottery.title.label("title"),
        _lottery_phase(now).label("phase"),
        func.coalesce(Lottery.opens_at, Lottery.announced_at).label("begins"),
        Lottery.closes_at.label("ends"),
        number.label("taken"),
        cast(null(), BigInteger).label("stock"),
        Lottery.created_at.label("created_at"),
        func.concat("lottery:", Lottery.id).label("key"),
    )
    sales = select(
        cast(Sale.kind, String).label("kind"),
        Sale.id.label("id"),
        Sale.group_id.label("group_id"),
        Offer.name.label("title"),
        _sale_phase(now).label("phase"),
        Offer.claim_from.label("begins"),
        Offer.claim_until.label("ends"),
        Offer.claimed.label("taken"),
        Offer.stock.label("stock"),
        Sale.created_at.label("created_at"),
        func.concat("sale:", Sale.id).label("key"),
    ).join(Offer, Offer.id == Sale.offer_id)
    return union_all(lotteries, sales).subquery("activity")


def listing(wanted: ActivityFilter) -> tuple[Select[Any], dict[str, list[Any]]]:
    """Draws and sales that a filter lets through as rows (kind, id, group_id, title, phase, begins, ends, taken, stock,
    group), and the orders that the list may have by the name in its address."""
    every = _everything()
    columns = [
        every.c[name] for name in ("kind", "id", "group_id", "title", "phase", "begins", "ends", "taken", "stock")
    ]
    statement: Select[Any] = select(*columns, Group.name.label("group")).join(Group, Group.id == every.c.group_id)
    if wanted.q:
        statement = statement.where(
            or_(every.c.title.icontains(wanted.q, autoescape=True), Group.name.icontains(wanted.q, autoescape=True))
        )
    if wanted.kind in KINDS:
        statement = statement.where(every.c.kind == wanted.kind)
    if wanted.phase in list(Phase):
        statement = statement.where(every.c.phase == wanted.phase)
    if wanted.group_id is not None:
        statement = statement.where(every.c.group_id == wanted.group_id)
    # Whoever takes the end off a sale's offer lets it run on and on; it then stands where it was made.
    ends = func.coalesce(every.c.ends, every.c.created_at)
    orders = {
        "": [every.c.created_at.desc(), every.c.key.desc()],
        "title": [every.c.title, every.c.key],
        "-title": [every.c.title.desc(), every.c.key.desc()],
        "ends": [ends, every.c.key],
        "-ends": [ends.desc(), every.c.key.desc()],
        "taken": [every.c.taken, every.c.key],
        "-taken": [every.c.taken.desc(), every.c.key.desc()],
    }
    return statement, orders


def exported(wanted: ActivityFilter, sort: str) -> Iterator[Row[Any]]:
    """Rows of `listing` for a file, no more than 20,000."""
    statement, orders = listing(wanted)
    yield from db.session.execute(statement.order_by(*orders.get(sort, orders[""])).limit(20_000))


def moments(since: datetime, until: datetime) -> list[tuple[datetime, str, str, int, str, Group]]:
    """What begins and ends in `[since, until)`: (at, `begins` or `ends`, kind, id, title, group), drafts as planned.

    What was stopped or thrown away before its time is over, and nothing of it is still to come.
    """
    every, now = _everything(), clock.now()
    found = []
    for what in ("begins", "ends"):
        at = every.c[what]
        rows = db.session.execute(
            select(at, every.c.kind, every.c.id, every.c.title, Group)
            .join(Group, Group.id == every.c.group_id)
            .where(
                at >= since,
                at < until,
                every.c.phase != Phase.CANCELLED.value,
                or_(every.c.phase != Phase.OVER.value, at <= now),
            )
            .limit(500)
        )
        found += [(row[0], what, row[1], row[2], row[3], row[4]) for row in rows]
    return found


def ending_within(until: datetime) -> list[Row[Any]]:
    """Running draws and sales that end before an instant, the first to end first."""
    statement, orders = listing(ActivityFilter(phase=Phase.RUNNING.value))
    every = statement.selected_columns.ends
    return list(db.session.execute(statement.where(every < until).order_by(*orders["ends"]).limit(5)))


def found_by_name(words: str) -> list[Row[Any]]:
    """A few draws and sales with these words in their names."""
    statement, orders = listing(ActivityFilter(q=words))
    return list(db.session.execute(statement.order_by(*orders[""]).limit(5)))
