"""Input of the pages that look ahead."""

from __future__ import annotations

from wtforms import IntegerField
from wtforms.validators import InputRequired, NumberRange

from kernel.forms import Form
from kernel.i18n import lazy_gettext as _l

from .rules import LONGEST_USE


class DaysForm(Form):
    """How long one piece lasts."""

    days = IntegerField(_l("One piece lasts"), [InputRequired(), NumberRange(min=1, max=LONGEST_USE)])
