"""Rates in a second, a minute, an hour and a day together: the rules alone, and on the account's row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaigns.channels import pace, services
from campaigns.channels.models import Account, ChannelKind
from kernel import clock

START = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)


class Row:
    """An account's row in a test without a database."""

    def __init__(self, rates: pace.Rates) -> None:
        self.rates, self.tokens, self.tokens_at, self.taken = rates, 0.0, None, {}
        self.sent: list[tuple[datetime, int]] = []
        self.wait = 0.0

    def draw(self, now: datetime, wanted: int) -> int:
        day = clock.local(now).date()
        found = pace.draw(
            self.rates, self.tokens, self.tokens_at, self.taken, now, day.isoformat(), clock.day_bounds(day)[1], wanted
        )
        self.taken, self.wait = found.taken, found.wait
        if found.granted:
            self.tokens, self.tokens_at = found.tokens, now
            self.sent.append((now, found.granted))
        return found.granted

    def most_within(self, span: timedelta) -> int:
        return max((sum(n for at, n in self.sent if since <= at < since + span) for since, _n in self.sent), default=0)


@settings(max_examples=200)
@given(
    minute=st.integers(1, 50),
    hour=st.integers(1, 300),
    day=st.integers(1, 1_000),
    steps=st.lists(st.tuples(st.floats(0, 400), st.integers(1, 60)), min_size=1, max_size=60),
)
def test_inv_no_span_wherever_it_begins_holds_more(minute, hour, day, steps):
    row, now = Row(pace.Rates(None, minute, hour, day)), START
    for seconds, wanted in steps:
        now += timedelta(seconds=seconds)
        assert 0 <= row.draw(now, wanted) <= wanted
    assert row.most_within(timedelta(minutes=1)) <= minute
    assert row.most_within(timedelta(hours=1)) <= hour
    days: dict = {}
    for at, n in row.sent:
        days[clock.local(at).date()] = days.get(clock.local(at).date(), 0) + n
    assert max(days.values(), default=0) <= day


@settings(max_examples=100)
@given(minute=st.integers(1, 20), hour=st.integers(1, 60))
def test_inv_whoever_waits_as_told_gets_on(minute, hour):
    row, now = Row(pace.Rates(None, minute, hour, None)), START
    for _step in range(60):
        if not row.draw(now, 7):
            assert row.wait > 0
            now += timedelta(seconds=row.wait + 0.001)
            assert row.draw(now, 7), "the wait that was named was too short"


@given(
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 30), st.integers(0, 30)), min_size=1, max_size=40),
    minute=st.integers(1, 40),
)
def test_inv_giving_back_never_lets_more_through(steps, minute):
    row, now = Row(pace.Rates(None, minute, None, None)), START
    used: list[tuple[datetime, int]] = []
    for seconds, wanted, back in steps:
        now += timedelta(seconds=seconds)
        granted = row.draw(now, wanted)
        unused = min(granted, back)
        row.taken = pace.give_back(row.taken, unused)
        used.append((now, granted - unused))
    for since, _n in used:
        assert sum(n for at, n in used if since <= at < since + timedelta(minutes=1)) <= minute


def test_a_clock_that_goes_back_frees_nothing():
    row = Row(pace.Rates(None, 5, None, 5))
    assert row.draw(START, 9) == 5
    assert row.draw(START - timedelta(minutes=30), 1) == 0
    assert row.draw(START - timedelta(days=2), 1) == 0


def test_the_bucket_of_a_second_holds_too():
    row = Row(pace.Rates(2, 100, None, None))
    assert row.draw(START, 50) == 2
    assert row.draw(START, 50) == 0
    assert row.draw(START + timedelta(seconds=1), 50) == 2


def test_a_day_is_one_of_the_calendar():
    row = Row(pace.Rates(None, None, None, 3))
    late = clock.day_bounds(clock.local(START).date())[1] - timedelta(minutes=1)
    assert row.draw(late, 5) == 3
    assert row.draw(late, 5) == 0
    assert 59 < row.wait <= 60
    assert row.draw(late + timedelta(minutes=1), 5) == 3


def test_they_are_counted_on_the_accounts_row(db, clock_held, make_account):
    account = make_account(ChannelKind.TASK, rates=pace.Rates(None, 20, 30, None))
    rates = services.rates_of(account)
    row = (Account, account.id)
    assert services.take_tokens(row, rates, 12).granted == 12
    assert services.take_tokens(row, rates, 12).granted == 8
    refused = services.take_tokens(row, rates, 12)
    assert refused.granted == 0
    assert 55 <= refused.wait <= 66
    services.return_tokens(row, rates, 5)
    assert services.take_tokens(row, rates, 12).granted == 5
    clock_held(timedelta(seconds=66))
    assert services.take_tokens(row, rates, 20).granted == 10


def test_without_rates_nothing_is_locked(db, make_account):
    account = make_account(ChannelKind.TASK)
    assert services.rates_of(account) is None
    assert services.take_tokens((Account, account.id), None, 7).granted == 7


@pytest.fixture
def clock_held():
    with clock.frozen(START) as move:
        yield move
