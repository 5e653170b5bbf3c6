"""Whatever happens in whatever order: everybody is in exactly one place, and each effect there was is there once.

The model is told what was done and counts what must be there: who was brought in by which key, and how often each person
passed each step. It knows nothing of batches, locks or keys.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select

from campaigns.journeys import queries, rules, services
from campaigns.journeys.models import Journey, JourneyLog, JourneyMember, PlaceState
from campaigns.journeys.services import advancing
from campaigns.pushes.models import Origin, Push, Run, Target
from community.desk.models import CallTask
from kernel import clock
from kernel.db import db as database
from membership.members.models import Member
from membership.members.services import merge
from membership.orders.models import Order, OrderState
from membership.points.models import PointsTransaction
from tests.campaigns.journeys.conftest import numbered
from tests.faults.midway import Killed

STEPS = [
    {"kind": "points", "points": 7},
    {"kind": "message", "subject": "Hi", "body": "There"},
    {"kind": "wait", "days": 1},
    {"kind": "split", "weights": [1, 1], "a": [{"kind": "task", "about": "Call"}], "b": [{"kind": "wait", "hours": 5}]},
    {"kind": "points", "points": 11},
]


class Walk(RuleBasedStateMachine):
    make_clock: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.savepoint = database.session.begin_nested()
        self.moved = timedelta()

    def teardown(self) -> None:
        self.savepoint.rollback()
        database.session.expire_all()
        self.go(-self.moved)

    def go(self, span: timedelta) -> None:
        self.moved += span
        type(self).make_clock.move(seconds=span.total_seconds())

    @initialize()
    def begin(self) -> None:
        now = clock.now()
        self.people = [Member(nickname=f"P{n}", created_at=now, stage_since=now) for n in range(4)]
        database.session.add_all(self.people)
        database.session.flush()
        self.ids = [one.id for one in self.people]
        written = rules.parse(
            {
                "trigger": {"kind": "event", "type": "x"},
                "steps": numbered(STEPS),
                "again_after": 1,
                "exits": {"bought": True},
            }
        )
        self.journey = services.create("Care", written, None)
        services.switch_on(self.journey, None)
        self.keys: set[str] = set()
        self.orders = 0

    @rule(who=st.integers(0, 3), key=st.integers(0, 5))
    def bring(self, who: int, key: int) -> None:
        name = f"k{who}:{key}"
        if services.enter(self.journey.id, self.ids[who], name, clock.now()):
            assert name not in self.keys, "one thing brings in once"
            self.keys.add(name)

    @rule(limit=st.integers(1, 5), rounds=st.integers(1, 6))
    def walk(self, limit: int, rounds: int) -> None:
        for _ in range(rounds):
            services.advance(limit)

    @rule(
        place=st.sampled_from(["_take", "_let_go", "_perform", "_move", "_write_log", "_tell_ended"]),
        limit=st.integers(1, 5),
    )
    def die(self, place: str, limit: int) -> None:
        """A worker dies after one of the things it does; what it had done in that transaction is gone."""
        plain = getattr(advancing, place)

        def dies(*arguments: Any) -> None:
            plain(*arguments)
            raise Killed

        database.session.flush()
        inner = database.session.begin_nested()
        setattr(advancing, place, dies)
        try:
            services.advance(limit)
        except Killed:
            inner.rollback()
        else:
            inner.commit()
        finally:
            setattr(advancing, place, plain)
        database.session.expire_all()

    @rule(hours=st.sampled_from([1, 5, 24, 24 * 40, -3, -24 * 40]))
    def time(self, hours: int) -> None:
        self.go(timedelta(hours=hours))

    @rule(who=st.integers(0, 3))
    def buy(self, who: int) -> None:
        self.orders += 1
        now = clock.now()
        database.session.add(
            Order(
                source="shop", external_id=f"W{self.orders}", member_id=self.ids[who], state=OrderState.PAID, placed_at=now,
                paid_at=now, paid_amount=100, version_at=now, version_mark="", created_at=now,
            )
        )  # fmt: skip
        database.session.flush()
        services.leave_buyers([self.ids[who]])

    @rule(who=st.integers(0, 3))
    def take_out(self, who: int) -> None:
        live = database.session.scalars(
            select(JourneyMember).where(JourneyMember.member_id == self.ids[who], queries.LIVE).limit(1)
        ).one_or_none()
        if live is not None:
            services.take_out(live)

    @rule(points=st.integers(1, 5))
    def publish(self, points: int) -> None:
        services.put_step(self.journey, {"kind": "points", "points": points, "id": "s1"})
        services.publish(self.journey, None)

    @rule()
    def turn(self) -> None:
        if self.journey.state == "on":
            services.switch_off(self.journey)
        else:
            services.switch_on(self.journey, None)

    @rule(who=st.integers(1, 3))
    def merge_people(self, who: int) -> None:
        absorbed = database.session.get_one(Member, self.ids[who], populate_existing=True)
        if absorbed.merged_into_id is None and self.ids[who] != self.ids[0]:
            merge.merge(self.ids[0], self.ids[who])
            database.session.expire_all()
            self.ids[who] = self.ids[0]

    @invariant()
    def everybody_is_in_one_place(self) -> None:
        if not hasattr(self, "journey"):
            return
        database.session.expire_all()
        places = database.session.scalars(select(JourneyMember)).all()
        assert {place.key for place in places} == self.keys
        live = Counter(place.member_id for place in places if place.state is PlaceState.ACTIVE)
        assert all(count == 1 for count in live.values()), "once at a time"
        assert PlaceState.FAILED not in {place.state for place in places}
        steps: dict[int, list[tuple[str, str]]] = {}
        for row in database.session.scalars(select(JourneyLog).order_by(JourneyLog.id)):
            steps.setdefault(row.place_id, []).append((row.step, row.outcome))
        for place in places:
            self.check_way(place, steps[place.id])
        self.check_effects(places, steps)

    def check_way(self, place: JourneyMember, way: list[tuple[str, str]]) -> None:
        """What is written down is a way through the plan, and they stand where it leads."""
        version = queries.plans([place.version_id])[place.version_id]
        lead = rules.routes(version)
        assert way[0] == ("", "entered")
        here: str | None = version.steps[0].id
        for step, outcome in way[1:]:
            assert step == here, "each step once, in the order of the plan"
            if outcome == "left":
                assert place.state is PlaceState.LEFT
                return
            here = lead[step, outcome if (step, outcome) in lead else ""]
        if place.state is PlaceState.ACTIVE:
            assert place.step == here
        elif place.state is PlaceState.DONE:
            assert here is None
        else:
            assert place.reason == "merged"

    def check_effects(self, places: Any, steps: dict[int, list[tuple[str, str]]]) -> None:
        """Every step that was passed had its effect once, and no effect is there without it."""
        passed = Counter(step for way in steps.values() for step, outcome in way if outcome == "passed")
        given = Counter(
            source.rpartition(":")[2]
            for source in database.session.scalars(
                select(PointsTransaction.source_id).where(PointsTransaction.source_type == "journey")
            )
        )
        assert (given["s1"], given["s7"]) == (passed["s1"], passed["s7"])
        said = database.session.scalar(
            select(func.count())
            .select_from(Target)
            .join(Run, Run.id == Target.run_id)
            .join(Push, Push.id == Run.push_id)
            .where(Push.origin == Origin.JOURNEY)
        )
        assert said == passed["s2"]
        asked = sum(about.count("Call") for about in database.session.scalars(select(CallTask.about)))
        assert asked == passed["s5"]


def test_inv_everybody_in_one_place_and_each_effect_once(db: Any, clock: Any, request: pytest.FixtureRequest) -> None:
    Walk.make_clock = clock
    long = request.config.getoption("--long")
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=300 if long else 25,
            stateful_step_count=40 if long else 25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert db.session.scalar(select(func.count()).select_from(Journey)) == 0
