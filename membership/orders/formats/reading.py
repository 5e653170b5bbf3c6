"""Makes an order of its lines, whatever a file calls its columns: shared by our own format and by mapped files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from kernel import money

from .. import rules
from ..models import OrderState, Payment
from . import cells, gathering, quick
from .cells import CellRefused, Dates
from .drafts import Buyer, Entry, Fault, LineDraft, OrderDraft, Reason, RejectedDraft, version_at
from .sheet import MOST_COLUMNS, Row, Sheet

# An order that is under way may say when it is expected to arrive.
EXPECTED_WITHIN = timedelta(days=90)
LONGEST_TITLE = 200
LONGEST_SKU = 80
# Names of an enum's members cost more to look up than their values to compare.
_SHIPPED, _ONLINE = OrderState.SHIPPED, Payment.ONLINE
MOMENTS = ("paid_at", "shipped_at", "delivered_at", "completed_at", "closed_at")


def state_of(column: str, cell: str) -> OrderState:
    """A state by our own name for it."""
    try:
        return OrderState(cells.unwrapped(cell).lower())
    except ValueError:
        raise CellRefused(column, Reason.STATE_UNKNOWN, cell) from None


def payment_of(column: str, cell: str) -> Payment:
    """A way of paying by our own name for it."""
    try:
        return Payment(cells.unwrapped(cell).lower())
    except ValueError:
        raise CellRefused(column, Reason.PAYMENT_UNKNOWN, cell) from None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a file has what, and how it writes it. `names` are the file's own names of the columns, for faults;
    `constants` are values that hold for every order; of `needed` no order may lack one."""

    width: int
    places: Mapping[str, int]
    names: Mapping[str, str]
    needed: Sequence[str]
    constants: Mapping[str, Any] = field(default_factory=dict)
    dates: Dates = Dates.YMD
    day_only: bool = False
    amount: Callable[[str, str], int] = cells.amount
    state: Callable[[str, str], OrderState] = state_of
    payment: Callable[[str, str], Payment] = payment_of


@dataclass(slots=True)
class _Gathered:
    """What the lines of one order have said so far."""

    said: dict[str, Any]
    lines: list[LineDraft] = field(default_factory=list)
    faults: dict[int, Fault] = field(default_factory=dict)


def fault_of(row: Row, refused: CellRefused) -> Fault:
    """What is wrong with a row, with its cells."""
    return Fault(row.line, refused.column, refused.reason, refused.value, tuple(row.cells[:MOST_COLUMNS]))


def check_width(row: Row, width: int) -> None:
    """Refuses a row with fewer cells than the heading, or with text beyond it."""
    found = len(row.cells)
    if found != width and (found < width or any(cell.strip() for cell in row.cells[width:])):
        raise CellRefused("", Reason.WIDTH, str(found))


def rejected(external_id: str, rows: Sequence[Row], faults: Mapping[int, Fault]) -> RejectedDraft:
    """An order some of whose lines are wrong; its other lines are refused with them."""
    return RejectedDraft(
        external_id,
        tuple(
            faults.get(row.line) or Fault(row.line, "", Reason.OTHER_LINE, "", tuple(row.cells[:MOST_COLUMNS]))
            for row in rows
        ),
    )


class OrderReader:
    """Reads orders of a file of the given layout; `now` (aware UTC) decides which moments lie in the future."""

    def __init__(self, sheet: Sheet, layout: Layout, now: datetime) -> None:
        self.sheet = sheet
        self.layout = layout
        self.now = now
        self.latest = now + rules.AHEAD
        moment = partial(cells.moment, now=now, dates=layout.dates, day_only=layout.day_only)
        words = partial(_words, longest=80)
        shared: dict[str, Callable[[str, str], Any]] = {
            "placed_at": moment,
            "paid_at": moment,
            "shipped_at": moment,
            "delivered_at": partial(moment, ahead=EXPECTED_WITHIN),
            "completed_at": moment,
            "closed_at": moment,
            "updated_at": moment,
            "state": layout.state,
            "payment": layout.payment,
            "paid_amount": layout.amount,
            "postage": layout.amount,
            "discount": layout.amount,
            "refunded_amount": layout.amount,
            "buyer_id": cells.number,
            "buyer_phone": cells.phone,
            "buyer_email": cells.email,
            "buyer_nickname": words,
            "buyer_name": words,
            "buyer_city": words,
            "buyer_address": partial(_words, longest=400),
        }
        self.shared = [
            (column, self.name(column), layout.places[column], read, column in layout.needed)
            for column, read in shared.items()
            if column in layout.places
        ]
        self.shared_quickly = [
            (column, place, self._quickly(column, name, read), needed)
            for column, name, place, read, needed in self.shared
        ]
        self.number_place = layout.places["order_no"]
        self.number_name = self.name("order_no")
        self.line_columns = [
            (self.name(column), layout.places.get(column)) for column in ("sku", "title", "quantity", "unit_price")
        ]
        self.sku, self.title, self.pieces = (quick.Remembered(read) for read in (self._sku, self._title, self._pieces))
        self.price = quick.plain_amounts(self._price) if layout.amount is cells.amount else self._price
        # Readers of the cells of a line; a column that is not there is an empty cell beyond the last.
        self.line_places = tuple(layout.width if at is None else at for _name, at in self.line_columns)

    def _quickly(self, column: str, name: str, read: Callable[[str, str], Any]) -> Callable[[str], Any]:
        """A reader of the cells of one column of ours, `name` in the file, that says the same as `read`, sooner;
        `quick.NOTHING` for an empty cell."""
        layout = self.layout
        if isinstance(read, partial) and read.func is cells.moment and layout.dates is Dates.YMD:
            return quick.moments(name, read, self.now + read.keywords.get("ahead", rules.AHEAD))
        if isinstance(read, partial) and read.func is _words:
            return quick.words(name, read, read.keywords["longest"])
        if read is cells.amount and column == "paid_amount":
            return quick.amounts(name)
        if read is cells.phone:
            return quick.phones(name)
        return quick.Remembered(partial(_said, name, read)).__getitem__

    def name(self, column: str) -> str:
        """What the file calls a column of ours."""
        return self.layout.names.get(column, column)

    def entries(self) -> Iterator[Entry]:
        """Every order of the file once, in the order of their last lines."""
        for key, rows in self.orders():
            yield self.entry(key, rows)

    def orders(self) -> Iterator[tuple[str, list[Row]]]:
        """The rows of each order together."""
        return gathering.orders(self.sheet, self.number_place)

    def entry(self, key: str, rows: Sequence[Row]) -> Entry:
        """One order of its rows, or refused as a whole; the first thing that is wrong with a row becomes its fault."""
        if len(rows) == 1 and (found := self._at_once(key, rows[0].cells)) is not None:
            return found
        order = _Gathered(dict(self.layout.constants))
        for place, row in enumerate(rows):
            try:
                if place >= rules.MOST_LINES:
                    raise CellRefused("", Reason.TOO_MANY_LINES)
                check_width(row, self.layout.width)
                cells.number(self.number_name, row.cells[self.number_place])
                self._shared_values(row, rows[0], order)
                line = self._line(row.cells)
                if line is not None:
                    order.lines.append(line)
            except CellRefused as refused:
                order.faults[row.line] = fault_of(row, refused)
        if not order.faults:
            try:
                return self._draft(key, order.said, order.lines, len(rows))
            except CellRefused as refused:
                row, found_there = self._where(refused.column, rows)
                order.faults[row.line] = fault_of(row, CellRefused(refused.column, refused.reason, found_there))
        return rejected(key, rows, order.faults)

    def _where(self, column: str, rows: Sequence[Row]) -> tuple[Row, str]:
        """The first of an order's rows that says something in a column of the file, and what stands there; the first row
        and nothing where none does."""
        for _ours, name, place, _read, _needed in self.shared:
            if name == column:
                for row in rows:
                    if cells.unwrapped(row.cells[place]):
                        return row, row.cells[place]
        return rows[0], ""

    def _shared_values(self, row: Row, first: Row, order: _Gathered) -> None:
        said = order.said
        row_cells = row.cells
        for column, name, place, read, needed in self.shared:
            cell = row_cells[place]
            if row is not first and place < len(first.cells) and cell == first.cells[place]:
                continue
            if not cell or not cells.unwrapped(cell):
                if needed and row is first and column not in said:
                    raise CellRefused(name, Reason.EMPTY)
                continue
            value = read(name, cell)
            if column not in said or row is first:
                said[column] = value
            elif said[column] != value:
                raise CellRefused(name, Reason.LINES_DIFFER, cell)

    def _at_once(self, key: str, row: Sequence[str]) -> OrderDraft | None:
        """The order of a single row, as nearly every file has them; None as soon as anything is wrong or unusual, for which
        `entry` has the words. A test holds the two equal."""
        layout = self.layout
        if len(row) != layout.width:
            return None
        said = dict(layout.constants)
        try:
            cells.number(self.number_name, row[self.number_place])
            for column, place, read, needed in self.shared_quickly:
                value = read(row[place])
                if value is not quick.NOTHING:
                    said[column] = value
                elif needed and column not in said:
                    return None
            line = self._line(row)
            return self._draft(key, said, [] if line is None else [line], 1)
        except CellRefused:
            return None

    def _line(self, row: Sequence[str]) -> LineDraft | None:
        sku_at, title_at, pieces_at, price_at = self.line_places
        width = self.layout.width
        sku = self.sku[row[sku_at] if sku_at < width else ""]
        title = self.title[row[title_at] if title_at < width else ""]
        if not sku:
            if "sku" in self.layout.needed:
                raise CellRefused(self.line_columns[0][0], Reason.EMPTY)
            if not title:
                return None
        return LineDraft(
            sku or title[:LONGEST_SKU],
            title or sku,
            self.pieces[row[pieces_at] if pieces_at < width else ""],
            self.price(row[price_at] if price_at < width else ""),
        )

    def _sku(self, cell: str) -> str:
        return cells.text(self.line_columns[0][0], cells.unwrapped(cell), LONGEST_SKU)

    def _title(self, cell: str) -> str:
        return cells.text(self.line_columns[1][0], cells.unwrapped(cell), LONGEST_TITLE)

    def _pieces(self, cell: str) -> int:
        if cell.strip() or "quantity" in self.layout.needed:
            return cells.quantity(self.line_columns[2][0], cell)
        return 1

    def _price(self, cell: str) -> int:
        if cell.strip() or "unit_price" in self.layout.needed:
            return self.layout.amount(self.line_columns[3][0], cell)
        return -1

    def _draft(self, key: str, said: Mapping[str, Any], lines: Sequence[LineDraft], rows: int) -> OrderDraft:
        name, get = self.name, said.get
        try:
            placed_at: datetime = said["placed_at"]
            state: OrderState = said["state"]
            paid_amount: int = said["paid_amount"]
        except KeyError as missing:
            raise CellRefused(name(missing.args[0]), Reason.EMPTY) from None
        paid_at, shipped_at, arrives = get("paid_at"), get("shipped_at"), get("delivered_at")
        completed_at, closed_at = get("completed_at"), get("closed_at")
        if (
            (arrives is not None and arrives < placed_at)
            or (paid_at is not None and paid_at < placed_at)
            or (shipped_at is not None and shipped_at < placed_at)
            or (completed_at is not None and completed_at < placed_at)
            or (closed_at is not None and closed_at < placed_at)
        ):
            early = next(column for column in MOMENTS if (at := get(column)) is not None and at < placed_at)
            raise CellRefused(name(early), Reason.MOMENT_ORDER)
        if arrives is not None and arrives > self.latest and state is not _SHIPPED:
            raise CellRefused(name("delivered_at"), Reason.MOMENT_AHEAD)
        postage = get("postage", 0)
        refunded = get("refunded_amount", 0)
        if refunded > paid_amount:
            raise CellRefused(name("refunded_amount"), Reason.REFUND_TOO_LARGE)
        if postage > paid_amount and state in rules.PAID_STATES:
            raise CellRefused(name("postage"), Reason.POSTAGE_TOO_LARGE)
        buyer = Buyer(
            number=get("buyer_id"),
            nickname=get("buyer_nickname", ""),
            name=get("buyer_name", ""),
            phone=get("buyer_phone"),
            email=get("buyer_email"),
            city=get("buyer_city", ""),
            address=get("buyer_address", ""),
        )
        return OrderDraft(
            external_id=key,
            state=state,
            payment=get("payment", _ONLINE),
            placed_at=placed_at,
            version_at=get("updated_at")
            or version_at(state, placed_at, paid_at, shipped_at, arrives, completed_at, closed_at),
            paid_amount=paid_amount,
            postage=postage,
            discount=get("discount", 0),
            refunded_amount=refunded,
            buyer=buyer if buyer.known else None,
            lines=priced(lines, max(0, paid_amount - postage)),
            rows=rows,
            paid_at=paid_at,
            shipped_at=shipped_at,
            delivered_at=arrives,
            completed_at=completed_at,
            closed_at=closed_at,
        )


def priced(lines: Sequence[LineDraft], goods: int) -> tuple[LineDraft, ...]:
    """Lines with a price each: where the file names none (`unit_price` below zero), what is left of `goods` (分) is shared
    among them by their pieces."""
    if len(lines) == 1 and lines[0].unit_price >= 0:
        return (lines[0],)
    bare = [line.quantity for line in lines if line.unit_price < 0]
    if not bare:
        return tuple(lines)
    left = max(0, goods - sum(line.amount for line in lines if line.unit_price >= 0))
    shares = iter(money.share(left, bare))
    found: list[LineDraft] = []
    for line in lines:
        if line.unit_price < 0:
            total = next(shares)
            line = LineDraft(line.sku, line.title, line.quantity, total // line.quantity, line.goods, total)
        found.append(line)
    return tuple(found)


def _said(column: str, read: Callable[[str, str], Any], cell: str) -> Any:
    return read(column, cell) if cell and cells.unwrapped(cell) else quick.NOTHING


def _words(column: str, cell: str, longest: int) -> str:
    return cells.text(column, cells.unwrapped(cell), longest)
