"""Pushes taken together: by journey, and a quarter's with what must not be mixed into it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from campaigns.channels.models import ContactClass
from campaigns.journeys.models import Journey, JourneyPush, JourneyVersion
from campaigns.pushes.models import Delivery, DeliveryState, Origin, Push, Run, Slice
from campaigns.results import letters, queries, rules
from campaigns.results.models import Attribution, Kind, ReportPlan, Rhythm
from kernel import clock as kernel_clock

S = DeliveryState


@pytest.fixture
def began(db: Any, make_push: Any, clock: Any) -> Any:
    """`began(people, held, holdout=5.0, **fields)` is a push that began an hour ago, with these members in its groups."""

    def make(people: list[Any], held: list[Any], holdout: float = 5.0, **fields: Any) -> tuple[Push, Run]:
        push, run = make_push(**fields)
        run.started_at = kernel_clock.now() - timedelta(hours=1)
        run.terms = rules.Terms(14, holdout=holdout).written()
        rows = [(one, S.ACCEPTED, None) for one in people] + [(one, S.CONTROL, "held_out") for one in held]
        for person, state, reason in rows:
            values = {"run_id": run.id, "member_id": person.id, "attempts": 1, "reason": reason, "state": state}
            db.session.execute(insert(Delivery).values(slice_number=int(state is S.ACCEPTED), **values))
        sent = len(people)
        db.session.add(
            Slice(run_id=run.id, number=1, from_member=0, to_member=0, state="done", total=sent, accepted=sent)
        )
        db.session.flush()
        return push, run

    return make


def test_a_journey_is_the_sum_of_its_steps(db: Any, browse: Any, began: Any, make_member: Any, make_order: Any) -> None:
    lime, plum, fig = (make_member(name) for name in ("Lime", "Plum", "Fig"))
    now = kernel_clock.now()
    journey = Journey(name="Comeback", draft={}, created_at=now)
    db.session.add(journey)
    db.session.flush()
    version = JourneyVersion(journey_id=journey.id, number=1, plan={}, created_at=now)
    db.session.add(version)
    db.session.flush()
    steps = [began([lime, plum], [fig], origin=Origin.JOURNEY), began([lime], [], origin=Origin.JOURNEY)]
    tried = began([plum], [], origin=Origin.JOURNEY)
    for number, (push, _run) in enumerate([*steps, tried]):
        trial = number == 2
        db.session.add(JourneyPush(version_id=version.id, step=f"s{number}", trial=trial, push_id=push.id))
    order = make_order(lime, 0, 5_000, refunded_amount=1_000)
    make_order(fig, 0, 700)
    credit = Attribution(order_id=order.id, run_id=steps[1][1].id, member_id=lime.id, kind=Kind.INFLUENCED, at=now)
    db.session.add(credit)
    db.session.flush()
    found = queries.by_journey(now - timedelta(days=1), now + timedelta(days=1))
    assert [(one.name, one.runs, one.sent) for one in found] == [("Comeback", 2, 3)]
    assert found[0].influenced == queries.Credit(1, 4_000, 0)
    # Lime was written to twice and counts once.
    assert (found[0].treated.people, found[0].treated.money) == (2, 4_000)
    assert (found[0].control.people, found[0].control.money) == (1, 700)
    assert not found[0].enough
    page = browse().get("/console/results/journeys").text
    assert "Comeback" in page
    assert "not enough data" in page
    assert "Comeback,3,0,0,0.00,1,40.00" in browse().get("/console/results/journeys.csv").text
    assert queries.by_journey(now - timedelta(days=3), now - timedelta(days=2)) == []
    plan = ReportPlan(name="W", rhythm=Rhythm.WEEKLY, locale="en", staff_ids=[], account_id=0, created_at=now)
    today = kernel_clock.today()
    letter = letters.compose(plan, today, today + timedelta(days=7))
    assert "Journey Comeback: 3 sent, 0 clicked; direct ¥0.00, influenced ¥40.00" in letter.body


def test_only_marketing_that_held_somebody_out_is_pooled(
    db: Any, began: Any, make_member: Any, make_order: Any
) -> None:
    people = [make_member(f"P{n}") for n in range(6)]
    began(people[:3], people[3:5])
    # None of these may say anything about those who are held out of marketing.
    began([people[3]], [], contact_class=ContactClass.SERVICE)
    began([people[4]], [], holdout=0.0)
    # Somebody on both sides, since the hold-out was changed between two pushes, is on neither.
    began([people[5]], [])
    began([], [people[5]])
    for person in people:
        make_order(person, 0, 1_000)
    now = kernel_clock.now()
    treated, control = queries.pooled(now - timedelta(days=1), now + timedelta(days=1))
    assert (treated.people, treated.money) == (3, 3_000)
    assert (control.people, control.money) == (2, 2_000)
    assert queries.holdout_meant(now - timedelta(days=1), now) == 5.0
    began([], [], holdout=7.0)
    assert queries.holdout_meant(now - timedelta(days=1), now) is None
