"""How long things last, and what a trial on held-back time says."""

from __future__ import annotations

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.forecasts import rules
from campaigns.forecasts.models import Basis
from campaigns.forecasts.rules import Lasts, Learned

SHOP = Lasts(40.0, 10.0, Basis.SHOP)


@pytest.mark.parametrize(
    ("set_days", "learned", "gaps", "fallback", "expected"),
    [
        (20, (33.0, 4.0), 50, SHOP, (20.0, 4.0, Basis.SET)),
        (20, (33.0, 4.0), 3, SHOP, (20.0, 5.0, Basis.SET)),
        (20, None, 0, None, (20.0, 5.0, Basis.SET)),
        (None, (33.0, 4.0), rules.LEAST_GAPS, SHOP, (33.0, 4.0, Basis.LEARNED)),
        (None, (33.0, 4.0), rules.LEAST_GAPS - 1, SHOP, (40.0, 10.0, Basis.SHOP)),
        (None, (33.0, 4.0), rules.LEAST_GAPS - 1, None, None),
        (None, None, 0, None, None),
    ],
)
def test_set_days_before_learned_ones_before_those_of_others(set_days, learned, gaps, fallback, expected):
    found = rules.choose(set_days, learned, gaps, fallback)
    assert (found and (found.days, found.spread, found.basis)) == expected


def test_categories_and_the_shop_need_more_gaps():
    tea = [Learned("tea", 30.0, 5.0, 20), Learned("tea", 40.0, 6.0, 10)]
    cups = [Learned("cups", 200.0, 50.0, 3), Learned("", 90.0, 9.0, 1)]
    categories, shop = rules.fallbacks([*tea, *cups])
    assert categories == {"tea": Lasts(30.0, 5.0, Basis.CATEGORY)}
    assert shop == Lasts(30.0, 5.0, Basis.SHOP)
    assert rules.fallbacks(cups) == ({}, None)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 50)), min_size=1))
def test_half_of_the_weight_lies_at_or_below_the_middle(values):
    middle = rules.weighted_median(values)
    whole = sum(weight for _value, weight in values)
    assert sum(weight for value, weight in values if value <= middle) * 2 >= whole
    assert sum(weight for value, weight in values if value >= middle) * 2 >= whole


@given(
    days=st.floats(0.01, 5_000), spread=st.floats(0, 5_000), pieces=st.integers(1, 1_000_000),
    more=st.integers(0, 1_000_000), bought=st.dates(date(2000, 1, 1), date(2090, 1, 1)),
)  # fmt: skip
def test_more_pieces_are_never_due_sooner_and_the_day_lies_in_its_window(days, spread, pieces, more, bought):
    one, other = (rules.due_day(bought, n, days, spread) for n in (pieces, pieces + more))
    assert bought < one.due_on <= other.due_on
    assert one.from_on <= one.due_on <= one.until_on
    assert (one.until_on - one.due_on).days >= rules.LEAST_WINDOW
    assert (one.due_on - bought).days <= rules.LONGEST_USE


def test_a_window_is_at_most_half_of_the_time_and_two_weeks():
    assert rules.window(100.0, 1, 20) == 10
    assert rules.window(100.0, 1, 300) == 14
    assert rules.window(0.0, 1, 30) == 2
    assert rules.window(3.0, 2, 30) == 6


@pytest.mark.parametrize(
    ("last", "now", "begins"),
    [
        (None, datetime(2026, 3, 3, 12), True),
        (datetime(2026, 3, 2, 12), datetime(2026, 3, 3, 2, 59), False),
        (datetime(2026, 3, 2, 12), datetime(2026, 3, 3, 3), True),
        (datetime(2026, 3, 3, 3), datetime(2026, 3, 3, 23), False),
    ],
)
def test_one_night_s_work_a_day(last, now, begins):
    assert rules.begins(last, now) is begins


def test_a_trial_adds_up():
    trial = rules.calibrate(
        date(2026, 1, 1), 70, [0, 0, 2, 9], [10.0, 0.0, 20.0, 30.0], [0.2, 0.1, 1.0, 4.0], [1, 0, 1, 3]
    )
    assert (trial.actual, trial.expected, trial.people) == (5.0, 5.3, 4)
    assert trial.naive == round(2 / 20 * 10 + 9 / 30 * 10, 2)
    assert [(one.repeats, one.people) for one in trial.buckets] == [(0, 2), (2, 1), (7, 1)]
    assert trial.error == pytest.approx(0.06)
    assert rules.calibration(trial.dump()) == trial


def test_not_enough_of_anything_is_not_enough():
    first, last = date(2026, 1, 1), date(2026, 6, 1)
    assert rules.enough(100, 30, first, last)
    assert not rules.enough(99, 30, first, last)
    assert not rules.enough(100, 29, first, last)
    assert not rules.enough(100, 30, date(2026, 5, 1), last)
    assert not rules.enough(100, 30, None, last)
