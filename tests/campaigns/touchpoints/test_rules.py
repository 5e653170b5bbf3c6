"""Scores, lines and quadrants: pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.touchpoints import rules
from campaigns.touchpoints.catalogue import BY_KEY, READY
from campaigns.touchpoints.labels import MET, NAMES
from campaigns.touchpoints.rules import Answer, Basis, Lines, Quadrant, Tally

RATES = st.floats(0, 1, allow_nan=False)
SCORES = st.floats(1, 5, allow_nan=False)


def test_every_ready_made_touchpoint_has_its_words():
    assert len(BY_KEY) == len(READY)
    assert set(BY_KEY) == set(NAMES) == set(MET)


@pytest.mark.parametrize(
    ("rate", "usual", "score"),
    [(0.1, 0.1, 3), (0.2, 0.1, 4), (0.05, 0.1, 2), (0.8, 0.1, 5), (0.001, 0.1, 1), (0, 0.1, 1), (0, 0, 3), (0.1, 0, 5)],
)
def test_a_rate_against_the_usual_one(rate, usual, score):
    assert rules.score_of_rate(rate, usual) == pytest.approx(score)


@given(RATES, RATES, RATES)
def test_a_better_rate_never_scores_less(one, other, usual):
    low, high = sorted((one, other))
    assert 1 <= rules.score_of_rate(low, usual) <= rules.score_of_rate(high, usual) <= 5


def test_performance_says_where_it_comes_from():
    many = Tally(met=100, answered=20, rated=10, stars=45)
    assert rules.performance(many, Answer.CLICK, 0.1) == rules.Performance(4.5, Basis.STARS)
    few_stars = Tally(met=100, answered=20, rated=9, stars=45)
    assert rules.performance(few_stars, Answer.CLICK, 0.1) == rules.Performance(4.0, Basis.RATE)
    assert rules.performance(few_stars, Answer.CLICK, None).basis is Basis.NO_USUAL
    assert rules.performance(few_stars, None, 0.1).basis is Basis.TOO_FEW
    assert rules.performance(Tally(met=29, answered=29), Answer.CLICK, 0.1).basis is Basis.TOO_FEW
    assert rules.performance(many, Answer.CLICK, 0.1, recorded=False).basis is Basis.NOT_RECORDED


def test_the_usual_rate_is_the_median_of_weeks_that_say_enough():
    weeks = [Tally(met=10, answered=n) for n in (1, 2, 9)]
    assert rules.usual_rate([*weeks, Tally(met=9, answered=9)]) is None
    assert rules.usual_rate([*weeks, Tally(met=100, answered=40)]) == pytest.approx(0.3)


def test_importance_by_buyers():
    assert [rules.measured_importance(n, 10) for n in (0, 5, 10)] == [1, 3, 5]
    assert rules.measured_importance(0, 0) is None


def test_lines_and_quadrants():
    points = [(1.0, 5.0), (2.0, 4.0), (4.0, 2.0)]
    assert rules.lines(points) == Lines(3, 3)
    assert rules.lines([*points, (5.0, 1.0)]) == Lines(3, 3)
    assert rules.lines([*points, (4.0, 4.0)]) == Lines(3, 4)
    at = Lines(3, 4)
    assert rules.quadrant(3, 4, at) is Quadrant.KEEP_UP
    assert rules.quadrant(3, 3.9, at) is Quadrant.CONCENTRATE
    assert rules.quadrant(2.9, 4, at) is Quadrant.OVERKILL
    assert rules.quadrant(2.9, 3.9, at) is Quadrant.LOW_PRIORITY


@given(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=12))
def test_somebody_is_always_on_the_higher_side_of_each_median(points):
    at = rules.lines(points)
    found = {rules.quadrant(*point, at) for point in points}
    assert found <= set(Quadrant)
    if len(points) >= rules.FEWEST_POINTS:
        assert found & {Quadrant.KEEP_UP, Quadrant.CONCENTRATE}
        assert found & {Quadrant.KEEP_UP, Quadrant.OVERKILL}
