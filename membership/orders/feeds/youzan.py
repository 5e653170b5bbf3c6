"""Orders as Youzan (有赞) writes them: the answer of `youzan.trade.get`, and the pushes of its message service.

A push is an envelope whose `msg` is percent-encoded JSON: a whole order (`full_order_info`), or only the number of one with
what has become of it. Times are the shop's clock without an offset, amounts yuan as decimal strings. Facts: Youzan's developer
documentation: "youzan.trade.get 4.0" (states, refund states, kinds of payment; `TRADE_NO_CREATE_PAY`, `WAIT_PAY_RETURN`,
`WAIT_GROUP`, `TRADE_BUYER_SIGNED` and `TRADE_CLOSED_BY_USER` are the names of its 3.0, which shops' programs still send), "交易消息"
(types of pushes about orders) and "交易退款" (those about refunds; each names the refund, so that the same one counts once).
How a push is signed is in `signatures`.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from kernel.clock import ZONE

from ..formats.drafts import Buyer, LineDraft, RefundDraft, StepDraft
from ..models import OrderState, Payment
from . import fields
from .fields import Exchange, Fields, Payload
from .reasons import PayloadRefused, Reason

STATES = {
    "WAIT_BUYER_PAY": OrderState.PLACED,
    "TRADE_NO_CREATE_PAY": OrderState.PLACED,
    "WAIT_PAY_RETURN": OrderState.PLACED,
    # A group that is not full yet, or a shop that must confirm: the money is there.
    "WAIT_GROUP": OrderState.PAID,
    "WAIT_CONFIRM": OrderState.PAID,
    "TRADE_PAID": OrderState.PAID,
    "WAIT_SELLER_SEND_GOODS": OrderState.PAID,
    "WAIT_BUYER_CONFIRM_GOODS": OrderState.SHIPPED,
    "TRADE_BUYER_SIGNED": OrderState.DELIVERED,
    "TRADE_SUCCESS": OrderState.COMPLETED,
    "TRADE_CLOSED": OrderState.CLOSED,
    "TRADE_CLOSED_BY_USER": OrderState.CLOSED,
}
# Types of pushes that say how far an order has come and no more of it.
STEPS = {
    "trade_TradeClose": OrderState.CLOSED,
    "trade_TradeSellerShip": OrderState.SHIPPED,
    "trade_TradeSuccess": OrderState.COMPLETED,
}
# Types of pushes after which the money is on its way back. The others of "交易退款" are wishes, refusals and parcels: the buyer
# asks (`BuyerCreated`), the shop agrees to take goods back (`RefundSellerAgreeReturnGoods`), the wish is withdrawn.
REFUNDS = {
    "trade_refund_RefundSellerAgree",
    "trade_refund_RefundSuccess",
    "trade_refund_RefundSellerCreated",
    "trade_refund_SysRefund",
    "youzan_trade_RefundSuccess",
}
# `pay_type` of an order paid to the courier (货到付款).
CASH_ON_DELIVERY = 9
# `refund_state` of one refund: 1 asked for, 10 and 40 refused, 20 and 30 goods on their way, 45 exchanged, 50 closed, 60 done.
REFUND_DONE = 60
# `refund_state` of an order: 1 and 11 under way, 2 partly and 12 wholly given back.
WHOLLY_REFUNDED = 12
_ESCAPES = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def message(envelope: Any) -> Any:
    """What lies in a push's `msg`. Refuses with `PayloadRefused`: no text, broken percent-encoding, no JSON."""
    packed = envelope.get("msg") if isinstance(envelope, dict) else None
    if isinstance(packed, dict):
        return packed
    if not isinstance(packed, str) or _ESCAPES.search(packed.encode("utf-8", "replace")):
        raise PayloadRefused([("msg", Reason.MISSING if packed is None else Reason.NO_JSON)])
    try:
        return fields.parsed(unquote_to_bytes(packed) if "%" in packed else packed.encode())
    except (PayloadRefused, ValueError):
        raise PayloadRefused([("msg", Reason.NO_JSON)]) from None


def read(body: Any, exchange: Exchange, now: datetime, topic: str | None = None) -> Payload:
    """One order or push, or a list of up to 500 of either. With a `topic` (pushes) others than those of trades are
    ignored. Refuses with `PayloadRefused`."""
    if topic is not None and not topic.lower().removeprefix("youzan_").startswith("trade_"):
        return Payload(ignored=Reason.TOPIC)
    # Amounts carry no currency: they are the connection's.
    for wrapper in ("response", "data"):
        if isinstance(body, dict) and isinstance(body.get(wrapper), dict):
            body = body[wrapper]
    return fields.several(
        body, ("full_order_info_list",), lambda one, place, faults: _one(one, place, faults, exchange, now)
    )


def _one(body: Any, place: str, faults: list[tuple[str, str]], exchange: Exchange, now: datetime) -> Payload:
    if isinstance(body, dict) and "msg" in body:
        kind = body.get("type")
        if body.get("test") is True:
            return Payload(ignored=Reason.PING)
        try:
            inner = message(body)
        except PayloadRefused as refused:
            faults += [(f"{place}.{name}".lstrip("."), why) for name, why in refused.faults]
            return Payload()
        said = Fields(inner, now, f"{place}.msg".lstrip("."), faults, exchange.rate)
    else:
        kind = None
        said = Fields(body, now, place, faults, exchange.rate)
    if said.has("full_order_info"):
        return _order(said)
    if said.has("refund_id") and said.has("tid") and (kind is None or kind in REFUNDS):
        return _refund(said, kind)
    if isinstance(kind, str) and kind in STEPS:
        return _step(said, STEPS[kind])
    if isinstance(kind, str):
        return Payload(ignored=Reason.TOPIC)
    said.fault("full_order_info", Reason.MISSING)
    return Payload()


def _step(said: Fields, state: OrderState) -> Payload:
    number = said.number("tid", needed=True)
    at = said.moment("update_time", ZONE, needed=True)
    return Payload([StepDraft(number, state, at)]) if number is not None and at is not None else Payload()


def _refund(said: Fields, kind: str | None) -> Payload:
    number, order = said.number("refund_id", needed=True), said.number("tid", needed=True)
    # The newer messages do not promise a time; what counts is the number of the refund.
    at = said.moment("update_time", ZONE, needed=kind != "youzan_trade_RefundSuccess") or said.now
    if str(said.body.get("refund_type") or "").startswith("EXCHANGE"):
        return Payload(ignored=Reason.NO_REFUND_YET)
    amount = said.amount("refunded_fee" if said.has("refunded_fee") else "refund_fee", needed=True)
    if said.has("refund_state") and said.body["refund_state"] != REFUND_DONE:
        return Payload(ignored=Reason.NO_REFUND_YET)
    if number is None or order is None or amount == 0:
        return Payload(ignored="" if amount else Reason.NO_REFUND_YET)
    return Payload([RefundDraft(number, order, amount, at)])


def _order(whole: Fields) -> Payload:
    remarks: list[str] = []
    said = whole.child("full_order_info")
    order, pay = said.child("order_info", needed=True), said.child("pay_info", needed=True)
    number = order.number("tid", needed=True)
    state: OrderState = order.choice("status", STATES) or OrderState.PLACED
    placed_at = order.moment("created", ZONE, needed=True)
    updated_at = order.moment("update_time", ZONE)
    paid_at = order.after("pay_time", placed_at, ZONE)
    shipped_at = order.after("consign_time", placed_at, ZONE)
    # `confirm_time` is when a group was full, and says nothing of the parcel.
    signed_at = order.after("sign_time", placed_at, ZONE)
    succeeded_at = order.after("success_time", placed_at, ZONE)
    on_delivery = order.body.get("pay_type") == CASH_ON_DELIVERY
    total = pay.amount("payment", needed=True)
    never_paid = state is OrderState.PLACED or (state is OrderState.CLOSED and paid_at is None)
    paid = 0 if never_paid else total
    refunded = sum(
        one.amount("refund_fee", needed=True)
        for one in whole.children("refund_order")
        if one.body.get("refund_state") == REFUND_DONE
    )
    if order.body.get("refund_state") == WHOLLY_REFUNDED:
        refunded = max(refunded, paid)
    if refunded > total:
        whole.fault("refund_order", Reason.REFUND_TOO_LARGE)
    buyer = _buyer(said, remarks)
    lines, before = _lines(said)
    postage = pay.amount("post_fee")
    if number is None or placed_at is None:
        return Payload()
    moments: dict[str, Any] = {
        "paid_at": None if state is OrderState.PLACED else paid_at,
        "shipped_at": shipped_at,
        "delivered_at": (signed_at or updated_at) if state is OrderState.DELIVERED else None,
        "completed_at": succeeded_at if state is OrderState.COMPLETED else None,
        "closed_at": (updated_at or placed_at) if state is OrderState.CLOSED else None,
    }
    return fields.one_order(
        remarks,
        moments,
        external_id=number,
        state=state,
        payment=Payment.ON_DELIVERY if on_delivery else Payment.ONLINE,
        placed_at=placed_at,
        updated_at=updated_at,
        paid=paid,
        postage=postage,
        refunded=refunded,
        discount=max(0, before + postage - total),
        buyer=buyer,
        lines=lines,
    )


def _lines(said: Fields) -> tuple[tuple[LineDraft, ...], int]:
    """The lines, and what they would have come to without any discount (分)."""
    lines, before = [], 0
    for line in said.children("orders"):
        pieces = line.pieces("num")
        price = line.amount("price", needed=True)
        total = line.amount("payment") if line.has("payment") else None
        sku = line.text("outer_sku_id", 80) or line.text("outer_item_id", 80)
        if not sku:
            variant, item = line.number("sku_id"), line.number("item_id")
            sku = f"sku:{variant}" if variant else f"item:{item or '?'}"
        if pieces:
            before += pieces * price
            lines.append(LineDraft(sku, line.text("title") or sku, pieces, price, total=total))
    return tuple(lines), before


def _buyer(said: Fields, remarks: list[str]) -> Buyer | None:
    who, where = said.child("buyer_info"), said.child("address_info")
    address = " ".join(
        filter(
            None,
            (
                where.text("delivery_province", 40),
                where.text("delivery_city", 40),
                where.text("delivery_district", 40),
                where.text("delivery_address", 100),
            ),
        )
    )
    buyer = Buyer(
        number=who.number("yz_open_id") or who.number("outer_user_id") or who.number("buyer_id"),
        nickname=who.text("fans_nickname", 80),
        name=where.text("receiver_name", 80),
        phone=fields.phone([(who, "buyer_phone"), (where, "receiver_tel")], remarks),
        city=where.text("delivery_city", 80),
        address=address[:200],
    )
    return buyer if buyer.known else None
