"""REST for shop systems: orders and refunds. Amounts are integer 分, instants ISO 8601 with an offset.

One order or up to 500; all are taken or none. An order that is known and no newer is answered as a duplicate, so that a
feed may send the same order as often as it likes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from flask import jsonify, request
from pydantic import AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from kernel import clock
from kernel.auth import api_scope
from kernel.errors import InputInvalid, Refusal
from kernel.http import api_blueprint, idempotent
from kernel.i18n import gettext as _
from membership.members import rules as people

from . import rules, services
from .formats.drafts import Buyer, LineDraft, OrderDraft, version_at
from .models import OrderState, Payment

bp = api_blueprint("orders_api", __name__)

MOST_ORDERS = 500
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Source = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Words = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$")]
Amount = Annotated[int, Field(ge=0, le=rules.LARGEST_AMOUNT)]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class BuyerIn(Strict):
    id: Annotated[str, Field(max_length=100)] | None = None
    phone: Annotated[str, Field(max_length=40)] | None = None
    email: Annotated[str, Field(max_length=254)] | None = None
    nickname: Words = ""
    name: Words = ""
    city: Words = ""


class LineIn(Strict):
    sku: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")]
    title: Words = ""
    quantity: Annotated[int, Field(ge=1, le=rules.MOST_PIECES)]
    unit_price: Amount


class OrderIn(Strict):
    source: Source
    order: Name = Field(validation_alias=AliasChoices("order", "external_id", "order_no"))
    state: OrderState
    payment: Payment = Payment.ONLINE
    placed_at: AwareDatetime
    paid_at: AwareDatetime | None = None
    shipped_at: AwareDatetime | None = None
    delivered_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None
    closed_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None
    paid_amount: Amount
    postage: Amount = 0
    discount: Amount = 0
    refunded_amount: Amount = 0
    buyer: BuyerIn | None = None
    lines: Annotated[list[LineIn], Field(max_length=rules.MOST_LINES)] = []


class OrdersIn(Strict):
    orders: Annotated[list[OrderIn], Field(min_length=1, max_length=MOST_ORDERS)]


class RefundIn(Strict):
    source: Source
    refund: Name = Field(validation_alias=AliasChoices("refund", "external_id", "refund_no"))
    order: Name
    amount: Annotated[int, Field(ge=1, le=rules.LARGEST_AMOUNT)]
    at: AwareDatetime | None = None


_ONE = TypeAdapter(OrderIn)
_MANY = TypeAdapter(OrdersIn)
_REFUND = TypeAdapter(RefundIn)


def _several() -> bool:
    """Whether the body is a list of orders; what is wrong with it is said by the form that reads it."""
    try:
        # Unlike Python's own reader, this one refuses to go deeper than it can.
        body = from_json(request.get_data())
    except ValueError:
        return False
    return isinstance(body, dict) and "orders" in body


def _read(form: TypeAdapter[Any]) -> Any:
    """The request's body as a form has it; refuses with `InputInvalid`, naming every field that is wrong."""
    try:
        return form.validate_json(request.get_data(), strict=True)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False, include_input=False)
        raise InputInvalid([(".".join(map(str, one["loc"])) or "body", one["msg"]) for one in mistakes[:100]]) from None
    except ValueError:
        raise InputInvalid([("body", _("This is no JSON in UTF-8."))]) from None


def _mistakes(one: OrderIn, now: datetime) -> list[tuple[str, str]]:
    """What no single field shows."""
    found: list[tuple[str, str]] = []
    expected = one.state is OrderState.SHIPPED
    for name in ("placed_at", "paid_at", "shipped_at", "delivered_at", "completed_at", "closed_at", "updated_at"):
        at: datetime | None = getattr(one, name)
        if at is None:
            continue
        if at.year < 2000:
            found.append((name, _("Not a likely date")))
        elif at > now + rules.AHEAD and not (name == "delivered_at" and expected):
            found.append((name, _("The moment lies in the future")))
        elif name != "updated_at" and at < one.placed_at:
            found.append((name, _("The moment lies before the order was placed")))
    if one.refunded_amount > one.paid_amount:
        found.append(("refunded_amount", _("More was refunded than was paid")))
    if one.postage > one.paid_amount and one.state in rules.PAID_STATES:
        found.append(("postage", _("The postage is more than was paid")))
    return found


def _buyer(one: BuyerIn, found: list[tuple[str, str]]) -> Buyer | None:
    phone = email = None
    try:
        phone = people.canonical_phone(one.phone) if one.phone and "*" not in one.phone else None
    except Refusal as refused:
        found.append(("buyer.phone", refused.message))
    try:
        email = people.canonical_email(one.email) if one.email and "*" not in one.email else None
    except Refusal as refused:
        found.append(("buyer.email", refused.message))
    number = " ".join((one.id or "").split()) or None
    buyer = Buyer(
        number=number,
        phone=phone,
        email=email,
        nickname=one.nickname.strip(),
        name=one.name.strip(),
        city=one.city.strip(),
    )
    return buyer if buyer.known else None


def _draft(one: OrderIn, now: datetime, found: list[tuple[str, str]]) -> OrderDraft:
    found += _mistakes(one, now)
    last = version_at(
        one.state, one.placed_at, one.paid_at, one.shipped_at, one.delivered_at, one.completed_at, one.closed_at
    )
    return OrderDraft(
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


def _drafts(orders: list[OrderIn], place: str) -> list[tuple[str, OrderDraft]]:
    """Every order with its source; refuses with `InputInvalid` when any is wrong."""
    now = clock.now()
    drafts, mistakes = [], []
    for number, one in enumerate(orders):
        found: list[tuple[str, str]] = []
        drafts.append((one.source, _draft(one, now, found)))
        prefix = place.format(number)
        mistakes += [(prefix + name, sentence) for name, sentence in found]
    if mistakes:
        raise InputInvalid(mistakes)
    return drafts


def _record(drafts: list[tuple[str, OrderDraft]]) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = [{} for _one in drafts]
    for source in sorted({source for source, _draft in drafts}):
        here = [(place, draft) for place, (name, draft) in enumerate(drafts) if name == source]
        taken = services.record_many(source, [draft for _place, draft in here])
        for (place, draft), outcome in zip(here, taken.outcomes, strict=True):
            answers[place] = {"source": source, "order": draft.external_id, "result": outcome}
    return answers


@bp.post("/orders")
@api_scope("orders:write")
@idempotent()
def record() -> Any:
    several = _several()
    orders = _read(_MANY).orders if several else [_read(_ONE)]
    answers = _record(_drafts(orders, "orders.{}." if several else ""))
    status = 201 if any(one["result"] == "new" for one in answers) else 200
    return jsonify({"orders": answers} if several else answers[0]), status


@bp.post("/refunds")
@api_scope("orders:write")
@idempotent()
def refund() -> Any:
    one = _read(_REFUND)
    if one.at is not None and one.at > clock.now() + rules.AHEAD:
        raise InputInvalid([("at", _("The moment lies in the future"))])
    taken = services.refund(one.source, one.refund, one.order, one.amount, one.at)
    answer = {"source": one.source, "refund": one.refund, "order": one.order, "result": taken.outcomes[0]}
    return jsonify(answer), 201 if taken.outcomes[0] == "new" else 200
