"""Using coupons on an order: several at once, all of them or none, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from kernel import clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.events import publish
from kernel.money import share
from membership.members.models import Member

from .. import combination, rules
from ..combination import Candidate
from ..events import CouponRedeemed
from ..models import Coupon, CouponKind, CouponState, OfferVersion, Redemption
from .caps import take_budget
from .checkout import Found, live_on, owner_of, refuse_state, refuse_terms, tier_of
from .locking import coupon_of, lock_order, locked_all, tell
from .states import move, settle


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
    """Coupons used on an order in one go. `taken` is what everything on the order takes off, `tier` the tier's part.

    `tier` counts the goods, `tier_postage` the postage of a tier that ships free.
    """

    coupons: list[Redeemed]
    taken: int
    tier: int
    tier_postage: int

    @property
    def replayed(self) -> bool:
        return all(one.replayed for one in self.coupons)


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
    taken off first, where every coupon on the order allows it, and the postage of a tier that ships free. What the first
    use decided of the tier holds for coupons that are used on the order later.

    Refuses one coupon with the subclasses of `RedeemRefused` (`UnknownCode`, `AlreadyRedeemed`, `Reserved`, `Expired`,
    `NotUsableYet`, `Revoked`, `Frozen`, `Transferred`, `BelowMinimum`, `WrongProduct`, `LinesNeeded`, `WrongChannel`,
    `NotInGroupNow`, `NotCombinable`, `NothingToDiscount`, `BudgetSpent`), several with `CouponsRefused`, which has those
    for each.
    """
    lock_order(source, order)
    found = locked_all(wanted, buyer, f"code:{source}")
    # A code may only now have become a coupon, which is usable from that instant.
    now = clock.now()
    live = {coupon.id: (redemption, version) for redemption, version, coupon in live_on(source, order)}
    known = {code: one for code, one in found.items() if one.key in live}
    fresh = {code: one for code, one in found.items() if one.key not in live}
    refusals: dict[str, Refusal] = {}
    for code, one in fresh.items():
        try:
            refuse_state(coupon_of(one), now, source, order)
            refuse_terms(one.version, source, coupon_of(one).member_id)
            others = [other.version for name, other in fresh.items() if name != code]
            others += [version for _redemption, version in live.values()]
            if not all(combination.go_together(one.version, other) for other in others):
                raise rules.NotCombinable
        except Refusal as refusal:
            refusals[code] = refusal
    tell(wanted, refusals)
    made: dict[int, Redemption] = {}
    tier = next((_tier_on(redemption) for redemption, _ in live.values()), combination.NOTHING)
    if fresh:
        terms = tier_of(owner_of(list(found.values()), buyer.id if buyer else None) if with_tier else None)
        result = _applied(wanted, fresh, basket, terms, live, tier)
        if not live:
            tier = result.tier
        made = _write(fresh, result, source, order, basket.amount, tier, now)
    whole = tier.total + sum(redemption.discount for redemption, _ in live.values())
    whole += sum(redemption.discount for redemption in made.values())
    done = []
    for code in wanted:
        one = found[code]
        redemption = made.get(one.key) or live[one.key][0]
        done.append(Redeemed(redemption, coupon_of(one), one.version, one.offer.name, code in known, whole))
    return Use(done, whole, tier.goods, tier.postage)


def _tier_on(redemption: Redemption) -> rules.Discount:
    """What the tier takes off the order of a redemption."""
    return rules.Discount(redemption.tier_discount, redemption.tier_postage)


def _applied(
    wanted: Sequence[str],
    fresh: dict[str, Found],
    basket: rules.Basket,
    terms: tuple[int, bool],
    live: dict[int, tuple[Redemption, OfferVersion]],
    tier: rules.Discount,
) -> combination.Combination:
    """What fresh coupons take off, after those that are on the order already."""
    if live:
        postage_left = basket.postage - min(tier.postage, basket.postage)
        before = rules.Basket(basket.amount, postage_left, basket.lines, tier.goods)
        for redemption, version in live.values():
            free_post = version.kind == CouponKind.FREE_SHIPPING
            goods, postage = (0, redemption.discount) if free_post else (redemption.discount, 0)
            shares = tuple(redemption.shares) if len(redemption.shares) == len(basket.lines) else ()
            if not shares and basket.lines:
                shares = tuple(share(goods, before.running()))
            before = before.after(rules.Discount(goods, min(postage, before.postage), shares))
        basket, terms = before, (1000, False)
        if tier.goods and not all(one.version.with_tier for one in fresh.values()):
            tell(wanted, {code: rules.NotCombinable() for code, one in fresh.items() if not one.version.with_tier})
    candidates = {code: Candidate(one.key, one.version, one.usable_until) for code, one in fresh.items()}
    try:
        return combination.applied(list(candidates.values()), basket, *terms)
    except Refusal:
        # One of them has no effect where its turn comes: say which, and for which the reason lies in the basket alone.
        refusals: dict[str, Refusal] = {}
        # The goods are judged without the tier; postage that it pays is no coupon's to take off.
        tier_pays = tier.postage or (basket.postage if terms[1] else 0)
        running = replace(basket, postage=0) if tier_pays else basket
        for code, candidate in sorted(candidates.items(), key=lambda pair: pair[1].place):
            try:
                running = running.after(rules.discount_on(candidate.terms, running))
            except Refusal as refusal:
                kept = tier_pays and candidate.terms.kind == CouponKind.FREE_SHIPPING
                refusals[code] = rules.TierShipsFree() if kept else refusal
        tell(wanted, refusals)
        raise


def _write(
    fresh: dict[str, Found],
    result: combination.Combination,
    source: str,
    order: str,
    amount: int,
    tier: rules.Discount,
    now: datetime,
) -> dict[int, Redemption]:
    """The redemptions of fresh coupons, with their states, events and what they take of the budgets."""
    taken = {used.candidate.key: used.discount for used in result.used}
    made: dict[int, Redemption] = {}
    for one in sorted(fresh.values(), key=lambda found: found.key):
        coupon, discount = coupon_of(one), taken[one.key]
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
            tier_discount=tier.goods,
            tier_postage=tier.postage,
            redeemed_at=now,
        )
        db.session.add(made[one.key])
    db.session.flush()
    for one in sorted(fresh.values(), key=lambda found: found.key):
        coupon = coupon_of(one)
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
