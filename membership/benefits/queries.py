"""Reads about benefits: what was given to whom, and what the tiers can give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select

from kernel import clock
from kernel.db import db
from kernel.pages import Count, Page, capped_count, keyset
from membership.coupons.models import CouponKind, Offer, OfferState, OfferVersion
from membership.gifts.models import Gift
from membership.members import queries as members
from membership.members.models import Member
from membership.tiers import queries as tiers
from membership.tiers import rules as tier_rules
from membership.tiers.queries import Thing
from membership.tiers.rules import Mistake, PolicyMistake

from . import rules
from .models import Benefit, BenefitGrant, BenefitRound, BenefitState

# A coupon for every month needs an offer that gives one member so many, or any number.
MONTHS = 12


@tiers.things.fill
def things() -> list[Thing]:
    """Every gift and coupon that a level can give, the newest first, with what one costs."""
    found = [
        Thing("gift", gift.id, gift.name, gift.value or None, gift.active)
        for gift in db.session.scalars(select(Gift).order_by(Gift.id.desc()).limit(500))
    ]
    rows = db.session.execute(
        select(Offer.id, Offer.name, Offer.state, OfferVersion.kind, OfferVersion.value, OfferVersion.discount_cap)
        .join(OfferVersion, OfferVersion.id == Offer.version_id)
        .order_by(Offer.id.desc())
        .limit(500)
    )
    return found + [
        Thing("offer", row.id, row.name, _cost(row.kind, row.value, row.discount_cap), row.state == OfferState.ACTIVE)
        for row in rows
    ]


def _cost(kind: CouponKind, value: int, cap: int | None) -> int | None:
    """The most that one coupon takes off, in 分; None where its terms set no bound."""
    if kind == CouponKind.AMOUNT:
        return value
    return cap if kind == CouponKind.PERCENT else None


@tiers.objections.fill
def objections(policy: tier_rules.Policy) -> list[PolicyMistake]:
    """What keeps a policy from being put in force: a gift or an offer that cannot be given, a monthly coupon that gives
    each member one only."""
    found = []
    for level in policy.levels:
        for field in ("entry_gift_id", "birthday_gift_id"):
            gift_id = getattr(level, field)
            gift = db.session.get(Gift, gift_id) if gift_id is not None else None
            if gift_id is not None and (gift is None or not gift.active):
                found.append(PolicyMistake(Mistake.BENEFIT_UNKNOWN, field, level.rank))
        for field in ("entry_offer_id", "monthly_offer_id"):
            offer_id = getattr(level, field)
            offer = db.session.get(Offer, offer_id) if offer_id is not None else None
            if offer_id is not None and (offer is None or offer.state != OfferState.ACTIVE):
                found.append(PolicyMistake(Mistake.BENEFIT_UNKNOWN, field, level.rank))
            elif (
                field == "monthly_offer_id"
                and offer is not None
                and offer.per_member is not None
                and offer.per_member < MONTHS
            ):
                found.append(PolicyMistake(Mistake.ONE_EACH, field, level.rank))
    return found


@tiers.given_before.fill
def given_before(kind: str, rank: int, ids: Select[int]) -> int:
    """How many of some members have had an entry benefit of a rank."""
    counted = select(func.count()).where(
        BenefitGrant.benefit == Benefit(kind), BenefitGrant.rank == rank, BenefitGrant.member_id.in_(ids)
    )
    return db.session.scalar(counted) or 0


# ── What was given ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class GrantFilter:
    """What narrows the list of benefits given."""

    benefit: Benefit | None = None
    state: BenefitState | None = None
    q: str = ""


def _grants(wanted: GrantFilter) -> Select[BenefitGrant, Member, str | None, str | None]:
    found = (
        select(BenefitGrant, Member, Gift.name.label("gift"), Offer.name.label("offer"))
        .join(Member, Member.id == BenefitGrant.member_id)
        .outerjoin(Gift, Gift.id == BenefitGrant.gift_id)
        .outerjoin(Offer, Offer.id == BenefitGrant.offer_id)
    )
    if wanted.benefit is not None:
        found = found.where(BenefitGrant.benefit == wanted.benefit)
    if wanted.state is not None:
        found = found.where(BenefitGrant.state == wanted.state)
    if wanted.q:
        found = found.where(BenefitGrant.member_id.in_(select(Member.id).where(members.sought(wanted.q))))
    return found


def grants_page(wanted: GrantFilter, cursor: str | None) -> tuple[Page, Count]:
    """One page of benefits given, newest first: rows (grant, member, name of the gift, name of the offer)."""
    found = _grants(wanted)
    return keyset(found, [BenefitGrant.id.desc()], cursor), capped_count(found)


def grants_export(wanted: GrantFilter) -> Iterator[Any]:
    """Every benefit given of a filter, streamed."""
    found = _grants(wanted).order_by(BenefitGrant.id.desc())
    yield from db.session.execute(found.execution_options(yield_per=1_000))


def grants_of(member_id: int, limit: int = 10) -> Sequence[Any]:
    """What a member was given, newest first; the same rows."""
    found = _grants(GrantFilter(state=BenefitState.GIVEN)).where(BenefitGrant.member_id == member_id)
    return db.session.execute(found.order_by(BenefitGrant.id.desc()).limit(limit)).all()


def waiting() -> tuple[ColumnElement[bool], ...]:
    """Missed benefits, joined to their members, that can be given after all: a month that is over is not made up for, and to
    somebody who was erased nothing is given. They stand in nobody's way."""
    over = and_(BenefitGrant.benefit == Benefit.MONTHLY_COUPON, BenefitGrant.period != rules.month_of(clock.today()))
    return BenefitGrant.state == BenefitState.MISSED, ~over, Member.erased_at.is_(None)


def count_missed() -> int:
    """How many benefits wait because nothing was left."""
    of_members = select(func.count()).select_from(BenefitGrant).join(Member, Member.id == BenefitGrant.member_id)
    return db.session.scalar(of_members.where(*waiting())) or 0


def rounds(limit: int = 6) -> Sequence[BenefitRound]:
    """The latest months' rounds, newest first."""
    return db.session.scalars(select(BenefitRound).order_by(BenefitRound.period.desc()).limit(limit)).all()
