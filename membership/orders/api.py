"""REST for shop systems: orders and refunds in our own form and in theirs, and orders to be read.

One order or up to 500; all are taken or none. An order that is known and no newer is answered as a duplicate, so that a
feed may send the same order as often as it likes.
"""

from __future__ import annotations

import json
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from flask import request
from pydantic import BeforeValidator, Field, TypeAdapter, WrapValidator

from kernel import clock
from kernel.auth import api_scope
from kernel.errors import InputInvalid, NotFound, Refusal
from kernel.http import (
    Instant,
    Listed,
    PageQuery,
    RowId,
    Strict,
    api_blueprint,
    cursor_page,
    idempotent,
    operation,
)
from kernel.i18n import lazy_gettext as _l
from kernel.openapi import describe_tag

from . import queries, rules, services
from .feeds import fields, reasons
from .feeds.readers import READERS
from .feeds.reasons import PayloadRefused, Reason
from .feeds.signatures import Kind
from .feeds.standard import OrderBody, RefundBody, Source, draft_of
from .formats.drafts import OrderDraft
from .models import Order, OrderState, Payment

bp = api_blueprint("orders_api", __name__)
describe_tag("Orders", _l("Orders as they are reported and as they stand here, and refunds."))

MOST_ORDERS = fields.MOST_ORDERS


class OrderIn(OrderBody):
    source: Source


class OrdersIn(Strict):
    orders: Annotated[list[OrderIn], Field(min_length=1, max_length=MOST_ORDERS)]


class RefundIn(RefundBody):
    source: Source


class RefundNumberUsed(Refusal):
    """A refund's number stands for another refund already: kept as it was, this one would be lost without a word."""

    label = _l("This refund was reported before, with another order or amount. Give each refund a number of its own.")
    param = "refund"


_ONE = TypeAdapter(OrderIn)
_MANY = TypeAdapter(OrdersIn)


def _either(body: Any, _handler: Any) -> OrderIn | OrdersIn:
    """Read a body as what it looks like, so that mistakes are named at their places and not once for each form."""
    reader: TypeAdapter[Any] = _MANY if isinstance(body, dict) and "orders" in body else _ONE
    return reader.validate_json(json.dumps(body))


OneOrMany = Annotated[OrderIn | OrdersIn, WrapValidator(_either)]


class Result(StrEnum):
    NEW = "new"
    CHANGED = "changed"
    DUPLICATE = "duplicate"


class TakenOut(Strict):
    """What came of one order."""

    source: str
    order: str
    result: Result


class TakenManyOut(Strict):
    orders: list[TakenOut]


class RefundOut(Strict):
    source: str
    refund: str
    order: str
    result: Result


class PlatformOut(Strict):
    """What came of everything in a shop system's payload. `remarks` say what was left out of what was taken."""

    items: list[TakenOut]
    remarks: list[str]


def _drafts(orders: list[OrderIn], place: str) -> list[tuple[str, OrderDraft]]:
    """Every order with its source; refuses with `InputInvalid` when any is wrong."""
    now = clock.now()
    drafts, mistakes = [], []
    for number, one in enumerate(orders):
        draft, found = draft_of(one, now)
        drafts.append((one.source, draft))
        prefix = place.format(number)
        mistakes += [(prefix + name, reasons.sentence(why)) for name, why in found]
    if mistakes:
        raise InputInvalid(mistakes)
    return drafts


def _record(drafts: list[tuple[str, OrderDraft]]) -> list[TakenOut]:
    answers: dict[int, TakenOut] = {}
    for source in sorted({source for source, _draft in drafts}):
        here = [(place, draft) for place, (name, draft) in enumerate(drafts) if name == source]
        taken = services.record_many(source, [draft for _place, draft in here])
        for (place, draft), outcome in zip(here, taken.outcomes, strict=True):
            answers[place] = TakenOut(source=source, order=draft.external_id, result=Result(outcome))
    return [answers[place] for place in range(len(drafts))]


def _status(answers: list[TakenOut]) -> int:
    return 201 if any(one.result is Result.NEW for one in answers) else 200


EXAMPLE = {
    "source": "shop",
    "order": "A-1001",
    "state": "delivered",
    "placed_at": "2026-11-01T10:00:00+08:00",
    "delivered_at": "2026-11-04T15:30:00+08:00",
    "paid_amount": 12800,
    "postage": 800,
    "buyer": {"phone": "126 0000 1234", "nickname": "青柠"},
    "lines": [{"sku": "MUG-1", "title": "Enamel mug", "quantity": 2, "unit_price": 6000}],
}


@bp.post("/orders")
@api_scope("orders:write")
@idempotent()
@operation(
    _l("Import one order, or several"),
    tag="Orders",
    takes=OneOrMany,
    answers={200: TakenOut | TakenManyOut, 201: TakenOut | TakenManyOut},
    description=_l(
        "Up to 500 as `orders`, all or none. A report that is newer than what is known changes an order, an older one is a "
        "duplicate."
    ),
    example=EXAMPLE,
)
def record(body: OrderIn | OrdersIn) -> Any:
    several = isinstance(body, OrdersIn)
    orders = body.orders if isinstance(body, OrdersIn) else [body]
    answers = _record(_drafts(orders, "orders.{}." if several else ""))
    return TakenManyOut(orders=answers) if several else answers[0], _status(answers)


@bp.post("/refunds")
@api_scope("orders:write")
@idempotent()
@operation(
    _l("Import a refund, before or after its order"),
    tag="Orders",
    takes=RefundIn,
    answers={200: RefundOut, 201: RefundOut},
    refusals=[RefundNumberUsed],
    description=_l("The same again changes nothing. A full refund takes back the use of the order's coupons."),
    example={"source": "shop", "refund": "R-1", "order": "A-1001", "amount": 6000},
)
def refund(body: RefundIn) -> Any:
    if body.at is not None and body.at > clock.now() + rules.AHEAD:
        raise InputInvalid([("at", reasons.sentence(Reason.MOMENT_AHEAD))])
    taken = services.refund(body.source, body.refund, body.order, body.amount, body.at)
    outcome = Result(taken.outcomes[0])
    known = queries.get_refund(body.source, body.refund)
    if (known.order_external_id, known.amount) != (body.order, body.amount):
        raise RefundNumberUsed
    answer = RefundOut(source=body.source, refund=body.refund, order=body.order, result=outcome)
    return answer, 201 if outcome is Result.NEW else 200


# ── In the form of other shop systems ───────────────────────────────────────────────────────────────────────────────


class PlatformQuery(Strict):
    source: Annotated[Source, Field(description="Where the orders are from; two shops of one kind need two names.")] = (
        "shop"
    )
    currency: Annotated[
        str, Field(pattern=r"^[A-Z]{3}$", description="A currency besides yuan that amounts may be in.")
    ] = "CNY"
    rate: Annotated[
        str | None,
        Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?$", description="How many yuan one unit of that currency is worth."),
    ] = None


def _objects(body: Any) -> Any:
    """Say once of what is no object and no list of such that it is none, and not once for each form."""
    if isinstance(body, dict) or (isinstance(body, list) and all(isinstance(one, dict) for one in body)):
        return body
    raise ValueError(reasons.sentence(Reason.NO_ORDER))


Payloads = Annotated[dict[str, Any] | list[dict[str, Any]], BeforeValidator(_objects)]


def _platform(kind: Kind, query: PlatformQuery) -> Any:
    if query.currency != "CNY" and (query.rate is None or Decimal(query.rate) == 0):
        raise InputInvalid([("rate", reasons.sentence(Reason.CURRENCY_FOREIGN))])
    exchange = fields.Exchange(query.currency, Decimal(query.rate or 1) if query.currency != "CNY" else Decimal(1))
    try:
        # Read anew: amounts that are written as numbers must not pass through binary fractions.
        payload = READERS[kind](fields.parsed(request.get_data()), exchange, clock.now(), None)
    except PayloadRefused as refused:
        raise InputInvalid([(place, reasons.sentence(why)) for place, why in refused.faults[:100]]) from None
    taken = services.take_in_reported(query.source, payload.reports)
    items = [
        TakenOut(source=query.source, order=queries.number_of(report), result=Result(outcome))
        for report, outcome in zip(payload.reports, taken.outcomes, strict=True)
    ]
    remarks = [reasons.sentence(one) for one in dict.fromkeys([*payload.remarks, payload.ignored]) if one]
    return PlatformOut(items=items, remarks=remarks), _status(items)


def _platform_operation(name: str) -> Any:
    return operation(
        _l("Import orders and refunds as %(name)s writes them", name=name),
        tag="Orders",
        takes=Payloads,
        description=_l("One order, a list of up to 500, or a refund; all are taken or none."),
        query=PlatformQuery,
        answers={200: PlatformOut, 201: PlatformOut},
    )


@bp.post("/orders/shopify")
@api_scope("orders:write")
@idempotent()
@_platform_operation("Shopify")
def record_shopify(body: Any, query: PlatformQuery) -> Any:
    return _platform(Kind.SHOPIFY, query)


@bp.post("/orders/woocommerce")
@api_scope("orders:write")
@idempotent()
@_platform_operation("WooCommerce")
def record_woocommerce(body: Any, query: PlatformQuery) -> Any:
    return _platform(Kind.WOOCOMMERCE, query)


@bp.post("/orders/youzan")
@api_scope("orders:write")
@idempotent()
@_platform_operation("Youzan")
def record_youzan(body: Any, query: PlatformQuery) -> Any:
    return _platform(Kind.YOUZAN, query)


# ── To be read ──────────────────────────────────────────────────────────────────────────────────────────────────────


class LineOut(Strict):
    sku: str
    title: str
    quantity: int
    unit_price: int
    amount: int
    refunded_quantity: int


class OrderOut(Strict):
    """An order as it stands here. Amounts in 分; `updated_at` is when the source last changed it, `received_at` when it came
    here first."""

    source: str
    order: str
    member_id: RowId | None
    state: OrderState
    payment: Payment
    placed_at: Instant
    paid_at: Instant | None
    shipped_at: Instant | None
    delivered_at: Instant | None
    completed_at: Instant | None
    closed_at: Instant | None
    updated_at: Instant
    received_at: Instant
    paid_amount: int
    postage: int
    discount: int
    refunded_amount: int


class RefundOfOrderOut(Strict):
    refund: str
    amount: int
    at: Instant


class OrderWholeOut(OrderOut):
    lines: list[LineOut]
    refunds: list[RefundOfOrderOut]


class OrdersQuery(PageQuery):
    source: Source | None = None
    state: OrderState | None = None
    member_id: RowId | None = None
    placed_from: Annotated[Instant | None, Field(description="Placed at this instant or later.")] = None
    placed_until: Annotated[Instant | None, Field(description="Placed before this instant.")] = None
    updated_since: Annotated[
        Instant | None,
        Field(description="Changed by its source at this instant or later; the list is in this order then."),
    ] = None


def _fields_of(order: Order) -> dict[str, Any]:
    names = (
        "source member_id state payment placed_at paid_at shipped_at delivered_at completed_at closed_at paid_amount postage "
        "discount refunded_amount"
    )
    told = {name: getattr(order, name) for name in names.split()}
    return told | {"order": order.external_id, "updated_at": order.version_at, "received_at": order.created_at}


def _order_out(order: Order) -> OrderOut:
    return OrderOut(**_fields_of(order))


@bp.get("/orders")
@api_scope("orders:read")
@operation(
    _l("List orders"),
    tag="Orders",
    query=OrdersQuery,
    answers=Listed[OrderOut],
    description=_l("Those placed last come first; with `updated_since`, those changed first."),
)
def index(query: OrdersQuery) -> Listed[OrderOut]:
    statement, order = queries.listed(
        query.source, query.state, query.member_id, query.placed_from, query.placed_until, query.updated_since
    )
    return cursor_page(statement, order, query, _order_out)


@bp.get("/orders/<source>/<path:order>")
@api_scope("orders:read")
@operation(_l("Read one order with its lines and refunds"), tag="Orders", answers=OrderWholeOut, refusals=[NotFound])
def show(source: str, order: str) -> OrderWholeOut:
    found = queries.find_order(source, order)
    if found is None:
        raise NotFound
    lines = [
        LineOut(**{name: getattr(line, name) for name in LineOut.model_fields}) for line in queries.lines_of(found.id)
    ]
    refunds = [
        RefundOfOrderOut(refund=one.external_id, amount=one.amount, at=one.at) for one in queries.refunds_of(found.id)
    ]
    return OrderWholeOut(**_fields_of(found), lines=lines, refunds=refunds)
