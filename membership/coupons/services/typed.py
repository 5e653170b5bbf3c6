"""What typing a pool's code gives: to a member on their own page, and to a buyer at the checkout."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, update

from kernel import clock
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from membership.limits import services as limits
from membership.members.models import Member

from .. import codes, rules
from ..models import CodePool, Coupon, CouponState, Offer, OfferVersion, PoolCode, PoolKind
from .claims import claim, claim_here, group_membership
from .shelves import Claimed

TRIES_AN_HOUR = 20


class TooManyTries(Refusal):
    status = 429
    title = _l("Too many codes that did not fit")
    label = _l("Wait an hour before you try another code. Those you have already stay as they are.")


@dataclass(frozen=True)
class Behind:
    """What stands behind a pool's code: a coupon, or the offer that it would be claimed from."""

    pool_code_id: int
    coupon_id: int | None
    pool: CodePool
    offer: Offer
    version: OfferVersion


def find_code(code: str, member_id: int | None = None) -> Behind:
    """What stands behind a pool's code as typed; of a shared code, the member's coupon if they have one.

    Refuses with `UnknownCode`, and with `CodeClosed` when its pool was closed before it gave a coupon.
    """
    text = codes.typed(code)
    if not text:
        raise rules.UnknownCode
    spellings = {text.lower(), codes.as_read(text).lower()}
    rows = db.session.execute(
        select(PoolCode, CodePool, Offer, OfferVersion)
        .join(CodePool, CodePool.id == PoolCode.pool_id)
        .join(Offer, Offer.id == CodePool.offer_id)
        .join(OfferVersion, OfferVersion.id == Offer.version_id)
        .where(func.lower(PoolCode.code).in_(spellings))
        .execution_options(populate_existing=True)
    ).all()
    if not rows:
        raise rules.UnknownCode
    found, pool, offer, version = min(rows, key=lambda row: row[0].code != text)
    coupon_id = found.coupon_id
    if coupon_id is None and pool.kind == PoolKind.SHARED and member_id is not None:
        coupon_id = _latest(offer.id, member_id)
    if coupon_id is None and pool.closed_at is not None:
        raise rules.CodeClosed
    return Behind(found.id, coupon_id, pool, offer, version)


def _latest(offer_id: int, member_id: int) -> int | None:
    """A member's coupon of an offer: one that can still be used, else the last; none while they may have another."""
    held = db.session.execute(
        select(Coupon.id, Coupon.state, Offer.per_member)
        .join(Offer, Offer.id == Coupon.offer_id)
        .where(Coupon.offer_id == offer_id, Coupon.member_id == member_id)
        .order_by(Coupon.ordinal)
    ).all()
    usable = [row.id for row in held if row.state in (CouponState.ISSUED, CouponState.RESERVED)]
    if usable:
        return usable[-1]
    full = held and held[0].per_member is not None and len(held) >= held[0].per_member
    return held[-1].id if full else None


def refuse_unclaimable(offer: Offer, version: OfferVersion, buyer: Member | None) -> None:
    """Refuse a code whose coupon could not be claimed by this buyer now, without claiming it."""
    if buyer is None and version.min_rank:
        raise rules.BuyerNeeded
    closed = rules.refusal_of(offer, clock.now())
    if closed is not None or (offer.stock is not None and offer.claimed >= offer.stock):
        raise rules.CodeGivesNothing
    if buyer is not None and buyer.rank < version.min_rank:
        raise rules.CodeGivesNothing
    asked = buyer is not None and version.group_id is not None
    if asked and not any(group_membership.call(buyer.id, version.group_id)):  # type: ignore[union-attr, arg-type]
        raise rules.NotInGroupNow


def claim_code(code: str, buyer: Member | None, source: str) -> int:
    """The coupon that a pool's code gives a person, claimed in the caller's transaction; what it gave before, again.

    Refuses with `UnknownCode`, `CodeClosed`, `BuyerNeeded`, `CodeTaken`, `CodeGivesNothing`, and as a claim does.
    """
    behind = find_code(code, buyer.id if buyer is not None else None)
    if behind.coupon_id is not None:
        return behind.coupon_id
    if buyer is None:
        raise rules.BuyerNeeded
    try:
        claimed = claim_here(behind.offer.id, buyer.id, source)
    except (rules.ClaimantUnknown, rules.TierTooLow, rules.NotInGroup):
        raise
    except rules.ClaimRefused:
        raise rules.CodeGivesNothing from None
    if behind.pool.kind == PoolKind.SINGLE:
        _bind(behind.pool_code_id, claimed)
    return claimed.coupon_id


def _bind(pool_code_id: int, claimed: Claimed) -> None:
    """Give a single-use code to the coupon it has just brought; each code belongs to one coupon at most."""
    if not claimed.fresh:
        raise rules.CodeGivesNothing
    result = db.session.execute(
        update(PoolCode)
        .where(PoolCode.id == pool_code_id, PoolCode.coupon_id.is_(None))
        .values(coupon_id=claimed.coupon_id)
    )
    if changed(result) != 1:
        raise rules.CodeTaken


def enter(code: str, member: Member) -> tuple[int, bool]:
    """A member types a code on their own page: (coupon_id, whether it is new). The caller's transaction goes on when refused.

    A shared code goes through the writer, for it may stand on a poster; a single-use one is bound in this transaction.

    Refuses as `claim_code` does, with `CodeTaken` for a code that gave somebody else a coupon, and with `TooManyTries`.
    """
    hour = str(int(clock.now().timestamp()) // 3_600)
    try:
        limits.take([("coupon.codes", limits.subject_of(member.id), hour, 1, TRIES_AN_HOUR)])
    except limits.LimitReached:
        raise TooManyTries from None
    if kept := codes.canonical(code):
        # A coupon of their own says its code too, and whoever types that one is led to it.
        own = db.session.scalar(select(Coupon.id).where(Coupon.code == kept, Coupon.member_id == member.id))
        if own is not None:
            return own, False
    behind = find_code(code, member.id)
    if behind.coupon_id is None and behind.pool.kind == PoolKind.SHARED:
        claimed = claim(behind.offer.id, member.id, f"code:{behind.pool.id}")
        return claimed.coupon_id, claimed.fresh
    fresh = behind.coupon_id is None
    coupon_id = behind.coupon_id
    if coupon_id is None:
        with db.session.begin_nested():
            coupon_id = claim_code(code, member, f"code:{behind.pool.id}")
    # Somebody else may have been faster, before this looked or since.
    if db.session.scalar(select(Coupon.member_id).where(Coupon.id == coupon_id)) != member.id:
        raise rules.CodeTaken
    return coupon_id, fresh
