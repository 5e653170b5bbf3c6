"""The board, everybody's own page and the rows: who may see what, that nothing is written, and what the pages say."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, text

from community.desk.models import CallReason, CallState, CallTask
from community.posts.models import Post, PostGroup, PostKind, PostState
from community.staff_results import console, queries, rules
from community.staff_results.rules import Figure
from kernel.audit import AuditEntry
from kernel.auth import Role
from tests.community.posts.conftest import make_group, make_member, order
from tests.conftest import english, everything, sign_in

__all__ = ["make_group", "make_member", "order"]
DAY = timedelta(days=1)


@pytest.fixture
def calls(db, clock, make_member):
    """`calls(person, made, kept)`: so many calls of this month, the first few of them kept."""

    def make(person, made: int, kept: int, ago: int = 1, stars: int | None = None) -> list[CallTask]:
        rows = [
            CallTask(
                member_id=make_member(f"Customer {i}").id,
                reason=CallReason.DELIVERED,
                state=CallState.REACHED,
                due_at=clock.now() - (ago + (0 if i < kept else 3)) * DAY,
                closed_at=clock.now() - ago * DAY,
                closed_by_id=person.id,
                satisfaction=stars,
                created_at=clock.now() - 9 * DAY,
            )
            for i in range(made)
        ]
        db.session.add_all(rows)
        db.session.flush()
        return rows

    return make


@pytest.fixture
def team(db, make_staff):
    return {
        name: make_staff(role, f"{name.lower()}@shop.example", name)
        for name, role in (("Ann", Role.SERVICE), ("Ben", Role.SERVICE), ("Cai", Role.ASSISTANT), ("Dee", Role.SERVICE))
    }


def test_the_board_places_who_has_enough_and_ties_share(db, clock, team, calls, browse, make_group):
    calls(team["Ann"], 20, 18, stars=5)
    calls(team["Ben"], 10, 9)
    calls(team["Cai"], 3, 3)
    calls(team["Dee"], 12, 6)
    post = Post(
        kind=PostKind.TIP,
        title="Tea",
        body="b",
        author_id=team["Cai"].id,
        state=PostState.PUBLISHED,
        published_at=clock.now() - DAY,
        created_at=clock.now() - DAY,
    )
    db.session.add(post)
    db.session.flush()
    db.session.add(PostGroup(post_id=post.id, group_id=make_group().id, seen=200, bought=7))
    rows = everything(db)
    manager = browse(Role.MANAGER)
    rows = everything(db)
    page = manager.get("/console/results/staff?sort=calls").text
    assert page.count("place 1 of 3") == 2
    assert "place 3 of 3" in page
    assert page.index("Ann") < page.index("Ben") < page.index("Dee") < page.index("Cai")
    assert "too few to compare (from 10 on)" in page
    assert ("90%" in page, "5.0" in page, "3.5%" in page) == (True, True, True)
    assert everything(db) == rows
    narrow = manager.get("/console/results/staff?role=assistant&from=2026-03-01&to=2026-03-03").text
    assert ("Cai" in narrow, "Ann" in narrow) == (True, False)
    for nonsense in ("?sort=cats&role=cat&from=x&to=y", "?from=2026-13-45&to=0001-01-01", "?sort=-calls&cursor=zzz"):
        assert manager.get(f"/console/results/staff{nonsense}").status_code == 200
    file = manager.get("/console/results/staff.csv?sort=calls").text
    lines = file.lstrip("\ufeff").splitlines()
    assert lines[1].startswith("Ann,Customer service,Call-backs kept,Closed by the promised day,90%,20,18,20,,,1,1")
    assert not any(line.startswith("Cai,Assistant,Call-backs kept,Closed by the promised day,1") for line in lines)
    assert everything(db) == rows


def test_everybody_sees_their_own_numbers_and_nobody_elses(app, db, clock, team, calls, browse):
    ann, cai = team["Ann"], team["Cai"]
    calls(ann, 20, 19)
    calls(ann, 12, 6, ago=28)
    calls(team["Ben"], 10, 7)
    calls(cai, 10, 5)
    calls(team["Dee"], 10, 6)
    waiting = calls(ann, 1, 1)[0]
    waiting.state, waiting.closed_at, waiting.closed_by_id, waiting.assignee_id = CallState.OPEN, None, None, ann.id
    db.session.flush()
    mine = english(sign_in(app.test_client(), ann))
    rows = everything(db)
    page = mine.get("/console/results/my-work?from=2026-02-01&to=2026-03-03").text
    page = mine.get("/console/results/my-work").text
    assert "What waits for you" in page
    assert "better than the team" in page
    # The median is of four; nobody's name but hers stands on the page.
    assert "64%" in page or "65%" in page
    assert not {"Ben", "Cai", "Dee"} & set(page.replace("<", " ").replace(">", " ").split())
    assert everything(db) == rows
    for address in ("/console/results/staff", "/console/results/staff.csv", f"/console/results/staff/{ann.id}"):
        assert mine.get(address).status_code == 403
    assert mine.get(f"/console/results/staff/{cai.id}/calls").status_code == 403
    assert mine.post(f"/console/results/staff/{cai.id}/calls/export").status_code == 403
    listed = mine.get("/console/results/my-work/calls").text
    assert listed.count("By the promised day") == 20 - 1
    assert listed.count("Later than promised") == 1
    assert "Still to be made" in listed  # it was due yesterday
    assert mine.get("/console/results/my-work/cats").status_code == 404
    # A team of two would tell one what the other has.
    narrow = english(sign_in(app.test_client(), team["Dee"])).get(
        "/console/results/my-work?from=2026-02-03&to=2026-02-03"
    )
    assert "better than the team" not in narrow.text
    viewer = browse(Role.VIEWER)
    assert "Nothing was counted in these days" in viewer.get("/console/results/my-work").text
    assert viewer.get("/console/results/staff").status_code == 403


def test_every_number_leads_to_its_rows_and_their_file(app, db, clock, team, calls, browse):
    ann = team["Ann"]
    calls(ann, 12, 12, stars=4)
    manager = browse(Role.MANAGER)
    board = manager.get("/console/results/staff?from=2026-03-01&to=2026-03-03").text
    person = manager.get(f"/console/results/staff/{ann.id}?from=2026-03-01&to=2026-03-03").text
    for figure in (Figure.CALLS, Figure.STARS):
        address = f"/console/results/staff/{ann.id}/{figure.value}?from=2026-03-01&amp;to=2026-03-03"
        assert (address in board, address in person) == (True, True)
    rows = everything(db)
    listed = manager.get(f"/console/results/staff/{ann.id}/stars?from=2026-03-01&to=2026-03-03").text
    assert listed.count("★★★★☆") == 12
    assert "Customer 3" in listed
    for figure in Figure:
        assert manager.get(f"/console/results/staff/{ann.id}/{figure.value}").status_code == 200
    assert everything(db) == rows
    file = manager.post(f"/console/results/staff/{ann.id}/calls/export?from=2026-03-01&to=2026-03-03")
    assert len(file.text.splitlines()) == 13
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "staff_results.exported")).one()
    assert entry.after == {"figure": "calls", "from": "2026-03-01", "to": "2026-03-03"}
    assert manager.get("/console/results/staff/987654321").status_code == 404
    chinese = app.test_client()
    page = sign_in(chinese, team["Ben"]).get("/console/results/my-work", headers={"Accept-Language": "zh-CN"}).text
    assert "我的成绩" in page


def test_the_period_that_is_compared_is_said(db, clock, team, browse):
    page = browse(Role.OWNER).get(f"/console/results/staff/{team['Ann'].id}?from=2026-02-01&to=2026-02-28").text
    assert "1 Feb 2026 to 28 Feb 2026, against 1 Jan 2026 to 31 Jan 2026." in page
    assert rules.preceding(clock.now().date(), clock.now().date())[0] == clock.now().date() - 7 * DAY


def test_no_page_counts_for_ever(db, clock, team, browse, monkeypatch):
    manager, ann = browse(Role.MANAGER), team["Ann"].id
    board, person, mine = "/console/results/staff", f"/console/results/staff/{ann}", "/console/results/my-work"
    pages = (board, f"{board}.csv", person, f"{person}/calls", mine, f"{mine}/orders")
    files = (f"{person}/calls/export", f"{mine}/orders/export")
    long, longest = "?from=2025-01-27&to=2026-03-03", "?from=2025-01-28&to=2026-03-03"
    for ask, address in [(manager.get, one) for one in pages] + [(manager.post, one) for one in files]:
        refused = ask(address + long)
        assert (refused.status_code, "At most 400 days" in refused.text) == (422, True), address
        assert ask(address + longest).status_code == 200, address

    def slow(*_said):
        db.session.execute(text("SELECT pg_sleep(5)"))

    monkeypatch.setattr(console, "PATIENCE", 0.05)
    monkeypatch.setattr(queries, "parts", slow)
    monkeypatch.setattr(queries, "_rows_of", slow)
    for ask, address in [(manager.get, one) for one in pages] + [(manager.post, one) for one in files]:
        assert ask(address).status_code == 503, address
