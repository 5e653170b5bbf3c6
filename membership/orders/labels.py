"""Names of states, formats and faults in the reader's language."""

from __future__ import annotations

from typing import Any

from kernel.events import describes
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.money import yuan

from . import formats
from .events import OrderCompleted, OrderDelivered, OrderRecorded, OrderRefunded, OrderRefused
from .feeds.reasons import SENTENCES as FEED_SENTENCES
from .formats import sheet, siyu, uci
from .formats.cells import Dates
from .formats.drafts import Reason
from .formats.uci import Reason as UciReason
from .formats.uci import WhySetAside
from .models import OrderState, Payment, RunState

# Order states as staff read them; what the buyer reads is in `membership.members.labels`.
STATES = {
    OrderState.PLACED: _l("Not paid yet"),
    OrderState.PAID: _l("Paid, to be sent"),
    OrderState.SHIPPED: _l("On its way"),
    OrderState.DELIVERED: _l("Delivered"),
    OrderState.COMPLETED: _l("Completed"),
    OrderState.CLOSED: _l("Closed"),
    OrderState.REFUSED: _l("Refused at the door"),
}
STATE_TONES = {
    OrderState.PLACED: "neutral",
    OrderState.PAID: "info",
    OrderState.SHIPPED: "info",
    OrderState.DELIVERED: "positive",
    OrderState.COMPLETED: "positive",
    OrderState.CLOSED: "neutral",
    OrderState.REFUSED: "negative",
}
PAYMENTS = {Payment.ONLINE: _l("Paid online"), Payment.ON_DELIVERY: _l("Cash on delivery")}
RUN_STATES = {
    RunState.WAITING: _l("Not started"),
    RunState.RUNNING: _l("Under way"),
    RunState.DONE: _l("Done"),
    RunState.FAILED: _l("File refused"),
}
DATES = {
    Dates.YMD: _l("Year first: 2026-03-01 10:30, 2026年3月1日"),
    Dates.DMY: _l("Day first: 01/03/2026 10:30"),
    Dates.MDY: _l("Month first: 03/01/2026 10:30"),
    Dates.SERIAL: _l("Spreadsheet numbers: 46082.4375"),
    Dates.UNIX: _l("Seconds or milliseconds since 1970"),
}
UNITS = {
    "yuan": _l("Yuan: 128.00"),
    "comma": _l("Yuan, decimals after a comma: 1.128,00"),
    "fen": _l("分 (hundredths): 12800"),
}
# Our columns as staff read them when they map a file.
FIELDS = {
    "order_no": _l("Order number"),
    "placed_at": _l("Placed"),
    "paid_amount": _l("Amount paid"),
    "state": _l("State"),
    "buyer_phone": _l("Buyer's phone"),
    "buyer_id": _l("Buyer's number"),
    "buyer_nickname": _l("Buyer's nickname"),
    "buyer_name": _l("Buyer's name"),
    "buyer_email": _l("Buyer's e-mail"),
    "buyer_city": _l("City"),
    "buyer_address": _l("Address"),
    "title": _l("Product"),
    "sku": _l("SKU"),
    "quantity": _l("Pieces"),
    "unit_price": _l("Price per piece"),
    "postage": _l("Postage"),
    "discount": _l("Discount"),
    "refunded_amount": _l("Refunded"),
    "payment": _l("Way of paying"),
    "paid_at": _l("Paid at"),
    "shipped_at": _l("Sent at"),
    "delivered_at": _l("Delivered at"),
    "completed_at": _l("Completed at"),
    "closed_at": _l("Closed at"),
    "updated_at": _l("Last changed at"),
}
RUN_TONES = {
    RunState.WAITING: "caution",
    RunState.RUNNING: "running",
    RunState.DONE: "positive",
    RunState.FAILED: "negative",
}
ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8 (BOM)",
    "gb18030": "GB18030 / GBK",
    "utf-16": "UTF-16",
    "utf-32": "UTF-32",
}
FAILURES = {
    **{wrong.value: sentence for wrong, sentence in sheet.SENTENCES.items()},
    "file_gone": _l("The file is not there any more. Upload it again; what was imported already stays."),
    "gave_up": _l(
        "The import failed several times at line %(line)s. What came before is imported; the fault has been noted."
    ),
}

REASONS: dict[str, Any] = {
    **FEED_SENTENCES,
    Reason.WIDTH: _l("The line does not have as many columns as the heading"),
    Reason.EMPTY: _l("The cell is empty"),
    Reason.UNSTORABLE: _l("The text holds a character that cannot be stored"),
    Reason.TOO_LONG: _l("The text is too long"),
    Reason.NUMBER_FORM: _l("The order number was changed by a spreadsheet program: export the column as text"),
    Reason.AMOUNT_FORM: _l("Not an amount in yuan with at most two decimals"),
    Reason.AMOUNT_BELOW_ZERO: _l("The amount is below zero"),
    Reason.AMOUNT_ABSURD: _l("The amount is beyond ¥100,000,000"),
    Reason.QUANTITY_FORM: _l("Not a whole number"),
    Reason.QUANTITY_RANGE: _l("The quantity is not between 1 and 1,000,000"),
    Reason.MOMENT_FORM: _l("Not a date and time such as 2026-03-01 10:30"),
    Reason.MOMENT_SERIAL: _l("A date as a bare number: give the column a date format, or map it as spreadsheet dates"),
    Reason.MOMENT_ABSURD: _l("Not a likely date"),
    Reason.MOMENT_AHEAD: _l("The moment lies in the future"),
    Reason.MOMENT_ORDER: _l("The moment lies before the order was placed"),
    Reason.STATE_UNKNOWN: _l("The state is not one of those that this format knows"),
    Reason.PAYMENT_UNKNOWN: _l("The payment is neither online nor on_delivery"),
    Reason.PHONE_FORM: _l("Not a whole phone number"),
    Reason.PHONE_SPOILT: _l("The phone was changed by a spreadsheet program: export the column as text"),
    Reason.EMAIL_FORM: _l("Not an e-mail address"),
    Reason.REFUND_TOO_LARGE: _l("More was refunded than was paid"),
    Reason.POSTAGE_TOO_LARGE: _l("The postage is more than was paid"),
    Reason.LINES_DIFFER: _l("Lines of one order say different things here"),
    Reason.TOO_MANY_LINES: _l("One order has more than 2,000 lines"),
    Reason.CURRENCY: _l("The order is in another currency, and no rate was given for it"),
    Reason.STATE_UNMAPPED: _l("The mapping does not say what this state means"),
    Reason.OTHER_LINE: _l("Another line of this order is refused"),
    UciReason.INVOICE_EMPTY: _l("The invoice number is missing"),
    UciReason.INVOICE_FORM: _l("The invoice number is not digits, C and digits, or A and digits"),
    UciReason.SKU_EMPTY: _l("The stock code is missing"),
    UciReason.QUANTITY_FORM: _l("Quantity is not a whole number"),
    UciReason.QUANTITY_ZERO: _l("Quantity is zero"),
    UciReason.QUANTITY_BELOW_ZERO: _l("Quantity is below zero on an invoice that is not a cancellation"),
    UciReason.QUANTITY_ABSURD: _l("Quantity is beyond one million"),
    UciReason.DATE_FORM: _l("InvoiceDate is not written as 2010-12-01 08:26:00"),
    UciReason.DATE_ABSURD: _l("InvoiceDate is not a likely date"),
    UciReason.DATE_SPREAD: _l("Lines of one invoice are more than a day apart"),
    UciReason.PRICE_FORM: _l("Price is not a number with a decimal point"),
    UciReason.PRICE_BELOW_ZERO: _l("Price is below zero"),
    UciReason.PRICE_ABSURD: _l("Price is beyond one million"),
    UciReason.CUSTOMER_FORM: _l("Customer ID is not a number"),
    UciReason.CUSTOMER_CHANGES: _l("Lines of one invoice name different customers"),
    UciReason.OTHER_LINE: _l("Another line of this invoice is refused"),
    WhySetAside.BAD_DEBT: _l("An adjustment of bad debt, not a sale"),
    WhySetAside.STOCK_CORRECTION: _l("A correction of stock without customer or price, not a sale"),
    WhySetAside.BOOKKEEPING: _l("Only fees or corrections, not a sale"),
}


def reason_text(reason: str) -> str:
    """Why a line was rejected, in the reader's language."""
    return str(REASONS.get(reason, reason))


# The columns of the sample set that are ours too, under its own names.
_SAMPLE_COLUMNS = {
    uci.INVOICE: "order_no",
    uci.SKU: "sku",
    uci.TITLE: "title",
    uci.QUANTITY: "quantity",
    uci.PLACED: "placed_at",
    uci.PRICE: "unit_price",
    uci.CUSTOMER: "buyer_id",
}


def column_text(name: str) -> str:
    """A column of an order file in the reader's language; a shop's own heading stays as it is."""
    ours = siyu.SPELLINGS.get(sheet.name_of(name)) or _SAMPLE_COLUMNS.get(name)
    return str(FIELDS[ours]) if ours in FIELDS else name


def failure_text(failure: dict[str, Any] | None) -> str:
    """What is wrong with a file as a whole, in the reader's language."""
    if not failure:
        return ""
    sentence = str(FAILURES.get(failure["code"], failure["code"]))
    values = {key: value for key, value in failure.items() if key != "code"}
    if values.get("format") in formats.FORMATS:
        values["format"] = formats.FORMATS[values["format"]].label
    return sentence % values if values else sentence


@describes(OrderRecorded)
def _recorded(event: OrderRecorded) -> str:
    return _("Ordered for %(amount)s (%(number)s)", amount=yuan(event.amount), number=event.external_id)


@describes(OrderDelivered)
def _delivered(event: OrderDelivered) -> str:
    return _("The parcel of order %(number)s arrived", number=event.external_id)


@describes(OrderCompleted)
def _completed(event: OrderCompleted) -> str:
    return _("Order %(number)s is complete", number=event.external_id)


@describes(OrderRefused)
def _refused(event: OrderRefused) -> str:
    return _("Refused the parcel of order %(number)s at the door", number=event.external_id)


@describes(OrderRefunded)
def _refunded(event: OrderRefunded) -> str:
    if event.full:
        return _("Got the whole order %(number)s back: %(amount)s", number=event.external_id, amount=yuan(event.amount))
    return _("Got %(amount)s of order %(number)s back", number=event.external_id, amount=yuan(event.amount))
