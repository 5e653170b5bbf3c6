"""Input of the console page."""

from __future__ import annotations

from wtforms import BooleanField, IntegerField, TextAreaField
from wtforms.validators import InputRequired, Length, NumberRange

from kernel.forms import Form
from kernel.i18n import lazy_gettext as _l

from . import rules


class ProgramForm(Form):
    enabled = BooleanField(_l("Members can check in once a day"))
    points = IntegerField(_l("Points a day"), [InputRequired(), NumberRange(0, rules.MOST_POINTS)])
    bonuses = TextAreaField(_l("More for days in a row"), [Length(max=200)])
