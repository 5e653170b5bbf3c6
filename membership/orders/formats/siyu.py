"""Siyu's own order file: one line for each line of an order, columns in any order, the order's own values on every line
(or on its first line, and empty on the others).

Times are the shop's clock (`2026-03-01 10:30`) unless they carry an offset; amounts are yuan with at most two decimals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from .. import rules
from ..models import OrderState, Payment
from . import cells
from .cells import CellRefused
from .drafts import Buyer, Entry, Fault, LineDraft, OrderDraft, Reason, RejectedDraft, version_at
from .sheet import FileUnreadable, Row, Sheet, Wrong, places

REQUIRED = ("order_no", "placed_at", "state", "paid_amount", "sku", "quantity", "unit_price")
OPTIONAL = (
    "paid_at",
    "shipped_at",
    "delivered_at",
    "completed_at",
    "closed_at",
    "updated_at",
    "payment",
    "postage",
    "discount",
    "refunded_amount",
    "buyer_id",
    "buyer_phone",
    "buyer_email",
    "buyer_nickname",
    "buyer_name",
    "buyer_city",
    "title",
)
COLUMNS = (*REQUIRED, *OPTIONAL)
OTHER_SPELLINGS = {
    "order_number": "order_no",
    "phone": "buyer_phone",
    "buyer_e_mail": "buyer_email",
    "buyer_e-mail": "buyer_email",
    "email": "buyer_email",
    "e_mail": "buyer_email",
    "nickname": "buyer_nickname",
    "customer_id": "buyer_id",
    "city": "buyer_city",
}
SPELLINGS = {name: name for name in COLUMNS} | OTHER_SPELLINGS

# An order that is under way may say when it is expected to arrive.
EXPECTED_WITHIN = timedelta(days=90)
LONGEST_TITLE = 200
LONGEST_SKU = 80


def recognises(heading: Sequence[str]) -> bool:
    """Whether a heading is this format's: order number, state, and a product."""
    found, _repeated = places(heading, SPELLINGS)
    return {"order_no", "state", "sku"} <= found.keys()


def check(heading: Sequence[str]) -> None:
    """Refuses with `FileUnreadable` a heading in which columns are missing or repeated."""
    found, repeated = places(heading, SPELLINGS)
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise FileUnreadable(Wrong.COLUMNS_MISSING, columns=", ".join(missing))
    if repeated:
        raise FileUnreadable(Wrong.COLUMNS_REPEATED, columns=", ".join(repeated))


def entries(sheet: Sheet, now: datetime) -> Iterator[Entry]:
    """Every order of the file once, in the order of their last lines; an order's lines may stand anywhere.

    `now` (aware UTC) decides which moments lie in the future. Refuses with `FileUnreadable` when columns are missing or
    repeated.
    """
    reader = _Reader(sheet.heading, now)
    last: dict[str, int] = {}
    for row in sheet.rows():
        last[reader.order_no(row)] = row.line
    gathered: dict[str, _Gathered] = {}
    for row in sheet.rows():
        key = reader.order_no(row)
        order = gathered.setdefault(key, _Gathered(key)) if key else _Gathered("")
        reader.take(row, order)
        if not key or last[key] == row.line:
            gathered.pop(key, None)
            yield reader.finish(order)


@dataclass(slots=True)
class _Gathered:
    """The lines of one order met so far."""

    external_id: str
    said: dict[str, Any] = field(default_factory=dict)
    lines: list[LineDraft] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    faults: dict[int, Fault] = field(default_factory=dict)


class _Reader:
    def __init__(self, heading: Sequence[str], now: datetime) -> None:
        check(heading)
        self.places, _repeated = places(heading, SPELLINGS)
        self.width = len(heading)
        self.now = now
        shared: dict[str, Callable[[str, str], Any]] = {
            "placed_at": self._moment,
            "paid_at": self._moment,
            "shipped_at": self._moment,
            "delivered_at": lambda column, cell: cells.moment(column, cell, now, EXPECTED_WITHIN),
            "completed_at": self._moment,
            "closed_at": self._moment,
            "updated_at": self._moment,
            "state": _state,
            "payment": _payment,
            "paid_amount": cells.amount,
            "postage": cells.amount,
            "discount": cells.amount,
            "refunded_amount": cells.amount,
            "buyer_id": cells.number,
            "buyer_phone": cells.phone,
            "buyer_email": cells.email,
            "buyer_nickname": lambda column, cell: cells.text(column, cells.unwrapped(cell), 80),
            "buyer_name": lambda column, cell: cells.text(column, cells.unwrapped(cell), 80),
            "buyer_city": lambda column, cell: cells.text(column, cells.unwrapped(cell), 80),
        }
        self.shared_places = [
            (column, self.places[column], read) for column, read in shared.items() if column in self.places
        ]

    def _moment(self, column: str, cell: str) -> datetime:
        return cells.moment(column, cell, self.now)

    def order_no(self, row: Row) -> str:
        place = self.places["order_no"]
        return cells.unwrapped(row.cells[place]) if place < len(row.cells) else ""

    def take(self, row: Row, order: _Gathered) -> None:
        """Read one row into its order; the first thing that is wrong becomes the row's fault."""
        order.rows.append(row)
        try:
            if any(cell.strip() for cell in row.cells[self.width :]) or len(row.cells) < self.width:
                raise CellRefused("", Reason.WIDTH, str(len(row.cells)))
            cells.number("order_no", row.cells[self.places["order_no"]])
            if len(order.rows) > rules.MOST_LINES:
                raise CellRefused("", Reason.TOO_MANY_LINES)
            self._shared_values(row, order)
            order.lines.append(self._line(row))
        except CellRefused as refused:
            fault = Fault(row.line, refused.column, refused.reason, refused.value, tuple(row.cells[:100]))
            order.faults[row.line] = fault

    def _shared_values(self, row: Row, order: _Gathered) -> None:
        first = order.rows[0]
        for column, place, read in self.shared_places:
            cell = row.cells[place]
            if row is not first and place < len(first.cells) and cell == first.cells[place]:
                continue
            if not cells.unwrapped(cell):
                if row is first and column in REQUIRED:
                    raise CellRefused(column, Reason.EMPTY)
                continue
            value = read(column, cell)
            if column not in order.said:
                order.said[column] = value
            elif order.said[column] != value:
                raise CellRefused(column, Reason.LINES_DIFFER, cell)

    def _line(self, row: Row) -> LineDraft:
        def cell(column: str) -> str:
            place = self.places.get(column)
            return row.cells[place] if place is not None else ""

        sku = cells.text("sku", cells.unwrapped(cell("sku")), LONGEST_SKU)
        if not sku:
            raise CellRefused("sku", Reason.EMPTY)
        return LineDraft(
            sku=sku,
            title=cells.text("title", cells.unwrapped(cell("title")), LONGEST_TITLE) or sku,
            quantity=cells.quantity("quantity", cell("quantity")),
            unit_price=cells.amount("unit_price", cell("unit_price")),
        )

    def finish(self, order: _Gathered) -> Entry:
        """The order as a draft, or refused as a whole."""
        first = order.rows[0]
        if not order.faults:
            try:
                return self._draft(order)
            except CellRefused as refused:
                order.faults[first.line] = Fault(
                    first.line, refused.column, refused.reason, refused.value, tuple(first.cells[:100])
                )
        return RejectedDraft(
            order.external_id,
            tuple(
                order.faults.get(row.line) or Fault(row.line, "", Reason.OTHER_LINE, "", tuple(row.cells[:100]))
                for row in order.rows
            ),
        )

    def _draft(self, order: _Gathered) -> OrderDraft:
        said = order.said
        for column in REQUIRED[1:4]:
            if column not in said:
                raise CellRefused(column, Reason.EMPTY)
        state: OrderState = said["state"]
        payment: Payment = said.get("payment", Payment.ONLINE)
        placed_at: datetime = said["placed_at"]
        for column in ("paid_at", "shipped_at", "delivered_at", "completed_at", "closed_at"):
            if column in said and said[column] < placed_at:
                raise CellRefused(column, Reason.MOMENT_ORDER, str(said[column]))
        if state is not OrderState.SHIPPED and "delivered_at" in said and said["delivered_at"] > self.now + rules.AHEAD:
            raise CellRefused("delivered_at", Reason.MOMENT_AHEAD, str(said["delivered_at"]))
        paid_amount = said["paid_amount"]
        refunded = said.get("refunded_amount", 0)
        if refunded > paid_amount:
            raise CellRefused("refunded_amount", Reason.REFUND_TOO_LARGE, str(refunded / 100))
        if said.get("postage", 0) > paid_amount and state in rules.PAID_STATES:
            raise CellRefused("postage", Reason.POSTAGE_TOO_LARGE, str(said["postage"] / 100))
        moments = {
            name: said.get(name) for name in ("paid_at", "shipped_at", "delivered_at", "completed_at", "closed_at")
        }
        buyer = Buyer(
            number=said.get("buyer_id"),
            nickname=said.get("buyer_nickname", ""),
            name=said.get("buyer_name", ""),
            phone=said.get("buyer_phone"),
            email=said.get("buyer_email"),
            city=said.get("buyer_city", ""),
        )
        return OrderDraft(
            external_id=order.external_id,
            state=state,
            payment=payment,
            placed_at=placed_at,
            version_at=said.get("updated_at") or version_at(state, placed_at, **moments),
            paid_amount=paid_amount,
            postage=said.get("postage", 0),
            discount=said.get("discount", 0),
            refunded_amount=refunded,
            buyer=buyer if buyer.known else None,
            lines=tuple(order.lines),
            rows=len(order.rows),
            **moments,
        )


def _state(column: str, cell: str) -> OrderState:
    try:
        return OrderState(cells.unwrapped(cell).lower())
    except ValueError:
        raise CellRefused(column, Reason.STATE_UNKNOWN, cell) from None


def _payment(column: str, cell: str) -> Payment:
    try:
        return Payment(cells.unwrapped(cell).lower())
    except ValueError:
        raise CellRefused(column, Reason.PAYMENT_UNKNOWN, cell) from None


# A file to start from; phones are at a prefix that no operator gives out.
TEMPLATE = (
    ",".join(COLUMNS)
    + "\n"
    + "A1001,2026-03-01 10:30,delivered,128.00,CUP-01,2,55.00,2026-03-01 10:31,2026-03-01 18:00,2026-03-04 09:12,,,,online,"
    "8.00,0,0,7781,+8612000000001,,小满,,杭州,青瓷茶杯\n"
    + "A1001,,,,TRAY-02,1,10.00,,,,,,,,,,,,,,,,,竹茶盘\n"
    + "A1002,2026-03-02 20:05,paid,79.00,TEA-09,1,79.00,2026-03-02 20:06,,,,,,online,0,0,0,,,lime@example.com,,,,桂花乌龙\n"
)
