"""Input of the moderation pages."""

from __future__ import annotations

from wtforms import RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import DataRequired, Length

from kernel.forms import Form
from kernel.i18n import lazy_gettext as _l

from . import labels, rules
from .models import Ground, SanctionKind


class SanctionForm(Form):
    kind = RadioField(
        _l("What they may not do"),
        [DataRequired()],
        choices=[(kind.value, label) for kind, label in labels.SANCTIONS.items()],
        default=SanctionKind.SILENCE.value,
    )
    group = SelectField(_l("In which group"), coerce=int, default=0)
    days = SelectField(_l("For how long"), choices=list(labels.SPANS.items()), default="7")
    reason = StringField(_l("Reason"), [DataRequired(), Length(max=rules.LONGEST_NOTE)])


class WordsForm(Form):
    refused = TextAreaField(_l("Refused: a text with one of these cannot be sent"), [Length(max=40_000)])
    held = TextAreaField(_l("Held: a text with one of these waits until staff have looked"), [Length(max=40_000)])


class ComplaintForm(Form):
    ground = RadioField(
        _l("What is wrong with it"),
        [DataRequired(_l("Choose what is wrong with it."))],
        choices=[(ground.value, label) for ground, label in labels.GROUNDS.items()],
    )
    note = TextAreaField(_l("A word more"), [Length(max=rules.LONGEST_NOTE)])

    @property
    def chosen(self) -> Ground:
        """What was ticked, once the form is valid."""
        return Ground(self.ground.data)
