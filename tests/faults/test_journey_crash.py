"""Workers are killed while people walk through a journey: nobody is lost, nobody gets anything twice, everybody arrives.

Each kill is a SIGKILL at a moment that is named, not timed. What a step does to somebody is counted where it is done: points in
their ledger, people on a push's list, the words of a call. With a step committed before its people are moved the very same
kills ask for calls twice.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from campaigns.journeys import queries, rules, services
from campaigns.journeys.models import JourneyLog, JourneyMember, PlaceState
from campaigns.journeys.services import advancing
from campaigns.pushes.models import Target
from community.desk.models import CallTask
from kernel import clock, config
from kernel.db import db, transaction
from membership.members.models import Member
from membership.points.models import PointsTransaction
from tests import loaded
from tests.campaigns.journeys.conftest import numbered
from tests.committed import at_once, clear
from tests.faults.dying_journeys import HOOKS
from tests.live import ROOT

PEOPLE = 12
STEPS = [
    {"kind": "points", "points": 7},
    {"kind": "message", "subject": "Hi", "body": "There"},
    {"kind": "task", "about": "Call"},
    {"kind": "split", "percent": 50, "a": [{"kind": "tag", "name": "a"}], "b": []},
    {"kind": "points", "points": 11},
]


@pytest.fixture
def floor(app: Flask) -> Iterator[Flask]:
    yield app
    clear(app)


@pytest.fixture
def journey(floor: Flask) -> int:
    """A journey that is on, with people at its first step."""
    with floor.app_context(), transaction():
        now = clock.now()
        people = [Member(nickname=f"P{n}", created_at=now, stage_since=now) for n in range(PEOPLE)]
        db.session.add_all(people)
        db.session.flush()
        written = rules.parse({"trigger": {"kind": "event", "type": "x"}, "steps": numbered(STEPS)})
        made = services.create("Care", written, None)
        services.switch_on(made, None)
        for one in people:
            services.enter(made.id, one.id, f"k{one.id}", now)
        return made.id


def calls_asked() -> Counter[int]:
    """How often each person is to be called."""
    rows = db.session.execute(select(CallTask.member_id, CallTask.about))
    return Counter({row.member_id: row.about.count("Call") for row in rows})


def check(app: Flask, arrived: bool) -> None:
    """Everybody is in one place, and each step that was passed had its effect once."""
    with app.app_context():
        places = db.session.scalars(select(JourneyMember)).all()
        assert len(places) == PEOPLE
        if arrived:
            assert {place.state for place in places} == {PlaceState.DONE}
        passed = Counter(db.session.scalars(select(JourneyLog.step).where(JourneyLog.step != "")))
        given = Counter(
            source.rpartition(":")[2]
            for source in db.session.scalars(
                select(PointsTransaction.source_id).where(PointsTransaction.source_type == "journey")
            )
        )
        assert (given["s1"], given["s6"]) == (passed["s1"], passed["s6"])
        assert db.session.scalar(select(func.count()).select_from(Target)) == passed["s2"]
        assert sum(calls_asked().values()) == passed["s3"]
        assert max(calls_asked().values(), default=0) <= 1


def run(settings: config.Settings, *words: str) -> int:
    """The dying worker's end: minus the signal that killed it, or 0 when it found nothing more to do."""
    environment = {**os.environ, "SIYU_DATA": str(settings.data_dir), "SITE_URL": "http://localhost"}
    environment |= {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    environment |= {"PYTHONPATH": str(ROOT)}
    done = loaded.run("tests.faults.dying_journeys", *words, env=environment, timeout=120)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
    return done.returncode


@pytest.mark.fault
def test_killed_workers_lose_and_repeat_nothing(floor: Flask, settings: config.Settings, journey: int) -> None:
    killed = 0
    for after in range(2):
        for hook in HOOKS:
            killed += run(settings, hook, str(after)) < 0
            check(floor, arrived=False)
    assert killed >= 6
    # A worker that nobody kills: what is left is found by itself.
    assert run(settings, "none", "0") == 0
    check(floor, arrived=True)


@pytest.mark.fault
def test_the_kills_have_teeth(floor: Flask, settings: config.Settings, journey: int) -> None:
    """With a step committed before its people are moved a kill in between asks for a call twice."""
    for after in (6, 2, 1, 0, 0):
        run(settings, "performed", str(after), "unguarded")
        with floor.app_context():
            if max(calls_asked().values(), default=0) > 1:
                return
    pytest.fail("a call that was asked for twice would not have been noticed")


# ── Two workers, two tickers ────────────────────────────────────────────────────────────────────────────────────────


def _walk() -> None:
    while True:
        with transaction():
            if not services.advance(2).people:
                return


@pytest.mark.race
def test_many_workers_share_the_people(floor: Flask, journey: int) -> None:
    for _ in range(3):
        assert at_once(floor, [_walk] * 6) == []
    check(floor, arrived=True)


@pytest.mark.race
def test_two_tickers_bring_everybody_in_once(floor: Flask) -> None:
    with floor.app_context(), transaction():
        now = clock.now()
        people = [
            Member(nickname=f"P{n}", created_at=now, stage_since=now, last_order_at=now - timedelta(days=200))
            for n in range(40)
        ]
        db.session.add_all(people)
        db.session.flush()
        written = rules.parse(
            {
                "trigger": {"kind": "dormant", "days": 180, "present": True},
                "steps": numbered([{"kind": "wait", "days": 1}]),
                "again_after": 0,
            }
        )
        made = services.create("Wake", written, None)
        services.switch_on(made, None)
        journey_id, ids = made.id, [one.id for one in people]

    def look() -> None:
        with transaction():
            services.look(journey_id)

    def tell(member_id: int) -> None:
        with transaction():
            services.enter(journey_id, member_id, f"told:{member_id}", clock.now())

    assert at_once(floor, [look, look, *(partial(tell, one) for one in ids[:6])]) == []
    with floor.app_context():
        entered = Counter(db.session.scalars(select(JourneyMember.member_id)))
        assert entered == Counter(ids)
        assert db.session.scalar(select(func.count()).select_from(JourneyLog)) == len(ids)


@pytest.mark.race
def test_holding_has_teeth(floor: Flask, journey: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the rows held, two workers take the same people: the tables refuse what comes of it."""
    import threading

    both = threading.Barrier(2)
    plain = advancing._perform

    def unheld(limit: int) -> Any:
        places = db.session.scalars(
            select(JourneyMember)
            .where(queries.LIVE, JourneyMember.step == "s1")
            .order_by(JourneyMember.id)
            .limit(limit)
        ).all()
        version = db.session.get_one(advancing.JourneyVersion, places[0].version_id)
        plan = queries.plan_of(version)
        return advancing.Batch(version, plan, plan.steps[0], list(places))

    def together(batch: Any) -> Any:
        both.wait(30)
        return plain(batch)

    monkeypatch.setattr(advancing, "_take", unheld)
    monkeypatch.setattr(advancing, "_perform", together)

    def once() -> None:
        with transaction():
            services.advance(4)

    faults = at_once(floor, [once, once])
    assert len(faults) == 1
    monkeypatch.undo()
    with floor.app_context(), transaction():
        db.session.execute(update(JourneyMember).where(JourneyMember.step == "s1").values(due_at=clock.now()))
    at_once(floor, [_walk])
    check(floor, arrived=True)
