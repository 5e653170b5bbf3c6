"""The best of several coupons: found exactly, explained by what it takes off, and the same in whatever order they come."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from membership.coupons import combination, rules
from membership.coupons.combination import Candidate, Combination
from membership.coupons.models import CouponKind
from membership.coupons.rules import Basket, Line

from . import test_rules

NOON = datetime(2026, 3, 3, 4, tzinfo=UTC)
K = CouponKind


@dataclass
class Terms(test_rules.Terms):
    stack_group: str = ""
    exclusive: bool = False
    priority: int = 100
    with_tier: bool = True


def candidates(*terms: Terms) -> list[Candidate]:
    return [Candidate(i + 1, one, NOON + timedelta(days=i)) for i, one in enumerate(terms)]


def keys(found: Combination) -> list[int]:
    return sorted(found.keys)


TEA, CUP = Line("TEA", 2, 6000), Line("CUP", 1, 4000)
BASKET = Basket(10_000, 800, (TEA, CUP))


def test_a_percentage_counts_on_what_the_ones_before_have_left() -> None:
    amount, percent = Terms(value=2000, stack_group="a"), Terms(K.PERCENT, 800, stack_group="b")
    found = combination.best(candidates(amount, percent), BASKET)
    assert [(one.candidate.key, one.discount.goods) for one in found.used] == [(1, 2000), (2, 1600)]
    first = combination.best(candidates(amount, Terms(K.PERCENT, 800, stack_group="b", priority=1)), BASKET)
    assert [(one.candidate.key, one.discount.goods) for one in first.used] == [(2, 2000), (1, 2000)]


def test_one_from_a_stack_group_and_alone_when_exclusive() -> None:
    same = candidates(Terms(value=1000, stack_group="a"), Terms(value=1500, stack_group="a"))
    assert keys(combination.best(same, BASKET)) == [2]
    alone = candidates(
        Terms(value=3000, exclusive=True, stack_group="x"), Terms(stack_group="a"), Terms(stack_group="b")
    )
    assert keys(combination.best(alone, BASKET)) == [2, 3]
    assert keys(combination.best([alone[0], alone[1]], BASKET)) == [1]


def test_scopes_share_lines_without_taking_a_fen_twice() -> None:
    tea = Terms(value=9000, skus=["TEA"], stack_group="a")
    everything = Terms(K.PERCENT, 500, stack_group="b")
    found = combination.best(candidates(tea, everything), BASKET)
    # The tea is free already; half of the cup alone is left to halve.
    assert [(one.discount.goods, one.discount.shares) for one in found.used] == [(6000, (6000, 0)), (2000, (0, 2000))]
    assert found.payable == 10_800 - 8000


def test_inv_i24_a_coupon_without_effect_is_not_used() -> None:
    whole = candidates(Terms(value=10_000, stack_group="a"), Terms(K.PERCENT, 500, stack_group="b"))
    assert keys(combination.best(whole, BASKET)) == [1]
    with pytest.raises(rules.NothingToDiscount):
        combination.applied(whole, BASKET)
    # A gift has its own effect, and postage is no goods.
    more = candidates(
        Terms(value=10_000, stack_group="a"),
        Terms(K.FREE_SHIPPING, 0, stack_group="b"),
        Terms(K.GIFT_ITEM, 0, item_title="Strainer", stack_group="c"),
    )
    assert keys(combination.best(more, BASKET)) == [1, 2, 3]


def test_equal_discounts_use_fewer_coupons_and_those_that_end_first() -> None:
    twins = candidates(Terms(), Terms())
    assert keys(combination.best(twins[::-1], BASKET)) == [1]


def test_the_tier_counts_beside_those_that_allow_it() -> None:
    beside, instead = Terms(value=1000, stack_group="a"), Terms(value=1400, with_tier=False, stack_group="b")
    found = combination.best(candidates(beside, instead), BASKET, 900)
    # 10 % of the tier and ¥10, against both coupons without the tier.
    assert (found.tier.goods, keys(found), found.total) == (0, [1, 2], 2400)
    cheaper = combination.best(candidates(beside, Terms(value=900, with_tier=False)), BASKET, 900)
    assert (cheaper.tier.goods, keys(cheaper), cheaper.total) == (1000, [1], 2000)
    assert combination.best([], BASKET, 900).total == 1000
    # A coupon for less than the tier gives is left, and the tier is kept.
    assert keys(combination.best(candidates(Terms(value=900, with_tier=False)), BASKET, 900)) == []


def test_more_than_the_exact_number_are_searched_by_what_each_takes_off() -> None:
    many = candidates(*(Terms(value=100 + i, stack_group=f"g{i}") for i in range(30)))
    found = combination.best(many, BASKET)
    assert keys(found) == list(range(19, 31))
    assert len(found.used) == combination.EXACT
    crowded = candidates(*(Terms(value=100 + i, stack_group=f"g{i % 4}") for i in range(50)))
    assert keys(combination.best(crowded, BASKET)) == [47, 48, 49, 50]


# ── Against every set there is ──────────────────────────────────────────────────────────────────────────────────────

lines = st.lists(st.builds(Line, st.sampled_from("abc"), st.integers(1, 4), st.integers(0, 5000)), max_size=4).map(
    tuple
)


@st.composite
def baskets(draw: st.DrawFn) -> Basket:
    found = draw(lines)
    amount = sum(line.amount for line in found) if found else draw(st.integers(0, 20_000))
    return Basket(amount, draw(st.integers(0, 1500)), found)


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    kind = draw(st.sampled_from(K))
    return Terms(
        kind=kind,
        value=draw(st.integers(10, 990)) if kind == K.PERCENT else draw(st.integers(1, 6000)),
        discount_cap=draw(st.none() | st.integers(1, 3000)),
        min_spend=draw(st.sampled_from([0, 0, 500, 4000])),
        skus=draw(st.sampled_from([[], [], ["a"], ["B", " c"]])),
        item_title="Gift",
        stack_group=draw(st.sampled_from(["", "x", "y", "z"])),
        exclusive=draw(st.sampled_from([False, False, False, True])),
        priority=draw(st.sampled_from([1, 100])),
        with_tier=draw(st.booleans()),
    )


def every_set(found: list[Candidate], basket: Basket, tier: int, free: bool) -> list[Combination]:
    """All that is allowed, tried one by one: slow, and nothing to get wrong."""
    allowed = []
    for size in range(len(found) + 1):
        for chosen in itertools.combinations(found, size):
            if all(combination.go_together(a.terms, b.terms) for a, b in itertools.combinations(chosen, 2)):
                try:
                    allowed.append(combination.applied(chosen, basket, tier, free))
                except rules.RedeemRefused:
                    continue
    return allowed


@settings(deadline=None, max_examples=300)
@given(st.lists(terms(), max_size=6), baskets(), st.sampled_from([1000, 950, 700]), st.booleans(), st.randoms())
def test_inv_c10_the_best_of_all_sets_in_whatever_order(
    found: list[Terms], basket: Basket, tier: int, free: bool, order
) -> None:
    wanted = candidates(*found)
    best = combination.best(wanted, basket, tier, free)
    assert best.total == max(one.total for one in every_set(wanted, basket, tier, free))
    shuffled = list(wanted)
    order.shuffle(shuffled)
    assert combination.best(shuffled, basket, tier, free) == best


@settings(deadline=None, max_examples=300)
@given(st.lists(terms(), max_size=9), baskets(), st.sampled_from([1000, 850]), st.booleans())
def test_inv_i19_to_i24_discounts_stay_within_the_basket(
    found: list[Terms], basket: Basket, tier: int, free: bool
) -> None:
    best = combination.best(candidates(*found), basket, tier, free)
    assert best.postage == basket.postage or not free
    assert 0 <= best.goods <= basket.amount
    assert 0 <= best.postage <= basket.postage
    assert best.payable >= 0
    sums = list(best.tier.shares) or [0] * len(basket.lines)
    for one in best.used:
        eligible = rules.eligible_amount(one.candidate.terms, basket)
        assert 0 <= one.discount.goods <= eligible
        assert one.discount.total > 0 or one.discount.item
        if one.candidate.terms.kind == K.PERCENT and one.candidate.terms.discount_cap is not None:
            assert one.discount.goods <= one.candidate.terms.discount_cap
        if basket.lines:
            assert sum(one.discount.shares) == one.discount.goods
            sums = [a + b for a, b in zip(sums, one.discount.shares, strict=True)]
    assert all(0 <= off <= line.amount for off, line in zip(sums, basket.lines, strict=True))
    for one, other in itertools.combinations(best.used, 2):
        assert combination.go_together(one.candidate.terms, other.candidate.terms)
