"""The page that takes the pushes of a quarter together, and what the timeline says of a click."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from campaigns.pushes import jobs, message
from campaigns.pushes import services as pushes
from campaigns.pushes.models import Delivery, DeliveryState
from campaigns.results import queries
from kernel import clock as kernel_clock
from kernel import shop


@pytest.fixture
def sent(db: Any, make_push: Any, run_jobs: Any, clock: Any) -> Any:
    shop.put("holdout.percent", 50)
    shop.put("contact.per_day", None)

    def make(**fields: Any) -> Any:
        push, run = make_push(**fields)
        pushes.schedule(run)
        jobs.wake.direct()
        run_jobs()
        return push, run

    return make


def test_a_quarter_is_taken_together(
    db: Any, owner_client: Any, make_member: Any, make_order: Any, sent: Any, clock: Any
) -> None:
    assert owner_client.get("/console/results/pushes").status_code == 200
    people = [make_member(f"P{i}") for i in range(40)]
    make_order(people[0], 1)
    sent(name="First"), clock.move(days=2), sent(name="Second")
    held = {d.member_id for d in db.session.scalars(select(Delivery).where(Delivery.state == DeliveryState.CONTROL))}
    clock.move(days=1)
    for person in people:
        if person.id not in held:
            make_order(person, 0)
    year = kernel_clock.today().replace(month=1, day=1)
    since, until = kernel_clock.at(year), kernel_clock.at(year.replace(month=4))
    treated, control = queries.pooled(since, until)
    assert (treated.people, treated.orders, treated.buyers) == (40 - len(held),) * 3
    assert (control.people, control.orders) == (len(held), 0)
    page = owner_client.get("/console/results/pushes").text
    assert "First" in page
    assert "Second" in page
    assert "First" not in owner_client.get("/console/results/pushes?quarter=2025Q4").text


def test_a_click_stands_on_the_timeline(db: Any, client: Any, owner_client: Any, make_member: Any, sent: Any) -> None:
    shop.put("holdout.percent", 0)
    lime = make_member("Lime")
    push, _run = sent(name="<Tea>", body="{link}", link_url="/me/")
    delivery = db.session.scalars(select(Delivery)).one()
    client.get(message.click_path(delivery.id, message.LINK))
    page = owner_client.get(f"/console/members/{lime.id}").text
    assert f'<a href="/console/pushes/{push.id}">&lt;Tea&gt;</a>' in page
