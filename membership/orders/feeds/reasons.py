"""Why something that a shop system sent is not taken, or taken without a part of it."""

from __future__ import annotations

import enum
from typing import Any

from kernel.i18n import lazy_gettext as _l


class Reason(enum.StrEnum):
    """The value is the English sentence and the key of its translation."""

    NO_JSON = "This is no JSON in UTF-8"
    NO_OBJECT = "This is not an object"
    NO_LIST = "This is not a list"
    MISSING = "The field is missing"
    NO_TEXT = "This is not text"
    UNSTORABLE = "The text holds a character that cannot be stored"
    TOO_LONG = "The text is too long"
    NO_NUMBER = "This is no number that an order or a customer could have"
    AMOUNT_FORM = "Not an amount such as 12.50"
    AMOUNT_BELOW_ZERO = "The amount is below zero"
    AMOUNT_ABSURD = "The amount is beyond ¥100,000,000"
    QUANTITY_FORM = "Not a whole number"
    QUANTITY_RANGE = "The quantity is not between 1 and 1,000,000"
    MOMENT_FORM = "Not a date and time as this shop system writes it"
    MOMENT_ABSURD = "Not a likely date"
    MOMENT_AHEAD = "The moment lies in the future"
    MOMENT_ORDER = "The moment lies before the order was placed"
    STATE_UNKNOWN = "The state is not one of those that this shop system has"
    CURRENCY_FORM = "The currency is not named by its three letters"
    CURRENCY_FOREIGN = "The currency is not yuan, and no rate is set for it on this connection"
    REFUND_TOO_LARGE = "More was refunded than was paid"
    POSTAGE_TOO_LARGE = "The postage is more than was paid"
    PHONE_FORM = "Not a whole phone number"
    EMAIL_FORM = "Not an e-mail address"
    TOO_MANY_LINES = "One order has more than 2,000 lines"
    TOO_MANY_ORDERS = "More than 500 orders at once"
    NO_ORDER = "This is neither an order nor a refund"
    # Taken, but without a part.
    PHONE_LEFT_OUT = "The phone is not a whole number and was left out"
    EMAIL_LEFT_OUT = "The e-mail address is none and was left out"
    # Nothing to take.
    TOPIC = "This kind of news is not about orders"
    TEST_ORDER = "A test order of the shop system"
    DRAFT_ORDER = "A basket that has not become an order yet"
    PING = "A greeting of the shop system, to see whether the address answers"
    NO_REFUND_YET = "No money has been given back by this yet"


SENTENCES: dict[str, Any] = {
    Reason.NO_JSON: _l("This is no JSON in UTF-8"),
    Reason.NO_OBJECT: _l("This is not an object"),
    Reason.NO_LIST: _l("This is not a list"),
    Reason.MISSING: _l("The field is missing"),
    Reason.NO_TEXT: _l("This is not text"),
    Reason.UNSTORABLE: _l("The text holds a character that cannot be stored"),
    Reason.TOO_LONG: _l("The text is too long"),
    Reason.NO_NUMBER: _l("This is no number that an order or a customer could have"),
    Reason.AMOUNT_FORM: _l("Not an amount such as 12.50"),
    Reason.AMOUNT_BELOW_ZERO: _l("The amount is below zero"),
    Reason.AMOUNT_ABSURD: _l("The amount is beyond ¥100,000,000"),
    Reason.QUANTITY_FORM: _l("Not a whole number"),
    Reason.QUANTITY_RANGE: _l("The quantity is not between 1 and 1,000,000"),
    Reason.MOMENT_FORM: _l("Not a date and time as this shop system writes it"),
    Reason.MOMENT_ABSURD: _l("Not a likely date"),
    Reason.MOMENT_AHEAD: _l("The moment lies in the future"),
    Reason.MOMENT_ORDER: _l("The moment lies before the order was placed"),
    Reason.STATE_UNKNOWN: _l("The state is not one of those that this shop system has"),
    Reason.CURRENCY_FORM: _l("The currency is not named by its three letters"),
    Reason.CURRENCY_FOREIGN: _l("The currency is not yuan, and no rate is set for it on this connection"),
    Reason.REFUND_TOO_LARGE: _l("More was refunded than was paid"),
    Reason.POSTAGE_TOO_LARGE: _l("The postage is more than was paid"),
    Reason.PHONE_FORM: _l("Not a whole phone number"),
    Reason.EMAIL_FORM: _l("Not an e-mail address"),
    Reason.TOO_MANY_LINES: _l("One order has more than 2,000 lines"),
    Reason.TOO_MANY_ORDERS: _l("More than 500 orders at once"),
    Reason.NO_ORDER: _l("This is neither an order nor a refund"),
    Reason.PHONE_LEFT_OUT: _l("The phone is not a whole number and was left out"),
    Reason.EMAIL_LEFT_OUT: _l("The e-mail address is none and was left out"),
    Reason.TOPIC: _l("This kind of news is not about orders"),
    Reason.TEST_ORDER: _l("A test order of the shop system"),
    Reason.DRAFT_ORDER: _l("A basket that has not become an order yet"),
    Reason.PING: _l("A greeting of the shop system, to see whether the address answers"),
    Reason.NO_REFUND_YET: _l("No money has been given back by this yet"),
}


def sentence(reason: str) -> str:
    """A reason in the reader's language; a sentence that is none of ours as it stands."""
    return str(SENTENCES.get(reason, reason))


class PayloadRefused(Exception):
    """A payload cannot be taken: for each thing that is wrong its place (`orders.0.total_price`) and why (a `Reason`)."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{place}: {why}" for place, why in faults[:5]))
        self.faults = faults
