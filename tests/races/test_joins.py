"""Joining at once: every seat taken, never one too many, the rest numbered without a gap; and the proof of the teeth."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from community.groups import services
from community.groups.models import Group, GroupKind, GroupState, Seat, SeatState, SubGroup, Waiting, WaitingState
from community.groups.services.entry import NEWCOMERS_AN_HOUR
from kernel.db import db, transaction
from kernel.embedded import Valkey
from kernel.events import EventRecord
from kernel.web import raise_file_limit
from membership.limits.models import LimitCounter
from tests.webshop import Answer, Visitor, WebShop, post

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


def folded(shop: WebShop, group_id: int) -> set[int]:
    """Who sits in a group by its history alone (S5): each joins once before they leave, and leaves only from inside."""
    assert shop.app is not None
    roster: set[int] = set()
    with shop.app.app_context():
        said = db.session.execute(
            select(EventRecord.name, EventRecord.member_id)
            .where(
                EventRecord.name.in_(["MemberJoinedGroup", "MemberLeftGroup"]),
                EventRecord.payload["group_id"].as_integer() == group_id,
            )
            .order_by(EventRecord.id)
        )
        for name, member_id in said:
            assert (member_id in roster) == (name == "MemberLeftGroup")
            roster ^= {member_id}
    return roster


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


@pytest.mark.parametrize(
    ("number", "seats", "each", "rounds"),
    [(CROWD, SEATS, EACH, 3), pytest.param(1_000, 500, 50, 2, marks=pytest.mark.long)],
    ids=["200", "1000"],
)
def test_inv_s1_s2_s3_a_crowd_for_fewer_seats(
    shop: WebShop, crowd: list[Visitor], number: int, seats: int, each: int, rounds: int
) -> None:
    """Each seat taken and none twice, each sub-group full, and all others on the list with a number each, without a gap."""
    raise_file_limit()
    people_here = crowd if number == CROWD else shop.members(number)
    full = dict.fromkeys(range(1, seats // each + 1), each)
    for turn in range(rounds):
        group_id, page, link = make_group(shop, capacity=seats, seats_each=each)
        # By the link and by the group's page: both ways end at the same seats.
        answers = shop.volley([v.post(link if n % 2 else f"{page}/join") for n, v in enumerate(people_here)])
        assert statuses(answers) == {303: number}, f"round {turn}"
        assert seated(shop, group_id) == full
        taken, waiting, numbers = people(shop, group_id)
        assert numbers == list(range(1, number - seats + 1))
        assert sorted(taken + waiting) == sorted(v.member_id for v in people_here)
        assert counters(shop, group_id) == (seats, number - seats, number - seats)
        assert folded(shop, group_id) == set(taken)


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
    # The first thirty of the list are only invited; the history tells of those who sit.
    assert folded(shop, group_id) == set(taken[30:])


def test_inv_s4_holds_end_by_the_clock_under_a_crowd(shop: WebShop, crowd: list[Visitor]) -> None:
    """No sweep runs here: twenty holds are over, thirty people wait, and forty newcomers tap at once."""
    group_id, page, _link = make_group(shop, capacity=20)
    assert shop.app is not None
    with shop.app.test_request_context(), transaction():
        for visitor in crowd[:20]:
            services.hold(group_id, visitor.member_id, together=True)
        services.join_many(group_id, [v.member_id for v in crowd[20:50]])
    waited = [v.member_id for v in crowd[20:50]]
    assert people(shop, group_id)[1] == waited
    with shop.app.app_context(), transaction():
        db.session.execute(
            update(Seat).where(Seat.group_id == group_id).values(held_until=Seat.held_at + timedelta(microseconds=1))
        )
    answers = shop.volley([v.post(f"{page}/join") for v in crowd[50:90]])
    assert statuses(answers) == {303: 40}
    kept, waiting, numbers = people(shop, group_id)
    assert sorted(kept) == waited[:20]
    assert waiting[:10] == waited[20:]
    assert sorted(waiting[10:]) == sorted(v.member_id for v in crowd[50:90])
    assert numbers == list(range(21, 71))
    assert counters(shop, group_id) == (20, 50, 70)
    assert folded(shop, group_id) == set()


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


def test_check_e4_newcomers_stop_at_the_hours_number_with_the_queue_server_down() -> None:
    """Seats and limits are the database's: with no queue server at all, ninety newcomers of one network are sixty people."""
    with WebShop() as shop:
        group_id, _page, link = make_group(shop, capacity=200, open_to_new=True)
        strangers = [shop.form_token(link) for _ in range(90)]
        for server, child in shop.running.children:
            if isinstance(server, Valkey):
                child.kill()
                child.wait(30)
        answers = shop.volley(
            [
                post(link, cookies, {"csrf_token": token, "phone": f"139{n:08d}", "visit": f"visit-of-number-{n:03d}"})
                for n, (cookies, token) in enumerate(strangers)
            ]
        )
        taken, waiting, _numbers = people(shop, group_id)
        assert shop.app is not None
        with shop.app.app_context():
            windows = db.session.scalars(select(LimitCounter.used).where(LimitCounter.limit == "group.newcomer")).all()
    # An hour that begins meanwhile is another window.
    assert max(windows) == NEWCOMERS_AN_HOUR
    assert statuses(answers) == {303: sum(windows), 429: 90 - sum(windows)}
    assert (len(set(taken)), len(taken), waiting) == (sum(windows), sum(windows), [])


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
