"""The first page: what comes first, five at most, put off until tomorrow, four numbers."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import clock as kernel_clock
from kernel import today
from kernel.auth import Role
from kernel.today import Number, Place, PutOffTask, Task

MINE, THEIRS, NOBODYS = Place("a", "甲群", 7), Place("b", "乙群", 8), Place("c", "丙群", None)


def task(weight: int, name: str, place: Place | None = None) -> Task:
    return Task(weight, name, f"/console/{name}", "去做", place=place, name=name)


def test_what_a_colleague_runs_comes_last_for_whoever_runs_something():
    found = [task(90, "theirs", THEIRS), task(40, "shop"), task(50, "mine", MINE), task(60, "nobody", NOBODYS)]
    assert [one.name for one in today.ranked(found, 7)] == ["nobody", "mine", "shop", "theirs"]
    assert [one.name for one in today.ranked(found, 9)] == ["theirs", "nobody", "mine", "shop"]


def test_a_key_stands_once_with_the_heavier_task():
    found = [task(10, "one"), task(80, "one"), Task(5, "by address", "/x", "go")]
    assert [(one.key, one.weight) for one in today.ranked(found, 1)] == [("one", 80), ("/x", 5)]
    # It stands where the heavier one belongs, whatever lies between the two.
    found = [task(10, "one"), task(50, "between"), task(80, "one")]
    assert [(one.key, one.weight) for one in today.ranked(found, 1)] == [("one", 80), ("between", 50)]


def test_what_is_put_off_is_the_heavier_of_two_with_one_key(db, clock, monkeypatch, make_staff):
    found = [task(10, "one"), task(80, "one")]
    monkeypatch.setattr(today.tasks, "_answers", [lambda: found])
    who = make_staff(Role.VIEWER).id
    today.put_task_off(who, "one")
    assert [one.weight for one in today.brief_of(who).later] == [80]


TASKS = st.lists(
    st.builds(
        task, st.integers(0, 100), st.sampled_from("abcdef"), st.sampled_from([None, MINE, THEIRS, NOBODYS])
    ),
    max_size=12,
)  # fmt: skip


@given(TASKS, st.randoms(use_true_random=False), st.sampled_from([7, 8, 9]))
def test_the_order_depends_on_no_room_s_turn(found, dice, reader):
    distinct = list({(one.weight, one.name): one for one in found}.values())
    shuffled = distinct[:]
    dice.shuffle(shuffled)
    first, second = today.ranked(distinct, reader), today.ranked(shuffled, reader)
    assert [(one.key, one.weight) for one in first] == [(one.key, one.weight) for one in second]
    assert len({one.key for one in first}) == len(first) == len({one.key for one in distinct})


def test_put_off_until_the_moment_or_until_it_presses_more(clock):
    now = kernel_clock.now()
    rows = {"one": (60, now + timedelta(hours=3))}
    assert today.put_off(task(60, "one"), rows, now)
    assert today.put_off(task(50, "one"), rows, now)
    assert not today.put_off(task(61, "one"), rows, now)
    assert not today.put_off(task(60, "one"), rows, now + timedelta(hours=3))
    assert not today.put_off(task(60, "other"), rows, now)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """Seven tasks, and six numbers, instead of what the rooms would say."""
    found = [task(90 - n, f"task-{n}", MINE if n % 2 else None) for n in range(7)]
    numbers = [Number(f"数字{n}", n, 1, position=n if n <= 4 else 0) for n in (5, 4, 3, 2, 1, 6)]
    for port, answers in ((today.tasks, found), (today.numbers, numbers), (today.running, [])):
        monkeypatch.setattr(port, "_answers", [lambda answers=answers: answers])
    return found


def shown(browser: Any, path: str = "/console/") -> list[str]:
    answer = browser.get(path)
    assert answer.status_code == 200
    return re.findall(r"<strong>(task-\d)</strong>", answer.text.split("todo-later")[0])


def test_five_first_then_all_by_place_and_four_numbers(db, full, staff_client):
    browser = staff_client(Role.VIEWER)
    assert shown(browser) == [f"task-{n}" for n in range(5)]
    page = browser.get("/console/").text
    assert "查看全部 7 件" in page
    labels = re.findall(r'class="stat-label">(数字\d)', page)
    assert labels == ["数字1", "数字2", "数字3", "数字4"]
    assert "更多数字" in page
    whole = browser.get("/console/?all=1").text
    assert shown(browser, "/console/?all=1") == [f"task-{n}" for n in (0, 2, 4, 6, 1, 3, 5)]
    assert whole.index("全店") < whole.index("甲群")


def test_later_is_each_person_s_own_and_ends_with_the_day(db, clock, full, staff_client):
    browser, other = staff_client(Role.VIEWER), staff_client(Role.MARKETER)
    assert browser.post("/console/today/later", data={"key": "task-0", "all": "1"}).location == "/console/?all=1"
    assert shown(browser) == [f"task-{n}" for n in range(1, 6)]
    assert "1 件事推迟到明天" in browser.get("/console/").text
    assert shown(other)[0] == "task-0"
    # Repeating it, and what is no task, change nothing.
    browser.post("/console/today/later", data={"key": "task-0"})
    assert browser.post("/console/today/later", data={"key": "nothing"}).status_code == 404
    assert browser.post("/console/today/later").status_code == 404
    assert db.session.query(PutOffTask).count() == 1
    assert browser.post("/console/today/back", data={"key": "task-0"}).location == "/console/"
    assert shown(browser)[0] == "task-0"
    browser.post("/console/today/later", data={"key": "task-0"})
    row = db.session.query(PutOffTask).one()
    assert row.until == kernel_clock.at(kernel_clock.today() + timedelta(days=1))
    clock.at(row.until)
    again = staff_client(Role.VIEWER)
    assert shown(again)[0] == "task-0"
    # What has run out goes with the next one that is put off.
    again.post("/console/today/later", data={"key": "task-1"})
    assert [row.key for row in db.session.query(PutOffTask)] == ["task-1"]


def test_an_empty_brief_says_so_and_looking_changes_nothing(db, monkeypatch, staff_client):
    monkeypatch.setattr(today.tasks, "_answers", [])
    assert "没有待办" in staff_client(Role.VIEWER).get("/console/").text
    assert db.session.query(PutOffTask).count() == 0
