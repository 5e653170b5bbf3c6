"""The pure decisions about points."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership.points import rules
from membership.points.models import Clawback, Late, LotState, Rounding
from membership.points.rules import Lot, ProgramMistake

NOW = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)
ROUNDINGS = st.sampled_from(Rounding)


@pytest.mark.parametrize(
    ("spend", "rate", "multiplier", "rounding", "points"),
    [
        (100_00, 1000, 1000, Rounding.DOWN, 100),
        (99_99, 1000, 1000, Rounding.DOWN, 99),
        (99_99, 1000, 1000, Rounding.NEAREST, 100),
        (99_49, 1000, 1000, Rounding.NEAREST, 99),
        (99_50, 1000, 1000, Rounding.NEAREST, 100),
        (99_01, 1000, 1000, Rounding.UP, 100),
        (100_00, 500, 1500, Rounding.DOWN, 75),
        (100_00, 10_000, 2000, Rounding.DOWN, 2000),
        (0, 1000, 1000, Rounding.UP, 0),
        (-5, 1000, 1000, Rounding.UP, 0),
        (100_000_000_00, rules.MOST_RATE, 10_000, Rounding.DOWN, 100_000_000_000),
    ],
)
def test_points_for(spend, rate, multiplier, rounding, points):
    assert rules.points_for(spend, rate, multiplier, rounding) == points


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, 100_000), st.integers(1, 10_000), ROUNDINGS)
def test_more_spend_never_earns_less(a, b, rate, multiplier, rounding):
    low, high = sorted((a, b))
    assert rules.points_for(low, rate, multiplier, rounding) <= rules.points_for(high, rate, multiplier, rounding)


@given(st.integers(1, 10**8), st.lists(st.integers(1, 10**7), max_size=6), st.integers(1, 5000), ROUNDINGS)
def test_inv_i34_splitting_a_refund_is_refunding_once(spend, refunds, rate, rounding):
    left, held = spend, rules.points_for(spend, rate, 1000, rounding)
    for refund in refunds:
        left = max(0, left - refund)
        target = rules.points_for(left, rate, 1000, rounding)
        assert target <= held
        held = target
    assert held == rules.points_for(max(0, spend - sum(refunds)), rate, 1000, rounding)


@pytest.mark.parametrize(("points", "worth", "fen"), [(100, 1000, 100), (99, 500, 49), (0, 5, 0), (-100, 1000, -100)])
def test_value(points, worth, fen):
    assert rules.value_of(points, worth) == fen


def test_points_lapse_at_the_end_of_the_shops_day():
    assert rules.expires_at(NOW, 1) == datetime(2026, 3, 4, 16, 0, tzinfo=UTC)
    # 17:00 UTC is the next day in the shop already.
    assert rules.expires_at(NOW.replace(hour=17), 1) == datetime(2026, 3, 5, 16, 0, tzinfo=UTC)
    assert rules.expires_at(NOW, None) is None
    assert rules.expires_at(None, 5) is None


@pytest.mark.parametrize(
    ("state", "activates", "expires", "shown"),
    [
        (LotState.PENDING, None, None, LotState.PENDING),
        (LotState.PENDING, 1, None, LotState.PENDING),
        (LotState.PENDING, 0, None, LotState.ACTIVE),
        (LotState.PENDING, -9, -1, LotState.EXPIRED),
        (LotState.PENDING, None, -1, LotState.PENDING),
        (LotState.ACTIVE, -9, 1, LotState.ACTIVE),
        (LotState.ACTIVE, -9, 0, LotState.EXPIRED),
        (LotState.CANCELLED, -9, -1, LotState.CANCELLED),
    ],
)
def test_the_clock_decides_a_lots_state(state, activates, expires, shown):
    at = lambda days: None if days is None else NOW + timedelta(days=days)  # noqa: E731
    assert rules.state_at(state, at(activates), at(expires), NOW) is shown


def lot(id_: int, remaining: int, days: int | None = 10, state=LotState.ACTIVE, order=None, account=1) -> Lot:
    expires = NOW + timedelta(days=days) if days is not None else None
    return Lot(id_, account, remaining, state, expires, order)


def plain(takes) -> list[tuple[int, int]]:
    return [(one.lot.id, one.amount) for one in takes]


def test_inv_i29_earliest_expiring_first_endless_last():
    lots = [lot(1, 5, None), lot(2, 5, 20), lot(3, 5, 10), lot(4, 5, 10), lot(5, 50, 1, LotState.PENDING)]
    assert plain(rules.spent_from(lots, 17)) == [(3, 5), (4, 5), (2, 5), (1, 2)]
    with pytest.raises(rules.NotEnoughPoints):
        rules.spent_from(lots, 21)
    with pytest.raises(rules.NotEnoughPoints):
        rules.spent_from(lots, 16, overdrawn=5)
    for points in (0, -1):
        with pytest.raises(rules.PointsInvalid):
            rules.spent_from(lots, points)


LOTS = [
    lot(1, 30, state=LotState.PENDING, order=7),
    lot(2, 20, 50, order=7),
    lot(3, 10, 5),
    lot(4, 10, 2),
    lot(5, 99, state=LotState.PENDING, order=8),
]


@pytest.mark.parametrize(
    ("policy", "points", "takes", "shortfall", "overdraw"),
    [
        (Clawback.WITHIN_BALANCE, 30, [(1, 30)], 0, 0),
        (Clawback.WITHIN_BALANCE, 65, [(1, 30), (2, 20), (4, 10), (3, 5)], 0, 0),
        (Clawback.WITHIN_BALANCE, 80, [(1, 30), (2, 20), (4, 10), (3, 10)], 10, 0),
        (Clawback.ONLY_PENDING, 65, [(1, 30)], 35, 0),
        (Clawback.ALLOW_NEGATIVE, 80, [(1, 30), (2, 20), (4, 10), (3, 10)], 0, 10),
    ],
)
def test_what_a_claw_back_takes(policy, points, takes, shortfall, overdraw):
    plan = rules.clawed_back(points, LOTS, 7, policy)
    assert (plain(plan.takes), plan.shortfall, plan.overdraw) == (takes, shortfall, overdraw)


def test_points_come_back_to_the_lots_that_last_longest():
    uses = [(1, 5, NOW - timedelta(days=1)), (2, 5, NOW + timedelta(days=1)), (3, 5, None)]
    back = rules.returned_to(7, uses, Late.LOST, 7, NOW)
    assert [tuple(one) for one in back] == [(3, 5, 0, None), (2, 2, 0, NOW + timedelta(days=1))]
    assert [tuple(one) for one in rules.returned_to(15, uses, Late.LOST, 7, NOW)][-1] == (1, 0, 5, uses[0][2])
    reopened = rules.returned_to(15, uses, Late.REOPENED, 7, NOW)[-1]
    assert tuple(reopened) == (1, 5, 0, rules.expires_at(NOW, 7))


@pytest.mark.parametrize(
    ("changes", "mistakes"),
    [
        ({}, []),
        ({"rate": 0}, [ProgramMistake.RATE]),
        ({"pending_days": -1}, [ProgramMistake.PENDING_DAYS]),
        ({"lot_days": 0}, [ProgramMistake.LOT_DAYS]),
        ({"notice_days": 366}, [ProgramMistake.NOTICE_DAYS]),
        ({"reopen_days": 0}, [ProgramMistake.REOPEN_DAYS]),
        ({"worth": -1}, [ProgramMistake.WORTH]),
        ({"adjust_cap": -1}, [ProgramMistake.ADJUST_CAP]),
        ({"clawback": Clawback.ALLOW_NEGATIVE}, [ProgramMistake.NEGATIVE_EXPIRES]),
        ({"clawback": Clawback.ALLOW_NEGATIVE, "lot_days": None}, []),
    ],
)
def test_mistakes_in_settings(changes, mistakes):
    assert rules.mistakes_in(replace(rules.STANDARD, **changes)) == mistakes


def test_only_pending_points_are_never_collected_from_what_comes_back():
    assert not rules.collects_on_return(Clawback.ONLY_PENDING)
    assert rules.collects_on_return(Clawback.WITHIN_BALANCE)
