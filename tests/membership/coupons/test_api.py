"""The checkout API: what a till or a shop system sends and gets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from kernel import api_keys
from membership.coupons import codes, services
from membership.coupons.models import Coupon, CouponKind, Redemption

Send = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def send(client: FlaskClient, db: Any) -> Send:
    token = api_keys.create("till", ["coupons:redeem"])[1]

    def post(path: str, body: Any, key: str | None = None, **headers: str) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}", "Accept-Language": "en", **headers}
        if key is not None:
            headers["Idempotency-Key"] = key
        answer = client.post(f"/api/v1/coupons/{path}", json=body, headers=headers)
        return answer.status_code, answer.get_json()

    return post


@pytest.fixture
def coupon(db: Any, make_member: Callable, make_offer: Callable) -> Callable[..., Coupon]:
    def make(**changes: Any) -> Coupon:
        found = services.claim(make_offer(**changes).id, make_member().id)
        return db.session.get_one(Coupon, found.coupon_id)

    return make


def order(code: str, number: str = "A-1", amount: int = 9900, **more: Any) -> dict[str, Any]:
    return {"code": code, "source": "shop", "order": number, "amount": amount, **more}


def test_redeem_answers_with_the_discount_on_each_line(send: Send, coupon: Callable, clock: Any) -> None:
    made = coupon(skus=["TEA"], min_spend=3000)
    lines = [{"sku": "tea", "quantity": 2, "amount": 6001}, {"sku": "CUP", "quantity": 1, "amount": 3899}]
    status, body = send("redeem", order(codes.spelt(made.code), lines=lines, postage=800))
    assert status == 200
    assert body == {
        "code": codes.spelt(made.code), "state": "redeemed", "usable_until": made.usable_until.isoformat(),
        "reserved_until": None, "offer": "Spring", "kind": "amount", "source": "shop", "order": "A-1", "amount": 9900,
        "postage": 800, "discount": 2000, "goods_discount": 2000, "postage_discount": 0, "line_discounts": [2000, 0],
        "item": "", "payable": 8700, "redeemed_at": clock.now().isoformat(), "replayed": False,
    }  # fmt: skip


def test_check_a1_the_same_request_again_has_the_same_answer_and_no_second_effect(
    send: Send, coupon: Callable, db: Any
) -> None:
    made = coupon()
    first = send("redeem", order(made.code), key="k-1")
    assert send("redeem", order(made.code), key="k-1") == first
    assert send("redeem", order(made.code), key="k-2")[1]["replayed"]
    assert send("redeem", order(made.code))[1]["replayed"]
    status, body = send("redeem", order(made.code, amount=1), key="k-1")
    assert (status, body["code"]) == (422, "idempotency_key_reused")
    assert db.session.scalar(select(func.count()).select_from(Redemption)) == 1


def test_refusals_are_problems_with_stable_codes(send: Send, coupon: Callable, clock: Any) -> None:
    used, minimum, scoped, revoked = coupon(), coupon(min_spend=20_000), coupon(skus=["TEA"]), coupon()
    future = coupon(
        valid_days=None, usable_from=clock.now() + timedelta(days=1), usable_until=clock.now() + timedelta(days=2)
    )
    send("redeem", order(used.code, "T-1"))
    services.revoke(revoked.id, "farmed")
    line = [{"sku": "POT", "quantity": 1, "amount": 9900}]
    asked = [
        (order("ZZZZ-ZZZZZ-ZZZZ"), 404, "unknown_code"),
        (order("🎁"), 404, "unknown_code"),
        (order(used.code), 409, "already_redeemed"),
        (order(minimum.code), 409, "below_minimum"),
        (order(scoped.code), 422, "lines_needed"),
        (order(scoped.code, lines=line), 409, "wrong_product"),
        (order(revoked.code), 409, "revoked"),
        (order(future.code), 409, "not_yet"),
    ]
    for body, status, code in asked:
        answer = send("redeem", body)
        assert (answer[0], answer[1]["code"], answer[1]["status"]) == (status, code, status)
    told = send("redeem", order(used.code))[1]
    assert (told["order"], told["source"], told["redeemed_at"]) == ("T-1", "shop", clock.now().isoformat())
    assert told["detail"].startswith("This coupon was used on order T-1 (shop)")
    assert send("redeem", order(minimum.code))[1]["missing"] == 10_100
    clock.move(days=20)
    assert send("redeem", order(minimum.code))[1]["code"] == "expired"


@pytest.mark.parametrize(
    "change",
    [
        {"amount": -1}, {"amount": "9900"}, {"amount": 99.5}, {"amount": None}, {"amount": 10**18}, {"postage": -5},
        {"lines": [{"sku": "A", "quantity": 0, "amount": 9900}]}, {"lines": [{"sku": "A", "quantity": 1, "amount": 1}]},
        {"lines": "A"}, {"source": ""}, {"source": "a\x00b"}, {"order": "x" * 101}, {"code": 7}, {"surprise": 1},
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name_and_changes_nothing(
    send: Send, coupon: Callable, db: Any, change: dict[str, Any]
) -> None:
    status, body = send("redeem", order(coupon().code) | change)
    assert (status, body["code"]) == (422, "input_invalid")
    assert body["errors"]
    assert db.session.scalar(select(func.count()).select_from(Redemption)) == 0


@pytest.mark.parametrize("body", [None, [], "x", 7])
def test_a_body_that_is_no_object_is_refused(send: Send, body: Any) -> None:
    assert send("redeem", body)[0] in (400, 422)


def test_validate_tells_each_coupons_reason_and_the_best(send: Send, coupon: Callable) -> None:
    small, large = coupon(value=500), coupon(kind=CouponKind.PERCENT, value=850)
    wanted = [small.code, large.code, "NOTHING", coupon(min_spend=10_000).code]
    status, body = send("validate", {"codes": wanted, "amount": 9900, "postage": 800})
    assert status == 200
    assert [c.get("discount") or c["refusal"]["code"] for c in body["coupons"]] == [
        500,
        1485,
        "unknown_code",
        "below_minimum",
    ]
    assert (body["best"], body["payable"]) == (large.code, 9215)
    assert send("redeem", order(large.code))[1]["payable"] == 8415


def test_reserve_and_release(send: Send, coupon: Callable, clock: Any) -> None:
    made = coupon()
    held = {"code": made.code, "source": "shop", "order": "A-1"}
    status, body = send("reserve", held)
    assert (status, body["state"]) == (200, "reserved")
    assert body["reserved_until"] == (clock.now() + timedelta(minutes=30)).isoformat()
    assert send("redeem", order(made.code, "A-2"))[1]["code"] == "reserved"
    assert send("release", held | {"order": "A-2"})[1]["code"] == "not_reserved"
    assert send("release", held)[1]["state"] == "issued"


def test_rollback_makes_it_usable_again_once(send: Send, coupon: Callable) -> None:
    made = coupon()
    undo = {"code": made.code, "source": "shop", "order": "A-1"}
    assert send("rollback", undo)[1]["code"] == "redemption_unknown"
    send("redeem", order(made.code))
    first = send("rollback", undo | {"reason": "typed twice"})
    assert (first[0], first[1]["state"], first[1]["discount"]) == (200, "issued", 2000)
    assert send("rollback", undo)[1] == first[1]
    assert send("redeem", order(made.code, "A-2"))[0] == 200


def test_other_scopes_and_no_key_get_nowhere(client: FlaskClient, db: Any, coupon: Callable) -> None:
    other = api_keys.create("feed", sorted(api_keys.SCOPES - {"coupons:redeem"}))[1]
    for headers, status in (({}, 401), ({"Authorization": f"Bearer {other}"}, 403)):
        answer = client.post("/api/v1/coupons/redeem", json=order(coupon().code), headers=headers)
        assert answer.status_code == status
    assert db.session.scalar(select(func.count()).select_from(Redemption)) == 0
