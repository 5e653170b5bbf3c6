"""Reads the order file of UCI Online Retail II: rows of text in, one draft for each invoice out.

The module is pure: no database, no Flask, no clock. What the set means is described on its page at the UCI Machine
Learning Repository (Chen, D., 2019, Online Retail II): an invoice is six digits; with a leading ``C`` it is a
cancellation, which does not name the invoice it cancels; with a leading ``A`` it adjusts bad debt; prices are pounds;
customer numbers have five digits and may be missing. Three things were learnt from the lines themselves:

* The lines of one invoice are not always neighbours (hundreds of invoices are interleaved with others issued in the
  same minute), so invoices are gathered over the whole file before the first one is handed out.
* Equal lines are legitimate, so no line is ever dropped as a repetition.
* Some invoices are book-keeping and no sale: bad debts, stock corrections, fees of banks and market places. They are
  handed out as `SetAside`, so that their rows count as read without making an order.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from ..models import OrderState
from . import drafts, sheet
from .cells import UNSTORABLE
from .drafts import Buyer, CancelDraft, Entry, LineDraft, OrderDraft, RejectedDraft, ReturnedDraft

LONDON = ZoneInfo("Europe/London")

INVOICE = "Invoice"
SKU = "StockCode"
TITLE = "Description"
QUANTITY = "Quantity"
PLACED = "InvoiceDate"
PRICE = "Price"
CUSTOMER = "Customer ID"
COUNTRY = "Country"
COLUMNS = (INVOICE, SKU, TITLE, QUANTITY, PLACED, PRICE, CUSTOMER, COUNTRY)

# The first edition of the set names three columns differently; both spellings mean the same.
SPELLINGS = {"InvoiceNo": INVOICE, "UnitPrice": PRICE, "CustomerID": CUSTOMER}

LONGEST = {INVOICE: 20, SKU: 40, TITLE: 200, COUNTRY: 60}
MOST_PIECES = 1_000_000
HIGHEST_PRICE = Decimal(1_000_000)
LONGEST_INVOICE = timedelta(days=1)

# The set knows no parcels; an order arrives so long after its invoice, and is complete so long after that.
DELIVERED_AFTER = timedelta(days=3)
COMPLETED_AFTER = timedelta(days=7)


class LineKind(StrEnum):
    """What a line is for; only `goods` are products."""

    GOODS = "goods"
    POSTAGE = "postage"
    DISCOUNT = "discount"
    FEE = "fee"
    ADJUSTMENT = "adjustment"


POSTAGE_CODES = frozenset({"POST", "DOT", "C2"})
FEE_CODES = frozenset({"BANK CHARGES", "AMAZONFEE", "CRUK"})
# M is a sale or a correction typed by hand, S are samples, B is bad debt, C3 and TEST… were never sold to anybody.
ADJUSTMENT_CODES = frozenset({"M", "S", "B", "C3"})
ADJUSTMENT_STEMS = ("ADJUST", "TEST")


class Reason(StrEnum):
    """Why a line is refused; the value is the English sentence and the key of its translation."""

    WIDTH = "The line does not have as many columns as the heading"
    UNSTORABLE = "The text holds a character that cannot be stored"
    TOO_LONG = "The text is too long"
    INVOICE_EMPTY = "The invoice number is missing"
    INVOICE_FORM = "The invoice number is not digits, C and digits, or A and digits"
    SKU_EMPTY = "The stock code is missing"
    QUANTITY_FORM = "Quantity is not a whole number"
    QUANTITY_ZERO = "Quantity is zero"
    QUANTITY_BELOW_ZERO = "Quantity is below zero on an invoice that is not a cancellation"
    QUANTITY_ABSURD = "Quantity is beyond one million"
    DATE_FORM = "InvoiceDate is not written as 2010-12-01 08:26:00"
    DATE_ABSURD = "InvoiceDate is not a likely date"
    DATE_SPREAD = "Lines of one invoice are more than a day apart"
    PRICE_FORM = "Price is not a number with a decimal point"
    PRICE_BELOW_ZERO = "Price is below zero"
    PRICE_ABSURD = "Price is beyond one million"
    CUSTOMER_FORM = "Customer ID is not a number"
    CUSTOMER_CHANGES = "Lines of one invoice name different customers"
    OTHER_LINE = "Another line of this invoice is refused"


class WhySetAside(StrEnum):
    """Why an invoice is read but makes no order; the value is the English sentence and the key of its translation."""

    BAD_DEBT = "An adjustment of bad debt, not a sale"
    STOCK_CORRECTION = "A correction of stock without customer or price, not a sale"
    BOOKKEEPING = "Only fees or corrections, not a sale"


class HeadingUnknown(ValueError):
    """The first row is not the heading of this format.

    `missing` names the columns that were looked for and not found, `repeated` those found twice.
    """

    def __init__(self, missing: Sequence[str], repeated: Sequence[str]) -> None:
        super().__init__(f"missing: {', '.join(missing) or '-'}; repeated: {', '.join(repeated) or '-'}")
        self.missing = tuple(missing)
        self.repeated = tuple(repeated)


@dataclass(frozen=True, slots=True)
class DraftLine:
    """One line of an invoice.

    `line_no` is the row in the file (the heading is row 1). `quantity` is pieces; on a cancellation it is the pieces
    taken back, so it is above zero there too. `unit_price_fen` is one piece in hundredths of the file's currency.
    """

    line_no: int
    sku: str
    title: str
    quantity: int
    unit_price_fen: int
    kind: LineKind

    @property
    def amount_fen(self) -> int:
        """Pieces times price, in hundredths; below zero when the line lowers the sum."""
        return self.quantity * self.unit_price_fen


@dataclass(frozen=True, slots=True)
class InvoiceDraft:
    """One invoice as the file has it, in the order of the file.

    `cancels` marks a ``C…`` invoice: `lines` then hold what was taken back from the customer's earlier purchases.
    `customer_id` is None where the file names nobody. `placed_at` is aware UTC, the earliest among the lines.
    """

    external_id: str
    customer_id: int | None
    placed_at: datetime
    country: str
    lines: tuple[DraftLine, ...]
    cancels: bool

    def amount_fen(self, *kinds: LineKind) -> int:
        """The sum of the lines of these kinds, or of all lines when none is named, in hundredths."""
        return sum(line.amount_fen for line in self.lines if not kinds or line.kind in kinds)


@dataclass(frozen=True, slots=True)
class SetAside:
    """An invoice that is read and understood but makes no order."""

    external_id: str
    line_numbers: tuple[int, ...]
    why: WhySetAside


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one line: its row in the file, the column (empty: the whole line), why, and the text found."""

    line_no: int
    column: str
    reason: Reason
    value: str


@dataclass(frozen=True, slots=True)
class RefusedInvoice:
    """An invoice with at least one bad line; none of its lines is taken.

    `faults` has exactly one entry for each of its lines, in the order of the file: the line's own first fault, or
    `Reason.OTHER_LINE`, so that their number is the number of rejected rows. `external_id` is empty when a line does
    not say which invoice it belongs to.
    """

    external_id: str
    faults: tuple[Fault, ...]


class _LineRefused(Exception):
    def __init__(self, column: str, reason: Reason, value: str) -> None:
        super().__init__(reason)
        self.fault = (column, reason, value[:80])


@dataclass(slots=True)
class _Gathered:
    """The lines of one invoice met so far."""

    external_id: str
    lines: list[DraftLine] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    row_numbers: list[int] = field(default_factory=list)
    customer_id: int | None = None
    country: str = ""
    first_at: datetime | None = None


_INVOICE_FORM = re.compile(r"[CA]?[0-9]+")
_QUANTITY_FORM = re.compile(r"[+-]?[0-9]+")
_PRICE_FORM = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_DATE_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2})?")
# Spreadsheet programs and data frames write whole customer numbers as 13085.0 when some are missing.
_CUSTOMER_FORM = re.compile(r"([0-9]{1,9})(?:\.0)?")


def kind_for(sku: str, amount_fen: int) -> LineKind:
    """Say what a line is for by its stock code (upper case) and its amount in hundredths.

    A discount is a line ``D`` that lowers the sum; the five ``D`` lines of the set that raise it take an earlier
    discount back, and are adjustments.
    """
    if sku in POSTAGE_CODES:
        return LineKind.POSTAGE
    if sku == "D":
        return LineKind.DISCOUNT if amount_fen < 0 else LineKind.ADJUSTMENT
    if sku in FEE_CODES:
        return LineKind.FEE
    if sku in ADJUSTMENT_CODES or sku.startswith(ADJUSTMENT_STEMS):
        return LineKind.ADJUSTMENT
    return LineKind.GOODS


def columns_of(heading: Sequence[str]) -> dict[str, int]:
    """Find the place of each of `COLUMNS` in the heading, whose columns may stand in any order.

    Both editions' spellings are known; case, spaces and a byte-order mark do not matter; other columns are ignored.

    Raises:
        HeadingUnknown: a column is missing or there twice.
    """
    known = {_plain(name): name for name in COLUMNS} | {_plain(old): name for old, name in SPELLINGS.items()}
    places: dict[str, int] = {}
    repeated = []
    for place, text in enumerate(heading):
        name = known.get(_plain(text))
        if name in places:
            repeated.append(name)
        elif name is not None:
            places[name] = place
    missing = [name for name in COLUMNS if name not in places]
    if missing or repeated:
        raise HeadingUnknown(missing, repeated)
    return places


def parse(rows: Iterable[Sequence[str]]) -> Iterator[InvoiceDraft | SetAside | RefusedInvoice]:
    """Read the rows of a file, heading first, and hand out every invoice once, in the order of its first line.

    `rows` are lists of text as `csv.reader(…, strict=True)` gives them; rows without any text are skipped. The whole
    input is read before the first invoice is handed out, so a file that cannot be read to its end (`csv.Error`,
    `UnicodeDecodeError`: raised by the rows themselves and passed on) hands out nothing. Half a million lines take
    about 5 s and 150 MB.

    Times are read as Europe/London and handed out as UTC; an hour that exists twice is taken as the first one.
    Prices of less than a hundredth are rounded half up (the set has 14 lines at 0.001).

    Raises:
        HeadingUnknown: at the first step, when the first row is not the heading.
    """
    source = enumerate(rows, start=1)
    heading = next(source, (1, ()))[1]
    places = columns_of(heading)
    reader = _LineReader(places, len(heading))
    gathered: dict[str, _Gathered] = {}
    for number, row in source:
        if any(cell.strip() for cell in row):
            reader.take(number, row, gathered)
    for invoice in gathered.values():
        yield _finished(invoice)


def recognises(heading: Sequence[str]) -> bool:
    """Whether a heading is this format's, columns repeated or not."""
    try:
        columns_of(heading)
    except HeadingUnknown as unknown:
        return not unknown.missing
    return True


def check(heading: Sequence[str]) -> None:
    """Refuses with `FileUnreadable` a heading in which columns are missing or repeated."""
    try:
        columns_of(heading)
    except HeadingUnknown as unknown:
        wrong = sheet.Wrong.COLUMNS_MISSING if unknown.missing else sheet.Wrong.COLUMNS_REPEATED
        raise sheet.FileUnreadable(wrong, columns=", ".join(unknown.missing or unknown.repeated)) from None


def entries(file: sheet.Sheet, now: datetime) -> Iterator[Entry]:
    """Every invoice of a file once, as orders, cancellations, book-keeping and refusals.

    `now` (aware UTC) decides how far an order has come: it arrives three days after its invoice and is complete seven days
    later; one that has not arrived carries its expected delivery. A dearer discount than goods gives a sum of zero.
    Refuses with `FileUnreadable` when columns are missing or repeated.
    """
    check(file.heading)
    lines = array("L")

    def cells() -> Iterator[list[str]]:
        for row in file.all_rows():
            lines.append(row.line)
            yield row.cells

    for invoice in parse(cells()):
        match invoice:
            case RefusedInvoice():
                faults = (drafts.Fault(lines[f.line_no - 1], f.column, f.reason, f.value) for f in invoice.faults)
                yield RejectedDraft(invoice.external_id, tuple(faults))
            case SetAside():
                yield drafts.AsideDraft(invoice.external_id, len(invoice.line_numbers), invoice.why)
            case InvoiceDraft() if invoice.cancels:
                yield _cancellation(invoice)
            case _:
                yield _order(invoice, now)


def _order(invoice: InvoiceDraft, now: datetime) -> OrderDraft:
    delivered_at = invoice.placed_at + DELIVERED_AFTER
    completed_at = delivered_at + COMPLETED_AFTER
    if delivered_at > now:
        state, version = OrderState.SHIPPED, invoice.placed_at
    elif completed_at > now:
        state, version = OrderState.DELIVERED, delivered_at
    else:
        state, version = OrderState.COMPLETED, completed_at
    number = str(invoice.customer_id) if invoice.customer_id is not None else None
    paid = max(0, invoice.amount_fen())
    return OrderDraft(
        external_id=invoice.external_id,
        state=state,
        placed_at=invoice.placed_at,
        paid_at=invoice.placed_at,
        delivered_at=delivered_at,
        completed_at=completed_at if state is OrderState.COMPLETED else None,
        version_at=version,
        paid_amount=paid,
        postage=min(paid, max(0, invoice.amount_fen(LineKind.POSTAGE))),
        discount=max(0, -invoice.amount_fen(LineKind.DISCOUNT)),
        buyer=Buyer(number=number, city=invoice.country) if number else None,
        buyer_key=number,
        lines=tuple(
            LineDraft(line.sku, line.title, line.quantity, line.unit_price_fen, goods=line.kind is LineKind.GOODS)
            for line in invoice.lines
            if line.kind not in (LineKind.POSTAGE, LineKind.DISCOUNT)
        ),
        rows=len(invoice.lines),
    )


def _cancellation(invoice: InvoiceDraft) -> CancelDraft:
    number = str(invoice.customer_id) if invoice.customer_id is not None else None
    return CancelDraft(
        external_id=invoice.external_id,
        at=invoice.placed_at,
        buyer=Buyer(number=number, city=invoice.country) if number else None,
        buyer_key=number,
        lines=tuple(
            ReturnedDraft(line.sku, line.quantity, line.unit_price_fen)
            for line in invoice.lines
            # A sale typed in by hand can be given back; postage, fees and discounts belong to no product.
            if line.quantity > 0 and (line.kind is LineKind.GOODS or line.sku == "M")
        ),
        rows=len(invoice.lines),
    )


def allot(quantity: int, left: Sequence[int]) -> tuple[list[int], int]:
    """Spread the pieces of a cancellation over a customer's earlier purchases of the same stock code.

    `left` are the pieces of each purchase that are not refunded yet, latest purchase first. The latest takes as much as
    it can, the rest goes to the one before. Returns the pieces for each purchase, and how many found none.
    """
    shares = []
    for pieces in left:
        share = min(max(pieces, 0), quantity)
        shares.append(share)
        quantity -= share
    return shares, quantity


def _plain(text: str) -> str:
    return text.replace("\ufeff", "").replace(" ", "").strip().casefold()


class _LineReader:
    """Reads single rows; remembers texts already understood, since few of them are different."""

    def __init__(self, places: dict[str, int], width: int) -> None:
        self.places = places
        self.width = width
        self.skus: dict[str, str] = {}
        self.titles: dict[str, str] = {}
        self.countries: dict[str, str] = {}
        self.prices: dict[str, int] = {}
        self.moments: dict[str, datetime] = {}

    def take(self, number: int, row: Sequence[str], gathered: dict[str, _Gathered]) -> None:
        """Read one row and add its line, or its fault, to its invoice."""
        at = self.places[INVOICE]
        external_id = row[at].strip().upper() if at < len(row) else ""
        # A line that names no invoice is refused alone; the row number keeps such lines apart.
        invoice = gathered.setdefault(external_id or f"?{number}", _Gathered(external_id))
        invoice.row_numbers.append(number)
        try:
            self.read(number, row, external_id, invoice)
        except _LineRefused as refused:
            column, reason, value = refused.fault
            invoice.faults.append(Fault(number, column, reason, value))

    def read(self, number: int, row: Sequence[str], external_id: str, invoice: _Gathered) -> None:
        """Read one row into its invoice; raises `_LineRefused` at the first cell that is wrong."""
        if len(row) != self.width:
            raise _LineRefused("", Reason.WIDTH, str(len(row)))
        cell = {name: row[place].strip() for name, place in self.places.items()}
        if not external_id:
            raise _LineRefused(INVOICE, Reason.INVOICE_EMPTY, "")
        if not _INVOICE_FORM.fullmatch(external_id) or len(external_id) > LONGEST[INVOICE]:
            raise _LineRefused(INVOICE, Reason.INVOICE_FORM, cell[INVOICE])
        sku = self.text(SKU, cell[SKU], self.skus).upper()
        if not sku:
            raise _LineRefused(SKU, Reason.SKU_EMPTY, "")
        title = self.text(TITLE, cell[TITLE], self.titles) or sku
        quantity = _quantity(cell[QUANTITY])
        moment = self.moment(cell[PLACED])
        price = self.price(cell[PRICE])
        customer_id = _customer(cell[CUSTOMER])
        country = self.text(COUNTRY, cell[COUNTRY], self.countries)

        if price < 0 and external_id[0] != "A":
            raise _LineRefused(PRICE, Reason.PRICE_BELOW_ZERO, cell[PRICE])
        if external_id[0] == "C":
            quantity = -quantity
        elif quantity < 0 and (price or customer_id) and external_id[0] != "A":
            # Without a price and a customer it is stock written off, which is settled for the invoice as a whole.
            raise _LineRefused(QUANTITY, Reason.QUANTITY_BELOW_ZERO, cell[QUANTITY])
        if invoice.first_at is None:
            invoice.first_at, invoice.customer_id, invoice.country = moment, customer_id, country
        elif customer_id != invoice.customer_id:
            raise _LineRefused(CUSTOMER, Reason.CUSTOMER_CHANGES, cell[CUSTOMER])
        elif abs(moment - invoice.first_at) > LONGEST_INVOICE:
            raise _LineRefused(PLACED, Reason.DATE_SPREAD, cell[PLACED])
        invoice.first_at = min(moment, invoice.first_at)
        kind = kind_for(sku, -quantity * price if external_id[0] == "C" else quantity * price)
        invoice.lines.append(DraftLine(number, sku, title, quantity, price, kind))

    def text(self, column: str, value: str, known: dict[str, str]) -> str:
        """Check a text cell and join its runs of blanks; equal texts become one object."""
        text = known.get(value)
        if text is None:
            if UNSTORABLE.search(value):
                raise _LineRefused(column, Reason.UNSTORABLE, UNSTORABLE.sub("\ufffd", value))
            text = " ".join(value.split())
            if len(text) > LONGEST[column]:
                raise _LineRefused(column, Reason.TOO_LONG, text)
            known[value] = text
        return text

    def price(self, value: str) -> int:
        """A price in pounds as hundredths, rounded half up."""
        fen = self.prices.get(value)
        if fen is None:
            if not _PRICE_FORM.fullmatch(value):
                raise _LineRefused(PRICE, Reason.PRICE_FORM, value)
            pounds = Decimal(value)
            if abs(pounds) > HIGHEST_PRICE:
                raise _LineRefused(PRICE, Reason.PRICE_ABSURD, value)
            fen = int((pounds * 100).quantize(Decimal(1), rounding=ROUND_HALF_UP))
            self.prices[value] = fen
        return fen

    def moment(self, value: str) -> datetime:
        """A local time of London as aware UTC."""
        moment = self.moments.get(value)
        if moment is None:
            if not _DATE_FORM.fullmatch(value):
                raise _LineRefused(PLACED, Reason.DATE_FORM, value)
            try:
                local = datetime.fromisoformat(value)
            except ValueError:
                raise _LineRefused(PLACED, Reason.DATE_ABSURD, value) from None
            if not 1970 <= local.year < 2100:
                raise _LineRefused(PLACED, Reason.DATE_ABSURD, value)
            moment = local.replace(tzinfo=LONDON).astimezone(UTC)
            self.moments[value] = moment
        return moment


def _quantity(value: str) -> int:
    if not _QUANTITY_FORM.fullmatch(value):
        raise _LineRefused(QUANTITY, Reason.QUANTITY_FORM, value)
    # The length is looked at first, because Python refuses to read numbers of thousands of digits.
    if len(value) > 20 or abs(int(value)) > MOST_PIECES:
        raise _LineRefused(QUANTITY, Reason.QUANTITY_ABSURD, value)
    if int(value) == 0:
        raise _LineRefused(QUANTITY, Reason.QUANTITY_ZERO, value)
    return int(value)


def _customer(value: str) -> int | None:
    if not value:
        return None
    form = _CUSTOMER_FORM.fullmatch(value)
    if form is None:
        raise _LineRefused(CUSTOMER, Reason.CUSTOMER_FORM, value)
    return int(form[1])


def _finished(invoice: _Gathered) -> InvoiceDraft | SetAside | RefusedInvoice:
    """Decide what a gathered invoice is."""
    if not invoice.faults and not invoice.external_id.startswith("A"):
        zero = [line for line in invoice.lines if line.quantity < 0 and not line.unit_price_fen]
        if zero and invoice.external_id[0] != "C" and any(line.unit_price_fen for line in invoice.lines):
            # Stock written off among lines that were sold: one of the two is a mistake.
            invoice.faults.extend(
                Fault(line.line_no, QUANTITY, Reason.QUANTITY_BELOW_ZERO, str(line.quantity)) for line in zero
            )
    if invoice.faults or invoice.first_at is None:
        own = {fault.line_no: fault for fault in invoice.faults}
        other = ("", Reason.OTHER_LINE, "")
        return RefusedInvoice(
            invoice.external_id, tuple(own.get(number, Fault(number, *other)) for number in invoice.row_numbers)
        )
    why = _why_set_aside(invoice)
    if why is not None:
        return SetAside(invoice.external_id, tuple(invoice.row_numbers), why)
    return InvoiceDraft(
        external_id=invoice.external_id,
        customer_id=invoice.customer_id,
        placed_at=invoice.first_at,
        country=invoice.country,
        lines=tuple(invoice.lines),
        cancels=invoice.external_id.startswith("C"),
    )


def _why_set_aside(invoice: _Gathered) -> WhySetAside | None:
    if invoice.external_id.startswith("A"):
        return WhySetAside.BAD_DEBT
    if invoice.external_id.startswith("C"):
        return None
    if invoice.customer_id is None and not any(line.unit_price_fen for line in invoice.lines):
        return WhySetAside.STOCK_CORRECTION
    # M alone stays an order: it is how the shop typed in a sale whose goods had no code.
    if all(line.kind in (LineKind.FEE, LineKind.ADJUSTMENT) and line.sku != "M" for line in invoice.lines):
        return WhySetAside.BOOKKEEPING
    return None
