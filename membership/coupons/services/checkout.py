"""What coupons would do to a basket: each by itself, and the best of them together, explained. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select

from kernel import clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import date_time
from kernel.i18n import gettext as _
from membership.limits import services as limits
from membership.members.models import Member
from membership.tiers import queries as tiers

from .. import codes, combination, rules
from ..combination import Candidate, Combination
from ..models import Coupon, CouponKind, CouponState, Offer, OfferVersion, Redemption
from . import typed
from .caps import budget_name
from .claims import group_membership


@dataclass(frozen=True)
class Found:
    """What stands behind a code: a coupon, or a pool's code whose coupon would be made when it is used (`coupon` None)."""

    key: int
    coupon: Coupon | None
    version: OfferVersion
    offer: Offer
    usable_until: datetime
    pool_code_id: int | None = None


@dataclass
class Verdict:
    """What was found about one code: what it takes off by itself, or why it cannot be used at all.

    `used` says whether it belongs to the best combination, `taken` what it takes off there; a coupon that could be used
    and is not has its reason in `refusal` too.
    """

    code: str
    found: Found | None = None
    discount: rules.Discount | None = None
    refusal: Refusal | None = None
    used: bool = False
    taken: rules.Discount | None = None

    @property
    def coupon(self) -> Coupon | None:
        return self.found.coupon if self.found is not None else None

    @property
    def usable(self) -> bool:
        return self.discount is not None


@dataclass(frozen=True)
class Validated:
    """The verdict on each code, in the order they were listed, and the best combination."""

    verdicts: list[Verdict]
    best: Combination
    codes_used: list[str] = field(default_factory=list)


def find(code: str, lock: bool = False, member_id: int | None = None) -> Found:
    """What stands behind a code as typed. `member_id` is the buyer, whose coupon of a shared code is meant.

    Refuses with `UnknownCode`, and with what `typed.find_code` refuses.
    """
    wanted = codes.canonical(code)
    statement = (
        select(Coupon, OfferVersion, Offer)
        .join(OfferVersion, OfferVersion.id == Coupon.version_id)
        .join(Offer, Offer.id == Coupon.offer_id)
        .execution_options(populate_existing=True)
    )
    if lock:
        statement = statement.with_for_update(of=Coupon)
    if wanted:
        row = db.session.execute(statement.where(func.lower(Coupon.code) == wanted.lower())).one_or_none()
        if row is not None:
            return Found(row[0].id, row[0], row[1], row[2], row[0].usable_until)
    behind = typed.find_code(code, member_id)
    if behind.coupon_id is not None:
        row = db.session.execute(statement.where(Coupon.id == behind.coupon_id)).one()
        return Found(row[0].id, row[0], row[1], row[2], row[0].usable_until, behind.pool_code_id)
    version = behind.version
    _begin, until = rules.usable_interval(
        version.usable_from, version.usable_until, version.valid_days, clock.now()
    )  # fmt: skip
    return Found(-behind.pool_code_id, None, version, behind.offer, until, behind.pool_code_id)


def live_on(source: str, external_id: str, but: Sequence[int] = ()) -> list[tuple[Redemption, OfferVersion, Coupon]]:
    """The coupons in use on an order, but some."""
    rows = db.session.execute(
        select(Redemption, OfferVersion, Coupon)
        .join(Coupon, Coupon.id == Redemption.coupon_id)
        .join(OfferVersion, OfferVersion.id == Coupon.version_id)
        .where(
            Redemption.source == source,
            Redemption.order_external_id == external_id,
            Redemption.rolled_back_at.is_(None),
            Redemption.coupon_id.not_in(but),
        )
        .order_by(Redemption.id)
    )
    return [(row[0], row[1], row[2]) for row in rows]


def refuse_state(coupon: Coupon, now: datetime, source: str, external_id: str) -> None:
    """Refuse what is not usable now, whatever the sweep has or has not written down."""
    match rules.state_at(coupon.state, coupon.usable_until, coupon.reserved_until, now):
        case CouponState.REDEEMED:
            live = db.session.scalar(
                select(Redemption).where(Redemption.coupon_id == coupon.id, Redemption.rolled_back_at.is_(None))
            )
            if live is not None:
                raise rules.AlreadyRedeemed(
                    order=live.order_external_id,
                    source=live.source,
                    at=date_time(live.redeemed_at),
                    instant=live.redeemed_at,
                )
            raise rules.AlreadyRedeemed(order="–", source="–", at=date_time(coupon.redeemed_at), instant=None)
        case CouponState.RESERVED if (coupon.reserved_source, coupon.reserved_order) != (source, external_id):
            raise rules.Reserved(until=date_time(coupon.reserved_until))
        case CouponState.EXPIRED:
            raise rules.Expired(until=date_time(coupon.usable_until))
        case CouponState.REVOKED:
            raise rules.Revoked
        case CouponState.FROZEN:
            raise rules.Frozen
        case CouponState.TRANSFERRED:
            raise rules.Transferred
    if coupon.usable_until <= now:
        raise rules.Expired(until=date_time(coupon.usable_until))
    if coupon.usable_from > now:
        raise rules.NotUsableYet(begins=date_time(coupon.usable_from))


def refuse_terms(version: OfferVersion, source: str, member_id: int | None) -> None:
    """Refuse what the terms do not allow here: another channel, or an owner who is not in the group now."""
    if version.channels and source and source not in version.channels:
        raise rules.WrongChannel(source=source)
    if version.group_id is not None:
        if member_id is None:
            raise rules.BuyerNeeded
        if not any(group_membership.call(member_id, version.group_id)):
            raise rules.NotInGroupNow


def refuse_budget(offer: Offer, discount: int) -> None:
    """Refuse what would pass the offer's budget. Redeeming takes it from the counter itself; here it is only read."""
    if offer.budget is not None and (left := offer.budget - limits.used(budget_name(offer.id))) < discount:
        raise rules.BudgetSpent(left, discount)


def tier_of(member_id: int | None) -> tuple[int, bool]:
    """What a member's tier lets them pay of the goods, per mille, and whether it ships free; (1000, False) for nobody.

    Both count from enrolment.
    """
    if member_id is None:
        return 1000, False
    return tiers.discount_for(member_id), tiers.free_shipping_for(member_id)


def owner_of(found: Sequence[Found], buyer_id: int | None) -> int | None:
    """Whose tier counts: the buyer's, or the owner's when all coupons are one person's."""
    owners = {one.coupon.member_id for one in found if one.coupon is not None}
    if buyer_id is not None:
        return buyer_id
    return owners.pop() if len(owners) == 1 else None


def validate(
    wanted: Sequence[str],
    basket: rules.Basket,
    source: str = "",
    order: str = "",
    buyer: Member | None = None,
    with_tier: bool = False,
) -> Validated:
    """What each code would take off the basket by itself or why it cannot be used, and the best combination of them.

    `order` is the order that may hold some of them already, `buyer` the person a pool's code would give its coupon to. With
    `with_tier` the tier discount of the buyer (or of the coupons' one owner) is weighed too: it comes before the coupons,
    and only beside those whose offer allows it; a tier that ships free does so beside all of them. Nothing is changed, and
    the order of the codes does not matter.
    """
    now = clock.now()
    buyer_id = buyer.id if buyer is not None else None
    verdicts = [Verdict(code) for code in wanted]
    seen: set[int] = set()
    for verdict in verdicts:
        try:
            found = verdict.found = find(verdict.code, member_id=buyer_id)
            if found.key in seen:
                raise rules.ListedTwice
            seen.add(found.key)
            if found.coupon is not None:
                refuse_state(found.coupon, now, source, order)
            else:
                typed.refuse_unclaimable(found.offer, found.version, buyer)
            refuse_terms(found.version, source, found.coupon.member_id if found.coupon else buyer_id)
            discount = rules.discount_on(found.version, basket)
            refuse_budget(found.offer, discount.total)
            verdict.discount = discount
        except Refusal as refusal:
            verdict.refusal = refusal
    usable = [v for v in verdicts if v.usable and v.found is not None]
    found_all = [v.found for v in usable if v.found is not None]
    per_mille, ships_free = tier_of(owner_of(found_all, buyer_id) if with_tier else None)
    candidates = {one.key: Candidate(one.key, one.version, one.usable_until) for one in found_all}
    best = combination.best(list(candidates.values()), basket, per_mille, ships_free)
    taken = {one.candidate.key: one.discount for one in best.used}
    for verdict in usable:
        key = verdict.found.key if verdict.found is not None else 0
        verdict.taken = taken.get(key)
        verdict.used = verdict.taken is not None
    for verdict in usable:
        if not verdict.used and verdict.found is not None:
            verdict.refusal = _why_left(verdict.found, usable, best)
    return Validated(verdicts, best, sorted(v.code for v in usable if v.used))


def _why_left(found: Found, usable: Sequence[Verdict], best: Combination) -> Refusal:
    """Why a coupon that could be used does not belong to the best combination."""
    if best.tier.postage and found.version.kind == CouponKind.FREE_SHIPPING:
        return rules.TierShipsFree()
    names = [
        v.found.offer.name
        for v in usable
        if v.used and v.found is not None and not combination.go_together(found.version, v.found.version)
    ]
    if names:
        return rules.Beaten(others=_(", ").join(f"“{name}”" for name in sorted(names)))
    if best.tier.goods and not found.version.with_tier:
        return rules.TierIsBetter()
    return rules.NoEffect()
