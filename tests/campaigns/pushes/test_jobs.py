"""A push from its schedule to its end, through the jobs."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from campaigns.channels.models import InboxMessage
from campaigns.pushes import jobs, services
from campaigns.pushes.models import Delivery, DeliveryState, RunState
from kernel import shop
from membership.members.models import Contact


def go(run: Any, run_jobs: Any) -> None:
    services.schedule(run)
    jobs.wake.direct()
    run_jobs()


@pytest.fixture(autouse=True)
def nobody_held_out(db: Any) -> None:
    shop.put("holdout.percent", 0)


def test_push_reaches_those_who_agreed(db: Any, make_member: Any, make_push: Any, run_jobs: Any) -> None:
    lime, plum = make_member("Lime"), make_member("Plum")
    deaf = make_member("Deaf", consents=(Contact.EMAIL,))
    push, run = make_push()
    go(run, run_jobs)
    assert run.state is RunState.COMPLETED
    states = {d.member_id: (d.state, d.reason) for d in db.session.scalars(select(Delivery))}
    assert states == {
        lime.id: (DeliveryState.ACCEPTED, None),
        plum.id: (DeliveryState.ACCEPTED, None),
        deaf.id: (DeliveryState.SUPPRESSED, "no_consent"),
    }
    assert {(m.member_id, m.title) for m in db.session.scalars(select(InboxMessage))} == {
        (lime.id, "Hello Lime"),
        (plum.id, "Hello Plum"),
    }
    assert run.planned == 3
    assert run.tally == {"accepted": 2, "suppressed:no_consent": 1}
