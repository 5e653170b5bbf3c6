"""The arithmetic of results, against published examples and by simulation."""

from __future__ import annotations

import random

import pytest

from campaigns.results import rules
from campaigns.results.rules import Arm


def test_wilson_against_a_published_example() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857, table I: 81 of 263 → 0.2553 to 0.3662.
    low, high = rules.wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize(
    ("a", "m", "b", "n", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17:873, table II, method 10.
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (10, 10, 0, 10, 0.6075, 1.0),
        (0, 10, 0, 20, -0.1611, 0.2775),
    ],
)
def test_share_difference_against_published_examples(a: int, m: int, b: int, n: int, low: float, high: float) -> None:
    found = rules.share_difference(Arm(people=m, buyers=a), Arm(people=n, buyers=b))
    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_empty_groups_say_nothing() -> None:
    assert rules.share_difference(Arm(), Arm(people=10)) is None
    assert rules.orders_difference(Arm(people=1, orders=1, orders_squared=1), Arm(people=10)) is None
    assert rules.needed_in_control(Arm(people=100), Arm(people=10)) is None
    assert not rules.enough(Arm(people=10**6), Arm(people=10**6))


def arm(values: list[int]) -> Arm:
    return Arm(len(values), sum(v > 0 for v in values), sum(values), sum(v * v for v in values))


def test_mean_difference_covers_the_truth_about_95_times_in_100() -> None:
    chance = random.Random(7)
    covered = 0
    for _ in range(400):
        treated = arm([chance.random() < 0.12 for _ in range(2_000)])  # type: ignore[misc]
        control = arm([chance.random() < 0.10 for _ in range(400)])  # type: ignore[misc]
        found = rules.orders_difference(treated, control)
        assert found is not None
        covered += found.low <= 0.02 <= found.high
    assert 370 <= covered <= 393


def test_needed_falls_with_more_buyers_and_rises_with_the_share_held_out() -> None:
    few = rules.needed_in_control(Arm(people=9_500, buyers=190), Arm(people=500, buyers=10))
    many = rules.needed_in_control(Arm(people=9_500, buyers=1_900), Arm(people=500, buyers=100))
    even = rules.needed_in_control(Arm(people=5_000, buyers=100), Arm(people=5_000, buyers=100))
    assert few is not None
    assert many is not None
    assert even is not None
    assert many < few < even
    # 2 % base rate, 30 % lift, one in twenty held out: about 120,000 people in all, six thousand of them held out.
    assert 4_500 < few < 7_000


def test_enough_asks_for_both_groups() -> None:
    assert rules.enough(Arm(people=100_000, buyers=10_000), Arm(people=5_000, buyers=450))
    assert not rules.enough(Arm(people=1_000, buyers=100), Arm(people=50, buyers=4))


def test_interval() -> None:
    found = rules.Interval(-1, 2, 5)
    assert found.times(2) == rules.Interval(-2, 4, 10)
    assert not found.clear
    assert rules.Interval(1, 2, 3).clear
