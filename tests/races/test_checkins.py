"""One thumb, many taps: a day's check-in and its points come once."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from community.checkins import services
from community.checkins.models import CheckIn
from community.groups.models import Group, GroupKind, GroupState
from kernel import clock
from kernel.db import db, transaction
from membership.members.models import Member
from membership.points.models import PointsTransaction
from tests.committed import at_once

pytestmark = pytest.mark.race
TAPS = 8


def scene(app: Flask) -> tuple[int, int]:
    """A member and a group, with the check-in open."""
    with app.app_context(), transaction():
        now = clock.now()
        member = Member(stage_since=now, created_at=now)
        group = Group(
            public_id="taps", name="Taps", kind=GroupKind.REGULAR, state=GroupState.OPEN, created_at=now, join_rule={}
        )
        db.session.add_all([member, group])
        services.save_program(True, 2, "")
        db.session.flush()
        return member.id, group.id


def tap_all(app: Flask, member_id: int, group_id: int) -> tuple[list[BaseException], int, int]:
    """Everybody taps at once; what went wrong, the check-ins, and the points' transactions."""

    def tap() -> None:
        with transaction():
            services.check_in(member_id, group_id)

    raised = at_once(app, [partial(tap) for _ in range(TAPS)])
    with app.app_context():
        days = db.session.scalar(select(func.count()).select_from(CheckIn)) or 0
        booked = db.session.scalar(select(func.count()).select_from(PointsTransaction)) or 0
    return raised, days, booked


def test_eight_taps_at_once_are_one_check_in(committed: Flask) -> None:
    assert tap_all(committed, *scene(committed)) == ([], 1, 1)


def test_teeth_a_look_before_the_leap_is_no_guard(committed: Flask) -> None:
    """Whoever trusts what was read (no row of today yet) and writes without asking what became of it fails at the table."""
    member_id, group_id = scene(committed)
    seen = threading.Barrier(TAPS)

    def tap() -> None:
        with transaction():
            assert services.queries.last_of(member_id) is None
            seen.wait(30)
            day = CheckIn(member_id=member_id, on=clock.today(), group_id=group_id, streak=1, points=2, at=clock.now())
            db.session.add(day)

    raised = at_once(committed, [partial(tap) for _ in range(TAPS)])
    assert len(raised) == TAPS - 1
    assert all(isinstance(fault, IntegrityError) for fault in raised)
