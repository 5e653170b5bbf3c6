"""Points over REST: balance, paying at a till, giving back, awards, rewards; refused input changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from kernel import api_keys
from kernel import clock as kernel_clock
from membership.gifts import services as gifts
from membership.gifts.models import GiftKind
from membership.members.models import Channel, MemberIdentity
from membership.points import services
from membership.points.models import Kind, PointsTransaction

from .conftest import active


@pytest.fixture
def call(client: Any, db: Any):
    """`call("post", path, body, scope)` with a key that carries the scope."""

    def make(method: str, path: str, body: Any = None, scope: str = "points:spend", **headers: str) -> Any:
        _row, token = api_keys.create("till", [scope])
        said = {"Authorization": f"Bearer {token}", **headers}
        return client.open(f"/api/v1{path}", method=method.upper(), json=body, headers=said)

    return make


@pytest.fixture
def member(db: Any, program: Any, make_member: Any):
    found = make_member(name="青柠")
    db.session.add(
        MemberIdentity(
            member_id=found.id, channel=Channel.PHONE, external_id="+8612600001234", created_at=kernel_clock.now()
        )
    )
    services.award(found.id, 500, type=Kind.AWARD, source_type="t", source_id="1")
    return found


def test_a_till_pays_with_points_once_an_order(call, member, db):
    body = {"channel": "phone", "identity": "126 0000 1234", "points": 120, "source": "shop", "order": "A-1"}
    first = call("post", "/points/spend", body)
    assert first.status_code == 201, first.text
    assert first.json["balance"]["active"] == 380
    assert first.json["transaction"]["points"] == -120
    again = call("post", "/points/spend", {**body, "channel": None, "identity": None, "member_id": member.id})
    assert (again.status_code, again.json["transaction"]["id"]) == (200, first.json["transaction"]["id"])
    assert active(member) == 380
    other = call("post", "/points/spend", {**body, "points": 121})
    assert (other.status_code, other.json["code"]) == (422, "source_used")
    much = call("post", "/points/spend", {**body, "order": "A-2", "points": 381})
    assert (much.status_code, much.json["code"]) == (409, "not_enough_points")
    assert active(member) == 380


def test_inv_a1_a_repeated_key_has_one_effect(client, member, db):
    _row, token = api_keys.create("till", ["points:spend"])
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k-1"}
    body = {"member_id": member.id, "points": 10, "source": "shop", "order": "A-1"}
    first = client.post("/api/v1/points/spend", json=body, headers=headers)
    again = client.post("/api/v1/points/spend", json=body, headers=headers)
    assert again.headers["Idempotent-Replay"] == "true"
    assert again.json == first.json
    assert client.post("/api/v1/points/spend", json={**body, "points": 11}, headers=headers).status_code == 422
    assert active(member) == 490


def test_points_of_an_order_are_given_back_in_parts(call, member):
    order = {"member_id": member.id, "source": "shop", "order": "A-1"}
    call("post", "/points/spend", {**order, "points": 100})
    part = call("post", "/points/give-back", {**order, "points": 30, "return": "R-1"})
    assert (part.status_code, part.json["balance"]["active"]) == (201, 430)
    again = call("post", "/points/give-back", {**order, "points": 30, "return": "R-1"})
    assert (again.status_code, again.json) == (200, part.json)
    assert (
        call("post", "/points/give-back", {**order, "points": 71, "return": "R-2"}).json["code"] == "nothing_to_return"
    )
    rest = call("post", "/points/give-back", order)
    assert rest.json["balance"]["active"] == 500
    assert call("post", "/points/give-back", order).json["transaction"] == rest.json["transaction"]
    assert active(member) == 500
    unknown = call("post", "/points/give-back", {**order, "order": "A-9"})
    assert (unknown.status_code, unknown.json["code"]) == (404, "spend_unknown")


@pytest.mark.parametrize(
    "changes",
    [
        {"points": 0}, {"points": -5}, {"points": 1.5}, {"points": "5"}, {"points": True}, {"points": 10**12},
        {"source": ""}, {"source": "Till 1"}, {"order": ""}, {"order": "a\n"}, {"member_id": None}, {"channel": "phone"},
        {"channel": "phone", "identity": "126 0000 1234"}, {"extra": 1},
    ],
)  # fmt: skip
def test_a_spend_refuses_what_is_not_in_the_form_it_takes(call, member, db, changes):
    body = {"member_id": member.id, "points": 10, "source": "shop", "order": "A-1", **changes}
    assert call("post", "/points/spend", body).status_code == 422
    assert active(member) == 500
    assert db.session.scalar(select(func.count()).select_from(PointsTransaction)) == 1


def test_unknown_and_erased_people(call, member, make_member, clock):
    body = {"points": 10, "source": "shop", "order": "A-1"}
    assert call("post", "/points/spend", {**body, "member_id": 987_654}).status_code == 404
    assert call("post", "/points/spend", {**body, "channel": "phone", "identity": "126 0000 9999"}).status_code == 404
    gone = make_member(erased_at=clock.now())
    assert call("post", "/points/spend", {**body, "member_id": gone.id}).json["code"] == "member_gone"


def test_awards_are_given_once_a_number(call, member):
    body = {"points": 50, "source": "survey", "number": "2026-03", "reason": "Thanks"}
    path = f"/members/{member.id}/points/awards"
    first = call("post", path, body, "points:write")
    assert (first.status_code, first.json["balance"]["active"]) == (201, 550)
    again = call("post", path, body, "points:write")
    assert (again.status_code, again.json["transaction"]) == (200, first.json["transaction"])
    assert active(member) == 550
    assert call("post", path, {**body, "points": 51}, "points:write").status_code == 422
    assert call("post", path, body, "points:spend").status_code == 403


def test_balance_and_ledger_are_read(call, member):
    services.spend(member.id, 100, source_type="t", source_id="1")
    read = call("get", f"/members/{member.id}/points", scope="points:read").json
    assert (read["active"], read["pending"], read["next_expiry_points"]) == (400, 0, 400)
    path = f"/members/{member.id}/points/transactions"
    first = call("get", f"{path}?limit=1", scope="points:read").json
    assert [one["type"] for one in first["items"]] == ["spend"]
    second = call("get", f"{path}?limit=1&cursor={first['next_cursor']}", scope="points:read").json
    assert [one["type"] for one in second["items"]] == ["award"]
    assert second["next_cursor"] is None
    assert call("get", f"{path}?type=award", scope="points:read").json["items"] == second["items"]
    assert call("get", "/members/987654/points", scope="points:read").status_code == 404
    assert call("get", f"/members/{member.id}/points", scope="points:spend").status_code == 403


def test_rewards_are_listed_with_what_is_left(call, member):
    gift = gifts.create(gifts.Draft(name="Bag", kind=GiftKind.PHYSICAL, stock=1))
    reward = services.create_reward(services.RewardDraft(name="A bag", points=100, gift_id=gift.id))
    (one,) = call("get", "/points/rewards", scope="points:read").json["items"]
    assert (one["id"], one["left"], one["available"]) == (reward.id, 1, True)
    services.redeem(member.id, reward.id, "token-0001")
    (one,) = call("get", "/points/rewards", scope="points:read").json["items"]
    assert (one["left"], one["available"]) == (0, False)
