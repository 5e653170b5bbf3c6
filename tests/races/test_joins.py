"""Joining at once: every seat taken, never one too many, the rest numbered without a gap; and the proof of the teeth."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select

from community.groups import services
from community.groups.models import Group, GroupKind, GroupState, Seat, SeatState, SubGroup, Waiting, WaitingState
from kernel.db import db, transaction
from tests.webshop import Answer, Visitor, WebShop

pytestmark = pytest.mark.race
CROWD, SEATS, EACH = 200, 50, 10


@pytest.fixture(scope="module")
def shop() -> Iterator[WebShop]:
    with WebShop() as found:
        yield found


@pytest.fixture(scope="module")
def crowd(shop: WebShop) -> list[Visitor]:
    return shop.members(CROWD)


def make_group(shop: WebShop, sub_groups_open: bool = False, **changes: Any) -> tuple[int, str, str]:
    """An open group: its id, the path of its page, and that of its public link."""
    assert shop.app is not None
    values: dict[str, Any] = {"name": "Race", "capacity": SEATS, "seats_each": EACH, **changes}
    with shop.app.test_request_context(), transaction():
        group = services.create(GroupKind.REGULAR, services.GroupDraft(**values))
        services.change_state(group, GroupState.OPEN)
        if sub_groups_open:
            db.session.add_all([SubGroup(group_id=group.id, number=n + 1, seats=EACH) for n in range(SEATS // EACH)])
        link = services.add_link(group, "race", "race")
        return group.id, f"/groups/{group.public_id}", f"/j/{link.token}"


def seated(shop: WebShop, group_id: int) -> dict[int, int]:
    """How many people are seated in each sub-group."""
    assert shop.app is not None
    with shop.app.app_context():
        rows = db.session.execute(
            select(SubGroup.number, func.count(Seat.id))
            .join(Seat, Seat.sub_group_id == SubGroup.id)
            .where(SubGroup.group_id == group_id, Seat.state == SeatState.TAKEN)
            .group_by(SubGroup.number)
        )
        return dict(rows.all())


def people(shop: WebShop, group_id: int) -> tuple[list[int], list[int], list[int]]:
    """Who is seated, who waits, and their numbers in the order of the numbers."""
    assert shop.app is not None
    with shop.app.app_context():
        taken = db.session.scalars(
            select(Seat.member_id).where(Seat.group_id == group_id, Seat.state.in_([SeatState.TAKEN, SeatState.HELD]))
        ).all()
        rows = db.session.execute(
            select(Waiting.member_id, Waiting.number)
            .where(Waiting.group_id == group_id, Waiting.state == WaitingState.QUEUED)
            .order_by(Waiting.number)
        ).all()
        return list(taken), [row.member_id for row in rows], [row.number for row in rows]


def counters(shop: WebShop, group_id: int) -> tuple[int, int, int]:
    assert shop.app is not None
    with shop.app.app_context():
        group = db.session.get_one(Group, group_id)
        return group.seated, group.queued, group.last_number


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


def test_two_hundred_joins_for_fifty_seats_in_five_sub_groups(shop: WebShop, crowd: list[Visitor]) -> None:
    for number in range(3):
        group_id, page, link = make_group(shop)
        # By the link and by the group's page: both ways end at the same seats.
        answers = shop.volley([v.post(link if n % 2 else f"{page}/join") for n, v in enumerate(crowd)])
        assert statuses(answers) == {303: CROWD}, f"round {number}"
        assert seated(shop, group_id) == {1: 10, 2: 10, 3: 10, 4: 10, 5: 10}
        taken, waiting, numbers = people(shop, group_id)
        assert numbers == list(range(1, CROWD - SEATS + 1))
        assert sorted(taken + waiting) == sorted(v.member_id for v in crowd)
        assert counters(shop, group_id) == (SEATS, CROWD - SEATS, CROWD - SEATS)


def test_everybody_taps_four_times(shop: WebShop, crowd: list[Visitor]) -> None:
    group_id, page, _link = make_group(shop, capacity=20)
    answers = shop.volley([v.post(f"{page}/join") for v in crowd[:40] for _ in range(4)])
    assert statuses(answers) == {303: 160}
    taken, waiting, numbers = people(shop, group_id)
    assert (len(taken), len(set(taken)), numbers) == (20, 20, list(range(1, 21)))
    assert not set(taken) & set(waiting)


def test_joining_and_leaving_at_once_passes_nobody_over(shop: WebShop, crowd: list[Visitor]) -> None:
    group_id, page, _link = make_group(shop)
    shop.volley([v.post(f"{page}/join") for v in crowd[:120]])
    taken, waiting, _numbers = people(shop, group_id)
    leaving = [v for v in crowd if v.member_id in set(taken[:30])]
    answers = shop.volley([v.post(f"{page}/leave") for v in leaving] + [v.post(f"{page}/join") for v in crowd[120:]])
    assert statuses(answers) == {303: 30 + 80}
    seats_now, waiting_now, numbers = people(shop, group_id)
    # Thirty seats became free, and the first thirty who waited have them; nobody who came later does.
    assert set(seats_now) == set(taken[30:]) | set(waiting[:30])
    assert waiting_now[:40] == waiting[30:]
    assert numbers == list(range(31, 151))
    assert counters(shop, group_id) == (SEATS, 120, 150)


def test_moving_on_at_once_leaves_everybody_in_one_place(shop: WebShop, crowd: list[Visitor]) -> None:
    """A hundred people of a group that has closed tap twice for fifty seats in the one that follows (S1, S2)."""
    after_id, _page, _link = make_group(shop)
    flash_id, page, _link = make_group(shop, capacity=100, seats_each=50)
    assert shop.app is not None
    movers = crowd[:100]
    with shop.app.test_request_context(), transaction():
        services.join_many(flash_id, [v.member_id for v in movers])
    with shop.app.test_request_context(), transaction():
        flash = db.session.get_one(Group, flash_id)
        flash.successor_id = after_id
        services.change_state(flash, GroupState.CLOSED)
    answers = shop.volley([v.post(f"{page}/move-on") for v in movers for _ in range(2)])
    # Whoever has moved is told by the second tap that they are here no more; whoever waits is told their number twice.
    assert statuses(answers) == {303: 150, 404: 50}
    moved, waiting, numbers = people(shop, after_id)
    stayed, nobody, _numbers = people(shop, flash_id)
    assert (len(moved), len(set(moved)), numbers) == (SEATS, SEATS, list(range(1, 51)))
    assert sorted(stayed) == sorted(waiting)
    assert sorted(moved + stayed) == sorted(v.member_id for v in movers)
    assert (counters(shop, after_id), counters(shop, flash_id)[0], nobody) == ((SEATS, 50, 50), 50, [])


def test_without_the_guard_the_same_round_seats_too_many() -> None:
    os.environ["SIYU_TEST_TEETH"] = "1"
    try:
        with WebShop("tests.races.unguarded_seats") as shop:
            crowd = shop.members(CROWD)
            wrong = 0
            for _ in range(4):
                group_id, page, link = make_group(shop, sub_groups_open=True)
                shop.volley([v.post(link if n % 2 else f"{page}/join") for n, v in enumerate(crowd)])
                wrong += len(people(shop, group_id)[0]) > SEATS
    finally:
        del os.environ["SIYU_TEST_TEETH"]
    assert wrong >= 3, f"only {wrong} of 4 rounds seated too many: this race has no teeth"
