"""POST /api/v1/orders and /api/v1/refunds."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select, text

from kernel import api_keys
from membership.members.models import Member
from membership.orders.models import Order, Refund

from . import payloads


@pytest.fixture(autouse=True)
def noon(clock):
    return clock


@pytest.fixture
def api(app, db):
    _key, token = api_keys.create("shop", ["orders:write"])

    def post(path: str, body, **headers):
        answer = app.test_client().post(
            f"/api/v1/{path}",
            data=body if isinstance(body, bytes | str) else json.dumps(body),
            headers={"Authorization": f"Bearer {token}", "Accept-Language": "en", "Content-Type": "application/json"}
            | headers,
        )
        return answer.status_code, answer.get_json()

    return post


ORDER = {
    "source": "shop",
    "order": "A1",
    "state": "completed",
    "placed_at": "2026-02-01T10:00:00+08:00",
    "completed_at": "2026-02-10T10:00:00+08:00",
    "paid_amount": 10000,
    "postage": 800,
    "buyer": {"id": "77", "phone": "138 0000 0000", "nickname": "小满"},
    "lines": [{"sku": "CUP", "title": "青瓷茶杯", "quantity": 2, "unit_price": 4600}],
}


def mistakes(answer) -> list[str]:
    status, body = answer
    assert (status, body["code"]) == (422, "input_invalid")
    return [one["param"] for one in body["errors"]]


def test_one_order_is_recorded_with_its_member_and_tier(api, db, run_jobs):
    assert api("orders", ORDER) == (201, {"source": "shop", "order": "A1", "result": "new"})
    assert api("orders", ORDER) == (200, {"source": "shop", "order": "A1", "result": "duplicate"})
    run_jobs()
    member = db.session.scalars(select(Member)).one()
    assert (member.phone, member.orders_count, member.spend, member.rank) == ("+8613800000000", 1, 9200, 1)


def test_several_orders_of_several_sources(api, db):
    orders = [ORDER, ORDER | {"order": "A2"}, ORDER | {"source": "counter"}, ORDER | {"refunded_amount": 10000}]
    status, body = api("orders", {"orders": orders})
    assert status == 201
    assert [one["result"] for one in body["orders"]] == ["new", "new", "new", "changed"]
    assert [one["source"] for one in body["orders"]] == ["shop", "shop", "counter", "shop"]


def test_older_report_does_not_overwrite(api, db):
    api("orders", ORDER | {"updated_at": "2026-03-01T00:00:00Z", "paid_amount": 9000})
    assert api("orders", ORDER | {"updated_at": "2026-02-20T00:00:00Z"})[1]["result"] == "duplicate"
    assert db.session.scalars(select(Order.paid_amount)).one() == 9000


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"paid_amount": -1}, "paid_amount"),
        ({"paid_amount": 10_000_000_001}, "paid_amount"),
        ({"paid_amount": 99.5}, "paid_amount"),
        ({"paid_amount": "100"}, "paid_amount"),
        ({"paid_amount": None}, "paid_amount"),
        ({"postage": 10001}, "postage"),
        ({"refunded_amount": 10001}, "refunded_amount"),
        ({"state": "lost"}, "state"),
        ({"placed_at": "2026-02-01 10:00"}, "placed_at"),
        ({"placed_at": "2026-02-30T10:00:00Z"}, "placed_at"),
        ({"placed_at": "0001-01-01T00:00:00Z", "completed_at": None}, "placed_at"),
        ({"placed_at": "2027-01-01T00:00:00Z", "completed_at": None}, "placed_at"),
        ({"completed_at": "2026-01-31T00:00:00Z"}, "completed_at"),
        ({"order": ""}, "order"),
        ({"order": "a\u0000b"}, "order"),
        ({"order": "x" * 65}, "order"),
        ({"source": "Own Shop"}, "source"),
        ({"buyer": {"phone": "123"}}, "buyer.phone"),
        ({"buyer": {"email": "nobody"}}, "buyer.email"),
        ({"lines": [{"sku": "CUP", "quantity": 0, "unit_price": 1}]}, "lines.0.quantity"),
        ({"lines": [{"sku": "CUP", "quantity": 1, "unit_price": -1}]}, "lines.0.unit_price"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_wrong_is_named(api, db, change, field):
    assert mistakes(api("orders", ORDER | change)) == [field]
    assert db.session.scalars(select(Order)).all() == []


def test_one_bad_order_of_many_takes_none(api, db):
    orders = [ORDER, ORDER | {"order": "A2", "paid_amount": -5}, ORDER | {"order": "A3", "refunded_amount": 99999}]
    assert mistakes(api("orders", {"orders": orders})) == ["orders.1.paid_amount"]
    orders[1]["paid_amount"] = 5000
    assert mistakes(api("orders", {"orders": orders})) == ["orders.2.refunded_amount"]
    assert db.session.scalars(select(Order)).all() == []


NONSENSE = [
    "",
    "no json",
    "[]",
    "null",
    '{"orders": []}',
    '{"orders": {}}',
    b"\xff\xfe",
    '{"paid_amount": 1e309}',
    "[" * 5000,
]


@pytest.mark.parametrize("body", NONSENSE)
def test_bodies_that_are_no_order(api, body):
    status, answer = api("orders", body)
    assert status == 422
    assert answer["errors"]


def test_more_than_five_hundred_are_refused(api):
    assert mistakes(api("orders", {"orders": [ORDER | {"order": str(n)} for n in range(501)]})) == ["orders"]
    status, body = api("orders", {"orders": [ORDER | {"order": str(n)} for n in range(500)]})
    assert (status, len(body["orders"])) == (201, 500)


def test_same_idempotency_key_has_one_effect(api, db):
    first = api("orders", ORDER, **{"Idempotency-Key": "k1"})
    assert api("orders", ORDER, **{"Idempotency-Key": "k1"}) == first
    status, body = api("orders", ORDER | {"order": "B2"}, **{"Idempotency-Key": "k1"})
    assert (status, body["code"]) == (422, "idempotency_key_reused")
    assert db.session.scalars(select(Order.external_id)).all() == ["A1"]


def test_refund_before_and_after_its_order(api, db):
    refund = {"source": "shop", "refund": "R1", "order": "A1", "amount": 4600}
    assert api("refunds", refund) == (201, {"source": "shop", "refund": "R1", "order": "A1", "result": "new"})
    api("orders", ORDER)
    assert db.session.scalars(select(Order.refunded_amount)).one() == 4600
    assert api("refunds", refund)[0] == 200
    assert api("refunds", refund | {"refund": "R2", "at": "2026-03-01T00:00:00Z"})[0] == 201
    db.session.expire_all()
    assert db.session.scalars(select(Order.refunded_amount)).one() == 9200
    assert len(db.session.scalars(select(Refund)).all()) == 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"order": ""}, "order"),
        ({"at": "2027-01-01T00:00:00Z"}, "at"),
    ],
)
def test_bad_refunds_are_named(api, db, change, field):
    assert mistakes(api("refunds", {"source": "shop", "refund": "R1", "order": "A1", "amount": 1} | change)) == [field]


def test_keys_without_the_scope_are_refused(app, db):
    _key, token = api_keys.create("till", ["coupons:redeem"])
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer siyu_nonsense"}, 401),
        ({"Authorization": f"Bearer {token}"}, 403),
    ):
        for path in ("orders", "refunds"):
            answer = app.test_client().post(f"/api/v1/{path}", json=ORDER, headers=headers)
            assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert db.session.scalar(text('SELECT count(*) FROM "order"')) == 0


# ── In the form of other shop systems, and to be read ───────────────────────────────────────────────────────────────


@pytest.fixture
def read(app, db):
    _key, token = api_keys.create("reader", ["orders:read"])

    def get(path: str):
        answer = app.test_client().get(f"/api/v1/{path}", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, answer.get_json()

    return get


@pytest.mark.parametrize(
    ("path", "body", "number"),
    [
        ("shopify", payloads.SHOPIFY, "5551001"),
        ("woocommerce", payloads.WOOCOMMERCE, "727"),
        ("youzan", payloads.YOUZAN, "E20260201100000000100001"),
    ],
)
def test_orders_as_other_systems_write_them(api, db, path, body, number):
    status, said = api(f"orders/{path}?source=own", body)
    assert (status, said) == (201, {"items": [{"source": "own", "order": number, "result": "new"}], "remarks": []})
    assert api(f"orders/{path}?source=own", [body, body])[0] == 200
    assert db.session.scalars(select(Order.external_id)).all() == [number]


def test_mistakes_in_other_systems_orders_are_named(api, db):
    bad = payloads.SHOPIFY | {"currency": "USD", "total_price": "x"}
    assert mistakes(api("orders/shopify", [payloads.SHOPIFY, bad])) == ["1.currency", "1.total_price"]
    assert mistakes(api("orders/shopify?currency=USD", bad)) == ["rate"]
    assert mistakes(api("orders/shopify?surprise=1", bad)) == ["surprise"]
    assert db.session.scalars(select(Order)).all() == []
    assert api("orders/shopify?currency=USD&rate=7.1", payloads.SHOPIFY | {"currency": "USD"})[0] == 201
    assert db.session.scalars(select(Order.paid_amount)).one() == 90880


def test_orders_are_listed_and_read(api, read, db):
    for n in range(5):
        api("orders", ORDER | {"order": f"A{n}", "placed_at": f"2026-02-0{n + 1}T10:00:00+08:00"})
    api("orders", ORDER | {"source": "counter", "state": "paid", "buyer": None})
    status, first = read("orders?limit=2&source=shop")
    assert status == 200
    assert [one["order"] for one in first["items"]] == ["A4", "A3"]
    second = read(f"orders?limit=2&source=shop&cursor={first['next_cursor']}")[1]
    assert [one["order"] for one in second["items"]] == ["A2", "A1"]
    assert [one["source"] for one in read("orders?state=paid")[1]["items"]] == ["counter"]
    member = first["items"][0]["member_id"]
    assert len(read(f"orders?member_id={member}")[1]["items"]) == 5
    between = "placed_from=2026-02-02T00:00:00%2B08:00&placed_until=2026-02-04T00:00:00%2B08:00"
    assert [one["order"] for one in read(f"orders?{between}")[1]["items"]] == ["A2", "A1"]
    changed = read("orders?updated_since=2026-02-01T00:00:00Z&limit=100")[1]["items"]
    assert [one["updated_at"] for one in changed] == sorted(one["updated_at"] for one in changed)
    assert read("orders?cursor=zzz")[0] == 422
    assert read("orders?state=lost")[0] == 422


def test_one_order_is_read_with_its_lines_and_refunds(api, read, db):
    api("orders", ORDER)
    api("refunds", {"source": "shop", "refund": "R1", "order": "A1", "amount": 500, "at": "2026-02-12T10:00:00Z"})
    status, one = read("orders/shop/A1")
    assert (status, one["order"], one["refunded_amount"]) == (200, "A1", 500)
    assert one["lines"] == [
        {"sku": "CUP", "title": "青瓷茶杯", "quantity": 2, "unit_price": 4600, "amount": 9200, "refunded_quantity": 0}
    ]
    assert one["refunds"] == [{"refund": "R1", "amount": 500, "at": "2026-02-12T10:00:00Z"}]
    assert read("orders/shop/none")[0] == 404


def test_reading_and_writing_are_two_rights(api, read, db):
    assert api("orders?limit=1", ORDER)[0] == 422
    assert read("orders")[0] == 200
