"""Two hand-overs of one person at once, and a hand-over to somebody who is leaving: each row goes once. With teeth.

Threads on committed rows, each with a connection of its own, set off together.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
from flask import Flask
from sqlalchemy import func, select

from community.desk.models import CallReason, CallTask
from kernel import clock
from kernel.auth import Role
from kernel.db import db, transaction
from kernel.staff import handover, services
from kernel.staff.models import HandOverItem, Staff
from membership.members.models import Member
from tests.committed import at_once
from tests.conftest import cheap_hash

pytestmark = pytest.mark.race
CALLS = 40


def _person(number: int) -> int:
    now = clock.now()
    person = Staff(
        name=f"S{number}",
        email=f"s{number}@shop.example",
        role=Role.SERVICE,
        password_hash=cheap_hash("correct-horse-battery"),
        created_at=now,
    )
    db.session.add(person)
    db.session.flush()
    return person.id


@pytest.fixture
def people(committed: Flask) -> list[int]:
    """Three of the staff, the first with calls in hand."""
    with committed.app_context(), transaction():
        staff, now = [_person(i) for i in range(3)], clock.now()
        for i in range(CALLS):
            member = Member(nickname=f"C{i}", stage_since=now, created_at=now)
            db.session.add(member)
            db.session.flush()
            db.session.add(
                CallTask(
                    member_id=member.id,
                    reason=CallReason.FOLLOW_UP,
                    due_at=now,
                    assignee_id=staff[0],
                    created_at=now,
                )
            )
    return staff


def _hands(app: Flask) -> Counter[int | None]:
    with app.app_context():
        return Counter(db.session.scalars(select(CallTask.assignee_id)))


def test_two_hand_overs_at_once_move_each_row_once(committed, people):
    gone, *others = people
    done = []

    def hand(to: int) -> None:
        with transaction():
            done.append(handover.hand_over(gone, {"calls": to}, None) is not None)

    assert at_once(committed, [lambda to=to: hand(to) for to in others for _ in range(2)]) == []
    assert sorted(done) == [False, False, False, True]
    hands = _hands(committed)
    assert sorted(hands.values()) == [CALLS]
    assert gone not in hands
    with committed.app_context():
        assert db.session.scalar(select(func.count()).select_from(HandOverItem)) == CALLS


def _to_somebody_who_leaves(app: Flask, people: list[int], rounds: int = 6) -> int:
    """How often work ended up with somebody whose account had been closed before it went to them."""
    gone, to, back = people
    wrong = 0
    for _ in range(rounds):

        def hand() -> None:
            with suppress(handover.SuccessorRefused), transaction():
                handover.hand_over(gone, {"calls": to}, None)

        def leave() -> None:
            with transaction():
                handover.hand_over(to, {"calls": back}, None, disable=True)

        assert at_once(app, [hand, leave]) == []
        # Whichever came first: nothing that went after the account was closed, and what went before went on.
        wrong += to in _hands(app)
        with app.app_context(), transaction():
            services.enable(services.get_staff(to))
            for holder in (to, back):
                handover.hand_over(holder, {"calls": gone}, None)
    return wrong


def test_nothing_goes_to_somebody_who_leaves_at_that_moment(committed, people):
    assert _to_somebody_who_leaves(committed, people) == 0


def test_the_lock_has_teeth(committed, people, monkeypatch):
    """Without the people's rows held, work goes to somebody whose account is being closed: kept apart by a hook, not by time."""
    gone, to, back = people
    plain, first = handover._lock, []

    def unlocked(staff_ids):
        return {one.id: one for one in db.session.scalars(select(Staff).where(Staff.id.in_(staff_ids)))}

    def close_meanwhile(area, person, from_id):
        """Once the successor has been looked at, and before anything moves, they leave in another transaction."""
        checked(area, person, from_id)
        if not first:
            first.append(True)
            assert at_once(committed, [leave]) == []

    def leave() -> None:
        with transaction():
            handover.hand_over(to, {"calls": back}, None, disable=True)

    checked = handover._check
    monkeypatch.setattr(handover, "_lock", unlocked)
    monkeypatch.setattr(handover, "_check", close_meanwhile)
    with committed.app_context(), transaction():
        handover.hand_over(gone, {"calls": to}, None)
    assert _hands(committed) == {to: CALLS}, "with the guard off the work is with somebody who is gone"
    monkeypatch.setattr(handover, "_lock", plain)
    with committed.app_context():
        assert handover.left_behind() == {to: CALLS}
