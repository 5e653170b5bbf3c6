"""The pure decisions of the channels."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest

from campaigns.channels import rules
from kernel import clock

NIGHT = rules.Quiet(time(22), time(8))


def wall(hour: int, minute: int = 0, day: int = 3) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=clock.ZONE)


@pytest.mark.parametrize(
    ("at", "end"),
    [
        (wall(21, 59), None),
        (wall(22), wall(8, day=4)),
        (wall(23, 59), wall(8, day=4)),
        (wall(0), wall(8)),
        (wall(7, 59), wall(8)),
        (wall(8), None),
        (wall(12), None),
    ],
)
def test_quiet_hours_over_midnight(at: datetime, end: datetime | None) -> None:
    assert rules.quiet_end(at, NIGHT) == end


def test_quiet_hours_within_a_day_and_none_at_all() -> None:
    noon = rules.Quiet(time(12), time(14, 30))
    assert rules.quiet_end(wall(13), noon) == wall(14, 30)
    assert rules.quiet_end(wall(14, 30), noon) is None
    assert rules.quiet_end(wall(3), rules.Quiet(time(8), time(8))) is None


def test_quiet_map() -> None:
    assert [h for h, quiet in enumerate(rules.quiet_map(NIGHT)) if quiet] == [0, 1, 2, 3, 4, 5, 6, 7, 22, 23]


NOW = datetime(2026, 3, 3, 4, tzinfo=UTC)


def test_a_fresh_bucket_is_full_and_an_empty_one_waits() -> None:
    first = rules.draw(0, None, 10, NOW, 1000)
    assert (first.granted, first.tokens, first.wait) == (10, 0.0, 0.0)
    second = rules.draw(0, NOW, 10, NOW, 1000)
    assert (second.granted, second.wait) == (0, 0.5)
    assert rules.draw(0, NOW, 10, NOW + timedelta(seconds=0.5), 1000).granted == 5


def test_a_bucket_never_holds_more_than_a_second() -> None:
    assert rules.draw(0, NOW, 10, NOW + timedelta(hours=1), 1000).granted == 10
    assert rules.draw(0, NOW, 0.5, NOW + timedelta(hours=1), 1000).granted == 1


def test_a_clock_that_went_back_adds_nothing() -> None:
    assert rules.draw(0, NOW, 10, NOW - timedelta(hours=1), 5).granted == 0


@pytest.mark.parametrize("rate", [1, 3, 7, 50, 333])
def test_a_rate_is_kept_within_five_percent(rate: int) -> None:
    tokens, at, now, sent = 0.0, NOW, NOW, 0
    while now < NOW + timedelta(seconds=60):
        taken = rules.draw(tokens, at, rate, now, 1000)
        tokens, at, sent = taken.tokens, now, sent + taken.granted
        now += timedelta(seconds=taken.wait if not taken.granted else 0.02)
    assert rate * 60 * 0.95 <= sent <= rate * 60 + 1


def test_rest_after_failed_connections_grows() -> None:
    waits = [rules.backoff(n).total_seconds() for n in (1, 2, 3, 6, 7, 50)]
    assert waits == [15, 30, 60, 480, 600, 600]


def test_month_of() -> None:
    assert rules.month_of(date(2026, 3, 31)) == date(2026, 3, 1)
