"""What a coupon takes off a basket, how long it can be used, and which changes of state there are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership.coupons import codes, rules
from membership.coupons.models import CouponKind, CouponState
from membership.coupons.rules import Basket, Line

S = CouponState
NOW = datetime(2026, 3, 3, 4, tzinfo=UTC)


@dataclass
class Terms:
    kind: CouponKind = CouponKind.AMOUNT
    value: int = 2000
    discount_cap: int | None = None
    min_spend: int = 0
    skus: list[str] = field(default_factory=list)
    item_title: str = ""


TEA, CUP, TRAY = Line("TEA", 2, 6000), Line("CUP", 1, 3900), Line("TRAY", 3, 2001)
BASKET = Basket(11_901, 800, (TEA, CUP, TRAY))


@pytest.mark.parametrize(
    ("terms", "goods", "postage", "shares"),
    [
        (Terms(), 2000, 0, (1008, 656, 336)),
        (Terms(skus=["cup", "TEA "]), 2000, 0, (1212, 788, 0)),
        (Terms(value=50_000), 11_901, 0, (6000, 3900, 2001)),
        (Terms(CouponKind.PERCENT, 850), 1785, 0, (900, 585, 300)),
        (Terms(CouponKind.PERCENT, 850, discount_cap=1000), 1000, 0, (504, 328, 168)),
        (Terms(CouponKind.PERCENT, 500, skus=["TRAY"]), 1000, 0, (0, 0, 1000)),
        (Terms(CouponKind.FIXED_PRICE, 990, skus=["TEA"]), 2010, 0, (2010, 0, 0)),
        (Terms(CouponKind.FREE_SHIPPING), 0, 800, (0, 0, 0)),
        (Terms(CouponKind.FREE_SHIPPING, discount_cap=500), 0, 500, (0, 0, 0)),
    ],
)
def test_discount(terms: Terms, goods: int, postage: int, shares: tuple[int, ...]) -> None:
    found = rules.discount_on(terms, BASKET)
    assert (found.goods, found.postage, found.shares) == (goods, postage, shares)


def test_a_gift_item_takes_nothing_off_and_names_the_gift() -> None:
    found = rules.discount_on(Terms(CouponKind.GIFT_ITEM, 0, item_title="Strainer"), BASKET)
    assert (found.total, found.item) == (0, "Strainer")


def test_minimum_counts_the_goods_in_scope_alone() -> None:
    assert rules.discount_on(Terms(min_spend=9900, skus=["TEA", "CUP"]), BASKET).goods == 2000
    with pytest.raises(rules.BelowMinimum) as refused:
        rules.discount_on(Terms(min_spend=9901, skus=["TEA", "CUP"]), BASKET)
    assert refused.value.members == {"missing": 1}


@pytest.mark.parametrize(
    ("terms", "basket", "refusal"),
    [
        (Terms(skus=["POT"]), BASKET, rules.WrongProduct),
        (Terms(skus=["TEA"]), Basket(9900), rules.LinesNeeded),
        (Terms(CouponKind.FREE_SHIPPING), Basket(9900), rules.NothingToDiscount),
        (Terms(), Basket(0), rules.NothingToDiscount),
        (Terms(), Basket(9900, taken=9900), rules.NothingToDiscount),
        (Terms(CouponKind.FIXED_PRICE, 5000, skus=["TEA"]), BASKET, rules.NothingToDiscount),
    ],
)
def test_what_cannot_be_used_is_refused(terms: Terms, basket: Basket, refusal: type) -> None:
    with pytest.raises(refusal):
        rules.discount_on(terms, basket)


lines = st.lists(st.builds(Line, st.sampled_from("abc"), st.integers(1, 9), st.integers(0, 10**7)), max_size=6).map(
    tuple
)


@st.composite
def baskets(draw: st.DrawFn) -> Basket:
    found = draw(lines)
    amount = sum(line.amount for line in found) if found else draw(st.integers(0, 10**8))
    return Basket(amount, draw(st.integers(0, 5000)), found, draw(st.integers(0, amount)))


terms = st.builds(
    Terms,
    st.sampled_from(CouponKind),
    st.integers(1, 990),
    st.none() | st.integers(1, 10**6),
    st.integers(0, 10**6),
    st.lists(st.sampled_from(["a", "B", " c"]), max_size=2),
    st.just("Gift"),
)


@given(terms, baskets())
def test_inv_c10_discounts_stay_within_what_is_bought(terms: Terms, basket: Basket) -> None:
    try:
        found = rules.discount_on(terms, basket)
    except rules.RedeemRefused:
        return
    eligible = rules.eligible_amount(terms, basket)
    assert 0 <= found.goods <= eligible
    assert 0 <= found.postage <= basket.postage
    assert basket.amount + basket.postage - basket.taken - found.total >= 0
    if basket.lines:
        assert sum(found.shares) == found.goods
        assert all(0 <= part <= line.amount for part, line in zip(found.shares, basket.lines, strict=True))


@pytest.mark.parametrize(
    ("usable_from", "usable_until", "days", "expected"),
    [
        (None, None, 14, (0, 14)),
        (None, 5, None, (0, 5)),
        (2, 5, None, (2, 5)),
        (None, 5, 14, (0, 5)),
        (-3, 5, 2, (0, 2)),
        (None, -1, None, (-1, -1)),
    ],
)
def test_usable_interval(
    usable_from: int | None, usable_until: int | None, days: int | None, expected: tuple[int, int]
) -> None:
    def at(day: int | None) -> datetime | None:
        return None if day is None else NOW + timedelta(days=day)

    assert rules.usable_interval(at(usable_from), at(usable_until), days, NOW) == tuple(at(day) for day in expected)


def test_inv_c4_the_clock_decides_without_a_sweep() -> None:
    end = NOW + timedelta(hours=1)
    assert rules.state_at(S.ISSUED, end, None, end - timedelta(microseconds=1)) == S.ISSUED
    assert rules.state_at(S.ISSUED, end, None, end) == S.EXPIRED
    assert rules.state_at(S.RESERVED, end, NOW, NOW) == S.ISSUED
    assert rules.state_at(S.RESERVED, end, end, end) == S.EXPIRED
    assert rules.state_at(S.RESERVED, NOW, end, NOW) == S.RESERVED
    for state in (S.REDEEMED, S.REVOKED, S.TRANSFERRED, S.FROZEN):
        assert rules.state_at(state, NOW, None, NOW) == state


def test_inv_c1_the_listed_changes_are_those_of_the_domain() -> None:
    listed = {(str(before or ""), str(after)) for before, after in rules.TRANSITIONS}
    assert listed == {
        ("", "issued"), ("issued", "reserved"), ("issued", "redeemed"), ("issued", "expired"), ("issued", "revoked"),
        ("issued", "transferred"), ("issued", "frozen"), ("frozen", "issued"), ("reserved", "redeemed"),
        ("reserved", "issued"), ("reserved", "expired"), ("redeemed", "issued"), ("redeemed", "expired"),
    }  # fmt: skip


def test_a_history_that_does_not_follow_is_found() -> None:
    assert rules.folded([(None, S.ISSUED), (S.ISSUED, S.REDEEMED), (S.REDEEMED, S.ISSUED)]) == S.ISSUED
    for wrong in (
        [(None, S.REDEEMED)],
        [(None, S.ISSUED), (S.RESERVED, S.REDEEMED)],
        [(None, S.ISSUED), (S.ISSUED, S.ISSUED)],
    ):
        with pytest.raises(ValueError):
            rules.folded(wrong)


def test_check_e3_every_place_of_a_code_is_drawn_evenly() -> None:
    """Chi-square (Pearson) over each place, 31 degrees of freedom: beyond 130 once in 10^13 runs, 13 places a run."""
    drawn = [codes.fresh() for _ in range(50_000)]
    assert len(set(drawn)) == len(drawn)
    expected = len(drawn) / 32
    for place in range(codes.LENGTH):
        counts = Counter(code[place] for code in drawn)
        assert len(counts) == 32
        assert sum((count - expected) ** 2 / expected for count in counts.values()) < 130


def test_codes_hold_65_random_bits_and_read_back_however_typed() -> None:
    drawn = {codes.fresh() for _ in range(2000)}
    assert len(drawn) == 2000
    assert all(len(code) == 13 and codes.canonical(code) == code for code in drawn)
    code = "7F3K0QWE12MNX"
    assert codes.spelt(code) == "7F3K-0QWE1-2MNX"
    for typed in ("7f3k-0qwe1-2mnx", " 7F3K OQWEI 2MNX ", "７Ｆ３Ｋ-oqwel-2mnx", "7F3K–0QWE1—2MNX"):
        assert codes.canonical(typed) == code
    for typed in ("", "7F3K", code + "1", "U" * 13, "7F3K0QWE12MN\x00", "';--" * 40):
        assert codes.canonical(typed) == ""
