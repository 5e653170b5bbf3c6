"""Shopify's orders export: a line for each product; what belongs to the order stands on its first line alone.

An order is known by its `Id`, as in Shopify's own interface, else by its `Name` (#1001). Amounts are in the shop's currency:
any but yuan needs a rate. The export knows when a parcel was sent and not when it came, so it is expected a week later.
Column meanings: Shopify Help Center, "Exporting orders".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from .. import rules
from ..models import OrderState, Payment
from . import cells, gathering, reading
from .cells import CellRefused
from .drafts import Buyer, Entry, Fault, LineDraft, OrderDraft, Reason, version_at
from .sheet import Row, Sheet, check_columns, has_columns, name_of, places

NAME, ID = "name", "id"
NEEDED = (
    "name", "email", "financial status", "fulfillment status", "currency", "total", "created at", "lineitem quantity",
    "lineitem name", "lineitem price",
)  # fmt: skip
OPTIONAL = (
    "id", "paid at", "fulfilled at", "subtotal", "shipping", "discount amount", "lineitem sku", "lineitem discount", "billing name",
    "billing city", "billing country", "billing phone", "shipping name", "shipping city", "shipping province",
    "shipping address1", "shipping country", "shipping phone", "cancelled at", "refunded amount", "outstanding balance",
    "phone", "payment method",
)  # fmt: skip
SPELLINGS = {name: name for name in (*NEEDED, *OPTIONAL)}

# What Shopify says of the money: whether it is there.
FINANCIAL = {
    "pending": False,
    "authorized": False,
    "unpaid": False,
    "expired": False,
    "voided": False,
    "partially_paid": False,
    "paid": True,
    "partially_refunded": True,
    "refunded": True,
}
FULFILMENT = {
    "": False,
    "unfulfilled": False,
    "partial": False,
    "restocked": False,
    "pending": False,
    "fulfilled": True,
}
ARRIVES_AFTER = timedelta(days=7)
HOME = "CNY"


def recognises(heading: Sequence[str]) -> bool:
    """Whether a heading is this format's."""
    return has_columns(heading, SPELLINGS, (NEEDED,))


def check(heading: Sequence[str]) -> None:
    """Refuses with `FileUnreadable` a heading that lacks columns or repeats some."""
    check_columns(heading, SPELLINGS, (NEEDED,), str.capitalize)


def survey(sheet: Sheet) -> dict[str, Any]:
    """The currencies of the file but yuan, with the number of their orders: the shop has to say what they are worth."""
    found, _repeated = places(sheet.heading, SPELLINGS)
    place = found["currency"]
    counted: Counter[str] = Counter()
    for row in sheet.rows():
        currency = row.cells[place].strip().upper() if place < len(row.cells) else ""
        if currency and currency != HOME and len(currency) == 3 and currency.isalpha() and currency.isascii():
            counted[currency] += 1
    return {"currencies": dict(counted.most_common(10))} if counted else {}


def rate_of(text: str) -> Decimal:
    """What one of a currency is worth in yuan. Refuses with `ValueError` what is no number between 0.0001 and 10,000."""
    try:
        rate = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError("no rate") from None
    if not rate.is_finite() or not Decimal("0.0001") <= rate <= 10_000:
        raise ValueError("no rate")
    return rate


def entries(sheet: Sheet, now: datetime) -> Iterator[Entry]:
    """Every order of the file once. `now` (aware UTC) decides which moments lie in the future; `sheet.options["rates"]` has
    what one of a foreign currency is worth in yuan. Refuses with `FileUnreadable` when columns are missing or repeated.
    """
    check(sheet.heading)
    found, _repeated = places(sheet.heading, SPELLINGS)
    rates = {code: rate_of(rate) for code, rate in sheet.options.get("rates", {}).items()}
    names = {name: name_of(sheet.heading[place]) for name, place in found.items()}
    for key, rows in gathering.orders(sheet, found[NAME]):
        yield _order(key, rows, _Context(found, names, len(sheet.heading), now, rates))


class _Context:
    """What all orders of a file share."""

    def __init__(
        self,
        found: Mapping[str, int],
        names: Mapping[str, str],
        width: int,
        now: datetime,
        rates: Mapping[str, Decimal],
    ) -> None:
        self.found = found
        self.names = names
        self.width = width
        self.now = now
        self.rates = rates


class _Cells:
    """One row's cells by name, and its amounts in 分."""

    def __init__(self, row: Row, context: _Context, rate: Decimal = Decimal(1)) -> None:
        self.row = row
        self.context = context
        self.rate = rate

    def raw(self, name: str) -> str:
        place = self.context.found.get(name)
        return cells.unwrapped(self.row.cells[place]) if place is not None else ""

    def refused(self, name: str, reason: Reason) -> CellRefused:
        return CellRefused(self.context.names.get(name, name), reason, self.raw(name))

    def text(self, name: str, longest: int) -> str:
        return cells.text(self.context.names.get(name, name), self.raw(name), longest)

    def amount(self, name: str) -> int:
        if not self.raw(name):
            return 0
        return self._home(cells.amount(self.context.names[name], self.raw(name)))

    def _home(self, amount: int) -> int:
        return int((amount * self.rate).to_integral_value(ROUND_HALF_UP)) if self.rate != 1 else amount

    def moment(self, name: str) -> datetime | None:
        return cells.moment(self.context.names[name], self.raw(name), self.context.now) if self.raw(name) else None

    def choice(self, name: str, known: Mapping[str, bool]) -> bool:
        said = self.raw(name).lower().replace(" ", "_")
        if said not in known:
            raise self.refused(name, Reason.STATE_UNKNOWN if said else Reason.EMPTY)
        return known[said]


def _order(key: str, rows: list[Row], context: _Context) -> Entry:
    lines: list[LineDraft] = []
    faults: dict[int, Fault] = {}
    head: _Cells | None = None
    draft: OrderDraft | None = None
    for place, row in enumerate(rows):
        try:
            if place >= rules.MOST_LINES:
                raise CellRefused("", Reason.TOO_MANY_LINES)
            reading.check_width(row, context.width)
            if place == 0:
                cells.number(context.names[NAME], key)
                head = _Cells(row, context, _rate(_Cells(row, context), context.rates))
                draft = _draft(key, head, len(rows))
            line = _line(_Cells(row, context, head.rate if head else Decimal(1)))
            if line is not None:
                lines.append(line)
        except CellRefused as refused:
            faults[row.line] = reading.fault_of(row, refused)
    if faults or draft is None:
        return reading.rejected(key, rows, faults)
    return OrderDraft(**{name: getattr(draft, name) for name in draft.__slots__} | {"lines": tuple(lines)})


def _rate(head: _Cells, rates: Mapping[str, Decimal]) -> Decimal:
    currency = head.raw("currency").upper()
    if currency == HOME:
        return Decimal(1)
    if not currency:
        raise head.refused("currency", Reason.EMPTY)
    if currency not in rates:
        raise head.refused("currency", Reason.CURRENCY)
    return rates[currency]


def _line(row: _Cells) -> LineDraft | None:
    if not row.raw("lineitem name") and not row.raw("lineitem sku"):
        return None
    names = row.context.names
    title = row.text("lineitem name", reading.LONGEST_TITLE)
    sku = row.text("lineitem sku", reading.LONGEST_SKU) or title[: reading.LONGEST_SKU]
    if cells.unwrapped(row.raw("lineitem quantity")) in ("0", "0.0"):
        # What was taken out of the order again.
        return None
    pieces = cells.quantity(names["lineitem quantity"], row.raw("lineitem quantity"))
    price = row.amount("lineitem price")
    off = row.amount("lineitem discount")
    return LineDraft(sku, title or sku, pieces, price, total=max(0, pieces * price - off) if off else None)


def _draft(key: str, head: _Cells, rows: int) -> OrderDraft:
    placed_at = head.moment("created at")
    if placed_at is None:
        raise head.refused("created at", Reason.EMPTY)
    moments = {name: head.moment(name) for name in ("paid at", "fulfilled at", "cancelled at")}
    for name, at in moments.items():
        if at is not None and at < placed_at:
            raise head.refused(name, Reason.MOMENT_ORDER)
    paid_at, shipped_at, closed_at = moments.values()
    money_there = head.choice("financial status", FINANCIAL)
    sent = head.choice("fulfillment status", FULFILMENT)
    if not head.raw("total"):
        raise head.refused("total", Reason.EMPTY)
    total = head.amount("total")
    refunded = head.amount("refunded amount")
    said = head.raw("financial status").lower()
    if said == "refunded":
        refunded = max(refunded, total)
    if refunded > total:
        raise head.refused("refunded amount", Reason.REFUND_TOO_LARGE)
    on_delivery = (
        "cash on delivery" in head.raw("payment method").lower() or "(cod)" in head.raw("payment method").lower()
    )
    if closed_at is not None or said in ("voided", "expired"):
        state = OrderState.CLOSED
    elif not money_there and not on_delivery:
        state = OrderState.PLACED
    else:
        state = OrderState.SHIPPED if sent else OrderState.PAID
    paid = total if money_there or (on_delivery and state is not OrderState.CLOSED) else 0
    if state is OrderState.SHIPPED and shipped_at is None:
        shipped_at = paid_at or placed_at
    number = (
        cells.number(head.context.names[ID], head.raw(ID))
        if head.raw(ID)
        else cells.number(head.context.names[NAME], key)
    )
    buyer = _buyer(head)
    return OrderDraft(
        external_id=number,
        state=state,
        payment=Payment.ON_DELIVERY if on_delivery else Payment.ONLINE,
        placed_at=placed_at,
        paid_at=paid_at if paid else None,
        shipped_at=shipped_at,
        # Expected; when the moment comes the order is delivered by the clock, unless a feed knows better.
        delivered_at=shipped_at + ARRIVES_AFTER if state is OrderState.SHIPPED and shipped_at is not None else None,
        closed_at=closed_at,
        version_at=version_at(state, placed_at, paid_at, shipped_at, closed_at=closed_at),
        paid_amount=paid,
        postage=min(head.amount("shipping"), paid),
        discount=head.amount("discount amount"),
        refunded_amount=min(refunded, paid),
        buyer=buyer if buyer.known else None,
        rows=rows,
    )


def _buyer(head: _Cells) -> Buyer:
    names = head.context.names
    email = cells.email(names["email"], head.raw("email"))
    city = head.text("shipping city", 80) or head.text("billing city", 80)
    address = " ".join(filter(None, (head.text(f"shipping {part}", 200) for part in ("province", "city", "address1"))))
    return Buyer(
        name=head.text("shipping name", 80) or head.text("billing name", 80),
        phone=_phone(head, email),
        email=email,
        city=city,
        address=address[:400],
    )


def _phone(head: _Cells, email: str | None) -> str | None:
    """The first phone that is whole, dialled where its address lies. The shop system takes any text for a phone: where an
    e-mail address says who it was, one that is none is left out."""
    fault: CellRefused | None = None
    for name in ("phone", "billing phone", "shipping phone"):
        if not head.raw(name):
            continue
        country = head.raw("billing country" if name == "billing phone" else "shipping country").upper()
        region = country if len(country) == 2 and country.isalpha() and country.isascii() else "CN"
        try:
            found = cells.phone(head.context.names[name], head.raw(name), region)
        except CellRefused as refused:
            fault = fault or refused
        else:
            if found is not None:
                return found
    if fault is not None and email is None:
        raise fault
    return None
