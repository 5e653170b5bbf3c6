"""POST /api/v1/events: kept once, told once, refused where it is none."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from campaigns.journeys.models import JourneyMember, ReceivedEvent
from kernel import api_keys
from membership.members.models import Channel, MemberIdentity
from tests.campaigns.journeys.conftest import DAY

BODY: dict[str, Any] = {
    "type": "cart.changed",
    "key": "cart-1",
    "member": {"channel": "shop", "id": "u-7"},
    "data": {"items": [{"sku": "MUG", "quantity": 2}]},
}


@pytest.fixture
def ann(db, clock, make_member):
    person = make_member("Ann")
    db.session.add(MemberIdentity(member_id=person.id, channel=Channel.SHOP, external_id="u-7", created_at=clock.now()))
    db.session.flush()
    return person


@pytest.fixture
def call(db, client):
    _key, token = api_keys.create("shop", ["events:write"])

    def post(body: dict[str, Any], **headers: str) -> Any:
        return client.post("/api/v1/events", json=body, headers={"Authorization": f"Bearer {token}"} | headers)

    return post


def kept(db) -> int:
    return db.session.scalar(select(func.count()).select_from(ReceivedEvent))


def test_an_event_is_kept_and_begins_a_journey_once(db, clock, call, run_jobs, ann, make_journey):
    make_journey([{"kind": "wait", "days": 1}], {"kind": "event", "type": "cart.changed"}, again_after=0)
    first = call(BODY)
    assert first.status_code == 201
    assert first.json | {"at": "", "id": 0} == {
        "id": 0,
        "type": "cart.changed",
        "member": ann.id,
        "at": "",
        "new": True,
    }
    again = call(BODY)
    assert (again.status_code, again.json["id"], again.json["new"]) == (200, first.json["id"], False)
    run_jobs()
    assert db.session.scalar(select(func.count()).select_from(JourneyMember)) == 1


def test_the_same_idempotency_key_has_the_same_answer(db, call, ann):
    answers = [call(BODY, **{"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json == answers[1].json
    assert kept(db) == 1
    assert call(BODY | {"key": "cart-2"}, **{"Idempotency-Key": "k"}).status_code == 422


def test_a_key_stands_for_one_event(db, call, ann, make_member):
    call(BODY)
    assert call(BODY | {"type": "cart.emptied"}).status_code == 409
    assert kept(db) == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"type": "Cart Changed"}, 422),
        ({"type": ""}, 422),
        ({"key": ""}, 422),
        ({"key": "a b"}, 422),
        ({"member": {"channel": "shop", "id": "nobody"}}, 404),
        ({"member": {"channel": "moon", "id": "u-7"}}, 422),
        ({"at": "yesterday"}, 422),
        ({"at": "2036-01-01T00:00:00+08:00"}, 422),
        ({"data": {"x": "y" * 20_000}}, 422),
        ({"data": {"x": "\u0000"}}, 422),
        ({"more": 1}, 422),
    ],
)
def test_what_is_no_event_is_refused(db, call, ann, change, status):
    assert call(BODY | change).status_code == status
    assert kept(db) == 0


def test_its_own_moment_is_kept(db, clock, call, ann):
    call(BODY | {"at": (clock.now() - DAY).isoformat()})
    assert db.session.scalars(select(ReceivedEvent.at)).one() == clock.now() - DAY


def test_a_key_without_the_scope_may_not(db, client, ann):
    _key, token = api_keys.create("other", ["orders:write"])
    answer = client.post("/api/v1/events", json=BODY, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 403
