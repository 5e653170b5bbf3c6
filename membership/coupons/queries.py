"""Reads about offers and coupons that more than one page needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select

from kernel import clock
from kernel.db import db
from kernel.errors import NotFound
from kernel.pages import Count, Page, capped_count, keyset
from membership.members import queries as members
from membership.members.models import Member

from . import codes, rules
from .models import (
    ClaimLink,
    CodePool,
    Coupon,
    CouponEvent,
    CouponKind,
    CouponState,
    Offer,
    OfferState,
    OfferVersion,
    PoolCode,
    PoolKind,
    Redemption,
)

SOON = timedelta(days=3)
ENDING = timedelta(days=7)
LOW_STOCK = 0.1


# ── Offers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Used:
    """How often an offer's coupons were used, and what they took off (分)."""

    redeemed: int = 0
    cost: int = 0


@dataclass(frozen=True)
class OfferRow:
    """One line of the list of offers."""

    offer: Offer
    version: OfferVersion
    used: Used


def offers_listed(state: OfferState | None, kind: CouponKind | None) -> Select[Offer, OfferVersion]:
    """Offers with their terms in force, in no order; None narrows nothing."""
    found = select(Offer, OfferVersion).join(OfferVersion, OfferVersion.id == Offer.version_id)
    if state is not None:
        found = found.where(Offer.state == state)
    return found.where(OfferVersion.kind == kind) if kind is not None else found


def used_of(offer_ids: Sequence[int]) -> dict[int, Used]:
    """Live redemptions of offers, by offer."""
    rows = db.session.execute(
        select(Redemption.offer_id, func.count(), func.coalesce(func.sum(Redemption.discount), 0))
        .where(Redemption.offer_id.in_(offer_ids), Redemption.rolled_back_at.is_(None))
        .group_by(Redemption.offer_id)
    )
    return {row[0]: Used(row[1], int(row[2])) for row in rows}


def states_of(offer_id: int) -> dict[CouponState, int]:
    """How many coupons of an offer are in which state now, by the clock."""
    now = clock.now()
    shown = case(
        ((Coupon.state == CouponState.ISSUED) & (Coupon.usable_until <= now), CouponState.EXPIRED.value),
        else_=Coupon.state,
    )
    rows = db.session.execute(select(shown, func.count()).where(Coupon.offer_id == offer_id).group_by(shown))
    return {CouponState(row[0]): row[1] for row in rows}


def sources_of(offer_id: int) -> list[tuple[str, int, int]]:
    """Through what an offer's coupons came: (source, how many, how many of them are used), most first."""
    used = func.count().filter(Coupon.state == CouponState.REDEEMED)
    rows = db.session.execute(
        select(Coupon.source, func.count(), used)
        .where(Coupon.offer_id == offer_id)
        .group_by(Coupon.source)
        .order_by(func.count().desc())
        .limit(20)
    )
    return [(row[0], row[1], row[2]) for row in rows]


def links_of(offer_id: int) -> Sequence[ClaimLink]:
    """The public links of an offer, newest first."""
    return db.session.scalars(
        select(ClaimLink).where(ClaimLink.offer_id == offer_id).order_by(ClaimLink.id.desc())
    ).all()


def names_of(links: Sequence[ClaimLink]) -> dict[str, str]:
    """The names of links by what the coupons that came through them call their source."""
    return {f"link:{link.id}": link.name for link in links}


def brought_by(links: Sequence[ClaimLink]) -> dict[int, tuple[int, int]]:
    """What came through links, by their ids: (coupons, how many of them are used)."""
    sources = {f"link:{link.id}": link.id for link in links}
    rows = db.session.execute(
        select(Coupon.source, func.count(), func.count().filter(Coupon.state == CouponState.REDEEMED))
        .where(Coupon.offer_id.in_({link.offer_id for link in links}), Coupon.source.in_(sources))
        .group_by(Coupon.source)
    )
    return dict.fromkeys(sources.values(), (0, 0)) | {sources[row[0]]: (row[1], row[2]) for row in rows}


def versions_of(offer_id: int) -> Sequence[OfferVersion]:
    """The versions of an offer, newest first."""
    return db.session.scalars(
        select(OfferVersion).where(OfferVersion.offer_id == offer_id).order_by(OfferVersion.number.desc()).limit(20)
    ).all()


def grantable() -> list[tuple[Offer, OfferVersion]]:
    """The offers that staff can grant now: running, and something left."""
    now = clock.now()
    rows = db.session.execute(
        select(Offer, OfferVersion)
        .join(OfferVersion, OfferVersion.id == Offer.version_id)
        .where(
            Offer.state == OfferState.ACTIVE,
            Offer.archived_at.is_(None),
            Offer.stock.is_(None) | (Offer.claimed < Offer.stock),
            Offer.claim_until.is_(None) | (Offer.claim_until > now),
        )
        .order_by(Offer.id.desc())
        .limit(100)
    )
    return [(row[0], row[1]) for row in rows]


def offer_with_version(offer_id: int) -> tuple[Offer, OfferVersion]:
    """An offer and its version in force. Refuses with `NotFound`."""
    row = db.session.execute(
        select(Offer, OfferVersion).join(OfferVersion, OfferVersion.id == Offer.version_id).where(Offer.id == offer_id)
    ).one_or_none()
    if row is None:
        raise NotFound
    return row[0], row[1]


# ── Coupons ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class CouponRow:
    """A coupon with its offer's name and its own terms, and what it is at this instant."""

    coupon: Coupon
    version: OfferVersion
    offer: Offer
    state: CouponState

    @property
    def usable(self) -> bool:
        return self.state in (CouponState.ISSUED, CouponState.RESERVED)


def _rows(statement: Select[Any, Any, Any]) -> list[CouponRow]:
    return [_row(row) for row in db.session.execute(statement)]


def _row(row: Any) -> CouponRow:
    coupon: Coupon = row[0]
    now = clock.now()
    return CouponRow(
        coupon, row[1], row[2], rules.state_at(coupon.state, coupon.usable_until, coupon.reserved_until, now)
    )


def _whole() -> Select[Any, Any, Any]:
    return (
        select(Coupon, OfferVersion, Offer)
        .join(OfferVersion, OfferVersion.id == Coupon.version_id)
        .join(Offer, Offer.id == Coupon.offer_id)
    )


def coupons_listed(member_id: int | None, offer_id: int | None, state: CouponState | None) -> Select[Any, Any, Any]:
    """Coupons as rows for `as_row`, in no order; `state` is what they are at this instant."""
    found = _whole()
    if member_id is not None:
        found = found.where(Coupon.member_id == member_id)
    if offer_id is not None:
        found = found.where(Coupon.offer_id == offer_id)
    if state is not None:
        found = found.where(_in_state(state, clock.now()))
    return found


def _in_state(state: CouponState, now: datetime) -> ColumnElement[bool]:
    """`rules.state_at` as a condition."""
    issued = or_(
        Coupon.state == CouponState.ISSUED, and_(Coupon.state == CouponState.RESERVED, Coupon.reserved_until <= now)
    )
    match state:
        case CouponState.ISSUED:
            return and_(issued, Coupon.usable_until > now)
        case CouponState.EXPIRED:
            return or_(Coupon.state == state, and_(issued, Coupon.usable_until <= now))
        case CouponState.RESERVED:
            return and_(Coupon.state == state, or_(Coupon.reserved_until.is_(None), Coupon.reserved_until > now))
        case _:
            return Coupon.state == state


def as_row(row: Any) -> CouponRow:
    """A row of `coupons_listed` with its state at this instant."""
    return _row(row)


def coupon_row(coupon_id: int) -> CouponRow:
    """A coupon by its id. Refuses with `NotFound`."""
    found = _rows(_whole().where(Coupon.id == coupon_id))
    if not found:
        raise NotFound
    return found[0]


def find_code(typed: str) -> CouponRow | None:
    """A coupon by its code as somebody typed or scanned it."""
    code = codes.canonical(typed)
    found = _rows(_whole().where(func.lower(Coupon.code) == code.lower())) if code else []
    return found[0] if found else None


def usable_of(member_id: int, limit: int = 100) -> list[CouponRow]:
    """What a member can still use, the soonest to end first."""
    now = clock.now()
    return _rows(
        _whole()
        .where(
            Coupon.member_id == member_id,
            Coupon.state.in_([CouponState.ISSUED, CouponState.RESERVED, CouponState.FROZEN]),
            Coupon.usable_until > now,
        )
        .order_by(Coupon.usable_until, Coupon.id)
        .limit(limit)
    )


def past_of(member_id: int, limit: int = 100) -> list[CouponRow]:
    """A member's coupons that were used, expired or taken back, newest first."""
    now = clock.now()
    gone = Coupon.state.in_(
        [CouponState.REDEEMED, CouponState.EXPIRED, CouponState.REVOKED, CouponState.TRANSFERRED]
    ) | (Coupon.usable_until <= now)
    return _rows(_whole().where(Coupon.member_id == member_id, gone).order_by(Coupon.id.desc()).limit(limit))


def of_member(member_id: int, limit: int = 6) -> list[CouponRow]:
    """A member's newest coupons, whatever became of them."""
    return _rows(_whole().where(Coupon.member_id == member_id).order_by(Coupon.id.desc()).limit(limit))


def held(offer_id: int, member_id: int) -> list[CouponRow]:
    """The coupons of one offer that a member has, first one first."""
    return _rows(_whole().where(Coupon.offer_id == offer_id, Coupon.member_id == member_id).order_by(Coupon.ordinal))


def events_of(coupon_id: int) -> Sequence[CouponEvent]:
    """What happened to a coupon, newest first."""
    return db.session.scalars(
        select(CouponEvent).where(CouponEvent.coupon_id == coupon_id).order_by(CouponEvent.id.desc())
    ).all()


def redemptions_of(coupon_id: int) -> Sequence[Redemption]:
    """On which orders a coupon was used, newest first."""
    return db.session.scalars(
        select(Redemption).where(Redemption.coupon_id == coupon_id).order_by(Redemption.id.desc())
    ).all()


def live_redemption(coupon_id: int) -> Redemption | None:
    return db.session.scalar(
        select(Redemption).where(Redemption.coupon_id == coupon_id, Redemption.rolled_back_at.is_(None))
    )


def _claimants(offer_id: int, state: str | None) -> Select[Any, Any]:
    statement = select(Coupon, Member).join(Member, Member.id == Coupon.member_id).where(Coupon.offer_id == offer_id)
    now = clock.now()
    if state == CouponState.EXPIRED:
        over = (Coupon.state == CouponState.ISSUED) & (Coupon.usable_until <= now)
        return statement.where((Coupon.state == CouponState.EXPIRED) | over)
    if state == CouponState.ISSUED:
        return statement.where(Coupon.state == CouponState.ISSUED, Coupon.usable_until > now)
    if state in list(CouponState):
        return statement.where(Coupon.state == state)
    return statement


def claimants_page(
    offer_id: int, state: str | None, cursor: str | None
) -> tuple[list[tuple[CouponState, Coupon, Member]], Page, Count]:
    """One page of who has coupons of an offer, newest first."""
    statement = _claimants(offer_id, state)
    page = keyset(statement, [Coupon.id.desc()], cursor, 50)
    now = clock.now()
    rows = [
        (rules.state_at(row[0].state, row[0].usable_until, row[0].reserved_until, now), row[0], row[1])
        for row in page.rows
    ]
    return rows, page, capped_count(statement)


def claimants_export(offer_id: int, state: str | None) -> Iterator[tuple[Coupon, Member]]:
    """Everybody who has a coupon of an offer, for a file."""
    statement = _claimants(offer_id, state).order_by(Coupon.id).execution_options(yield_per=1_000)
    for row in db.session.execute(statement):
        yield row[0], row[1]


def ending(q: str = "") -> Select[*tuple[Any, ...]]:
    """Coupons that end within a week and can still be used, with offer, version and member; `q` finds a member, or is in the
    offer's name."""
    now = clock.now()
    statement: Select[*tuple[Any, ...]] = (
        select(Coupon, Offer, OfferVersion, Member)
        .join(Offer, Offer.id == Coupon.offer_id)
        .join(OfferVersion, OfferVersion.id == Coupon.version_id)
        .join(Member, Member.id == Coupon.member_id)
        .where(
            Coupon.state == CouponState.ISSUED,
            Coupon.usable_until > now,
            Coupon.usable_until <= now + ENDING,
            Member.erased_at.is_(None),
        )
    )
    if q:
        statement = statement.where(or_(members.sought(q), Offer.name.icontains(q, autoescape=True)))
    return statement


def ending_page(q: str, cursor: str | None) -> tuple[list[tuple[Coupon, Offer, OfferVersion, Member]], Page, Count]:
    """One page of `ending`, the first to end first."""
    statement = ending(q)
    page = keyset(statement, [Coupon.usable_until, Coupon.id], cursor, 50)
    return [(row[0], row[1], row[2], row[3]) for row in page.rows], page, capped_count(statement)


def ending_export(q: str) -> Iterator[tuple[Coupon, Offer, OfferVersion, Member]]:
    """Every row of `ending`, the first to end first, for a file."""
    statement = ending(q).order_by(Coupon.usable_until, Coupon.id).execution_options(yield_per=1_000)
    for row in db.session.execute(statement):
        yield row[0], row[1], row[2], row[3]


def owners_of(coupon_ids: Sequence[int]) -> list[tuple[CouponState, Coupon, Member]]:
    """Coupons by id with their owners and what they are now."""
    now = clock.now()
    rows = db.session.execute(
        select(Coupon, Member)
        .join(Member, Member.id == Coupon.member_id)
        .where(Coupon.id.in_(coupon_ids))
        .order_by(Coupon.id)
    )
    return [
        (rules.state_at(row[0].state, row[0].usable_until, row[0].reserved_until, now), row[0], row[1]) for row in rows
    ]


# ── Codes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def pools_of(offer_id: int) -> list[tuple[CodePool, str]]:
    """The pools of an offer, newest first, a shared one with its code."""
    rows = db.session.execute(
        select(CodePool, PoolCode.code)
        .outerjoin(PoolCode, (PoolCode.pool_id == CodePool.id) & (CodePool.kind == PoolKind.SHARED))
        .where(CodePool.offer_id == offer_id)
        .order_by(CodePool.id.desc())
    )
    return [(row[0], row[1] or "") for row in rows]


def find_pool(pool_id: int) -> CodePool | None:
    """One pool, or None."""
    return db.session.get(CodePool, pool_id)


def low_pools() -> list[tuple[CodePool, Offer, int]]:
    """Pools of running offers of which a tenth or less is left: (pool, offer, how many)."""
    free = (
        select(func.count())
        .where(PoolCode.pool_id == CodePool.id, PoolCode.coupon_id.is_(None))
        .correlate(CodePool)
        .scalar_subquery()
    )
    rows = db.session.execute(
        select(CodePool, Offer, free)
        .join(Offer, Offer.id == CodePool.offer_id)
        .where(
            Offer.state == OfferState.ACTIVE,
            CodePool.kind == PoolKind.SINGLE,
            CodePool.finished_at.is_not(None),
            CodePool.closed_at.is_(None),
            CodePool.accepted > 0,
            free <= CodePool.accepted * LOW_STOCK,
        )
        .order_by(CodePool.id.desc())
        .limit(5)
    )
    return [(row[0], row[1], row[2]) for row in rows]


# ── The first page ──────────────────────────────────────────────────────────────────────────────────────────────────


def low_on_stock() -> Sequence[Offer]:
    """Running offers of which a tenth or less is left."""
    left = Offer.stock - Offer.claimed
    return db.session.scalars(
        select(Offer)
        .where(Offer.state == OfferState.ACTIVE, Offer.stock.is_not(None), left <= Offer.stock * LOW_STOCK)
        .order_by(Offer.id.desc())
        .limit(5)
    ).all()


def expiring_soon() -> list[tuple[Offer, int, datetime]]:
    """Offers whose usable coupons end within three days: (offer, how many, the first to end), most first."""
    now = clock.now()
    rows = db.session.execute(
        select(Offer, func.count(), func.min(Coupon.usable_until))
        .join(Coupon, Coupon.offer_id == Offer.id)
        .where(Coupon.state == CouponState.ISSUED, Coupon.usable_until > now, Coupon.usable_until <= now + SOON)
        .group_by(Offer.id)
        .order_by(func.count().desc())
        .limit(3)
    )
    return [(row[0], row[1], row[2]) for row in rows]


def claimed_between(begin: datetime, end: datetime) -> int:
    """How many coupons were given out in `[begin, end)`."""
    within = select(func.count()).select_from(Coupon).where(Coupon.issued_at >= begin, Coupon.issued_at < end)
    return db.session.scalar(within) or 0


def given_out() -> int:
    """How many coupons all offers have given out, from the counts beside their stock."""
    return int(db.session.scalar(select(func.coalesce(func.sum(Offer.claimed), 0))) or 0)
