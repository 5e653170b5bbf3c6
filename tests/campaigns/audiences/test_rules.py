"""The pure part of audiences: days, birthdays, bands, what a definition says of itself."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.audiences import rules

DAYS = st.dates(date(1999, 1, 1), date(2101, 1, 1))


@given(today=DAYS, low=st.integers(0, 400), more=st.none() | st.integers(0, 400), back=st.integers(0, 900))
def test_a_window_holds_the_days_it_names(today: date, low: int, more: int | None, back: int) -> None:
    high = None if more is None else low + more
    since, until = rules.days_window(low, high, today)
    day = today - timedelta(days=back)
    assert (day < until and (since is None or day >= since)) is (back >= low and (high is None or back <= high))


@given(today=DAYS, born=DAYS, ahead=st.integers(0, 365))
def test_everybody_has_one_birthday_a_year(today: date, born: date, ahead: int) -> None:
    found = rules.birthdays(ahead, today)
    kept = []
    for n in range(ahead + 1):
        day = today + timedelta(days=n)
        leap = (day + timedelta(days=1)).day == 29 or (day.month, day.day) == (2, 29)
        if (born.month, born.day) == (2, 29) and (day.month, day.day) == (3, 1):
            leap = (day - timedelta(days=1)).day == 29
            kept.append(not leap)
        else:
            kept.append((born.month, born.day) == (day.month, day.day))
    assert ((born.month, born.day) in found) is any(kept)


def test_nobody_born_on_29_february_waits_four_years() -> None:
    assert (2, 29) in rules.birthdays(1, date(2027, 2, 28))
    assert (2, 29) not in rules.birthdays(0, date(2027, 2, 28))
    assert (2, 29) in rules.birthdays(1, date(2028, 2, 28))
    assert (2, 29) not in rules.birthdays(0, date(2028, 3, 1))


@given(st.dictionaries(st.integers(1, 500), st.integers(1, 100), max_size=40), st.integers(1, 600))
def test_bands_rise_and_hold_everybody_once(counts: dict[int, int], value: int) -> None:
    found = rules.bands(sorted(counts.items()), 1)
    assert len(found.starts) == 5
    assert all(low < high for low, high in zip(found.starts, found.starts[1:], strict=False))
    place = found.place(value)
    low, high = found.ends(place)
    assert low <= value
    assert high is None or value <= high
    ends = [found.ends(band) for band in range(5)]
    assert [at for at, (least, most) in enumerate(ends) if value >= least and value <= (most or value)] == [place]


def test_bands_are_fifths_where_that_is_possible() -> None:
    assert rules.bands([(day, 10) for day in range(100)], 0).starts == (0, 20, 40, 60, 80)
    # Most have ordered once: the first band is that, and the others follow.
    assert rules.bands([(1, 60), (2, 20), (3, 10), (7, 10)], 1).starts == (1, 2, 3, 4, 5)
    assert rules.bands([], 1).starts == (1, 2, 3, 4, 5)


def test_what_must_hold_is_found_only_where_all_must() -> None:
    last = rules.LastOrderRule(from_days=30, to_days=60)
    today = date(2026, 3, 3)
    assert rules.bought_since(rules.Definition(rules=(last,)), today) == date(2026, 2, 2)
    assert rules.bought_since(rules.Definition(rules=(last,), match="any"), today) is None
    nested = rules.Nested(rules=(last,), negated=True)
    assert rules.bought_since(rules.Definition(rules=(nested,)), today) is None


def test_the_audiences_that_are_spoken_of_are_found_on_every_level() -> None:
    deep = rules.Nested(rules=(rules.Nested(rules=(rules.SavedRule(audience_id=7),)), rules.SavedRule(audience_id=3)))
    assert rules.Definition(rules=(deep, rules.SavedRule(audience_id=9, inside=False))).named() == {3, 7, 9}


@pytest.mark.parametrize(
    "wrong",
    [
        {"rules": [{"kind": "of", "rules": []}]},
        {"rules": [{"kind": "of", "match": "most", "rules": [{"kind": "enrolled"}]}]},
        {"rules": [{"kind": "enrolled"}] * 61},
        {"rules": [{"kind": "of", "rules": [{"kind": "enrolled"}] * 60}]},
        {"rules": [], "match": "none"},
        {"rules": [{"kind": "stage", "stages": ["asleep"]}]},
        {"rules": [{"kind": "did", "deed": "flew"}]},
        {"rules": [{"kind": "city", "names": []}]},
        {"rules": [{"kind": "bought", "words": "a\x00b"}]},
        {"rules": [{"kind": "points", "from_points": 5, "to_points": 4}]},
        {"rules": [{"kind": "value", "from_index": 101}]},
        [],
        None,
    ],
)
def test_what_is_no_definition_is_refused(wrong: object) -> None:
    with pytest.raises(rules.AudienceInvalid):
        rules.parse(wrong)
