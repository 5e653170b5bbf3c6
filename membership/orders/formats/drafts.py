"""What the readers of order files hand out: orders, cancellations, book-keeping, and what was refused."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from ..models import OrderState, Payment


class Reason(enum.StrEnum):
    """Why a line is refused; the value is the English sentence (`labels.REASONS` holds the translations)."""

    WIDTH = "The line does not have as many columns as the heading"
    EMPTY = "The cell is empty"
    UNSTORABLE = "The text holds a character that cannot be stored"
    TOO_LONG = "The text is too long"
    NUMBER_FORM = "The order number was changed by a spreadsheet program: export the column as text"
    AMOUNT_FORM = "Not an amount in yuan with at most two decimals"
    AMOUNT_BELOW_ZERO = "The amount is below zero"
    AMOUNT_ABSURD = "The amount is beyond ¥100,000,000"
    QUANTITY_FORM = "Not a whole number"
    QUANTITY_RANGE = "The quantity is not between 1 and 1,000,000"
    MOMENT_FORM = "Not a date and time such as 2026-03-01 10:30"
    MOMENT_SERIAL = "A date as a bare number: give the column a date format, or map it as spreadsheet dates"
    MOMENT_ABSURD = "Not a likely date"
    MOMENT_AHEAD = "The moment lies in the future"
    MOMENT_ORDER = "The moment lies before the order was placed"
    STATE_UNKNOWN = "The state is not one of those that this format knows"
    PAYMENT_UNKNOWN = "The payment is neither online nor on_delivery"
    PHONE_FORM = "Not a whole phone number"
    PHONE_SPOILT = "The phone was changed by a spreadsheet program: export the column as text"
    EMAIL_FORM = "Not an e-mail address"
    REFUND_TOO_LARGE = "More was refunded than was paid"
    POSTAGE_TOO_LARGE = "The postage is more than was paid"
    LINES_DIFFER = "Lines of one order say different things here"
    TOO_MANY_LINES = "One order has more than 2,000 lines"
    CURRENCY = "The order is in another currency, and no rate was given for it"
    STATE_UNMAPPED = "The mapping does not say what this state means"
    OTHER_LINE = "Another line of this order is refused"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one line: its number in the file (the heading is line 1), the column (empty: the whole line), why
    (an English sentence), the text found, and the line's cells where the reader keeps them."""

    line: int
    column: str
    reason: str
    value: str = ""
    row: tuple[str, ...] = ()


# Values like the others of this module, and never changed; made without the lock that would keep them from it, because
# millions of them are made and it costs three quarters of that.
@dataclass(unsafe_hash=True, slots=True, kw_only=True)
class Buyer:
    """Who bought, as far as the file says. `number` is the source's own customer number; phone and e-mail are canonical."""

    number: str | None = None
    nickname: str = ""
    name: str = ""
    phone: str | None = None
    email: str | None = None
    city: str = ""
    address: str = ""

    @property
    def known(self) -> bool:
        """Whether there is anything under which the person can be found again."""
        return bool(self.number or self.phone or self.email or self.nickname)


@dataclass(unsafe_hash=True, slots=True)
class LineDraft:
    """One line of an order. `goods` is false for what is no product (a fee, a correction). Amounts in 分."""

    sku: str
    title: str
    quantity: int
    unit_price: int
    goods: bool = True
    # What the line came to, where it is not pieces times price.
    total: int | None = None

    @property
    def amount(self) -> int:
        return self.quantity * self.unit_price if self.total is None else self.total


@dataclass(unsafe_hash=True, slots=True, kw_only=True)
class OrderDraft:
    """One order as a report has it. Amounts in 分, instants aware UTC; `rows` is how many data lines it took.

    `refunded_amount` is all that was given back so far. `buyer_key` is set where cancellations find orders by buyer.
    """

    external_id: str
    state: OrderState
    placed_at: datetime
    version_at: datetime
    paid_amount: int
    payment: Payment = Payment.ONLINE
    paid_at: datetime | None = None
    shipped_at: datetime | None = None
    delivered_at: datetime | None = None
    completed_at: datetime | None = None
    closed_at: datetime | None = None
    postage: int = 0
    discount: int = 0
    refunded_amount: int = 0
    buyer: Buyer | None = None
    buyer_key: str | None = None
    lines: tuple[LineDraft, ...] = ()
    rows: int = 1


@dataclass(frozen=True, slots=True)
class ReturnedDraft:
    """So many pieces of a product given back, at so much a piece (分)."""

    sku: str
    quantity: int
    unit_price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailDraft:
    """The lines of an order that another file has. `version_at` is the latest moment they name, `step` how far they have
    come (`rules.STEP`, added up), `refunded_amount` (分) what was given back over all of them."""

    external_id: str
    version_at: datetime
    step: int
    lines: tuple[LineDraft, ...]
    rows: int
    refunded_amount: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelDraft:
    """A cancellation that does not name its order: it refunds the buyer's latest earlier purchases of each product."""

    external_id: str
    at: datetime
    buyer_key: str | None
    lines: tuple[ReturnedDraft, ...]
    rows: int
    buyer: Buyer | None = None


@dataclass(frozen=True, slots=True)
class AsideDraft:
    """Something that is read and understood and is no order; `note` says what (an English sentence)."""

    external_id: str
    rows: int
    note: str


@dataclass(frozen=True, slots=True)
class RefundDraft:
    """A single refund as a feed reports it, perhaps before its order. `amount` in 分."""

    external_id: str
    order_external_id: str
    amount: int
    at: datetime


@dataclass(frozen=True, slots=True)
class StepDraft:
    """News that says no more of an order than how far it has come, perhaps before the order itself."""

    external_id: str
    state: OrderState
    at: datetime


@dataclass(frozen=True, slots=True)
class RejectedDraft:
    """An order with a bad line: one fault for each of its lines, in the order of the file."""

    external_id: str
    faults: tuple[Fault, ...]

    @property
    def rows(self) -> int:
        return len(self.faults)


Entry = OrderDraft | DetailDraft | CancelDraft | AsideDraft | RejectedDraft


_SHIPPED = OrderState.SHIPPED


def version_at(
    state: OrderState,
    placed_at: datetime,
    paid_at: datetime | None = None,
    shipped_at: datetime | None = None,
    delivered_at: datetime | None = None,
    completed_at: datetime | None = None,
    closed_at: datetime | None = None,
) -> datetime:
    """When a source last changed an order, where it does not say so: the latest of the moments that have come.

    A delivery that is only expected (the state is `shipped`) does not count.
    """
    latest = placed_at
    for at in (paid_at, shipped_at, completed_at, closed_at, None if state is _SHIPPED else delivered_at):
        if at is not None and at > latest:
            latest = at
    return latest
