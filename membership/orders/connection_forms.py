"""Input of the pages about order connections."""

from __future__ import annotations

from typing import Any

from werkzeug.datastructures import MultiDict
from wtforms import DecimalField, PasswordField, RadioField, SelectField, StringField
from wtforms.validators import DataRequired, Length, NumberRange, Optional

from kernel.forms import Form, one_line
from kernel.i18n import lazy_gettext as _l

from .connection_labels import CURRENCIES, KINDS
from .feeds.signatures import Kind
from .models import Outcome
from .queries import ReceiptFilter


class ConnectionForm(Form):
    kind = RadioField(_l("Shop system"), default=Kind.SHOPIFY.value)
    name = StringField(_l("Name"), [DataRequired(), Length(max=80)])
    source = StringField(_l("Source"), [DataRequired(), Length(max=32)], default="shop")
    secret = PasswordField(_l("Secret"), [Length(max=300)])
    client_id = StringField(_l("Client id"), [Length(max=80)])
    currency = SelectField(_l("Currency"), default="CNY")
    rate = DecimalField(_l("Yuan for one unit"), [Optional(), NumberRange(min=0.000001, max=100_000)], places=6)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind.choices = [(kind.value, label) for kind, label in KINDS.items()]
        self.currency.choices = list(CURRENCIES.items())


class SecretForm(Form):
    new_secret = PasswordField(_l("New secret"), [Length(max=300)])


def receipt_filter_from(arguments: MultiDict[str, str]) -> ReceiptFilter:
    """What the log's address asks for; what it says wrongly narrows nothing."""
    outcome = arguments.get("outcome", "")
    connection = arguments.get("connection", "")
    return ReceiptFilter(
        q=one_line(arguments.get("q"))[:100],
        connection_id=int(connection)
        if connection.isascii() and connection.isdigit() and len(connection) < 19
        else None,
        outcome=Outcome(outcome) if outcome in list(Outcome) else None,
    )
