"""What shop systems send, read by the pure readers: the values, and a clear refusal for whatever is missing or absurd."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from membership.orders.feeds import fields, shopify, standard, woocommerce, youzan
from membership.orders.feeds.fields import Exchange
from membership.orders.feeds.readers import READERS
from membership.orders.feeds.reasons import SENTENCES, PayloadRefused, Reason
from membership.orders.feeds.signatures import Kind
from membership.orders.formats.drafts import OrderDraft, RefundDraft, StepDraft
from membership.orders.models import OrderState, Payment

from . import payloads

NOW = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)
YUAN = Exchange()
DOLLAR = Exchange("USD", Decimal("7.1"))
PROTOCOL = Path(__file__).resolve().parents[4] / "shared" / "data" / "protocol"


def fixture(name: str) -> Any:
    path = PROTOCOL / name
    if not path.exists():
        pytest.skip(f"THE PROTOCOL FILES ARE NOT HERE: {path}")
    return fields.parsed(path.read_bytes())


def changed(body: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """The body with one field changed (`customer.id`, `line_items.0.price`); `...` takes it out."""
    whole = copy.deepcopy(body)
    inner: Any = whole
    *way, last = place.split(".")
    for step in way:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[int(last) if isinstance(inner, list) else last] = value
    return whole


def only(payload: fields.Payload) -> Any:
    [report] = payload.reports
    return report


def faults(read: Any, body: Any) -> list[tuple[str, str]]:
    with pytest.raises(PayloadRefused) as refused:
        read(fields.parsed(payloads.text(body)), YUAN, NOW)
    return refused.value.faults


def local(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+08:00").astimezone(UTC)


# ── Shopify ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_shopify_order() -> None:
    draft: OrderDraft = only(shopify.read(payloads.SHOPIFY, YUAN, NOW))
    assert (draft.external_id, draft.state, draft.payment) == ("5551001", OrderState.PAID, Payment.ONLINE)
    assert draft.placed_at == local("2026-02-01T10:00:00")
    assert draft.version_at == local("2026-02-02T09:00:00")
    assert (draft.paid_amount, draft.postage, draft.discount, draft.refunded_amount) == (12800, 800, 1000, 0)
    assert [(line.sku, line.quantity, line.unit_price, line.amount) for line in draft.lines] == [
        ("CUP-01", 2, 5500, 11000),
        ("variant:9", 1, 2000, 1000),
    ]
    assert draft.buyer is not None
    assert (draft.buyer.number, draft.buyer.phone, draft.buyer.email, draft.buyer.name, draft.buyer.city) == (
        "77", "+8613800000001", "lime@example.com", "小满", "杭州",
    )  # fmt: skip


PARCEL = {"status": "success", "created_at": "2026-02-02T10:00:00+08:00", "updated_at": "2026-02-05T10:00:00+08:00"}


@pytest.mark.parametrize(
    ("change", "state", "paid", "refunded"),
    [
        ({"financial_status": "pending"}, OrderState.PLACED, 0, 0),
        ({"financial_status": "authorized"}, OrderState.PLACED, 0, 0),
        ({"financial_status": "pending", "gateway": "Cash on Delivery (COD)"}, OrderState.PAID, 12800, 0),
        ({"cancelled_at": "2026-02-03T10:00:00+08:00"}, OrderState.CLOSED, 12800, 0),
        ({"financial_status": "voided"}, OrderState.CLOSED, 0, 0),
        ({"financial_status": "refunded"}, OrderState.PAID, 12800, 12800),
        (
            {"financial_status": "partially_refunded", "refunds": [payloads.SHOPIFY_REFUND]},
            OrderState.PAID,
            12800,
            3000,
        ),
        ({"fulfillment_status": "partial", "fulfillments": [PARCEL]}, OrderState.PAID, 12800, 0),
        ({"fulfillment_status": "fulfilled", "fulfillments": [PARCEL]}, OrderState.SHIPPED, 12800, 0),
        (
            {"fulfillment_status": "fulfilled", "fulfillments": [PARCEL | {"shipment_status": "delivered"}]},
            OrderState.DELIVERED,
            12800,
            0,
        ),
        (
            {"fulfillment_status": "fulfilled", "fulfillments": [PARCEL | {"shipment_status": "delivered"}, PARCEL]},
            OrderState.SHIPPED,
            12800,
            0,
        ),
    ],
)
def test_shopify_states(change: dict[str, Any], state: OrderState, paid: int, refunded: int) -> None:
    draft: OrderDraft = only(shopify.read(payloads.SHOPIFY | change, YUAN, NOW))
    assert (draft.state, draft.paid_amount, draft.refunded_amount) == (state, paid, refunded)


def test_shopify_parcels_that_nobody_follows_are_expected() -> None:
    sent = {"fulfillment_status": "fulfilled", "fulfillments": [PARCEL]}
    draft: OrderDraft = only(shopify.read(payloads.SHOPIFY | sent, YUAN, NOW))
    assert draft.shipped_at == local("2026-02-02T10:00:00")
    assert draft.delivered_at == draft.shipped_at + timedelta(days=7)
    followed = {"fulfillment_status": "fulfilled", "fulfillments": [PARCEL | {"shipment_status": "in_transit"}]}
    assert only(shopify.read(payloads.SHOPIFY | followed, YUAN, NOW)).delivered_at is None


def test_shopify_refund_counts_what_was_really_given_back() -> None:
    assert only(shopify.read(payloads.SHOPIFY_REFUND, YUAN, NOW)) == RefundDraft(
        "9001", "5551001", 3000, local("2026-02-05T10:00:00")
    )
    pending = changed(payloads.SHOPIFY_REFUND, "transactions.0.status", "pending")
    assert shopify.read(pending, YUAN, NOW).ignored == Reason.NO_REFUND_YET


def test_shopify_ignores_what_is_no_order() -> None:
    assert shopify.read({"id": 1}, YUAN, NOW, "products/update").ignored == Reason.TOPIC
    assert shopify.read(payloads.SHOPIFY | {"test": True}, YUAN, NOW).ignored == Reason.TEST_ORDER


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("id", ..., Reason.MISSING),
        ("id", True, Reason.NO_NUMBER),
        ("id", -4, Reason.NO_NUMBER),
        ("id", {"x": 1}, Reason.NO_NUMBER),
        ("currency", ..., Reason.MISSING),
        ("currency", "USD", Reason.CURRENCY_FOREIGN),
        ("currency", "yuan", Reason.CURRENCY_FORM),
        ("financial_status", ..., None),
        ("financial_status", "gone", Reason.STATE_UNKNOWN),
        ("financial_status", ["paid"], Reason.STATE_UNKNOWN),
        ("processed_at", "2026-02-30T10:00:00+08:00", Reason.MOMENT_ABSURD),
        ("processed_at", "2026-02-01 10:00", Reason.MOMENT_FORM),
        ("processed_at", "2026-02-01T10:00:00", Reason.MOMENT_FORM),
        ("processed_at", 1769911200, Reason.MOMENT_FORM),
        ("processed_at", "1999-02-01T10:00:00Z", Reason.MOMENT_ABSURD),
        ("processed_at", "2027-02-01T10:00:00Z", Reason.MOMENT_AHEAD),
        ("cancelled_at", "2026-01-01T10:00:00Z", Reason.MOMENT_ORDER),
        ("total_price", ..., Reason.MISSING),
        ("total_price", "12,80", Reason.AMOUNT_FORM),
        ("total_price", "1e3", Reason.AMOUNT_FORM),
        ("total_price", "NaN", Reason.AMOUNT_FORM),
        ("total_price", False, Reason.AMOUNT_FORM),
        ("total_price", "-1.00", Reason.AMOUNT_BELOW_ZERO),
        ("total_price", "100000000.01", Reason.AMOUNT_ABSURD),
        ("total_price", 10**30, Reason.AMOUNT_ABSURD),
        ("total_discounts", "x", Reason.AMOUNT_FORM),
        ("customer", [], Reason.NO_OBJECT),
        ("customer.first_name", 5, Reason.NO_TEXT),
        ("customer.first_name", "a\x00b", Reason.UNSTORABLE),
        ("line_items", {}, Reason.NO_LIST),
        ("line_items.0", 5, Reason.NO_OBJECT),
        ("line_items.0.price", ..., Reason.MISSING),
        ("line_items.0.quantity", ..., Reason.MISSING),
        ("line_items.0.quantity", 1.5, Reason.QUANTITY_FORM),
        ("line_items.0.quantity", -1, Reason.QUANTITY_RANGE),
        ("line_items.0.quantity", 1_000_001, Reason.QUANTITY_RANGE),
        ("line_items.0.sku", 17, Reason.NO_TEXT),
        ("shipping_lines.0.price", "free", Reason.AMOUNT_FORM),
        ("refunds", [payloads.SHOPIFY_REFUND | {"transactions": 5}], Reason.NO_LIST),
    ],
)
def test_shopify_names_what_is_wrong(place: str, value: Any, reason: Reason | None) -> None:
    body = changed(payloads.SHOPIFY, place, value)
    if reason is None:
        assert only(shopify.read(body, YUAN, NOW)).state is OrderState.PLACED
    else:
        assert reason in [why for _place, why in faults(shopify.read, body)]


def test_every_mistake_is_named_at_its_place() -> None:
    body = changed(changed(payloads.SHOPIFY, "total_price", "x"), "line_items.1.quantity", "y")
    assert faults(shopify.read, {"orders": [payloads.SHOPIFY, body]}) == [
        ("orders.1.total_price", Reason.AMOUNT_FORM),
        ("orders.1.line_items.1.quantity", Reason.QUANTITY_FORM),
    ]


def test_more_refunded_than_paid() -> None:
    refund = changed(payloads.SHOPIFY_REFUND, "transactions.0.amount", "128.01")
    body = payloads.SHOPIFY | {"refunds": [refund]}
    assert faults(shopify.read, body) == [("refunds", Reason.REFUND_TOO_LARGE)]


def test_contacts_that_no_one_could_use_are_left_out_with_a_remark() -> None:
    body = changed(changed(payloads.SHOPIFY, "customer.phone", "call me"), "shipping_address.phone", None)
    body["email"] = "nobody"
    payload = shopify.read(body, YUAN, NOW)
    assert sorted(payload.remarks) == sorted([Reason.PHONE_LEFT_OUT, Reason.EMAIL_LEFT_OUT])
    buyer = only(payload).buyer
    assert (buyer.number, buyer.phone, buyer.email) == ("77", None, None)


def test_another_currency_at_the_connections_rate() -> None:
    draft: OrderDraft = only(shopify.read(payloads.SHOPIFY | {"currency": "USD"}, DOLLAR, NOW))
    # 128.00 × 7.1 = 908.80; 55.00 × 7.1 = 390.50
    assert (draft.paid_amount, draft.postage, draft.lines[0].unit_price) == (90880, 5680, 39050)
    assert only(shopify.read(payloads.SHOPIFY, DOLLAR, NOW)).paid_amount == 12800


def test_lists_are_bounded() -> None:
    assert faults(shopify.read, [payloads.SHOPIFY] * 501) == [("body", Reason.TOO_MANY_ORDERS)]
    lines = payloads.SHOPIFY | {"line_items": payloads.SHOPIFY["line_items"][:1] * 2_001}
    assert ("line_items", Reason.TOO_MANY_LINES) in faults(shopify.read, lines)
    assert faults(shopify.read, []) == [("body", Reason.NO_ORDER)]


def test_shopify_protocol_files() -> None:
    order = fixture("shopify/order.json")
    draft: OrderDraft = only(shopify.read(order, DOLLAR, NOW))
    assert (draft.external_id, draft.state, draft.paid_amount) == ("450789469", OrderState.PLACED, 0)
    assert len(draft.lines) == 3
    assert draft.placed_at == datetime(2008, 1, 10, 16, 0, tzinfo=UTC)
    with pytest.raises(PayloadRefused, match="currency"):
        shopify.read(order, YUAN, NOW)
    refund = only(shopify.read(fixture("shopify/refund.json"), DOLLAR, NOW))
    assert (refund.external_id, refund.order_external_id, refund.amount) == ("509562969", "450789469", 148390)
    assert shopify.read(fixture("shopify/orders.json"), DOLLAR, NOW).reports


# ── WooCommerce ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_woocommerce_order() -> None:
    draft: OrderDraft = only(woocommerce.read(payloads.WOOCOMMERCE, YUAN, NOW))
    assert (draft.external_id, draft.state) == ("727", OrderState.PAID)
    assert draft.placed_at == datetime(2026, 2, 1, 2, 0, tzinfo=UTC)
    assert draft.paid_at == datetime(2026, 2, 1, 2, 1, tzinfo=UTC)
    assert (draft.paid_amount, draft.postage, draft.discount) == (10700, 1000, 300)
    [line] = draft.lines
    assert (line.sku, line.quantity, line.unit_price, line.amount) == ("TEA-09", 2, 5000, 9700)
    assert draft.buyer is not None
    assert (draft.buyer.number, draft.buyer.email, draft.buyer.phone) == ("42", "lime@example.com", "+8613800000002")


@pytest.mark.parametrize(
    ("change", "state", "paid", "refunded"),
    [
        ({"status": "pending"}, OrderState.PLACED, 0, 0),
        ({"status": "on-hold"}, OrderState.PLACED, 0, 0),
        ({"status": "completed", "date_completed_gmt": "2026-02-09T00:00:00"}, OrderState.COMPLETED, 10700, 0),
        ({"status": "cancelled", "date_paid_gmt": None}, OrderState.CLOSED, 0, 0),
        ({"status": "cancelled"}, OrderState.CLOSED, 10700, 0),
        ({"status": "refunded"}, OrderState.CLOSED, 10700, 10700),
        ({"refunds": [{"id": 1, "total": "-7.00"}]}, OrderState.PAID, 10700, 700),
        ({"payment_method": "cod", "date_paid_gmt": None}, OrderState.PAID, 10700, 0),
    ],
)
def test_woocommerce_states(change: dict[str, Any], state: OrderState, paid: int, refunded: int) -> None:
    draft: OrderDraft = only(woocommerce.read(payloads.WOOCOMMERCE | change, YUAN, NOW))
    assert (draft.state, draft.paid_amount, draft.refunded_amount) == (state, paid, refunded)


def test_woocommerce_guests_and_baskets() -> None:
    assert only(woocommerce.read(payloads.WOOCOMMERCE | {"customer_id": 0}, YUAN, NOW)).buyer.number is None
    assert woocommerce.read({"id": 1, "status": "checkout-draft"}, YUAN, NOW).ignored == Reason.DRAFT_ORDER
    assert woocommerce.read({}, YUAN, NOW, "product.updated").ignored == Reason.TOPIC


def test_woocommerce_refund_names_its_order_in_its_links() -> None:
    refund = only(woocommerce.read(payloads.WOOCOMMERCE_REFUND, YUAN, NOW))
    assert refund == RefundDraft("726", "727", 1000, datetime(2026, 2, 4, 20, 7, 11, tzinfo=UTC))
    lost = {key: value for key, value in payloads.WOOCOMMERCE_REFUND.items() if key != "_links"}
    assert faults(woocommerce.read, lost) == [("parent_id", Reason.MISSING)]


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("id", ..., Reason.MISSING),
        ("status", ..., Reason.MISSING),
        ("status", "half-way", Reason.STATE_UNKNOWN),
        ("currency", "EUR", Reason.CURRENCY_FOREIGN),
        ("date_created_gmt", ..., Reason.MISSING),
        ("date_created_gmt", "yesterday", Reason.MOMENT_FORM),
        ("date_paid_gmt", "2025-02-01T02:01:00", Reason.MOMENT_ORDER),
        ("total", ..., Reason.MISSING),
        ("total", "-1", Reason.AMOUNT_BELOW_ZERO),
        ("line_items.0.total", None, Reason.MISSING),
        ("line_items.0.quantity", "two", Reason.QUANTITY_FORM),
        ("billing", "nobody", Reason.NO_OBJECT),
        ("billing.phone", 13800000000, Reason.NO_TEXT),
        ("refunds", [{"id": 1}], Reason.MISSING),
        ("refunds", [{"id": 1, "total": "-107.01"}], Reason.REFUND_TOO_LARGE),
    ],
)
def test_woocommerce_names_what_is_wrong(place: str, value: Any, reason: Reason) -> None:
    assert reason in [why for _place, why in faults(woocommerce.read, changed(payloads.WOOCOMMERCE, place, value))]


def test_woocommerce_protocol_files() -> None:
    draft: OrderDraft = only(woocommerce.read(fixture("woocommerce/orders_1.json"), DOLLAR, NOW))
    # 29.35 × 7.1 = 208.385, rounded half up.
    assert (draft.external_id, draft.state, draft.paid_amount) == ("727", OrderState.PAID, 20839)
    assert draft.placed_at == datetime(2017, 3, 22, 19, 28, 2, tzinfo=UTC)
    assert [line.sku for line in draft.lines] == ["product:93", "Bar3"]
    refund = only(woocommerce.read(fixture("woocommerce/refunds_1.json"), DOLLAR, NOW))
    assert (refund.external_id, refund.order_external_id, refund.amount) == ("726", "723", 7100)


# ── Youzan ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_youzan_order() -> None:
    draft: OrderDraft = only(youzan.read(payloads.YOUZAN, YUAN, NOW))
    assert (draft.external_id, draft.state) == ("E20260201100000000100001", OrderState.PAID)
    assert (draft.placed_at, draft.paid_at) == (local("2026-02-01T10:00:00"), local("2026-02-01T10:01:00"))
    assert (draft.paid_amount, draft.postage, draft.discount) == (8880, 800, 1000)
    [line] = draft.lines
    assert (line.sku, line.quantity, line.unit_price, line.amount) == ("MUG-1", 2, 4540, 8080)
    assert draft.buyer is not None
    assert (draft.buyer.number, draft.buyer.phone, draft.buyer.nickname) == ("AbC123", "+8613800000003", "薄荷")


@pytest.mark.parametrize(
    ("change", "refunds", "state", "paid", "refunded"),
    [
        ({"status": "WAIT_BUYER_PAY", "pay_time": ""}, [], OrderState.PLACED, 0, 0),
        ({"status": "WAIT_BUYER_CONFIRM_GOODS"}, [], OrderState.SHIPPED, 8880, 0),
        ({"status": "TRADE_BUYER_SIGNED", "sign_time": "2026-02-05 10:00:00"}, [], OrderState.DELIVERED, 8880, 0),
        ({"status": "WAIT_CONFIRM"}, [], OrderState.PAID, 8880, 0),
        ({"status": "WAIT_PAY_RETURN", "pay_time": ""}, [], OrderState.PLACED, 0, 0),
        ({"refund_state": 11}, [{"refund_fee": "8.80", "refund_state": 45}], OrderState.PAID, 8880, 0),
        ({"status": "TRADE_SUCCESS", "success_time": "2026-02-09 10:00:00"}, [], OrderState.COMPLETED, 8880, 0),
        ({"status": "TRADE_CLOSED", "pay_time": ""}, [], OrderState.CLOSED, 0, 0),
        ({"status": "TRADE_CLOSED", "refund_state": 12}, [], OrderState.CLOSED, 8880, 8880),
        ({}, [{"refund_fee": "8.80", "refund_state": 60}], OrderState.PAID, 8880, 880),
        ({}, [{"refund_fee": "8.80", "refund_state": 10}], OrderState.PAID, 8880, 0),
    ],
)
def test_youzan_states(change: Any, refunds: Any, state: OrderState, paid: int, refunded: int) -> None:
    body = copy.deepcopy(payloads.YOUZAN) | {"refund_order": refunds}
    body["full_order_info"]["order_info"] |= change
    draft: OrderDraft = only(youzan.read(body, YUAN, NOW))
    assert (draft.state, draft.paid_amount, draft.refunded_amount) == (state, paid, refunded)


def test_youzan_time_of_a_full_group_is_no_delivery() -> None:
    body = copy.deepcopy(payloads.YOUZAN)
    body["full_order_info"]["order_info"] |= {
        "status": "TRADE_SUCCESS", "confirm_time": "2026-02-01 11:00:00", "success_time": "2026-02-09 10:00:00",
    }  # fmt: skip
    draft: OrderDraft = only(youzan.read(body, YUAN, NOW))
    assert (draft.delivered_at, draft.completed_at) == (None, local("2026-02-09T10:00:00"))


REFUND = {"tid": "E9", "refund_id": "R1", "refunded_fee": "8.80", "update_time": "2026-02-05 10:00:00"}


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("trade_refund_BuyerCreated", False),
        ("trade_refund_RefundSellerAgreeReturnGoods", False),
        ("trade_refund_RefundBuyerReturnGoods", False),
        ("trade_refund_RefundClosed", False),
        ("youzan_trade_RefundCreated", False),
        ("trade_refund_RefundSellerAgree", True),
        ("trade_refund_RefundSuccess", True),
        ("trade_refund_RefundSellerCreated", True),
        ("trade_refund_SysRefund", True),
    ],
)
def test_youzan_wishes_for_refunds_are_none(kind: str, counts: bool) -> None:
    payload = youzan.read(json.loads(payloads.youzan_push("s", REFUND, kind)), YUAN, NOW, kind)
    if counts:
        assert payload.reports == [RefundDraft("R1", "E9", 880, local("2026-02-05T10:00:00"))]
    else:
        assert (payload.reports, payload.ignored) == ([], Reason.TOPIC)


def test_youzan_newer_refunds() -> None:
    kind = "youzan_trade_RefundSuccess"
    inner = {name: value for name, value in REFUND.items() if name != "update_time"}
    read = youzan.read({"type": kind, "msg": inner}, YUAN, NOW, kind)
    assert read.reports == [RefundDraft("R1", "E9", 880, NOW)]
    exchanged = inner | {"refund_type": "EXCHANGE_GOODS_FLOW"}
    assert youzan.read({"type": kind, "msg": exchanged}, YUAN, NOW, kind).reports == []
    assert faults(youzan.read, {"type": "trade_refund_RefundSuccess", "msg": inner}) != []


def test_youzan_push_of_a_step() -> None:
    body = json.loads(
        payloads.youzan_push("s", {"tid": "E9", "update_time": "2026-02-05 10:00:00"}, "trade_TradeClose")
    )
    assert only(youzan.read(body, YUAN, NOW)) == StepDraft("E9", OrderState.CLOSED, local("2026-02-05T10:00:00"))


def test_youzan_wrapped_answers_and_other_news() -> None:
    assert len(youzan.read({"response": payloads.YOUZAN}, YUAN, NOW).reports) == 1
    assert len(youzan.read({"full_order_info_list": [payloads.YOUZAN] * 3}, YUAN, NOW).reports) == 3
    body = json.loads(payloads.youzan_push("s", {"a": 1}, "SCRM_CUSTOMER_EVENT"))
    assert youzan.read(body, YUAN, NOW).ignored == Reason.TOPIC


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("full_order_info", ..., Reason.MISSING),
        ("full_order_info.order_info", ..., Reason.MISSING),
        ("full_order_info.pay_info", ..., Reason.MISSING),
        ("full_order_info.order_info.tid", "", Reason.MISSING),
        ("full_order_info.order_info.status", "TRADE_LOST", Reason.STATE_UNKNOWN),
        ("full_order_info.order_info.created", "2026/02/01", Reason.MOMENT_FORM),
        ("full_order_info.pay_info.payment", "88.8元", Reason.AMOUNT_FORM),
        ("full_order_info.orders.0.num", 0.5, Reason.QUANTITY_FORM),
        ("full_order_info.orders", 7, Reason.NO_LIST),
        ("refund_order", [{"refund_state": 60}], Reason.MISSING),
    ],
)
def test_youzan_names_what_is_wrong(place: str, value: Any, reason: Reason) -> None:
    assert reason in [why for _place, why in faults(youzan.read, changed(payloads.YOUZAN, place, value))]


@pytest.mark.parametrize("packed", ["%E5%9", "%zz", "{", "%7B", 5, None])
def test_youzan_messages_that_cannot_be_read(packed: Any) -> None:
    assert faults(youzan.read, {"type": "trade_TradePaid", "msg": packed})[0][0] == "msg"


def test_youzan_protocol_files() -> None:
    draft: OrderDraft = only(youzan.read(fixture("youzan/push_trade_create_redacted.json"), YUAN, NOW))
    assert (draft.external_id, draft.state) == ("E20180822120606008800010", OrderState.PLACED)
    assert draft.placed_at == local("2018-08-22T12:06:06")
    assert draft.lines[0].unit_price == 250
    step = only(youzan.read(fixture("youzan/push_trade_close.json"), YUAN, NOW))
    assert step == StepDraft("E20170807181905034500002", OrderState.CLOSED, local("2017-08-07T18:19:05"))


# ── Our own form ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_standard_order_and_refund() -> None:
    draft: OrderDraft = only(standard.read(payloads.STANDARD, YUAN, NOW))
    assert (draft.external_id, draft.state, draft.paid_amount) == ("A-1", OrderState.COMPLETED, 10000)
    refund = {"type": "refund.created", "data": {"refund": "R1", "order": "A-1", "amount": 500}}
    assert only(standard.read(refund, YUAN, NOW)) == RefundDraft("R1", "A-1", 500, NOW)
    assert standard.read({"type": "member.joined", "data": {}}, YUAN, NOW).ignored == Reason.TOPIC


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        ("type", ..., "type"),
        ("data", ..., "data"),
        ("data", [], "data"),
        ("data.order", ..., "data.order"),
        ("data.paid_amount", "100.00", "data.paid_amount"),
        ("data.paid_amount", 1.5, "data.paid_amount"),
        ("data.placed_at", 5, "data.placed_at"),
        ("data.refunded_amount", 10001, "data.refunded_amount"),
        ("data.buyer", {"phone": "12"}, "data.buyer.phone"),
        ("data.surprise", 1, "data.surprise"),
    ],
)
def test_standard_names_what_is_wrong(place: str, value: Any, fault: str) -> None:
    assert fault in [where for where, _why in faults(standard.read, changed(payloads.STANDARD, place, value))]


# ── All of them ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_reason_has_its_sentence() -> None:
    assert set(SENTENCES) == set(Reason)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[NaN]", b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}", b"null"]
)
def test_bodies_that_are_no_payload(body: bytes) -> None:
    for read in READERS.values():
        with pytest.raises(PayloadRefused):
            read(fields.parsed(body), YUAN, NOW, None)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
BODIES = {
    Kind.SHOPIFY: payloads.SHOPIFY,
    Kind.WOOCOMMERCE: payloads.WOOCOMMERCE,
    Kind.YOUZAN: payloads.YOUZAN,
    Kind.STANDARD: payloads.STANDARD,
}


def places(body: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [prefix] if prefix else []
    inner = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in inner:
        found += places(value, (*prefix, key))
    return found


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(BODIES)), st.data())
def test_whatever_stands_in_a_field_is_read_or_refused(kind: Kind, data: st.DataObject) -> None:
    """Nothing else is raised, and what is taken holds no nonsense."""
    body = copy.deepcopy(BODIES[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        way = data.draw(st.sampled_from(places(body)))
        inner = body
        for step in way[:-1]:
            inner = inner[step]
        inner[way[-1]] = data.draw(ANYTHING)
    try:
        payload = READERS[kind](fields.parsed(json.dumps(body).encode()), YUAN, NOW, None)
    except PayloadRefused:
        return
    assert payload.reports or payload.ignored
    for report in payload.reports:
        if isinstance(report, OrderDraft):
            assert 0 <= report.refunded_amount <= report.paid_amount
            assert report.postage >= 0
            assert report.version_at.tzinfo is not None
            assert all(line.quantity > 0 and line.unit_price >= 0 and line.amount >= 0 for line in report.lines)
