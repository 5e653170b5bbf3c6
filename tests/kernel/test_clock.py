"""The one source of time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import clock


def test_now_is_aware_utc():
    assert clock.now().utcoffset() == timedelta(0)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("instant", "day"),
    [("2026-03-02T15:59:59+00:00", date(2026, 3, 2)), ("2026-03-02T16:00:00+00:00", date(2026, 3, 3))],
)
def test_the_shops_day_begins_at_midnight_in_shanghai(instant, day):
    with clock.frozen(datetime.fromisoformat(instant)):
        assert clock.today() == day


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_days_lie_end_to_end_and_hold_their_own_hours(day):
    start, end = clock.day_bounds(day)
    assert clock.day_bounds(day + timedelta(days=1))[0] == end
    assert end - start == timedelta(days=1)
    assert start == clock.at(day)
    assert clock.local(start).date() == day
    assert clock.local(end - timedelta(microseconds=1)).date() == day
    assert clock.local(clock.at(day, 23, 59)).isoformat(timespec="minutes") == f"{day}T23:59+08:00"


def test_a_held_clock_stands_still_moves_and_is_let_go():
    start = datetime(2026, 3, 3, 12, tzinfo=clock.ZONE)
    with clock.frozen(start) as move:
        assert clock.now() == start
        assert clock.now().tzinfo is UTC
        move(timedelta(days=1))
        assert clock.now() == start + timedelta(days=1)
        with clock.frozen(start - timedelta(days=9)):
            assert clock.now() == start - timedelta(days=9)
        assert clock.now() == start + timedelta(days=1)
    assert clock.now() > start


def test_a_clock_is_let_go_after_a_fault():
    with pytest.raises(ZeroDivisionError), clock.frozen(datetime(2000, 1, 1, tzinfo=UTC)):
        raise ZeroDivisionError
    assert clock.now().year > 2000
