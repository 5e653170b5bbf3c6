"""Using coupons on an order and undoing that: several at once, all of them or none, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text, update

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l
from kernel.money import share, yuan
from membership.members.models import Member

from .. import combination, rules
from ..combination import Candidate
from ..events import CouponRedeemed, CouponRolledBack
from ..models import Coupon, CouponKind, CouponState, Offer, OfferVersion, Redemption
from . import pools
from .caps import give_budget_back, take_budget
from .checkout import Found, find, live_on, owner_of, refuse_state, refuse_terms, tier_per_mille
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
    # What all coupons on the order take off together, the tier's discount with it.
    taken: int


@dataclass(frozen=True)
class Use:
    """Coupons used on an order in one go. `taken` is what everything on the order takes off, `tier` the tier's part."""

    coupons: list[Redeemed]
    taken: int
    tier: int

    @property
    def replayed(self) -> bool:
        return all(one.replayed for one in self.coupons)


def _lock_order(source: str, external_id: str) -> None:
    """Let one at a time use or give back coupons on an order, so that two of them never take off more than there is."""
    db.session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 1))"),
        {"name": f"order\x1f{source}\x1f{external_id}"},
    )


def _told(wanted: Sequence[str], refusals: dict[str, Refusal]) -> None:
    """One coupon's refusal is that refusal; of several, all that were refused are named."""
    if not refusals:
        return
    if len(wanted) == 1:
        raise next(iter(refusals.values()))
    raise rules.CouponsRefused(refusals)


def _found(wanted: Sequence[str], buyer: Member | None = None, claims: str = "") -> dict[str, Found]:
    """The coupons behind codes, their rows locked, lowest id first. With `claims` (a source) pool codes become coupons.

    Offers are locked before coupons, as everywhere. Refuses with `UnknownCode`, `BuyerNeeded`, `CodeTaken` and the like.
    """
    refusals: dict[str, Refusal] = {}
    ids: dict[str, int] = {}
    buyer_id = buyer.id if buyer is not None else None
    found: list[tuple[str, Found]] = []
    for code in wanted:
        try:
            found.append((code, find(code, member_id=buyer_id)))
        except Refusal as refusal:
            refusals[code] = refusal
    for code, one in sorted(found, key=lambda pair: (pair[1].offer.id, pair[1].key)):
        try:
            if one.coupon is not None:
                coupon_id = one.coupon.id
            elif claims:
                coupon_id = pools.claim_code(code, buyer, claims)
            else:
                raise rules.UnknownCode
            if coupon_id in ids.values():
                raise rules.ListedTwice
            ids[code] = coupon_id
        except Refusal as refusal:
            refusals[code] = refusal
    _told(wanted, refusals)
    rows = db.session.execute(
        select(Coupon, OfferVersion, Offer)
        .join(OfferVersion, OfferVersion.id == Coupon.version_id)
        .join(Offer, Offer.id == Coupon.offer_id)
        .where(Coupon.id.in_(ids.values()))
        .order_by(Coupon.id)
        .with_for_update(of=Coupon)
        .execution_options(populate_existing=True)
    )
    locked = {row[0].id: Found(row[0].id, row[0], row[1], row[2], row[0].usable_until) for row in rows}
    return {code: locked[ids[code]] for code in wanted}


def _coupon(found: Found) -> Coupon:
    if found.coupon is None:
        raise LookupError("only coupons that are there are locked")
    return found.coupon


def reserve_all(wanted: Sequence[str], source: str, order: str, buyer: Member | None = None) -> list[Coupon]:
    """Hold coupons for an order while its buyer pays (30 minutes), all or none; the same order again holds them anew.

    Refuses as `redeem_all` does, but for the basket.
    """
    found = _found(wanted, buyer, f"code:{source}")
    # A code may only now have become a coupon, which is usable from that instant.
    now = clock.now()
    refusals: dict[str, Refusal] = {}
    for code, one in found.items():
        try:
            refuse_state(_coupon(one), now, source, order)
            refuse_terms(one.version, source, _coupon(one).member_id)
        except Refusal as refusal:
            refusals[code] = refusal
    _told(wanted, refusals)
    for one in found.values():
        _hold(_coupon(one), now, source, order)
    return [_coupon(one) for one in found.values()]


def _hold(coupon: Coupon, now: datetime, source: str, order: str) -> None:
    settle(coupon, now)
    until = min(now + RESERVED_FOR, coupon.usable_until)
    if coupon.state == CouponState.RESERVED:
        db.session.execute(update(Coupon).where(Coupon.id == coupon.id).values(reserved_until=until))
        return
    move(
        coupon, CouponState.RESERVED, "reserved", {"source": source, "order": order},
        reserved_source=source, reserved_order=order, reserved_until=until,
    )  # fmt: skip


def reserve(code: str, source: str, order: str) -> Coupon:
    """`reserve_all` for one coupon, whose refusal is raised as it is."""
    return reserve_all([code], source, order)[0]


def release_all(wanted: Sequence[str], source: str, order: str) -> list[Coupon]:
    """Let go of coupons that an order holds, all or none. Refuses with `NotReserved` and `UnknownCode`."""
    now = clock.now()
    found = _found(wanted)
    refusals: dict[str, Refusal] = {}
    for code, one in found.items():
        coupon = _coupon(one)
        settle(coupon, now)
        if coupon.state != CouponState.RESERVED or (coupon.reserved_source, coupon.reserved_order) != (source, order):
            refusals[code] = NotReserved()
    _told(wanted, refusals)
    for one in found.values():
        coupon = _coupon(one)
        after = CouponState.EXPIRED if coupon.usable_until <= now else CouponState.ISSUED
        move(coupon, after, "released", reserved_source=None, reserved_order=None, reserved_until=None)
    return [_coupon(one) for one in found.values()]


def release(code: str, source: str, order: str) -> Coupon:
    """`release_all` for one coupon."""
    return release_all([code], source, order)[0]


def redeem_all(
    wanted: Sequence[str],
    source: str,
    order: str,
    basket: rules.Basket,
    buyer: Member | None = None,
    with_tier: bool = False,
) -> Use:
    """Use coupons on the order `(source, order)`, all of them or none; the same order again gets the same answer.

    The coupons' rows are locked first, lowest id first: of twenty tills with one code, one succeeds and the others learn
    which order used it. What they take off is worked out in their own order (`combination.applied`), whatever the list's.
    A pool's code becomes a coupon of the `buyer` in the same transaction. With `with_tier` the owner's tier discount is
    taken off first, where every coupon on the order allows it.

    Refuses one coupon with the subclasses of `RedeemRefused` (`UnknownCode`, `AlreadyRedeemed`, `Reserved`, `Expired`,
    `NotUsableYet`, `Revoked`, `Frozen`, `Transferred`, `BelowMinimum`, `WrongProduct`, `LinesNeeded`, `WrongChannel`,
    `NotInGroupNow`, `NotCombinable`, `NothingToDiscount`, `BudgetSpent`), several with `CouponsRefused`, which has those
    for each.
    """
    _lock_order(source, order)
    found = _found(wanted, buyer, f"code:{source}")
    # A code may only now have become a coupon, which is usable from that instant.
    now = clock.now()
    live = {coupon.id: (redemption, version) for redemption, version, coupon in live_on(source, order)}
    known = {code: one for code, one in found.items() if one.key in live}
    fresh = {code: one for code, one in found.items() if one.key not in live}
    refusals: dict[str, Refusal] = {}
    for code, one in fresh.items():
        try:
            refuse_state(_coupon(one), now, source, order)
            refuse_terms(one.version, source, _coupon(one).member_id)
            others = [other.version for name, other in fresh.items() if name != code]
            others += [version for _redemption, version in live.values()]
            if not all(combination.go_together(one.version, other) for other in others):
                raise rules.NotCombinable
        except Refusal as refusal:
            refusals[code] = refusal
    _told(wanted, refusals)
    made: dict[int, Redemption] = {}
    tier = next((redemption.tier_discount for redemption, _ in live.values()), 0)
    if fresh:
        per_mille = tier_per_mille(owner_of(list(found.values()), buyer.id if buyer else None)) if with_tier else 1000
        result = _applied(wanted, fresh, basket, per_mille, live, tier)
        tier = max(tier, result.tier.goods)
        made = _write(fresh, result, source, order, basket.amount, tier, now)
    whole = tier + sum(redemption.discount for redemption, _ in live.values())
    whole += sum(redemption.discount for redemption in made.values())
    done = []
    for code in wanted:
        one = found[code]
        redemption = made.get(one.key) or live[one.key][0]
        done.append(Redeemed(redemption, _coupon(one), one.version, one.offer.name, code in known, whole))
    return Use(done, whole, tier)


def _applied(
    wanted: Sequence[str],
    fresh: dict[str, Found],
    basket: rules.Basket,
    per_mille: int,
    live: dict[int, tuple[Redemption, OfferVersion]],
    tier: int,
) -> combination.Combination:
    """What fresh coupons take off, after those that are on the order already."""
    if live:
        before = rules.Basket(basket.amount, basket.postage, basket.lines, tier)
        for redemption, version in live.values():
            free_post = version.kind == CouponKind.FREE_SHIPPING
            goods, postage = (0, redemption.discount) if free_post else (redemption.discount, 0)
            shares = tuple(redemption.shares) if len(redemption.shares) == len(basket.lines) else ()
            if not shares and basket.lines:
                shares = tuple(share(goods, before.running()))
            before = before.after(rules.Discount(goods, min(postage, before.postage), shares))
        basket, per_mille = before, 1000
        if tier and not all(one.version.with_tier for one in fresh.values()):
            _told(wanted, {code: rules.NotCombinable() for code, one in fresh.items() if not one.version.with_tier})
    candidates = {code: Candidate(one.key, one.version, one.usable_until) for code, one in fresh.items()}
    try:
        return combination.applied(list(candidates.values()), basket, per_mille)
    except Refusal:
        # One of them has no effect where its turn comes: say which, and for which the reason lies in the basket alone.
        refusals: dict[str, Refusal] = {}
        running = basket
        for code, candidate in sorted(candidates.items(), key=lambda pair: pair[1].place):
            try:
                running = running.after(rules.discount_on(candidate.terms, running))
            except Refusal as refusal:
                refusals[code] = refusal
        _told(wanted, refusals)
        raise


def _write(
    fresh: dict[str, Found],
    result: combination.Combination,
    source: str,
    order: str,
    amount: int,
    tier: int,
    now: datetime,
) -> dict[int, Redemption]:
    """The redemptions of fresh coupons, with their states, events and what they take of the budgets."""
    taken = {used.candidate.key: used.discount for used in result.used}
    made: dict[int, Redemption] = {}
    for one in sorted(fresh.values(), key=lambda found: found.key):
        coupon, discount = _coupon(one), taken[one.key]
        settle(coupon, now)
        move(
            coupon, CouponState.REDEEMED, "redeemed", {"source": source, "order": order, "discount": discount.total},
            redeemed_at=now, reserved_source=None, reserved_order=None, reserved_until=None,
        )  # fmt: skip
        made[one.key] = Redemption(
            coupon_id=coupon.id,
            offer_id=coupon.offer_id,
            source=source,
            order_external_id=order,
            amount=amount,
            discount=discount.total,
            shares=list(discount.shares),
            tier_discount=tier,
            redeemed_at=now,
        )
        db.session.add(made[one.key])
    db.session.flush()
    for one in sorted(fresh.values(), key=lambda found: found.key):
        coupon = _coupon(one)
        publish(
            CouponRedeemed(
                member_id=coupon.member_id,
                coupon_id=coupon.id,
                offer_id=coupon.offer_id,
                source=source,
                order_external_id=order,
                discount=taken[one.key].total,
            )
        )
    # The most widely shared counters come last, so that their rows are locked for the shortest time.
    take_budget([(one.offer, taken[one.key].total) for one in fresh.values()])
    return made


def redeem(code: str, source: str, order: str, basket: rules.Basket) -> Redeemed:
    """`redeem_all` for one coupon, whose refusal is raised as it is."""
    return redeem_all([code], source, order, basket).coupons[0]


def roll_back_all(wanted: Sequence[str], source: str, order: str, reason: str = "") -> list[tuple[Redemption, Coupon]]:
    """Undo the use of coupons on an order, all or none; they can be used again, unless their time is over. Twice is once.

    Refuses with `UnknownCode`, and with `RedemptionUnknown` when a coupon was never used on that order.
    """
    _lock_order(source, order)
    found = _found(wanted)
    latest: dict[int, Redemption] = {}
    for redemption in db.session.scalars(
        select(Redemption)
        .where(
            Redemption.coupon_id.in_([one.key for one in found.values()]),
            Redemption.source == source,
            Redemption.order_external_id == order,
        )
        .order_by(Redemption.id)
        .execution_options(populate_existing=True)
    ):
        latest[redemption.coupon_id] = redemption
    _told(wanted, {code: RedemptionUnknown() for code, one in found.items() if one.key not in latest})
    for one in sorted(found.values(), key=lambda found: found.key):
        if latest[one.key].rolled_back_at is None:
            _undo(latest[one.key], _coupon(one), reason)
    return [(latest[one.key], _coupon(one)) for one in found.values()]


def roll_back(code: str, source: str, order: str, reason: str = "") -> tuple[Redemption, Coupon]:
    """`roll_back_all` for one coupon."""
    return roll_back_all([code], source, order, reason)[0]


def roll_back_order(source: str, order: str, reason: str) -> int:
    """Undo every coupon used on an order (a full refund); returns how many were."""
    _lock_order(source, order)
    ids = [redemption.coupon_id for redemption, _version, _coupon in live_on(source, order)]
    coupons = db.session.scalars(
        select(Coupon)
        .where(Coupon.id.in_(ids))
        .order_by(Coupon.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    live = {redemption.coupon_id: redemption for redemption, _version, _coupon in live_on(source, order)}
    for coupon in coupons:
        if coupon.id in live:
            _undo(live[coupon.id], coupon, reason)
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
    detail: dict[str, Any] = {"source": redemption.source, "order": redemption.order_external_id}
    move(coupon, after, reason or "rolled back", detail, redeemed_at=None)
    give_budget_back(coupon.offer_id, redemption.discount)
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
