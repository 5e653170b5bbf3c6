"""Input of the desk's pages."""

from __future__ import annotations

from typing import Any

from wtforms import (
    BooleanField,
    HiddenField,
    IntegerField,
    RadioField,
    SelectField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange
from wtforms.widgets import CheckboxInput, HiddenInput, ListWidget

from kernel.forms import Form, LocalDateTimeField
from kernel.i18n import lazy_gettext as _l
from membership.members import labels as member_labels
from membership.members.models import Contact, CustomerType

from . import labels
from .models import CallReason, CallState, Script
from .services import Outcome, ScriptDraft

OUTCOMES = (CallState.REACHED, CallState.RETRY, CallState.REFUSED, CallState.UNREACHABLE)
OFFERS = {"": _l("Not asked"), "yes": _l("They agreed"), "no": _l("They said no")}
TYPES = [("", _l("Not known")), *((kind.value, label) for kind, label in member_labels.CUSTOMER_TYPES.items())]


class OutcomeForm(Form):
    tries = IntegerField(widget=HiddenInput(), validators=[InputRequired(), NumberRange(min=0)])
    outcome = RadioField(
        _l("How it went"), [DataRequired()], choices=[(state.value, labels.STATES[state]) for state in OUTCOMES]
    )
    retry_at = LocalDateTimeField(_l("Call again at"))
    note = TextAreaField(_l("What was said"), [Length(max=2_000)])
    satisfaction = SelectField(
        _l("How satisfied are they"),
        choices=[
            ("", _l("Not asked")),
            ("5", _l("5 · very satisfied")),
            ("4", _l("4 · satisfied")),
            ("3", _l("3 · so-so")),
            ("2", _l("2 · not satisfied")),
            ("1", _l("1 · upset")),
        ],
    )
    customer_type = SelectField(_l("Customer type"), choices=TYPES)
    offers = RadioField(_l("May we tell them about offers?"), choices=list(OFFERS.items()), default="")
    ways = SelectMultipleField(
        _l("In which way"),
        choices=[(way.value, label) for way, label in member_labels.CONTACTS.items()],
        widget=ListWidget(prefix_label=False),
        option_widget=CheckboxInput(),
    )

    again_at = LocalDateTimeField(_l("Call once more on"))
    script = SelectField(_l("Script that helped"), validate_choice=False)

    def validate(self, extra_validators: Any = None) -> bool:
        """The fields, and that a time goes with calling again and a way with a yes."""
        fine = bool(super().validate(extra_validators))
        if self.outcome.data == CallState.RETRY and not self.retry_at.data and not self.retry_at.errors:
            self.refuse("retry_at", _l("Choose when to call again."))
            fine = False
        if self.offers.data == "yes" and not self.ways.data:
            self.refuse("ways", _l("Tick at least one way that they agreed to."))
            fine = False
        return fine

    @property
    def result(self) -> Outcome:
        """What was filled in, once it is valid."""
        return Outcome(
            state=CallState(self.outcome.data),
            note=self.note.data or "",
            retry_at=self.retry_at.data,
            satisfaction=int(self.satisfaction.data) if self.satisfaction.data else None,
            customer_type=CustomerType(self.customer_type.data) if self.customer_type.data else None,
            offers={"yes": True, "no": False}.get(self.offers.data or ""),
            ways=tuple(Contact(way) for way in self.ways.data or ()),
            again_at=self.again_at.data,
        )


class InviteForm(Form):
    group = SelectField(_l("Group"), [DataRequired()], coerce=int)


class CallForm(Form):
    member = HiddenField()
    reason = SelectField(
        _l("Why"),
        choices=[
            (reason.value, labels.REASONS[reason])
            for reason in (
                CallReason.FOLLOW_UP,
                CallReason.WRONG_ADDRESS,
                CallReason.REFUSED_PARCEL,
                CallReason.DELIVERED,
            )
        ],
    )
    due_at = LocalDateTimeField(_l("When"), [InputRequired()])
    about = TextAreaField(_l("What to ask or say"), [Length(max=500)])


class ScriptForm(Form):
    title = StringField(_l("Title"), [DataRequired(), Length(max=60)])
    reason = SelectField(
        _l("Used for"), choices=[("", _l("Every call")), *((r.value, label) for r, label in labels.REASONS.items())]
    )
    customer_type = SelectField(
        _l("Customer type"),
        choices=[("", _l("Every type")), *((t.value, label) for t, label in member_labels.CUSTOMER_TYPES.items())],
    )
    voice = SelectField(_l("In the voice of"), choices=list(labels.VOICES.items()))
    body = TextAreaField(_l("Words"), [DataRequired(), Length(max=2_000)])
    mine = BooleanField(_l("Only for me"))

    @property
    def draft(self) -> ScriptDraft:
        """The script as typed, once it is valid."""
        return ScriptDraft(
            title=self.title.data or "",
            body=self.body.data or "",
            reason=CallReason(self.reason.data) if self.reason.data else None,
            customer_type=CustomerType(self.customer_type.data) if self.customer_type.data else None,
            voice=self.voice.data or "",
            mine=bool(self.mine.data),
        )

    def show(self, script: Script) -> ScriptForm:
        """Fill in a script that is there already."""
        self.title.data, self.body.data, self.voice.data = script.title, script.body, script.voice
        self.mine.data = script.owner_id is not None
        self.reason.data = script.reason.value if script.reason else ""
        self.customer_type.data = script.customer_type.value if script.customer_type else ""
        return self
