"""Daily check-ins: the rule, the tap, the page for staff."""

from __future__ import annotations

import csv
import io
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from community.checkins import queries, rules, services
from community.checkins.models import CheckIn
from community.groups.models import GroupState
from kernel.auth import Role
from membership.members.services import merge
from membership.points import queries as points
from tests.conftest import published as told

TODAY = date(2026, 3, 3)


@pytest.fixture
def opened(db):
    return services.save_program(True, 2, "3 10\n7 50")


@pytest.fixture
def scene(opened, make_member, make_group, phone_of):
    class Scene:
        ann = make_member("小满")
        group = make_group("茶友群", members=[ann])
        phone = phone_of(ann)
        path = f"/groups/{group.public_id}/check-in"

    return Scene


def points_of(member):
    return points.balance_of(member.id).active


@given(days=st.sets(st.integers(0, 40), min_size=1))
def test_a_streak_is_the_days_up_to_the_last_gap(days):
    last_on, length = None, 0
    for day in sorted(days):
        on = TODAY + timedelta(days=day)
        length, last_on = rules.streak(last_on, length, on), on
    expected = 1
    while max(days) - expected in days:
        expected += 1
    assert length == expected


def test_a_day_is_worth_more_when_a_streak_reaches_a_length():
    program = rules.Program(True, 2, {3: 10, 7: 50})
    assert [rules.points_for(program, n) for n in range(1, 9)] == [2, 2, 12, 2, 2, 2, 52, 2]
    assert [rules.next_bonus(program, n) for n in (0, 3, 7)] == [(3, 10), (7, 50), None]
    assert rules.load(program.dump()) == program
    assert not rules.load(None).enabled


@pytest.mark.parametrize("text", ["7", "7 x", "1 5", "367 5", "7 0", "7 1001", "7 5\n7 6", "七 5", "7 5 6"])
def test_bonuses_that_make_no_sense_are_refused_with_their_line(text):
    with pytest.raises(rules.BonusesUnreadable):
        rules.bonuses_of(text)


def test_a_day_counts_once_however_often_it_is_tapped(db, clock, scene, make_group):
    for _ in range(3):
        assert scene.phone.post(scene.path).status_code == 303
    other = make_group(members=[scene.ann])
    scene.phone.post(f"/groups/{other.public_id}/check-in")
    assert (points_of(scene.ann), len(told(db, "MemberCheckedIn"))) == (2, 1)
    for _ in range(2):
        clock.move(days=1)
        scene.phone.post(scene.path)
    assert points_of(scene.ann) == 2 + 2 + 12
    page = scene.phone.get(f"/groups/{scene.group.public_id}").text
    assert "3 days in a row" in page or "连续 3 天" in page
    clock.move(days=2)
    assert services.check_in(scene.ann.id, scene.group.id).streak == 1


def test_only_members_of_the_group_check_in_and_only_while_it_is_open(client, scene, make_member, phone_of):
    assert phone_of(make_member()).post(scene.path).status_code == 403
    assert client.post(scene.path).status_code == 302
    assert scene.phone.get(scene.path).status_code == 405
    page = f"/groups/{scene.group.public_id}"
    assert scene.path in scene.phone.get(page).text
    services.save_program(False, 2, "")
    assert scene.phone.post(scene.path).status_code == 409
    assert scene.path not in scene.phone.get(page).text
    services.save_program(True, 2, "")
    scene.group.state = GroupState.CLOSED
    assert scene.phone.post(scene.path).status_code == 409
    assert scene.path not in scene.phone.get(page).text
    assert points_of(scene.ann) == 0


def test_staff_set_what_it_is_worth_and_see_who_comes(clock, browse, scene):
    services.check_in(scene.ann.id, scene.group.id)
    form = {"enabled": "y", "points": "5", "bonuses": "7 20"}
    assert browse().post("/console/check-ins", data=form).status_code == 302
    assert queries.program() == rules.Program(True, 5, {7: 20})
    answer = browse().post("/console/check-ins", data={**form, "bonuses": "7 zwanzig"})
    assert (answer.status_code, "7 zwanzig" in answer.text) == (422, True)
    assert browse().post("/console/check-ins", data={**form, "points": "1001"}).status_code == 422
    assert queries.program().points == 5
    assert browse(Role.VIEWER).post("/console/check-ins", data=form).status_code == 403
    assert "小满" in browse(Role.VIEWER).get("/console/check-ins").text
    answer = browse().post("/console/check-ins/export", buffered=True)
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert rows[1] == ["小满", "1", "2026-03-03", "2"]
    for words, found in (("小", True), ("zzz", False), ("%25", False)):
        page = browse().get(f"/console/check-ins?q={words}").text
        assert (f"/console/members/{scene.ann.id}" in page, "No member matches" in page) == (found, not found), words
        file = browse().post(f"/console/check-ins/export?q={words}", buffered=True).text
        assert ("小满" in file) == found


def test_a_day_of_both_records_is_one_day(db, clock, scene, make_member):
    other = make_member()
    services.check_in(other.id, scene.group.id)
    clock.move(days=1)
    services.check_in(scene.ann.id, scene.group.id)
    services.check_in(other.id, scene.group.id)
    done = merge.merge(scene.ann.id, other.id)
    assert len(db.session.scalars(select(CheckIn).where(CheckIn.member_id == scene.ann.id)).all()) == 2
    merge.undo(done)
    assert len(db.session.scalars(select(CheckIn).where(CheckIn.member_id == other.id)).all()) == 2
