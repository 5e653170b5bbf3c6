"""The checkout: what a coupon would take off a basket, using it on an order, and undoing that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, text, update

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.events import publish
from kernel.i18n import date_time
from kernel.i18n import lazy_gettext as _l
from kernel.money import yuan

from .. import codes, rules
from ..events import CouponRedeemed, CouponRolledBack
from ..models import Coupon, CouponKind, CouponState, Offer, OfferVersion, Redemption
from .claims import group_membership
from .states import move, settle

RESERVED_FOR = timedelta(minutes=30)


class RedemptionUnknown(Refusal):
    status = 404
    title = _l("Nothing to undo")
    label = _l("This coupon was never used on that order.")


class NotReserved(Refusal):
    title = _l("Not held")
    label = _l("This order does not hold the coupon.")


@dataclass(frozen=True)
class Redeemed:
    """A coupon used on an order; `replayed` when it had been before by the same order."""

    redemption: Redemption
    coupon: Coupon
    version: OfferVersion
    offer_name: str
    replayed: bool
    # What all coupons on the order take off together.
    taken: int


@dataclass(frozen=True)
class Verdict:
    """What validating one code against a basket found: a discount, or a refusal."""

    code: str
    coupon: Coupon | None
    version: OfferVersion | None
    offer_name: str
    discount: rules.Discount | None
    refusal: Refusal | None


def _lock_order(source: str, external_id: str) -> None:
    """Let one at a time use or give back coupons on an order, so that two of them never take off more than there is."""
    db.session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 1))"),
        {"name": f"order\x1f{source}\x1f{external_id}"},
    )


def _find(code: str, lock: bool) -> tuple[Coupon, OfferVersion, str]:
    wanted = codes.canonical(code)
    statement = (
        select(Coupon, OfferVersion, Offer.name)
        .join(OfferVersion, OfferVersion.id == Coupon.version_id)
        .join(Offer, Offer.id == Coupon.offer_id)
        .where(func.lower(Coupon.code) == wanted.lower())
        .execution_options(populate_existing=True)
    )
    if lock:
        statement = statement.with_for_update(of=Coupon)
    found = db.session.execute(statement).one_or_none() if wanted else None
    if found is None:
        raise rules.UnknownCode
    return found[0], found[1], found[2]


def _live_on(source: str, external_id: str, but: int = 0) -> list[tuple[Redemption, OfferVersion]]:
    """The coupons in use on an order, but one."""
    rows = db.session.execute(
        select(Redemption, OfferVersion)
        .join(Coupon, Coupon.id == Redemption.coupon_id)
        .join(OfferVersion, OfferVersion.id == Coupon.version_id)
        .where(
            Redemption.source == source,
            Redemption.order_external_id == external_id,
            Redemption.rolled_back_at.is_(None),
            Redemption.coupon_id != but,
        )
    )
    return [(row[0], row[1]) for row in rows]


def _refuse_state(coupon: Coupon, now: datetime, source: str, external_id: str) -> None:
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


def _refuse_terms(coupon: Coupon, version: OfferVersion, source: str) -> None:
    if version.channels and source and source not in version.channels:
        raise rules.WrongChannel(source=source)
    if version.group_id is not None and not any(group_membership.call(coupon.member_id, version.group_id)):
        raise rules.NotInGroupNow


def _refuse_combination(version: OfferVersion, others: Sequence[tuple[Redemption, OfferVersion]]) -> None:
    """Coupons go together only when they name different stack groups; without one, a coupon stands alone."""
    for _, other in others:
        alone = version.exclusive or other.exclusive or not version.stack_group or not other.stack_group
        if alone or version.stack_group == other.stack_group:
            raise rules.NotCombinable


def validate(wanted: Sequence[str], basket: rules.Basket, source: str = "") -> list[Verdict]:
    """What each code would take off the basket by itself, or why it cannot be used; nothing is changed."""
    now = clock.now()
    verdicts = []
    for code in wanted:
        coupon: Coupon | None = None
        version: OfferVersion | None = None
        name = ""
        try:
            coupon, version, name = _find(code, lock=False)
            _refuse_state(coupon, now, source, "")
            _refuse_terms(coupon, version, source)
            verdicts.append(Verdict(code, coupon, version, name, rules.discount_on(version, basket), None))
        except Refusal as refusal:
            verdicts.append(Verdict(code, coupon, version, name, None, refusal))
    return verdicts


def best_of(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The verdict that takes off most; among equals the coupon that ends first. The order of the codes does not matter."""
    usable = [v for v in verdicts if v.discount is not None and v.coupon is not None]
    return min(
        usable,
        key=lambda v: (-v.discount.total, v.coupon.usable_until, v.coupon.id),  # type: ignore[union-attr]
        default=None,
    )


def reserve(code: str, source: str, order: str) -> Coupon:
    """Hold a coupon for an order while its buyer pays (30 minutes); the same order again holds it anew.

    Refuses as `redeem` does, but for the basket.
    """
    now = clock.now()
    coupon, version, _name = _find(code, lock=True)
    _refuse_state(coupon, now, source, order)
    _refuse_terms(coupon, version, source)
    settle(coupon, now)
    until = min(now + RESERVED_FOR, coupon.usable_until)
    if coupon.state == CouponState.RESERVED:
        db.session.execute(update(Coupon).where(Coupon.id == coupon.id).values(reserved_until=until))
        return coupon
    move(
        coupon, CouponState.RESERVED, "reserved", {"source": source, "order": order},
        reserved_source=source, reserved_order=order, reserved_until=until,
    )  # fmt: skip
    return coupon


def release(code: str, source: str, order: str) -> Coupon:
    """Let go of a coupon that an order holds. Refuses with `NotReserved` and `UnknownCode`."""
    now = clock.now()
    coupon, _version, _name = _find(code, lock=True)
    settle(coupon, now)
    if coupon.state != CouponState.RESERVED or (coupon.reserved_source, coupon.reserved_order) != (source, order):
        raise NotReserved
    after = CouponState.EXPIRED if coupon.usable_until <= now else CouponState.ISSUED
    move(coupon, after, "released", reserved_source=None, reserved_order=None, reserved_until=None)
    return coupon


def redeem(code: str, source: str, order: str, basket: rules.Basket) -> Redeemed:
    """Use a coupon on the order `(source, order)`; the same order again gets the same answer.

    The coupon's row is locked first: of twenty tills with one code, one succeeds and the others learn which order used it.

    Refuses with the subclasses of `RedeemRefused`: `UnknownCode`, `AlreadyRedeemed`, `Reserved`, `Expired`,
    `NotUsableYet`, `Revoked`, `Frozen`, `Transferred`, `BelowMinimum`, `WrongProduct`, `LinesNeeded`, `WrongChannel`,
    `NotInGroupNow`, `NotCombinable`, `NothingToDiscount`.
    """
    now = clock.now()
    _lock_order(source, order)
    coupon, version, name = _find(code, lock=True)
    known = db.session.scalar(
        select(Redemption).where(
            Redemption.coupon_id == coupon.id,
            Redemption.source == source,
            Redemption.order_external_id == order,
            Redemption.rolled_back_at.is_(None),
        )
    )
    if known is not None:
        others = _live_on(source, order, but=coupon.id)
        return Redeemed(known, coupon, version, name, True, known.discount + sum(r.discount for r, _ in others))
    _refuse_state(coupon, now, source, order)
    _refuse_terms(coupon, version, source)
    others = _live_on(source, order, but=coupon.id)
    _refuse_combination(version, others)
    taken = sum(0 if v.kind == CouponKind.FREE_SHIPPING else r.discount for r, v in others)
    discount = rules.discount_on(
        version, rules.Basket(basket.amount, basket.postage, basket.lines, max(basket.taken, taken))
    )
    settle(coupon, now)
    move(
        coupon, CouponState.REDEEMED, "redeemed", {"source": source, "order": order, "discount": discount.total},
        redeemed_at=now, reserved_source=None, reserved_order=None, reserved_until=None,
    )  # fmt: skip
    redemption = Redemption(
        coupon_id=coupon.id,
        offer_id=coupon.offer_id,
        source=source,
        order_external_id=order,
        amount=basket.amount,
        discount=discount.total,
        shares=list(discount.shares),
        redeemed_at=now,
    )
    db.session.add(redemption)
    db.session.flush()
    publish(
        CouponRedeemed(
            member_id=coupon.member_id,
            coupon_id=coupon.id,
            offer_id=coupon.offer_id,
            source=source,
            order_external_id=order,
            discount=discount.total,
        )
    )
    return Redeemed(redemption, coupon, version, name, False, discount.total + sum(r.discount for r, _ in others))


def roll_back(code: str, source: str, order: str, reason: str = "") -> tuple[Redemption, Coupon]:
    """Undo the use of a coupon on an order; the coupon can be used again, unless its time is over. Twice is once.

    Refuses with `UnknownCode`, and with `RedemptionUnknown` when the coupon was never used on that order.
    """
    _lock_order(source, order)
    coupon, _version, _name = _find(code, lock=True)
    latest = db.session.scalar(
        select(Redemption)
        .where(
            Redemption.coupon_id == coupon.id,
            Redemption.source == source,
            Redemption.order_external_id == order,
        )
        .order_by(Redemption.id.desc())
        .limit(1)
    )
    if latest is None:
        raise RedemptionUnknown
    if latest.rolled_back_at is None:
        _undo(latest, coupon, reason)
    return latest, coupon


def roll_back_order(source: str, order: str, reason: str) -> int:
    """Undo every coupon used on an order (a full refund); returns how many were."""
    _lock_order(source, order)
    live = _live_on(source, order)
    for redemption, _version in live:
        coupon = db.session.scalars(
            select(Coupon)
            .where(Coupon.id == redemption.coupon_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one()
        _undo(redemption, coupon, reason)
    return len(live)


def _undo(redemption: Redemption, coupon: Coupon, reason: str) -> None:
    now = clock.now()
    result = db.session.execute(
        update(Redemption)
        .where(Redemption.id == redemption.id, Redemption.rolled_back_at.is_(None))
        .values(rolled_back_at=now, rollback_reason=reason or "rolled back")
    )
    if changed(result) != 1:
        return
    after = CouponState.EXPIRED if coupon.usable_until <= now else CouponState.ISSUED
    move(
        coupon, after, reason or "rolled back", {"source": redemption.source, "order": redemption.order_external_id},
        redeemed_at=None,
    )  # fmt: skip
    audit.record(
        "coupon.rolled_back", "coupon", coupon.id,
        {"order": redemption.order_external_id, "discount": yuan(redemption.discount)}, {"state": after.value},
    )  # fmt: skip
    publish(
        CouponRolledBack(
            member_id=coupon.member_id,
            coupon_id=coupon.id,
            offer_id=coupon.offer_id,
            source=redemption.source,
            order_external_id=redemption.order_external_id,
        )
    )
