"""The checkout API: what a till or a shop system sends and gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from kernel import api_keys
from membership.coupons import codes, services
from membership.coupons.models import Coupon, CouponKind, Redemption
from membership.tiers import services as tiers
from membership.tiers.rules import STANDARD

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


def spelled(at: Any) -> str:
    return at.isoformat().replace("+00:00", "Z")


def order(code: str, number: str = "A-1", amount: int = 9900, **more: Any) -> dict[str, Any]:
    return {"code": code, "source": "shop", "order": number, "amount": amount, **more}


def test_redeem_answers_with_the_discount_on_each_line(send: Send, coupon: Callable, clock: Any) -> None:
    made = coupon(skus=["TEA"], min_spend=3000)
    lines = [{"sku": "tea", "quantity": 2, "amount": 6001}, {"sku": "CUP", "quantity": 1, "amount": 3899}]
    status, body = send("redeem", order(codes.spelt(made.code), lines=lines, postage=800))
    assert status == 200
    assert body == {
        "source": "shop", "order": "A-1", "amount": 9900, "postage": 800, "tier_discount": 0, "tier_postage": 0,
        "discount": 2000, "payable": 8700, "replayed": False,
        "coupons": [
            {
                "code": codes.spelt(made.code), "state": "redeemed", "usable_until": spelled(made.usable_until),
                "offer": "Spring", "kind": "amount", "discount": 2000, "goods_discount": 2000, "postage_discount": 0,
                "line_discounts": [2000, 0], "item": "", "redeemed_at": spelled(clock.now()), "replayed": False,
            }
        ],
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
    assert send("redeem", body)[0] in (400, 415, 422)


def test_validate_tells_each_coupons_reason_and_the_best(send: Send, coupon: Callable) -> None:
    small, large = coupon(value=500), coupon(kind=CouponKind.PERCENT, value=850)
    wanted = [small.code, large.code, "NOTHING", coupon(min_spend=10_000).code]
    status, body = send("validate", {"codes": wanted, "amount": 9900, "postage": 800})
    assert status == 200
    assert [
        (c["alone"] and c["alone"]["discount"], c["refusal"] and c["refusal"]["code"]) for c in body["coupons"]
    ] == [
        (500, "beaten"),
        (1485, None),
        (None, "unknown_code"),
        (None, "below_minimum"),
    ]
    assert (body["best"], body["discount"], body["payable"]) == ([large.code], 1485, 9215)
    assert body["coupons"][3]["refusal"]["missing"] == 100
    assert send("redeem", order(large.code))[1]["payable"] == 8415


def test_several_coupons_are_combined_and_used_together_or_not_at_all(send: Send, coupon: Callable, db: Any) -> None:
    tea = coupon(value=1000, stack_group="goods", skus=["TEA"])
    tenth = coupon(kind=CouponKind.PERCENT, value=900, stack_group="all")
    post, lonely = coupon(kind=CouponKind.FREE_SHIPPING, value=0, stack_group="post"), coupon(value=1500)
    lines = [{"sku": "TEA", "quantity": 1, "amount": 4000}, {"sku": "CUP", "quantity": 1, "amount": 6000}]
    basket = {"amount": 10_000, "postage": 700, "lines": lines}
    wanted = [post.code, lonely.code, tenth.code, tea.code]
    first = send("validate", {"codes": wanted, **basket})[1]
    again = send("validate", {"codes": wanted[::-1], **basket})[1]
    assert first | {"coupons": []} == again | {"coupons": []}
    assert first["coupons"] == again["coupons"][::-1]
    assert first["best"] == sorted([post.code, tenth.code, tea.code])
    assert (first["discount"], first["goods_discount"], first["postage_discount"]) == (2600, 1900, 700)
    assert (first["line_discounts"], first["payable"]) == ([1300, 600], 8100)
    assert first["coupons"][1]["refusal"]["code"] == "beaten"
    # With one that does not go together none is used, and both of those that collide are named.
    said = {"source": "shop", "order": "A-1", **basket}
    status, body = send("redeem", {"codes": [tea.code, lonely.code, post.code], **said})
    assert (status, body["code"]) == (409, "coupons_refused")
    assert {c["code"]: c["refusal"]["code"] for c in body["coupons"]} == dict.fromkeys(
        (tea.code, lonely.code, post.code), "not_combinable"
    )
    assert db.session.scalar(select(func.count()).select_from(Redemption)) == 0
    assert send("reserve", {"codes": first["best"], "source": "shop", "order": "A-1"})[0] == 200
    status, used = send("redeem", {"codes": first["best"], **said}, key="k")
    assert (status, used["discount"], used["payable"], used["replayed"]) == (200, 2600, 8100, False)
    assert send("redeem", {"codes": first["best"], **said}, key="k") == (200, used)
    undo = {"codes": first["best"], "source": "shop", "order": "A-1"}
    assert send("rollback", undo | {"codes": [*first["best"], lonely.code]})[1]["code"] == "coupons_refused"
    status, back = send("rollback", undo)
    assert [c["state"] for c in back["coupons"]] == ["issued"] * 3
    assert (
        send("redeem", {"codes": [tea.code, tea.code.lower()], **said})[1]["coupons"][0]["refusal"]["code"]
        == "listed_twice"
    )


def test_the_tier_is_taken_off_first_where_every_coupon_allows_it(
    send: Send, make_member: Callable, make_offer: Callable, clock: Any
) -> None:
    member = make_member(rank=4, enrolled_at=clock.now())

    def code(**changes: Any) -> str:
        return services.claim(make_offer(**changes).id, member.id).code

    beside, instead = code(value=1000), code(value=1000, with_tier=False)
    said = {"source": "shop", "amount": 10_000, "tier_discount": True}
    weighed = send("validate", {"codes": [beside, instead], "amount": 10_000, "tier_discount": True})[1]
    assert (weighed["tier_discount"], weighed["best"], weighed["payable"]) == (1500, [beside], 7500)
    assert weighed["coupons"][1]["refusal"]["code"] == "beaten"
    used = send("redeem", {"code": beside, "order": "A-1", **said})[1]
    assert (used["tier_discount"], used["discount"], used["payable"]) == (1500, 1000, 7500)
    plain = send("redeem", {"code": instead, "order": "A-2", **said})[1]
    assert (plain["tier_discount"], plain["discount"], plain["payable"]) == (0, 1000, 9000)


def test_the_tier_counts_from_enrolment(
    send: Send, make_member: Callable, make_offer: Callable, free_post: None
) -> None:
    lead = make_member(rank=4)
    code = services.claim(make_offer(value=1000).id, lead.id).code
    said = {"codes": [code], "amount": 10_000, "postage": 800, "tier_discount": True}
    weighed = send("validate", said)[1]
    assert (weighed["tier_discount"], weighed["tier_postage"], weighed["payable"]) == (0, 0, 9800)
    used = send("redeem", {**said, "source": "shop", "order": "A-1"})[1]
    assert (used["tier_discount"], used["tier_postage"], used["payable"]) == (0, 0, 9800)


@pytest.fixture
def free_post(db: Any) -> None:
    """The highest tier ships free."""
    tiers.save_policy(
        replace(STANDARD, levels=tuple(replace(one, free_shipping=one.rank == 4) for one in STANDARD.levels))
    )


def test_a_tier_that_ships_free_takes_the_postage_off(
    send: Send, make_member: Callable, make_offer: Callable, clock: Any, free_post: None, db: Any
) -> None:
    member = make_member(rank=4, enrolled_at=clock.now())

    def code(**changes: Any) -> str:
        return services.claim(make_offer(**changes).id, member.id).code

    goods, alone = code(value=1000, stack_group="a"), code(value=1000, with_tier=False)
    post = code(kind=CouponKind.FREE_SHIPPING, value=0, stack_group="b")
    more = code(value=500, stack_group="c")
    said = {"amount": 10_000, "postage": 800, "tier_discount": True}
    weighed = send("validate", {"codes": [goods, post], **said})[1]
    assert (weighed["tier_discount"], weighed["tier_postage"], weighed["best"]) == (1500, 800, [goods])
    assert (weighed["discount"], weighed["postage_discount"], weighed["payable"]) == (3300, 800, 7500)
    # The coupon for the postage would be wasted: it is kept, and the answer says why.
    assert weighed["coupons"][1]["refusal"]["code"] == "tier_ships_free"
    status, refused = send("redeem", {"code": post, "source": "shop", "order": "A-0", **said})
    assert (status, refused["code"]) == (409, "tier_ships_free")
    # A caller who says nothing of the tier pays the postage, or has the coupon pay it.
    plain = send("validate", {"codes": [goods, post], "amount": 10_000, "postage": 800})[1]
    assert (plain["tier_postage"], plain["payable"], sorted(plain["best"])) == (0, 9000, sorted([goods, post]))
    # Beside a coupon that wants no discount of the tier on the goods, the postage is still free.
    other = send("redeem", {"code": alone, "source": "shop", "order": "A-1", **said})[1]
    assert (other["tier_discount"], other["tier_postage"], other["payable"]) == (0, 800, 9000)
    order = {"source": "shop", "order": "A-2", **said}
    first = send("redeem", {"code": goods, **order})[1]
    assert (first["tier_discount"], first["tier_postage"], first["discount"]) == (1500, 800, 1000)
    assert (first["payable"], first["replayed"]) == (7500, False)
    # The same again tells the same, and so does it when the tier has changed since.
    member.rank = 0
    db.session.flush()
    again = send("redeem", {"code": goods, **order})[1]
    assert (again["tier_discount"], again["tier_postage"], again["payable"], again["replayed"]) == (
        1500,
        800,
        7500,
        True,
    )
    later = send("redeem", {"code": more, **order})[1]
    assert (later["tier_discount"], later["tier_postage"], later["payable"]) == (1500, 800, 7000)
    assert send("redeem", {"code": post, **order})[1]["code"] == "tier_ships_free"


def test_reserve_and_release(send: Send, coupon: Callable, clock: Any) -> None:
    made = coupon()
    held = {"code": made.code, "source": "shop", "order": "A-1"}
    status, body = send("reserve", held)
    assert (status, body["coupons"][0]["state"]) == (200, "reserved")
    assert body["coupons"][0]["reserved_until"] == spelled(clock.now() + timedelta(minutes=30))
    assert send("redeem", order(made.code, "A-2"))[1]["code"] == "reserved"
    assert send("release", held | {"order": "A-2"})[1]["code"] == "not_reserved"
    assert send("release", held)[1]["coupons"][0]["state"] == "issued"


def test_rollback_makes_it_usable_again_once(send: Send, coupon: Callable) -> None:
    made = coupon()
    undo = {"code": made.code, "source": "shop", "order": "A-1"}
    assert send("rollback", undo)[1]["code"] == "redemption_unknown"
    send("redeem", order(made.code))
    first = send("rollback", undo | {"reason": "typed twice"})
    assert first[0] == 200
    assert (first[1]["coupons"][0]["state"], first[1]["coupons"][0]["discount"]) == ("issued", 2000)
    assert send("rollback", undo)[1] == first[1]
    assert send("redeem", order(made.code, "A-2"))[0] == 200


def test_other_scopes_and_no_key_get_nowhere(client: FlaskClient, db: Any, coupon: Callable) -> None:
    other = api_keys.create("feed", sorted(api_keys.SCOPES - {"coupons:redeem"}))[1]
    for headers, status in (({}, 401), ({"Authorization": f"Bearer {other}"}, 403)):
        answer = client.post("/api/v1/coupons/redeem", json=order(coupon().code), headers=headers)
        assert answer.status_code == status
    assert db.session.scalar(select(func.count()).select_from(Redemption)) == 0
