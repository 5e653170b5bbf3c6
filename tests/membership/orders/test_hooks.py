"""Check B7: pushed orders act only when they are signed, and once; whatever is malformed is answered 4xx, never 5xx."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from membership.members.models import Member
from membership.orders.feeds import signatures
from membership.orders.feeds.signatures import Doubt, Kind
from membership.orders.hooks import LARGEST
from membership.orders.models import ConnectionState, HookReceipt, Order, OrderConnection, OrderState, Outcome, Refund
from membership.orders.services import connections

from . import payloads
from .payloads import CLIENT, base64_hmac, text, youzan_push

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()
VECTORS = Path(__file__).resolve().parents[4] / "shared" / "data" / "protocol" / "vectors.json"
Make = Callable[..., OrderConnection]


@pytest.fixture(autouse=True)
def noon(clock):
    return clock


@pytest.fixture
def connect(db) -> Make:
    def make(kind: Kind, secret: str = SECRET, source: str = "shop", **more: Any) -> OrderConnection:
        found, _secret = connections.set_up(
            f"{kind.value} shop", kind, source, secret, CLIENT if kind is Kind.YOUZAN else "", **more
        )
        return found

    return make


@pytest.fixture
def push(app, db):
    """`push(connection, body, headers)` is one delivery; returns status and body."""
    client = app.test_client()

    def send(connection: OrderConnection | str, body: bytes, headers: dict[str, str] | None = None) -> Any:
        token = connection if isinstance(connection, str) else connection.token
        answer = client.post(
            f"/hooks/orders/{token}", data=body, headers={"Content-Type": "application/json"} | (headers or {})
        )
        return answer.status_code, answer.get_json(silent=True)

    return send


def shopify(body: bytes, secret: str = SECRET, number: str = "w-1", topic: str = "orders/updated") -> dict[str, str]:
    return {
        "X-Shopify-Hmac-Sha256": base64_hmac(secret, body),
        "X-Shopify-Webhook-Id": number,
        "X-Shopify-Topic": topic,
    }


def woocommerce(body: bytes, secret: str = SECRET, number: str = "d-1", topic: str = "order.updated") -> dict[str, str]:
    return {
        "X-WC-Webhook-Signature": base64_hmac(secret, body),
        "X-WC-Webhook-Delivery-ID": number,
        "X-WC-Webhook-Topic": topic,
    }


def standard(body: bytes, now, secret: str = SECRET, number: str = "msg_1", **span: float) -> dict[str, str]:
    return signatures.signed_standard(secret, number, now + timedelta(**span), body)


def receipts(db) -> list[HookReceipt]:
    return list(db.session.scalars(select(HookReceipt).order_by(HookReceipt.id)))


def orders(db) -> list[Order]:
    return list(db.session.scalars(select(Order).order_by(Order.external_id)))


# ── The valid ones act ──────────────────────────────────────────────────────────────────────────────────────────────


def test_check_b7_shopify_push_is_taken_in(connect, push, db, run_jobs) -> None:
    connection, body = connect(Kind.SHOPIFY), text(payloads.SHOPIFY)
    assert push(connection, body, shopify(body)) == (200, {"status": "received"})
    # Kept before it is worked on.
    assert [(one.outcome, one.topic, one.size) for one in receipts(db)] == [
        (Outcome.RECEIVED, "orders/updated", len(body))
    ]
    assert orders(db) == []
    run_jobs()
    [receipt], [order] = receipts(db), orders(db)
    assert (receipt.outcome, receipt.orders) == (Outcome.ACCEPTED, ["5551001"])
    assert (order.external_id, order.paid_amount, order.state) == ("5551001", 12800, OrderState.PAID)
    assert db.session.get_one(Member, order.member_id).spend == 12000
    assert db.session.get_one(OrderConnection, connection.id).last_received_at is not None


def test_check_b7_woocommerce_push_and_greeting(connect, push, db, run_jobs) -> None:
    connection, body = connect(Kind.WOOCOMMERCE), text(payloads.WOOCOMMERCE)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert push(connection, b"webhook_id=17", form) == (200, {"status": "pong"})
    assert receipts(db) == []
    assert push(connection, body, woocommerce(body))[0] == 200
    run_jobs()
    assert [one.external_id for one in orders(db)] == ["727"]


@pytest.mark.parametrize("newer", [False, True])
def test_check_b7_youzan_push(connect, push, db, run_jobs, newer: bool) -> None:
    connection, body = connect(Kind.YOUZAN), youzan_push(SECRET, payloads.YOUZAN)
    headers = {}
    if newer:
        envelope = json.loads(body)
        del envelope["sign"]
        body = text(envelope)
        headers = {"Event-Sign": payloads.md5(SECRET, body)}
    assert push(connection, body, headers) == (200, {"code": 0, "msg": "success"})
    run_jobs()
    assert [(one.external_id, one.paid_amount) for one in orders(db)] == [("E20260201100000000100001", 8880)]


def test_check_b7_standard_push(connect, push, db, run_jobs, clock) -> None:
    connection, body = connect(Kind.STANDARD), text(payloads.STANDARD)
    assert push(connection, body, standard(body, clock.now()))[0] == 200
    run_jobs()
    assert [(one.external_id, one.state) for one in orders(db)] == [("A-1", OrderState.COMPLETED)]


def test_signatures_with_known_answers() -> None:
    if not VECTORS.exists():
        pytest.skip(f"THE PROTOCOL FILES ARE NOT HERE: {VECTORS}")
    [vector] = [one for one in json.loads(VECTORS.read_text()) if one["kind"] == "shopify_webhook_hmac_sha256"]
    headers = {vector["header"]: vector["signature"], "X-Shopify-Webhook-Id": "1"}
    signed = signatures.check(Kind.SHOPIFY, [vector["secret"]], "", headers, vector["body"].encode(), payloads_now())
    assert signed.delivery_id == "1"
    push = (VECTORS.parent / "youzan" / "push_trade_create_redacted.json").read_bytes()
    known = json.loads(push)
    signatures.check(Kind.YOUZAN, [known["_test_client_secret"]], known["client_id"], {}, push, payloads_now())
    # The worked example of the Standard Webhooks specification.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(1614265330, UTC)
    assert signatures.check(Kind.STANDARD, [secret], "", headers, body, at).delivery_id == headers["webhook-id"]


def payloads_now():
    from datetime import UTC, datetime

    return datetime(2026, 3, 3, tzinfo=UTC)


# ── Everything else does not ────────────────────────────────────────────────────────────────────────────────────────

BODY = {
    Kind.SHOPIFY: text(payloads.SHOPIFY),
    Kind.WOOCOMMERCE: text(payloads.WOOCOMMERCE),
    Kind.STANDARD: text(payloads.STANDARD),
}


def signed(kind: Kind, body: bytes, now, **more: Any) -> dict[str, str]:
    if kind is Kind.STANDARD:
        return standard(body, now, **more)
    return {Kind.SHOPIFY: shopify, Kind.WOOCOMMERCE: woocommerce}[kind](body, **more)


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key.lower() != name.lower()}


SIGNATURE = {
    Kind.SHOPIFY: "X-Shopify-Hmac-Sha256",
    Kind.WOOCOMMERCE: "X-WC-Webhook-Signature",
    Kind.STANDARD: "webhook-signature",
}
DELIVERY = {
    Kind.SHOPIFY: "X-Shopify-Webhook-Id",
    Kind.WOOCOMMERCE: "X-WC-Webhook-Delivery-ID",
    Kind.STANDARD: "webhook-id",
}


def hostile() -> list[Any]:
    """Vectors: name, kind, what makes (body, headers) from the valid ones, the status expected."""
    found: list[Any] = []

    def add(
        name: str, kind: Kind, status: int, make: Callable[[bytes, dict[str, str]], tuple[bytes, dict[str, str]]]
    ) -> None:
        found.append(pytest.param(kind, make, status, id=f"{kind.value}-{name}"))

    for kind in BODY:
        mark, number = SIGNATURE[kind], DELIVERY[kind]
        add("changed body", kind, 401, lambda body, headers: (body.replace(b"1", b"2", 1), headers))
        add("body with a blank more", kind, 401, lambda body, headers: (body + b" ", headers))
        add("empty body", kind, 401, lambda body, headers: (b"", headers))
        add("no signature", kind, 401, lambda body, headers, mark=mark: (body, without(headers, mark)))
        add("empty signature", kind, 401, lambda body, headers, mark=mark: (body, headers | {mark: ""}))
        add("no delivery number", kind, 401, lambda body, headers, number=number: (body, without(headers, number)))
        add("blank in the number", kind, 401, lambda body, headers, number=number: (body, headers | {number: "a b"}))
        add("endless number", kind, 401, lambda body, headers, number=number: (body, headers | {number: "a" * 201}))
        prefix = "v1," if kind is Kind.STANDARD else ""
        for name, spoilt in {
            "no base64": "***",
            "base64 of too little": base64.b64encode(b"short").decode(),
            "base64 of another signature": base64.b64encode(b"x" * 32).decode(),
            "hex": "00" * 32,
            "letters beyond ASCII": "ÿ" * 44,
            "a list": "[]",
        }.items():
            add(
                name, kind, 401,
                lambda body, headers, mark=mark, spoilt=spoilt, prefix=prefix: (body, headers | {mark: prefix + spoilt}),
            )  # fmt: skip
    at = "webhook-timestamp"
    for name, value in {"no digits": "soon", "below zero": "-1", "a fraction": "1.5", "endless": "9" * 13}.items():
        add(f"time {name}", Kind.STANDARD, 401, lambda body, headers, value=value: (body, headers | {at: value}))
    add("no time", Kind.STANDARD, 401, lambda body, headers: (body, without(headers, at)))
    add("another time", Kind.STANDARD, 401, lambda body, headers: (body, headers | {at: str(int(headers[at]) + 1)}))
    add("another number", Kind.STANDARD, 401, lambda body, headers: (body, headers | {"webhook-id": "msg_2"}))
    add(
        "only another version", Kind.STANDARD, 401,
        lambda body, headers: (body, headers | {"webhook-signature": "v2," + headers["webhook-signature"][3:]}),
    )  # fmt: skip
    add(
        "no version", Kind.STANDARD, 401,
        lambda body, headers: (body, headers | {"webhook-signature": headers["webhook-signature"][3:]}),
    )  # fmt: skip
    return found


@pytest.mark.parametrize(("kind", "make", "status"), hostile())
def test_check_b7_what_is_not_rightly_signed_does_nothing(
    connect, push, db, run_jobs, clock, kind, make, status
) -> None:
    connection = connect(kind)
    body, headers = make(BODY[kind], signed(kind, BODY[kind], clock.now()))
    assert push(connection, body, headers)[0] == status
    run_jobs()
    assert receipts(db) == []
    assert orders(db) == []
    after = db.session.get_one(OrderConnection, connection.id)
    assert after.refused == 1
    assert after.refusal in set(Doubt)


@pytest.mark.parametrize("kind", list(BODY))
def test_check_b7_another_secret(connect, push, db, clock, kind) -> None:
    connection = connect(kind)
    assert push(connection, BODY[kind], signed(kind, BODY[kind], clock.now(), secret="another"))[0] == 401
    # A signature for one connection is none for another.
    other = connect(kind, secret="another")
    assert push(other, BODY[kind], signed(kind, BODY[kind], clock.now()))[0] == 401
    assert receipts(db) == []


@pytest.mark.parametrize(
    ("span", "status"),
    [({"seconds": -300}, 200), ({"seconds": 300}, 200), ({"seconds": -301}, 401), ({"seconds": 301}, 401)],
)
def test_check_b7_the_time_may_be_five_minutes_off(connect, push, clock, span, status) -> None:
    body = BODY[Kind.STANDARD]
    assert push(connect(Kind.STANDARD), body, standard(body, clock.now(), **span))[0] == status


def youzan_vectors() -> list[Any]:
    body = youzan_push(SECRET, payloads.YOUZAN)
    envelope = json.loads(body)
    sign = envelope["sign"]
    return [
        pytest.param(text(envelope | {"sign": "0" * 32}), {}, id="another signature"),
        pytest.param(text(envelope | {"sign": sign[:-1]}), {}, id="short signature"),
        pytest.param(text({key: value for key, value in envelope.items() if key != "sign"}), {}, id="no signature"),
        pytest.param(text(envelope | {"msg": envelope["msg"].replace("88.80", "0.01")}), {}, id="changed message"),
        pytest.param(text(envelope | {"more": {"msg": envelope["msg"]}}), {}, id="two messages"),
        pytest.param(text(envelope | {"more": {"sign": sign}}), {}, id="two signatures"),
        pytest.param(youzan_push("another", payloads.YOUZAN), {}, id="another secret"),
        pytest.param(body, {"Event-Sign": "0" * 32}, id="another signature in the header"),
        pytest.param(body, {"Event-Sign": "ÿ" * 32}, id="no hex"),
        pytest.param(body, {"Event-Sign": payloads.md5(SECRET, body + b" ")}, id="header of another body"),
        pytest.param(body, {"Event-Sign": payloads.md5(SECRET, body, "other")}, id="header of another client"),
        pytest.param(b"", {}, id="empty"),
        pytest.param(b'"sign": "' + b"0" * 32 + b'"', {}, id="no message"),
    ]


@pytest.mark.parametrize(("body", "headers"), youzan_vectors())
def test_check_b7_youzan_pushes_that_are_not_rightly_signed(connect, push, db, body, headers) -> None:
    assert push(connect(Kind.YOUZAN), body, headers)[0] == 401
    assert receipts(db) == []


UNREADABLE = {
    "no JSON": b"{",
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    "NaN": b'{"a": NaN}',
    "deep": b"[" * 30_000,
    "long number": b"[1" + b"0" * 10_000 + b"]",
    "a form": b"id=1&total=2",
    "blank": b"   ",
}


@pytest.mark.parametrize("kind", list(BODY))
@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_check_b7_signed_text_that_cannot_be_read(connect, push, db, run_jobs, clock, kind, body) -> None:
    connection = connect(kind)
    status, said = push(connection, body, signed(kind, body, clock.now()))
    assert (status, said["code"]) == (400, "unreadable")
    # Whoever knows the secret sent it: the log shows it.
    assert [(one.outcome, one.body) for one in receipts(db)] == [(Outcome.REJECTED, body)]
    assert push(connection, body, signed(kind, body, clock.now()))[0] == 400
    assert [one.repeats for one in receipts(db)] == [1]


@pytest.mark.parametrize("packed", ["%E5%9", "%zz", "%7B", "%ff%fe"])
def test_check_b7_signed_youzan_messages_that_cannot_be_read(connect, push, db, packed) -> None:
    body = text({"type": "trade_TradePaid", "msg": packed, "sign": payloads.md5(SECRET, packed.encode())})
    assert push(connect(Kind.YOUZAN), body)[0] == 400
    assert orders(db) == []


@pytest.mark.parametrize("kind", list(LARGEST))
def test_check_b7_too_much_is_refused_before_it_is_looked_at(connect, push, db, clock, monkeypatch, kind) -> None:
    connection = connect(kind)

    def looked(*_: Any) -> Any:
        raise AssertionError("the body was looked at")

    monkeypatch.setattr(signatures, "check", looked)
    assert push(connection, b" " * (LARGEST[kind] + 1))[0] == 413
    assert receipts(db) == []


def test_check_b7_nothing_is_parsed_before_its_signature_holds(connect, push, clock, monkeypatch) -> None:
    from membership.orders.feeds import fields

    def parsed(_body: bytes) -> Any:
        raise AssertionError("parsed before the signature was judged")

    monkeypatch.setattr(fields, "parsed", parsed)
    for kind, body in BODY.items():
        assert push(connect(kind), body, signed(kind, body, clock.now(), secret="another"))[0] == 401
    assert push(connect(Kind.YOUZAN), youzan_push("another", payloads.YOUZAN))[0] == 401


def test_check_b7_has_teeth(connect, push, db, run_jobs, monkeypatch) -> None:
    """With the signature unjudged, a forgery acts."""
    connection, body = connect(Kind.SHOPIFY), text(payloads.SHOPIFY)
    forged = shopify(body, secret="another")
    assert push(connection, body, forged)[0] == 401
    monkeypatch.setattr(signatures, "_any", lambda wanted, given: True)
    assert push(connection, body, forged)[0] == 200
    run_jobs()
    assert len(orders(db)) == 1


def test_unknown_addresses_and_other_methods(push, app, db) -> None:
    assert push("nothing", b"{}")[0] == 404
    assert push("a%00b", b"{}")[0] == 400
    for method in ("get", "put", "delete"):
        assert getattr(app.test_client(), method)("/hooks/orders/nothing").status_code == 405


# ── Secrets in rotation ─────────────────────────────────────────────────────────────────────────────────────────────


def test_check_b7_both_secrets_are_good_for_a_day(connect, push, clock) -> None:
    connection, body = connect(Kind.STANDARD), BODY[Kind.STANDARD]
    fresh = connections.rotate(connection)
    assert push(connection, body, standard(body, clock.now(), number="a"))[0] == 200
    assert push(connection, body, standard(body, clock.now(), secret=fresh, number="b"))[0] == 200
    # A sender in rotation signs with both.
    both = standard(body, clock.now(), number="c")
    other = standard(body, clock.now(), secret="gone", number="c")
    both["webhook-signature"] = f"{other['webhook-signature']} v1a,xyz {both['webhook-signature']}"
    assert push(connection, body, both)[0] == 200
    clock.move(hours=24, seconds=1)
    assert push(connection, body, standard(body, clock.now(), number="d"))[0] == 401
    assert push(connection, body, standard(body, clock.now(), secret=fresh, number="e"))[0] == 200


def test_secrets_lie_sealed(connect, db) -> None:
    connection = connect(Kind.SHOPIFY, secret="do-not-show-me")
    assert "do-not-show-me" not in connection.secret


# ── Again and again ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_delivery_acts_once(connect, push, db, run_jobs) -> None:
    connection, body = connect(Kind.SHOPIFY), text(payloads.SHOPIFY)
    answers = [push(connection, body, shopify(body)) for _ in range(50)]
    assert [status for status, _said in answers] == [200] * 50
    assert [said["status"] for _status, said in answers] == ["received"] + ["known"] * 49
    run_jobs()
    assert [(one.outcome, one.repeats, one.attempts) for one in receipts(db)] == [(Outcome.ACCEPTED, 49, 1)]
    assert push(connection, body, shopify(body, number="w-2"))[0] == 200
    run_jobs()
    assert [one.outcome for one in receipts(db)] == [Outcome.ACCEPTED, Outcome.DUPLICATE]
    assert len(orders(db)) == 1


def test_youzan_cannot_be_replayed_under_another_number(connect, push, db, run_jobs) -> None:
    connection, body = connect(Kind.YOUZAN), youzan_push(SECRET, payloads.YOUZAN)
    assert push(connection, body)[0] == 200
    # What lies beside the signed message may be changed by anybody who saw it.
    assert push(connection, text(json.loads(body) | {"id": "E2", "msg_id": "x", "sendCount": 3}))[0] == 200
    assert [one.repeats for one in receipts(db)] == [1]


def test_a_refund_before_its_order(connect, push, db, run_jobs) -> None:
    connection = connect(Kind.SHOPIFY)
    refund, order = text(payloads.SHOPIFY_REFUND), text(payloads.SHOPIFY)
    push(connection, refund, shopify(refund, number="r", topic="refunds/create"))
    push(connection, order, shopify(order, number="o"))
    run_jobs()
    assert [(one.amount, one.order_id is not None) for one in db.session.scalars(select(Refund))] == [(3000, True)]
    assert orders(db)[0].refunded_amount == 3000


def test_news_of_a_step_before_its_order(connect, push, db, run_jobs) -> None:
    connection = connect(Kind.YOUZAN)
    tid = payloads.YOUZAN["full_order_info"]["order_info"]["tid"]
    closed = {"tid": tid, "update_time": "2026-02-03 10:00:00"}
    push(connection, youzan_push(SECRET, closed, "trade_TradeClose"))
    push(connection, youzan_push(SECRET, payloads.YOUZAN))
    run_jobs()
    assert [(one.state, one.paid_amount) for one in orders(db)] == [(OrderState.CLOSED, 8880)]
    assert db.session.scalar(select(func.sum(Member.orders_count))) == 0


# ── What goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_cannot_be_taken_is_rejected_with_its_reasons_and_may_be_worked_on_again(
    connect, push, db, run_jobs
) -> None:
    connection = connect(Kind.SHOPIFY)
    body = text(payloads.SHOPIFY | {"currency": "USD"})
    assert push(connection, body, shopify(body))[0] == 200
    run_jobs()
    [receipt] = receipts(db)
    assert (receipt.outcome, [place for place, _why in receipt.reasons]) == (Outcome.REJECTED, ["currency"])
    from decimal import Decimal

    connections.change(connection, "x", "shop", "", "USD", Decimal("7.1"))
    assert connections.again([receipt.id]) == 1
    run_jobs()
    assert receipts(db)[0].outcome is Outcome.ACCEPTED
    assert orders(db)[0].paid_amount == 90880
    with pytest.raises(connections.ReceiptNotOpen):
        connections.again([receipt.id])


def test_a_fault_of_ours_is_tried_again(connect, push, db, run_jobs, clock, monkeypatch) -> None:
    connection, body = connect(Kind.SHOPIFY), text(payloads.SHOPIFY)
    push(connection, body, shopify(body))
    real = connections.take_in_reported

    def broken(*_: Any) -> Any:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(connections, "take_in_reported", broken)
    run_jobs()
    [receipt] = receipts(db)
    assert (receipt.outcome, receipt.attempts) == (Outcome.FAILED, 1)
    assert "the disk is full" in receipt.reasons[0][1]
    monkeypatch.setattr(connections, "take_in_reported", real)
    assert connections.due_deliveries() == []
    clock.move(minutes=3)
    assert connections.due_deliveries() == [receipt.id]
    from membership.orders.jobs import resume_deliveries

    resume_deliveries.direct()
    run_jobs()
    assert receipts(db)[0].outcome is Outcome.ACCEPTED


def test_a_lost_queue_loses_nothing(connect, push, app, db, run_jobs, clock) -> None:
    connection, body = connect(Kind.SHOPIFY), text(payloads.SHOPIFY)
    push(connection, body, shopify(body))
    app.extensions["collected_jobs"].clear()
    clock.move(seconds=21)
    from membership.orders.jobs import resume_deliveries

    resume_deliveries.direct()
    run_jobs()
    assert [one.outcome for one in receipts(db)] == [Outcome.ACCEPTED]


def test_what_comes_while_paused_waits(connect, push, db, run_jobs, clock) -> None:
    connection, body = connect(Kind.SHOPIFY), text(payloads.SHOPIFY)
    connections.move(connection.id, ConnectionState.PAUSED)
    assert push(connection, body, shopify(body))[0] == 200
    run_jobs()
    clock.move(minutes=1)
    assert connections.due_deliveries() == []
    assert [one.outcome for one in receipts(db)] == [Outcome.RECEIVED]
    connections.move(connection.id, ConnectionState.ACTIVE)
    run_jobs()
    assert [one.outcome for one in receipts(db)] == [Outcome.ACCEPTED]


def test_texts_are_dropped_after_a_month_and_rows_after_half_a_year(connect, push, db, run_jobs, clock) -> None:
    connection, body = connect(Kind.SHOPIFY), text(payloads.SHOPIFY)
    push(connection, body, shopify(body))
    run_jobs()
    clock.move(days=31)
    assert connections.forget_deliveries() == 1
    assert [one.body for one in receipts(db)] == [None]
    clock.move(days=150)
    connections.forget_deliveries()
    assert receipts(db) == []
    assert len(orders(db)) == 1
