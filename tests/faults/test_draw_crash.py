"""A worker that dies between any two statements of a draw: the next one goes on, and every prize is given once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from community.activities import jobs, queries, rules, services
from community.activities.models import LotteryEntry, LotteryState, PrizeState
from kernel.db import db, transaction
from membership.coupons.models import Coupon
from tests.faults.midway import killed_before
from tests.races.test_activities import announce, close, enter_all, furnish

pytestmark = pytest.mark.fault


def with_deaths(app: Flask, work: Callable[[], object]) -> int:
    """Let a step die before each of its statements in turn, and then come to its end; how many lives it took."""
    number = 1
    while killed_before(app, number, work):
        number += 1
        assert number < 100
    return number - 1


@pytest.fixture
def closed(committed: Flask) -> tuple[Flask, int]:
    """A draw whose entry is over, with five tickets and two prizes."""
    group_id, members = furnish(committed, 5)
    lottery_id = announce(committed, group_id, 2)
    enter_all(committed, lottery_id, members)
    close(committed, lottery_id)
    return committed, lottery_id


def test_a_draw_goes_on_after_any_death(closed: tuple[Flask, int]) -> None:
    app, lottery_id = closed
    assert with_deaths(app, lambda: services.freeze(lottery_id)) >= 4
    with app.app_context():
        assert queries.get_lottery(lottery_id).state is LotteryState.FROZEN
        frozen = list(queries.get_lottery(lottery_id).tickets)
    assert with_deaths(app, lambda: services.draw(lottery_id)) >= 6
    with app.app_context():
        owed = services.owed()
    assert len(owed) == 2
    for entry_id in owed:
        assert with_deaths(app, lambda entry_id=entry_id: services.hand_over(entry_id)) >= 6  # type: ignore[misc]
    with app.app_context():
        jobs.settle.direct()
        lottery = queries.get_lottery(lottery_id)
        seed = services.seed_shown(lottery)
        assert seed is not None
        assert lottery.tickets == frozen
        winners = queries.winners_of(lottery_id)
        assert [entry.ticket for entry, _member, _prize in winners] == rules.winners(seed, frozen, 2)
        assert {entry.prize_state for entry, _member, _prize in winners} == {PrizeState.GIVEN}
        assert db.session.scalar(select(func.count()).select_from(Coupon)) == 2


def test_teeth_a_prize_under_a_key_of_its_own_would_come_twice(closed: tuple[Flask, int]) -> None:
    """Were the state written after the coupon in a transaction of its own, a death between would owe the prize again."""
    app, lottery_id = closed
    with app.app_context():
        with transaction():
            services.freeze(lottery_id)
        with transaction():
            services.draw(lottery_id)
        (entry_id, *_rest) = services.owed()
        with transaction():
            services.hand_over(entry_id)
        before = db.session.scalar(select(func.count()).select_from(Coupon))
        with transaction():
            db.session.execute(
                text("UPDATE lottery_entry SET prize_state = 'owed', coupon_id = NULL WHERE id = :id"), {"id": entry_id}
            )
        with transaction():
            services.hand_over(entry_id)
        # The same key gives the same coupon: even then there is no second one.
        assert db.session.scalar(select(func.count()).select_from(Coupon)) == before
        with transaction():
            db.session.execute(
                text("UPDATE lottery_entry SET prize_state = 'owed', coupon_id = NULL WHERE id = :id"), {"id": entry_id}
            )
            db.session.execute(text("UPDATE coupon SET grant_key = NULL"))
            db.session.execute(text("UPDATE offer SET per_member = NULL"))
        with transaction():
            services.hand_over(entry_id)
        assert db.session.scalar(select(func.count()).select_from(Coupon)) == before + 1
        assert db.session.get_one(LotteryEntry, entry_id).prize_state is PrizeState.GIVEN
