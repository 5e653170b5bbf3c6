"""Input of the result pages."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from wtforms import RadioField, SelectField, SelectMultipleField, StringField
from wtforms.validators import DataRequired, Length, NumberRange, Optional, ValidationError
from wtforms.widgets import CheckboxInput, ListWidget, TextInput

from kernel.forms import Form, OptionalIntegerField
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from . import labels, rules
from .models import Rhythm

# Nothing that a message costs is dearer.
DEAREST_YUAN = 100


class PriceField(StringField):
    """The price of one message in yuan, to a hundredth of a 分; `data` is hundredths of a 分, or None when empty."""

    widget = TextInput()

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        if self.data is None:
            return ""
        return f"{Decimal(self.data) / 10_000:.4f}".rstrip("0").rstrip(".")

    def process_formdata(self, valuelist: list[str]) -> None:
        if not valuelist:
            return
        text = valuelist[0].strip()
        self.data = None
        if not text:
            return
        wrong = ValidationError(_("Write the price of one message in yuan, such as 0.045."))
        if len(text) > 12 or not text.isascii():
            raise wrong
        try:
            price = Decimal(text) * 10_000
        except InvalidOperation:
            raise wrong from None
        if not price.is_finite() or price < 0 or price > DEAREST_YUAN * 10_000 or price != price.to_integral_value():
            raise wrong
        self.data = int(price)


class MeasureForm(Form):
    """How pushes are measured that begin from now on."""

    touch_days = OptionalIntegerField(
        _l("A click counts for this many days"), [DataRequired(), NumberRange(1, rules.LONGEST_TOUCH_DAYS)]
    )
    margin = OptionalIntegerField(_l("Margin of goods, in percent"),
                                  [Optional(), NumberRange(0, 100)])  # fmt: skip


class ReportForm(Form):
    """A report that goes by e-mail."""

    name = StringField(_l("Name"), [DataRequired(), Length(max=80)])
    rhythm = RadioField(_l("How often"), choices=[], default=Rhythm.WEEKLY.value)
    locale = SelectField(_l("Language"), choices=[])
    account_id = SelectField(_l("E-mail account"), coerce=int, choices=[])
    staff_ids = SelectMultipleField(
        _l("To"), coerce=int, choices=[], option_widget=CheckboxInput(), widget=ListWidget()
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rhythm.choices = [(rhythm.value, str(label)) for rhythm, label in labels.RHYTHMS.items()]
        self.locale.choices = [(code, str(label)) for code, label in labels.LOCALES.items()]
