"""Siyu's own form of an order and a refund, as the REST interface takes them and as signed webhooks carry them.

A webhook's body is `{"type": "order.updated", "timestamp": …, "data": {…}}` (Standard Webhooks); what lies in `data` is what
`POST /api/v1/orders` or `/refunds` takes, its `source` being the connection's.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AliasChoices, Field, TypeAdapter, ValidationError

from kernel.http import NAME, Amount, Instant, Strict
from kernel.http import Words as AnyWords
from kernel.i18n import lazy_gettext as _l
from kernel.mistakes import explained
from membership.members import rules as people

from .. import rules
from ..formats.drafts import Buyer, LineDraft, OrderDraft, RefundDraft, version_at
from ..models import OrderState, Payment
from .fields import Exchange, Payload
from .reasons import PayloadRefused, Reason

Number = Annotated[str, Field(min_length=1, max_length=64, pattern=NAME)]
Source = Annotated[str, Field(pattern=explained(f"^{rules.SOURCE}$", rules.SourceInvalid.label))]
Words = Annotated[AnyWords, Field(max_length=200)]


# Whatever a shop system has for an identity, but for what cannot be stored.
_STORABLE = explained(r"^[^\x00]*$", _l("This holds a NUL character, which cannot be stored."))


class BuyerIn(Strict):
    """Who bought: whoever has one of `id`, `phone` and `email` already is found, else made; without any the order has no member
    (at taobao and tmall the nickname is an account and does too). What has asterisks in it names nobody."""

    id: Annotated[
        str | None, Field(max_length=100, pattern=_STORABLE, description="The customer's number at the source.")
    ] = None
    phone: Annotated[str | None, Field(max_length=40, pattern=_STORABLE, description="In any spelling.")] = None
    email: Annotated[str | None, Field(max_length=254, pattern=_STORABLE)] = None
    nickname: Words = ""
    name: Words = ""
    city: Words = ""


class LineIn(Strict):
    sku: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")]
    title: Words = ""
    quantity: Annotated[int, Field(ge=1, le=rules.MOST_PIECES)]
    unit_price: Annotated[Amount, Field(description="Of one piece, before what is taken off the order, in 分.")]


class OrderBody(Strict):
    """An order without its source. Amounts in 分."""

    order: Number = Field(
        validation_alias=AliasChoices("order", "external_id", "order_no"),
        description="Its number at the source; `external_id` and `order_no` are understood too.",
    )
    state: Annotated[OrderState, Field(description="`refused` is a parcel that its receiver did not take.")]
    payment: Payment = Payment.ONLINE
    placed_at: Annotated[
        Instant, Field(description="The other moments may be left out, and none lies before this one.")
    ]
    paid_at: Instant | None = None
    shipped_at: Instant | None = None
    delivered_at: Instant | None = None
    completed_at: Instant | None = None
    closed_at: Instant | None = None
    updated_at: Annotated[
        Instant | None,
        Field(
            description="When the source last changed it: of two reports the later rules, whichever comes first. If left out, it "
            "is the last of the other moments, so send it with what is corrected later."
        ),
    ] = None
    paid_amount: Annotated[Amount, Field(description="What the buyer paid or is to pay, with the postage, in 分.")]
    postage: Amount = 0
    discount: Amount = 0
    refunded_amount: Annotated[Amount, Field(description="All that was given back so far, in 分.")] = 0
    buyer: BuyerIn | None = None
    lines: Annotated[list[LineIn], Field(max_length=rules.MOST_LINES)] = []


class RefundBody(Strict):
    """A refund without its source. `amount` in 分."""

    refund: Number = Field(validation_alias=AliasChoices("refund", "external_id", "refund_no"))
    order: Number
    amount: Annotated[int, Field(ge=1, le=rules.LARGEST_AMOUNT)]
    at: Instant | None = None


class _Order(OrderBody):
    source: Source | None = None


class _Refund(RefundBody):
    source: Source | None = None


_ORDER = TypeAdapter(_Order)
_REFUND = TypeAdapter(_Refund)
MOMENTS = ("placed_at", "paid_at", "shipped_at", "delivered_at", "completed_at", "closed_at", "updated_at")


def draft_of(one: OrderBody, now: datetime) -> tuple[OrderDraft, list[tuple[str, str]]]:
    """An order as a draft, and what no single field shows to be wrong with it (field, `Reason`)."""
    found = _mistakes(one, now)
    last = version_at(
        one.state, one.placed_at, one.paid_at, one.shipped_at, one.delivered_at, one.completed_at, one.closed_at
    )
    draft = OrderDraft(
        external_id=one.order,
        state=one.state,
        payment=one.payment,
        placed_at=one.placed_at,
        paid_at=one.paid_at,
        shipped_at=one.shipped_at,
        delivered_at=one.delivered_at,
        completed_at=one.completed_at,
        closed_at=one.closed_at,
        version_at=one.updated_at or last,
        paid_amount=one.paid_amount,
        postage=one.postage,
        discount=one.discount,
        refunded_amount=one.refunded_amount,
        buyer=_buyer(one.buyer, found) if one.buyer is not None else None,
        lines=tuple(
            LineDraft(line.sku, line.title.strip() or line.sku, line.quantity, line.unit_price) for line in one.lines
        ),
    )
    return draft, found


def _mistakes(one: OrderBody, now: datetime) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    expected = one.state is OrderState.SHIPPED
    for name in MOMENTS:
        at: datetime | None = getattr(one, name)
        if at is None:
            continue
        if at.year < 2000:
            found.append((name, Reason.MOMENT_ABSURD))
        elif at > now + rules.AHEAD and not (name == "delivered_at" and expected):
            found.append((name, Reason.MOMENT_AHEAD))
        elif name != "updated_at" and at < one.placed_at:
            found.append((name, Reason.MOMENT_ORDER))
    if one.refunded_amount > one.paid_amount:
        found.append(("refunded_amount", Reason.REFUND_TOO_LARGE))
    if one.postage > one.paid_amount and one.state in rules.PAID_STATES:
        found.append(("postage", Reason.POSTAGE_TOO_LARGE))
    return found


def _buyer(one: BuyerIn, found: list[tuple[str, str]]) -> Buyer | None:
    phone = email = None
    try:
        phone = people.canonical_phone(one.phone) if one.phone and "*" not in one.phone else None
    except people.PhoneInvalid:
        found.append(("buyer.phone", Reason.PHONE_FORM))
    try:
        email = people.canonical_email(one.email) if one.email and "*" not in one.email else None
    except people.EmailInvalid:
        found.append(("buyer.email", Reason.EMAIL_FORM))
    buyer = Buyer(
        number=" ".join((one.id or "").split()) or None,
        phone=phone,
        email=email,
        nickname=one.nickname.strip(),
        name=one.name.strip(),
        city=one.city.strip(),
    )
    return buyer if buyer.known else None


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError


def read(body: Any, exchange: Exchange, now: datetime, topic: str | None = None) -> Payload:
    """One order or refund of a webhook. Amounts are 分 already. Refuses with `PayloadRefused`."""
    if not isinstance(body, dict):
        raise PayloadRefused([("body", Reason.NO_OBJECT)])
    kind = body.get("type")
    if not isinstance(kind, str):
        raise PayloadRefused([("type", Reason.MISSING)])
    if not kind.startswith(("order.", "refund.")):
        return Payload(ignored=Reason.TOPIC)
    if not isinstance(body.get("data"), dict):
        raise PayloadRefused([("data", Reason.MISSING)])
    text = json.dumps(body["data"], default=_plain)
    try:
        if kind.startswith("refund."):
            refund = _REFUND.validate_json(text)
            if refund.at is not None and refund.at > now + rules.AHEAD:
                raise PayloadRefused([("data.at", Reason.MOMENT_AHEAD)])
            return Payload([RefundDraft(refund.refund, refund.order, refund.amount, refund.at or now)])
        draft, found = draft_of(_ORDER.validate_json(text), now)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False, include_input=False)[:100]
        raise PayloadRefused([(".".join(map(str, ("data", *one["loc"]))), one["msg"]) for one in mistakes]) from None
    if found:
        raise PayloadRefused([(f"data.{name}", why) for name, why in found])
    return Payload([draft])
