"""What groups ask for on the first page, with the page where it is done."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event

from community.groups import brief, services
from community.groups.models import GroupKind, LiveSession, Seat
from kernel.auth import Role


@pytest.fixture
def session_at(db, clock, make_group):
    """`session_at(hours, watch_url="")`: a live session, and its group."""

    def make(hours: float, watch_url: str = "", **values):
        group = make_group(kind=GroupKind.LIVE, **values)
        start = clock.now() + timedelta(hours=hours)
        session = LiveSession(
            group_id=group.id,
            title=f"开箱 {hours}",
            starts_at=start,
            ends_at=start + timedelta(hours=1),
            watch_url=watch_url,
        )
        db.session.add(session)
        db.session.flush()
        return session, group

    return make


def test_a_session_of_today_needs_an_address_and_something_that_drops(db, clock, session_at, staff_client):
    bare, group = session_at(3)
    dull, _other = session_at(4, "https://shop.example/live")
    ready, _third = session_at(5, "https://shop.example/live")
    services.add_drop(ready, "清单", "", "https://shop.example/list", None, 0)
    session_at(13)
    session_at(-1)
    found = brief.sessions_without_material(clock.now(), clock.now() + timedelta(hours=12))
    assert [session for session, _group in found] == [bare, dull]
    page = staff_client(Role.MANAGER).get("/console/?all=1").text
    assert "“开箱 3” 15:00 开播" in page
    assert f'href="/console/groups/{group.id}/sessions"' in page


def test_a_group_is_silent_when_many_have_not_looked_in_for_a_week(db, clock, make_group, make_member, staff_client):
    old = clock.now() - timedelta(days=8)
    values = {"created_at": old, "capacity": 500, "seated": 100}
    silent = make_group(name="安静的群", active_week=69, **values)
    make_group(active_week=70, **values)
    make_group(active_week=0, **{**values, "seated": 19})
    make_group(active_week=0, **{**values, "created_at": clock.now() - timedelta(days=6)})
    make_group(active_week=0, opened_at=clock.now() - timedelta(days=6), **values)
    make_group(active_week=0, closes_at=clock.now() - timedelta(hours=1), **values)
    assert [(row.group, row.people, row.percent) for row in brief.silent()] == [(silent, 31, 31)]
    browser = staff_client(Role.MANAGER)
    page = browser.get("/console/?all=1").text
    assert "“安静的群”有 31% 的人一周没来看过" in page
    assert f"/console/groups/{silent.id}/members?silent=1" in page


def test_the_silent_ones_are_listed_behind_the_button(db, clock, make_group, make_member, staff_client):
    group = make_group()
    names = ("一周前来过", "昨天来过", "从没来过")
    people = [make_member(name) for name in names]
    services.join_many(group.id, [person.id for person in people])
    seen = (clock.now() - timedelta(days=7), clock.now() - timedelta(days=1), None)
    for person, at in zip(people, seen, strict=True):
        db.session.query(Seat).filter_by(member_id=person.id).one().seen_at = at
    page = staff_client(Role.VIEWER).get(f"/console/groups/{group.id}/members?silent=1").text
    assert [name in page for name in names] == [True, False, True]


def test_a_manager_s_own_groups_come_first(db, clock, make_group, make_staff, staff_client):
    me, other = make_staff(Role.MANAGER), make_staff(Role.MANAGER, email="other@shop.example")
    soon = {"kind": GroupKind.FLASH, "closes_at": clock.now() + timedelta(hours=5)}
    theirs = make_group(name="别人的群", owner_id=other.id, **soon)
    mine = make_group(name="我的群", owner_id=me.id, successor_id=theirs.id, **soon)
    page = staff_client(person=me).get("/console/?all=1").text
    assert page.index("我的群") < page.index("别人的群")
    page = staff_client(person=other).get("/console/?all=1").text
    assert page.index("别人的群") < page.index("我的群")
    # Whoever runs none sees the more pressing one first: nothing follows theirs.
    page = staff_client(Role.VIEWER).get("/console/?all=1").text
    assert page.index("别人的群") < page.index("我的群")
    assert mine.id


def test_more_groups_need_no_more_statements(app, db, clock, make_group, staff_client):
    browser = staff_client(Role.MANAGER)
    counted: list[str] = []

    def count(_connection, _cursor, statement, *_rest):
        counted.append(statement)

    def ask() -> int:
        browser.get("/console/")
        counted.clear()
        event.listen(db.engine, "before_cursor_execute", count)
        try:
            browser.get("/console/")
        finally:
            event.remove(db.engine, "before_cursor_execute", count)
        return len(counted)

    for number in range(2):
        make_group(name=f"快满 {number}", capacity=100, seated=99, closes_at=clock.now() + timedelta(hours=5))
    few = ask()
    for number in range(6):
        make_group(name=f"快满了 {number}", capacity=100, seated=99, closes_at=clock.now() + timedelta(hours=5))
    assert ask() == few
