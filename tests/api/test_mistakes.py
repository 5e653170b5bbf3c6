"""What a program is told of its mistakes: which parameter, what is asked for, and that nothing came of it."""

from __future__ import annotations

import json
from datetime import date, timedelta
from io import BytesIO

import pytest
from sqlalchemy import select

from kernel import api_keys
from kernel import clock as kernel_clock
from kernel.http import LARGEST_API_BODY
from membership.coupons import services as coupons
from membership.coupons.models import CouponKind, OfferState
from membership.members.models import Member
from membership.orders.models import Order, Refund

NOBODY = 999_999_999
FAR = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2200-01-01T00:00:00Z")


def order(**changes):
    placed = {"placed_at": "2026-02-01T10:00:00+08:00", "paid_amount": 12_800}
    return {"source": "shop", "order": "A-1", "state": "paid"} | placed | changes


def told(answer):
    """Status, code, and which parameter each mistake is about with what is said of it."""
    return answer.status_code, answer.json["code"], {one["param"]: one["detail"] for one in answer.json["errors"]}


def test_the_headers_say_what_is_wrong_with_a_key(app, program):
    client = app.test_client()
    asked = 'Bearer realm="Siyu"'
    assert client.get("/api/v1/orders").headers["WWW-Authenticate"] == asked
    unknown = client.get("/api/v1/orders", headers={"Authorization": "Bearer siyu_nothing"})
    assert unknown.headers["WWW-Authenticate"] == f'{asked}, error="invalid_token"'
    short = program("orders:write")("GET", "/orders")
    assert short.headers["WWW-Authenticate"] == f'{asked}, error="insufficient_scope", scope="orders:read"'


@pytest.mark.parametrize("at", FAR)
def test_an_instant_that_could_not_be_read_again_is_refused(db, program, make_person, at):
    call, number = program("orders:write", "tiers:write", "orders:read"), make_person()
    shipped = call("POST", "/orders", json=order(state="shipped", delivered_at=at))
    refund = {"source": "shop", "refund": "R-1", "order": "A-1", "amount": 1, "at": at}
    refunded = call("POST", "/refunds", json=refund)
    lifted = call("POST", f"/members/{number}/tier", json={"rank": 2, "reason": "x", "until": at})
    for answer, param in ((shipped, "delivered_at"), (refunded, "at"), (lifted, "until")):
        said = {param: "An instant lies between the years 1900 and 2199."}
        assert told(answer) == (422, "input_invalid", said)
    listed = call("GET", "/orders", query_string={"placed_from": at})
    assert told(listed)[2].keys() == {"placed_from"}
    assert db.session.scalars(select(Order.id)).all() == db.session.scalars(select(Refund.id)).all() == []


def test_the_plus_of_an_offset_may_stand_in_an_address_as_it_is(program, db):
    call = program("orders:write", "orders:read")
    call("POST", "/orders", json=order(order="early", placed_at="2026-02-01T09:59:59+08:00"))
    call("POST", "/orders", json=order(order="late"))
    for plus in ("+", "%2B"):
        found = call("GET", f"/orders?placed_from=2026-02-01T10:00:00{plus}08:00").json["items"]
        assert [one["order"] for one in found] == ["late"]


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"source": "Own Shop"}, "source", "A source is 1 to 32 small letters"),
        ({"order": ""}, "order", "This may not be empty."),
        ({"order": " "}, "order", "This has to be one line of text, without control characters, and not blank."),
        ({"buyer": {"id": "a\x00b"}}, "buyer.id", "This holds a NUL character"),
        ({"buyer": {"nickname": "a\nb"}}, "buyer.nickname", "This has to be one line of text"),
        ({"paid_amount": 128.5}, "paid_amount", "This has to be a whole number."),
        ({"total": 1}, "total", "There is no such field."),
    ],
)
def test_a_mistake_is_told_with_what_is_asked_for(db, program, body, param, said):
    status, code, errors = told(program("orders:write")("POST", "/orders", json=order(**body)))
    assert (status, code, errors.keys()) == (422, "input_invalid", {param})
    assert errors[param].startswith(said)
    assert db.session.scalars(select(Order.id)).all() == []


@pytest.mark.parametrize(
    ("name", "said"), [("source", "Till 1"), ("source", "x" * 33), ("source", ""), ("order", "x" * 65)]
)
def test_an_order_is_named_by_the_same_rule_wherever_it_is_spoken_of(program, db, name, said):
    call = program("orders:write", "coupons:redeem", "points:spend")
    named = {"source": "shop", "order": "A-1", name: said}
    basket, coupon = {"amount": 9_900}, {"code": "7F3K-9QWE2-2MNX"}
    asked = {
        "/orders": order(),
        "/refunds": {"refund": "R-1", "amount": 1},
        "/coupons/validate": {"codes": ["7F3K-9QWE2-2MNX"], **basket},
        "/coupons/reserve": coupon,
        "/coupons/release": coupon,
        "/coupons/redeem": coupon | basket,
        "/coupons/rollback": coupon,
        "/points/spend": {"member_id": NOBODY, "points": 1},
        "/points/give-back": {"member_id": NOBODY},
    }
    found = {path: told(call("POST", path, json=body | named)) for path, body in asked.items()}
    sentence = "A source is 1 to 32 small letters, digits, - and _, such as taobao or own-shop."
    one = {name: sentence if name == "source" else "This may have 64 characters at most."}
    assert found == dict.fromkeys(asked, (422, "input_invalid", one))


def test_an_unknown_parameter_is_not_called_a_field(program, db):
    answer = program("orders:read")("GET", "/orders?page=2")
    assert told(answer)[2] == {"page": "This address takes no such parameter."}


@pytest.mark.parametrize("body", ["x", None, [1], []])
@pytest.mark.parametrize("system", ["shopify", "woocommerce", "youzan"])
def test_a_payload_that_is_no_order_is_told_so_once(program, db, system, body):
    answer = program("orders:write")(
        "POST", f"/orders/{system}", data=json.dumps(body), content_type="application/json"
    )
    assert told(answer) == (422, "input_invalid", {"body": "This is neither an order nor a refund"})


def test_a_body_that_does_not_say_its_length_may_not_be_longer_either(app, db):
    _row, token = api_keys.create("stream", ["orders:write"])
    headers = {"Authorization": f"Bearer {token}", "Accept-Language": "en"}
    body = json.dumps(order()).encode()
    for size, status in ((len(body), 201), (LARGEST_API_BODY + 1, 413)):
        answer = app.test_client().post(
            "/api/v1/orders",
            input_stream=BytesIO(body.ljust(size)),
            content_type="application/json",
            headers=headers,
            environ_overrides={"wsgi.input_terminated": True},
        )
        assert answer.status_code == status, answer.text
    assert (answer.json["code"], answer.json["detail"]) == (
        "request_entity_too_large",
        "The body is larger than is taken here.",
    )


def test_an_order_is_read_whatever_its_number_is_made_of(program, db):
    call = program("orders:write", "orders:read")
    for number, address in (("2026/1 a", "2026%2F1%20a"), ("单1", "%E5%8D%951"), ("a%2Fb", "a%252Fb")):
        assert call("POST", "/orders", json=order(order=number)).status_code == 201
        assert call("GET", f"/orders/shop/{address}").json["order"] == number


@pytest.mark.parametrize("change", [{"order": "A-2"}, {"amount": 600}])
def test_a_refund_under_the_number_of_another_is_not_lost_without_a_word(program, db, change):
    call = program("orders:write")
    first = {"source": "shop", "refund": "R-1", "order": "A-1", "amount": 500}
    assert [call("POST", "/refunds", json=first).status_code for _ in range(2)] == [201, 200]
    status, code, errors = told(call("POST", "/refunds", json=first | change))
    assert (status, code, errors.keys()) == (409, "refund_number_used", {"refund"})
    assert db.session.scalars(select(Refund.amount)).all() == [500]


def test_a_birthday_is_held_to_what_the_console_holds_it_to(db, program, make_person, clock):
    number, call, today = make_person(), program("members:write"), kernel_clock.today()
    for day in (date(1899, 12, 31), today + timedelta(days=1)):
        answer = call("PATCH", f"/members/{number}", json={"birthday": day.isoformat()})
        assert told(answer) == (422, "input_invalid", {"birthday": "A birthday lies between 1900 and today."})
        assert db.session.get(Member, number).birthday is None
    assert call("PATCH", f"/members/{number}", json={"birthday": today.isoformat()}).status_code == 200


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused_in_the_particulars_of_an_event(program, make_person, db, number):
    make_person("+8612600001234")
    body = {"type": "cart.changed", "key": "k", "member": {"channel": "phone", "id": "12600001234"}, "data": {"a": 0}}
    text = json.dumps(body).replace('{"a": 0}', f'{{"a": {number}}}')
    answer = program("events:write")("POST", "/events", data=text, content_type="application/json")
    assert told(answer) == (422, "input_invalid", {"data": "A number is larger than can be kept, or is none."})


def test_a_person_of_a_body_whom_nobody_knows_is_named(program, db):
    offer = coupons.create(coupons.Draft(name="Spring", kind=CouponKind.AMOUNT, value=2000, valid_days=14))
    assert offer.state is OfferState.DRAFT
    call, paid = program("coupons:write", "points:spend", "events:write"), {"points": 1, "source": "shop", "order": "A"}
    event = {"type": "cart.changed", "key": "k", "member": {"channel": "shop", "id": "nobody"}}
    asked = [
        (f"/offers/{offer.id}/grants", {"member_id": NOBODY, "key": "k"}, "member_id"),
        ("/points/spend", {**paid, "member_id": NOBODY}, "member_id"),
        ("/points/spend", {**paid, "channel": "shop", "identity": "nobody"}, "identity"),
        ("/events", event, "member.id"),
    ]
    for path, body, param in asked:
        status, code, errors = told(call("POST", path, json=body))
        assert (status, code, errors.keys()) == (404, "not_found", {param}), path
