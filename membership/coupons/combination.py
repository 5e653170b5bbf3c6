"""Which of several coupons to use on one basket, and why the others are left: pure, and the same in whatever order they come.

Two coupons go together when neither is exclusive and both name a stack group, each another one. Those that are used are
taken off one after another, smaller `priority` first (then by kind, then by the time they end), each on what the others
have left of the goods it is for.

`best` searches exactly while there are at most `EXACT` candidates that go together with anything: it walks through all
sets that are allowed and leaves a branch as soon as even the sum of what its remaining coupons would take off by themselves
cannot reach the best set found so far. That bound is safe, for no coupon takes more off a smaller running amount. With
more candidates the `EXACT` that take off most by themselves, at most `EACH` of one stack group, are searched in the same
way: a heuristic, which can miss a set only when a coupon of little effect by itself would have belonged to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from kernel.errors import Refusal

from . import rules
from .models import CouponKind
from .rules import Basket, Discount

EXACT = 12
EACH = 3
# With very many lines each set costs more to weigh: fewer candidates, the same time.
MANY_LINES = 60
EXACT_OF_MANY_LINES = 8

KIND_ORDER = {
    CouponKind.FIXED_PRICE: 0,
    CouponKind.AMOUNT: 1,
    CouponKind.PERCENT: 2,
    CouponKind.FREE_SHIPPING: 3,
    CouponKind.GIFT_ITEM: 4,
}


class StackTerms(rules.Terms, Protocol):
    """What an offer's version says about using a coupon together with others."""

    @property
    def stack_group(self) -> str: ...
    @property
    def exclusive(self) -> bool: ...
    @property
    def priority(self) -> int: ...
    @property
    def with_tier(self) -> bool: ...


NOTHING = Discount()


@dataclass(frozen=True)
class Candidate:
    """A coupon that could be used: `key` is unique among those weighed (the coupon's id), `ends` when its time is over."""

    key: int
    terms: StackTerms
    ends: datetime

    @property
    def place(self) -> tuple[int, int, datetime, int]:
        """Where it stands in the order in which coupons are taken off."""
        return self.terms.priority, KIND_ORDER[self.terms.kind], self.ends, self.key


@dataclass(frozen=True)
class Used:
    """A coupon of a set with what it takes off when its turn comes."""

    candidate: Candidate
    discount: Discount


@dataclass(frozen=True)
class Combination:
    """A set of coupons on a basket. `tier` is what the buyer's tier takes off before them, postage too where it ships free."""

    basket: Basket
    tier: Discount = NOTHING
    used: tuple[Used, ...] = ()

    @property
    def goods(self) -> int:
        return self.tier.goods + sum(one.discount.goods for one in self.used)

    @property
    def postage(self) -> int:
        return self.tier.postage + sum(one.discount.postage for one in self.used)

    @property
    def total(self) -> int:
        return self.goods + self.postage

    @property
    def payable(self) -> int:
        """What is left to pay, goods and postage."""
        return self.basket.amount + self.basket.postage - self.total

    @property
    def keys(self) -> frozenset[int]:
        return frozenset(one.candidate.key for one in self.used)

    def _worth(self) -> tuple[int, int, int, list[datetime], list[int]]:
        """Smaller is better: most taken off, then most gifts, then fewest coupons, then those that end first."""
        gifts = sum(bool(one.discount.item) for one in self.used)
        ends = sorted(one.candidate.ends for one in self.used)
        return -self.total, -gifts, len(self.used), ends, sorted(self.keys)


def go_together(one: StackTerms, other: StackTerms) -> bool:
    """Whether two coupons may be used on one order."""
    alone = one.exclusive or other.exclusive or not one.stack_group or not other.stack_group
    return not alone and one.stack_group != other.stack_group


def applied(
    candidates: Sequence[Candidate], basket: Basket, tier_per_mille: int = 1000, ships_free: bool = False
) -> Combination:
    """All of these coupons on a basket, in their order, after the tier where every one of them allows it.

    A tier that `ships_free` takes the postage off beside whichever coupons: those are about what the goods cost.

    Refuses as `rules.discount_on` does when one of them would have no effect. Whether they go together is not asked here.
    """
    tiered = all(c.terms.with_tier for c in candidates)
    found, running = _begin(basket, tier_per_mille if tiered else 1000, ships_free)
    for candidate in sorted(candidates, key=lambda c: c.place):
        discount = rules.discount_on(candidate.terms, running)
        found = replace(found, used=(*found.used, Used(candidate, discount)))
        running = running.after(discount)
    return found


def _begin(basket: Basket, tier_per_mille: int, ships_free: bool) -> tuple[Combination, Basket]:
    if tier_per_mille >= 1000 and not ships_free:
        return Combination(basket), basket
    tier = rules.tier_discount_on(basket, tier_per_mille, ships_free)
    return Combination(basket, tier), basket.after(tier)


def _alone(candidate: Candidate, basket: Basket) -> int | None:
    """What a coupon takes off by itself, None when it has no effect or is refused."""
    try:
        return rules.discount_on(candidate.terms, basket).total
    except Refusal:
        return None


def best(
    candidates: Sequence[Candidate], basket: Basket, tier_per_mille: int = 1000, ships_free: bool = False
) -> Combination:
    """The set of coupons that takes off most; without any, what the tier takes off alone."""
    worth = {c.key: found for c in candidates if (found := _alone(c, basket)) is not None}
    usable = sorted((c for c in candidates if c.key in worth), key=lambda c: c.place)
    winner = _begin(basket, tier_per_mille, ships_free)[0]
    for candidate in usable:
        winner = _better(winner, _tried([candidate], basket, tier_per_mille, ships_free))
    social = [c for c in usable if c.terms.stack_group and not c.terms.exclusive]
    # A coupon that ends the tier's discount changes what all others count on, so the two worlds are searched apart.
    for tiered in (True, False) if tier_per_mille < 1000 else (False,):
        pool = [c for c in social if c.terms.with_tier] if tiered else social
        kept = _shortlist(pool, worth, EXACT if len(basket.parts) <= MANY_LINES else EXACT_OF_MANY_LINES)
        start, running = _begin(basket, tier_per_mille if tiered else 1000, ships_free)
        winner = _search(kept, worth, start, running, winner, drops_tier=not tiered and tier_per_mille < 1000)
    return winner


def _tried(
    candidates: Sequence[Candidate], basket: Basket, tier_per_mille: int, ships_free: bool
) -> Combination | None:
    try:
        return applied(candidates, basket, tier_per_mille, ships_free)
    except Refusal:
        return None


def _better(one: Combination, other: Combination | None) -> Combination:
    return other if other is not None and other._worth() < one._worth() else one


def _shortlist(pool: Sequence[Candidate], worth: dict[int, int], most: int) -> list[Candidate]:
    if len(pool) <= most:
        return list(pool)
    taken: dict[str, int] = {}
    kept: list[Candidate] = []
    for candidate in sorted(pool, key=lambda c: (-worth[c.key], c.ends, c.key)):
        group = candidate.terms.stack_group
        if taken.get(group, 0) < EACH and len(kept) < most:
            taken[group] = taken.get(group, 0) + 1
            kept.append(candidate)
    return sorted(kept, key=lambda c: c.place)


def _search(
    kept: Sequence[Candidate], worth: dict[int, int], found: Combination, running: Basket, winner: Combination,
    drops_tier: bool,
) -> Combination:  # fmt: skip
    """Walk through the sets, depth first, in the order in which coupons are taken off."""
    ahead = [0] * (len(kept) + 1)
    for i in range(len(kept) - 1, -1, -1):
        ahead[i] = ahead[i + 1] + worth[kept[i].key]

    def walk(i: int, found: Combination, running: Basket, groups: frozenset[str]) -> None:
        nonlocal winner
        # A set of coupons which all allow the tier belongs to the other world, where it is taken off as well.
        if found.used and not (drops_tier and all(one.candidate.terms.with_tier for one in found.used)):
            winner = _better(winner, found)
        if i == len(kept) or found.total + ahead[i] < winner.total:
            return
        candidate = kept[i]
        if candidate.terms.stack_group not in groups:
            try:
                discount = rules.discount_on(candidate.terms, running)
            except Refusal:
                discount = None
            if discount is not None:
                more = replace(found, used=(*found.used, Used(candidate, discount)))
                walk(i + 1, more, running.after(discount), groups | {candidate.terms.stack_group})
        walk(i + 1, found, running, groups)

    walk(0, found, running, frozenset())
    return winner
