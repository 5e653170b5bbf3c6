"""Money is whole 分, in and out."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.money import LARGEST, MoneyInvalid, parse_yuan, percent_of, share, short_yuan, yuan

amounts = st.integers(-LARGEST, LARGEST)


@given(amounts)
def test_what_is_written_reads_back(fen):
    assert parse_yuan(yuan(fen), negative=True) == fen
    assert parse_yuan(short_yuan(fen), negative=True) == fen


@pytest.mark.parametrize(
    ("fen", "text", "short"),
    [
        (0, "¥0.00", "¥0"),
        (5, "¥0.05", "¥0.05"),
        (2_000, "¥20.00", "¥20"),
        (2_050, "¥20.50", "¥20.50"),
        (123_450, "¥1,234.50", "¥1,234.50"),
        (-123_450, "-¥1,234.50", "-¥1,234.50"),
        (100_000_000, "¥1,000,000.00", "¥1,000,000"),
    ],
)
def test_how_amounts_are_written(fen, text, short):
    assert (yuan(fen), short_yuan(fen)) == (text, short)


@pytest.mark.parametrize(
    ("text", "fen"),
    [
        ("99", 9_900),
        ("99.9", 9_990),
        (" 1,234.50 ", 123_450),
        ("¥20", 2_000),
        ("￥ 20", 2_000),
        ("20元", 2_000),
        ("１２３．４５", 12_345),
        ("+1", 100),
        ("0", 0),
        ("007", 700),
        ("10000000000", LARGEST),
    ],
)
def test_what_people_type_is_read(text, fen):
    assert parse_yuan(text) == fen


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "abc", "1.234", "1,23", "12,34.5", "1,,234", ".5", "5.", "--1", "-1", "1e3", "1 000", "0x10", "NaN", "Infinity",
        "10000000000.01", "9" * 400, "9" * 5_000, "20$", "¥", "1.2.3", "1\n2", "½",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(MoneyInvalid):
        parse_yuan(text)


@given(st.text(max_size=30))
def test_no_text_breaks_the_reader(text):
    with suppress(MoneyInvalid):
        assert isinstance(parse_yuan(text, negative=True), int)


@given(st.integers(0, LARGEST), st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_shares_sum_to_the_amount_and_stay_by_their_weight(amount, weights):
    parts = share(amount, weights)
    if sum(weights) == 0:
        assert parts == [0] * len(weights)
        return
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        exact = Fraction(amount * weight, sum(weights))
        assert exact - 1 < part < exact + 1
        assert weight or not part


@given(st.integers(0, 10**9), st.lists(st.integers(1, 10**6), min_size=1, max_size=20))
def test_equal_weights_differ_by_one_fen_at_most(amount, weights):
    parts = share(amount, [weights[0]] * len(weights))
    assert max(parts) - min(parts) <= 1


@pytest.mark.parametrize(
    ("amount", "per_mille", "part"), [(999, 500, 500), (1, 500, 1), (1, 499, 0), (10_000, 750, 7_500), (-1, 500, -1)]
)
def test_a_part_is_rounded_half_up(amount, per_mille, part):
    assert percent_of(amount, per_mille) == part
