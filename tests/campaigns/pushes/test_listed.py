"""Runs for a list of members, and messages that a person has in hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from campaigns.channels.adapters import Outcome, Status
from campaigns.channels.models import ContactClass, ContactCount
from campaigns.pushes import jobs, queries, services
from campaigns.pushes.models import DeliveryState, Origin, Push, Run, RunState, Slice, Target
from kernel import shop
from membership.members.models import Consent, Contact, Purpose

from .test_jobs import gateway, states  # noqa: F401

S = DeliveryState


@pytest.fixture(autouse=True)
def noon_with_nobody_held_out(db: Any, clock: Any) -> None:
    shop.put("holdout.percent", 0)


@pytest.fixture
def write(db: Any, inbox: Any) -> Callable[..., Push]:
    """`write(**fields)` makes a push of a journey."""

    def make(**fields: Any) -> Push:
        values: dict[str, Any] = {
            "name": "Day 7",
            "origin": Origin.JOURNEY,
            "contact_class": ContactClass.TRIGGERED,
            "account_id": inbox.id,
            "audience": {"rules": []},
            "subject": "Hello {nickname}",
            "body": "How is it?",
            "stop_when_bought": False,
        }
        return services.write(None, **(values | fields))

    return make


def go(run_jobs: Any) -> None:
    jobs.wake.direct()
    run_jobs()


def test_a_listed_run_goes_to_those_listed(db: Any, make_member: Any, write: Any, run_jobs: Any) -> None:
    lime, plum, other = make_member("Lime"), make_member("Plum"), make_member("Other")
    deaf = make_member("Deaf", consents=())
    gone = make_member("Gone", merged_into_id=lime.id)
    run = services.run_for(write(), "step:1:1", [plum.id, lime.id, deaf.id, gone.id, lime.id])
    go(run_jobs)
    assert states(db, run) == {
        lime.id: (S.ACCEPTED, None),
        plum.id: (S.ACCEPTED, None),
        deaf.id: (S.SUPPRESSED, "no_consent"),
        gone.id: (S.SUPPRESSED, "gone"),
    }
    assert (run.state, run.planned) == (RunState.COMPLETED, 4)
    assert other.id not in states(db, run)
    assert db.session.scalar(select(func.sum(ContactCount.month_triggered))) == 2


def test_an_occurrence_comes_once(db: Any, make_member: Any, write: Any, run_jobs: Any) -> None:
    lime, plum = make_member("Lime"), make_member("Plum")
    push = write()
    first = services.run_for(push, "step:1:1", [lime.id])
    assert services.run_for(push, "step:1:1", [plum.id]).id == first.id
    assert services.run_for(push, "step:1:2", []).id != first.id
    go(run_jobs)
    assert list(states(db, first)) == [lime.id]
    assert db.session.scalar(select(func.count()).select_from(Target)) == 1
    assert set(db.session.scalars(select(Run.state))) == {RunState.COMPLETED}


def test_pushes_of_journeys_stay_out_of_the_list(db: Any, write: Any, make_push: Any) -> None:
    services.run_for(write(), "step:1:1", [])
    push, _run = make_push()
    assert [one.id for _run, one in db.session.execute(queries.listed())] == [push.id]


@pytest.mark.parametrize("contact_class", [ContactClass.SERVICE, ContactClass.TRANSACTIONAL])
def test_service_messages_ask_for_service_consent_and_cost_no_budget(
    db: Any, make_member: Any, write: Any, run_jobs: Any, clock: Any, contact_class: ContactClass
) -> None:
    shop.put("holdout.percent", 50)
    people = [make_member(f"P{n}", consents=()) for n in range(8)]
    for person in people[:7]:
        db.session.add(
            Consent(
                member_id=person.id,
                channel=Contact.INBOX,
                purpose=Purpose.SERVICE,
                granted=True,
                source="test",
                text_version="1",
                at=clock.now(),
            )
        )
    db.session.flush()
    push = write(contact_class=contact_class)
    for n in range(3):
        run = services.run_for(push, f"step:1:{n}", [person.id for person in people])
        go(run_jobs)
        assert run.tally == {"accepted": 7, "suppressed:no_consent": 1}
    assert db.session.scalar(select(func.count()).select_from(ContactCount)) == 0


def test_what_a_person_has_in_hand_is_confirmed_later(
    db: Any,
    make_member: Any,
    write: Any,
    run_jobs: Any,
    gateway: Any,  # noqa: F811
) -> None:
    lime, plum, pear = make_member("Lime"), make_member("Plum"), make_member("Pear")
    account, _adapter = gateway(lambda m: Outcome(Status.ASSIGNED, provider_id=f"task-{m.member_id}"), human=True)
    run = services.run_for(write(account_id=account.id), "step:1:1", [lime.id, plum.id, pear.id])
    go(run_jobs)
    assert states(db, run) == dict.fromkeys((lime.id, plum.id, pear.id), (S.ASSIGNED, None))
    assert (run.state, run.tally) == (RunState.COMPLETED, {"assigned": 3})
    assert account.errors_in_row == 0
    ids = {d.member_id: d.id for d in services.deliveries_of(run.id)}
    services.confirm(ids[lime.id], True, staff_id=1)
    services.confirm(ids[plum.id], False, staff_id=1)
    assert states(db, run) == {
        lime.id: (S.ACCEPTED, None),
        plum.id: (S.FAILED, "not_done"),
        pear.id: (S.ASSIGNED, None),
    }
    db.session.refresh(run)
    assert run.tally == {"assigned": 1, "accepted": 1, "failed": 1}
    part = db.session.scalars(select(Slice)).one()
    assert (part.assigned, part.accepted, part.unsent) == (1, 1, 1)
    # Only what was not done gives its part of the budget back.
    counts = dict(db.session.execute(select(ContactCount.member_id, ContactCount.month_total)).all())
    assert counts == {lime.id: 1, plum.id: 0, pear.id: 1}
    with pytest.raises(services.TooLate), db.session.begin_nested():
        services.confirm(ids[plum.id], True)
    assert states(db, run)[plum.id] == (S.FAILED, "not_done")


def test_what_nobody_confirmed_expires_with_the_run(
    db: Any,
    make_member: Any,
    write: Any,
    run_jobs: Any,
    gateway: Any,  # noqa: F811
    clock: Any,
) -> None:
    lime = make_member("Lime")
    account, _adapter = gateway(lambda m: Outcome(Status.ASSIGNED), human=True)
    run = services.run_for(write(account_id=account.id, life_hours=24), "step:1:1", [lime.id])
    go(run_jobs)
    clock.move(hours=23)
    go(run_jobs)
    assert states(db, run)[lime.id] == (S.ASSIGNED, None)
    clock.move(hours=2)
    go(run_jobs)
    assert states(db, run)[lime.id] == (S.EXPIRED, "not_confirmed")
    db.session.refresh(run)
    assert run.tally == {"expired": 1}
    assert run.finished_at is not None
    assert run.finished_at < clock.now() - timedelta(hours=20)
