"""What is compared, who stands where, and which period is compared with which."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from community.staff_results import labels, rules
from community.staff_results.rules import FEWEST, Against, Figure, Part, Span

figures = st.sampled_from(list(Figure))


@st.composite
def some_part(draw: st.DrawFn) -> Part:
    n = draw(st.integers(0, 80))
    good = draw(st.integers(0, n))
    return Part(n, good, total=draw(st.integers(n, 5 * n)) if n else 0)


@given(figure=figures, parts=st.dictionaries(st.integers(1, 12), some_part(), max_size=8))
def test_places_are_fair(figure: Figure, parts: dict[int, Part]) -> None:
    """Nobody without enough has a place; equals share one; who shows more is never behind; the first stands at 1."""
    found = rules.places(figure, parts)
    assert set(found) == {i for i, part in parts.items() if part.n >= FEWEST[figure]}
    for one in found:
        shown = float(rules.as_shown(figure, parts[one]).rstrip("%"))
        better = sum(float(rules.as_shown(figure, parts[i]).rstrip("%")) > shown for i in found)
        assert found[one] == better + 1
        for other in found:
            if rules.as_shown(figure, parts[one]) == rules.as_shown(figure, parts[other]):
                assert found[one] == found[other]
    # How much somebody did moves nobody, as long as the share is the same.
    twice = {i: Part(2 * p.n, 2 * p.good, total=2 * p.total) if i in found else p for i, p in parts.items()}
    kept = {i: place for i, place in rules.places(figure, twice).items() if i in found}
    assert kept == found
    middle = rules.team_median(figure, parts)
    assert (middle is None) == (len(found) < rules.FEWEST_PEOPLE)
    names = {i: f"n{i}" for i in parts}
    order = rules.ordered(figure, parts, names)
    assert sorted(order) == sorted(parts)
    assert [i for i in order if i in found] == list(order)[: len(found)]
    assert [found[i] for i in order if i in found] == sorted(found.values())


def test_ties_share_a_place_and_the_next_is_left_out() -> None:
    parts = {1: Part(10, 9), 2: Part(1_000, 896), 3: Part(10, 9), 4: Part(20, 10), 5: Part(3, 3)}
    assert rules.places(Figure.CALLS, parts) == {1: 1, 2: 1, 3: 1, 4: 4}
    assert rules.as_shown(Figure.STARS, Part(3, 3, total=14)) == "4.7"
    assert rules.as_shown(Figure.POSTS, Part(300, 7)) == "2.3%"
    assert rules.as_shown(Figure.CALLS, Part()) == ""


def test_what_went_well_needs_enough_on_both_sides() -> None:
    good, worse, few = Part(20, 18), Part(20, 12), Part(2, 2)
    assert rules.went_well(Figure.CALLS, good, worse, 0.8) is Against.TEAM
    assert rules.went_well(Figure.CALLS, good, worse, 0.95) is Against.PAST
    assert rules.went_well(Figure.CALLS, good, worse, None) is Against.PAST
    assert rules.went_well(Figure.CALLS, worse, good, 0.9) is None
    assert rules.went_well(Figure.CALLS, few, worse, 0.1) is None
    assert rules.went_well(Figure.CALLS, good, Part(2, 0), None) is None
    assert rules.went_well(Figure.CALLS, Part(), Part(), None) is None
    assert (rules.a_day(9, 2), rules.a_day(9, 0)) == (4.5, None)


def test_the_usual_periods() -> None:
    found = rules.spans(date(2026, 3, 4))
    assert found[Span.THIS_WEEK] == (date(2026, 3, 2), date(2026, 3, 4))
    assert found[Span.LAST_WEEK] == (date(2026, 2, 23), date(2026, 3, 1))
    assert found[Span.LAST_MONTH] == (date(2026, 2, 1), date(2026, 2, 28))
    assert found[Span.THIS_QUARTER] == (date(2026, 1, 1), date(2026, 3, 4))
    assert found[Span.LAST_QUARTER] == (date(2025, 10, 1), date(2025, 12, 31))


@pytest.mark.parametrize(
    ("first", "last", "before"),
    [
        ("2026-03-02", "2026-03-04", ("2026-02-23", "2026-02-25")),
        ("2026-03-01", "2026-03-31", ("2026-02-01", "2026-02-28")),
        ("2026-03-01", "2026-03-10", ("2026-02-01", "2026-02-10")),
        ("2026-03-01", "2026-03-30", ("2026-02-01", "2026-02-28")),
        ("2026-01-01", "2026-01-31", ("2025-12-01", "2025-12-31")),
        ("2026-04-01", "2026-06-30", ("2026-01-01", "2026-03-31")),
        ("2026-01-01", "2026-03-04", ("2025-10-01", "2025-12-02")),
        ("2026-02-15", "2026-03-14", ("2026-01-18", "2026-02-14")),
    ],
)
def test_a_period_is_compared_with_its_like(first: str, last: str, before: tuple[str, str]) -> None:
    found = rules.preceding(date.fromisoformat(first), date.fromisoformat(last))
    assert found == (date.fromisoformat(before[0]), date.fromisoformat(before[1]))


@given(first=st.dates(date(2020, 1, 1), date(2030, 1, 1)), length=st.integers(0, 400))
def test_the_period_before_ends_before(first: date, length: int) -> None:
    last = first + timedelta(days=length)
    start, end = rules.preceding(first, last)
    assert start <= end < first


def test_the_words_name_the_numbers_in_the_rules(app: object) -> None:
    assert (rules.TALK_SECONDS, rules.TOUCH_DAYS) == (300, 14)
    assert set(labels.FIGURES) == set(labels.RATES) == set(FEWEST) == set(Figure)
    assert labels.team(Figure.CALLS, 0.876) == "88%"
    assert (labels.team(Figure.STARS, 4.44), labels.team(Figure.CALLS, None)) == ("4.4", "–")
