"""Input of the pages of tickets."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, time
from typing import Any

from flask import request
from flask_wtf.file import MultipleFileField
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
from wtforms.widgets import CheckboxInput, ListWidget

from kernel import files
from kernel.forms import Form, OptionalIntegerField, storable
from kernel.i18n import lazy_gettext as _l

from . import labels, rules
from .models import TicketKind, TicketState
from .rules import Ask, DeskSettings, Hours, Promise, Step

KINDS = [(kind.value, label) for kind, label in labels.KINDS.items()]


def taken_pictures(field: str = "pictures", most: int = rules.MOST_PICTURES) -> tuple[str, ...]:
    """Store the pictures that came along, `most` at the most, and return their keys. Refuses with `FileRefused`."""
    found = [upload for upload in request.files.getlist(field) if upload.filename]
    return tuple(files.save_picture(upload.stream, private=True) for upload in found[:most])


class WritingForm(Form):
    """Words with pictures; `keep` stores the pictures, so that a view may put a refusal beside the field."""

    body = TextAreaField(_l("Your message"), [Length(max=rules.LONGEST_TEXT)], filters=[storable])
    pictures = MultipleFileField(_l("Pictures"))

    def keep(self) -> tuple[str, ...]:
        return taken_pictures()


class AnswerForm(WritingForm):
    body = TextAreaField(_l("Message text"), [Length(max=rules.LONGEST_TEXT)], filters=[storable])
    then = RadioField(
        _l("And then"),
        choices=[
            (TicketState.WAITING.value, _l("Wait for the customer")),
            (TicketState.OPEN.value, _l("Keep it for the desk")),
            (TicketState.RESOLVED.value, _l("It is resolved")),
        ],
        default=TicketState.WAITING.value,
    )
    seen = HiddenField()
    macro = HiddenField()
    internal = BooleanField(_l("Only for colleagues"))


class OpenForm(WritingForm):
    member = HiddenField()
    call = HiddenField()
    kind = SelectField(_l("Kind"), choices=KINDS)
    subject = StringField(_l("In a few words"), [Length(max=120)], filters=[storable])
    order = StringField(_l("Order number"), [Length(max=80)], filters=[storable])
    body = TextAreaField(_l("Tell what is not right"), [Length(max=rules.LONGEST_TEXT)], filters=[storable])


class MemberOpenForm(WritingForm):
    order = StringField(_l("Order number"), [Length(max=80)], filters=[storable])
    body = TextAreaField(_l("Tell what is not right"), [Length(max=rules.LONGEST_TEXT)], filters=[storable])


class RatingForm(Form):
    stars = RadioField(
        _l("How satisfied are you?"),
        [DataRequired()],
        choices=[(str(number), label) for number, label in labels.STARS.items()],
    )
    note = TextAreaField(_l("Anything else?"), [Length(max=500)], filters=[storable])


class MacroForm(Form):
    title = StringField(_l("Title"), [DataRequired(), Length(max=60)], filters=[storable])
    kind = SelectField(_l("Used for"), choices=[("", _l("Everything")), *KINDS])
    body = TextAreaField(_l("Message text"), [DataRequired(), Length(max=rules.LONGEST_TEXT)], filters=[storable])
    mine = BooleanField(_l("Only for me"))

    @property
    def chosen_kind(self) -> TicketKind | None:
        return TicketKind(self.kind.data) if self.kind.data else None


class PresenceForm(Form):
    ticket_cap = OptionalIntegerField(_l("Tickets at a time"))
    talk_cap = OptionalIntegerField(_l("Conversations at a time"))


class DeskForm(Form):
    """The desk's hours and promises. The promises are fields of their own, named after the kind."""

    days = SelectMultipleField(
        _l("Working days"),
        [InputRequired()],
        choices=[(str(n), name) for n, name in enumerate(labels.WEEKDAYS)],
        widget=ListWidget(prefix_label=False),
        option_widget=CheckboxInput(),
    )
    opens = StringField(_l("Opens at"), [DataRequired()])
    closes = StringField(_l("Closes at"), [DataRequired()])
    off = TextAreaField(_l("Days on which the desk is shut"), [Length(max=2_000)])
    hand_out = BooleanField(_l("Hand tickets out by themselves"))
    ticket_cap = IntegerField(_l("Tickets at a time"), [InputRequired(), NumberRange(1, 200)])
    talk_cap = IntegerField(_l("Conversations at a time"), [InputRequired(), NumberRange(1, 200)])
    close_days = IntegerField(_l("Close what is resolved after"), [InputRequired(), NumberRange(1, 60)])
    reopen_days = IntegerField(_l("What is closed may be opened again for"), [InputRequired(), NumberRange(0, 90)])
    return_days = IntegerField(_l("A parcel should be back within"), [InputRequired(), NumberRange(1, 60)])
    upset_at = SelectField(
        _l("A call opens a complaint"),
        choices=[("0", _l("Never")), ("1", _l("When they said 1 of 5")), ("2", _l("When they said 2 of 5 or less"))],
    )

    def show(self, settings: DeskSettings) -> DeskForm:
        """Fill in the present settings."""
        self.days.data = [str(day) for day in sorted(settings.hours.days)]
        self.opens.data = settings.hours.opens.isoformat("minutes")
        self.closes.data = settings.hours.closes.isoformat("minutes")
        self.off.data = "\n".join(day.isoformat() for day in sorted(settings.hours.off))
        for name in ("hand_out", "ticket_cap", "talk_cap", "close_days", "reopen_days", "return_days"):
            self[name].data = getattr(settings, name)
        self.upset_at.data = str(settings.upset_at)
        return self

    def validate(self, extra_validators: Any = None) -> bool:
        """The fields, and that the times can be read and follow one another."""
        fine = bool(super().validate(extra_validators))
        opens, closes = _time(self.opens.data), _time(self.closes.data)
        for name, found in (("opens", opens), ("closes", closes)):
            if found is None and not self[name].errors:
                self.refuse(name, _l("Write a time of the day, such as 09:00."))
                fine = False
        if opens is not None and closes is not None and opens >= closes:
            self.refuse("closes", _l("The desk closes after it opens."))
            fine = False
        if _days(self.off.data) is None:
            self.refuse("off", _l("Write one day on each line, such as 2026-10-01."))
            fine = False
        for kind in TicketKind:
            if promise_typed(kind) is None:
                self.refuse("days", _l("Promises are whole numbers of minutes and hours, at least one."))
                return False
        return fine

    @property
    def settings(self) -> DeskSettings:
        """What was filled in, once it is valid."""
        return DeskSettings(
            hours=Hours(
                days=frozenset(int(day) for day in self.days.data or ()),
                opens=_time(self.opens.data) or time(9),
                closes=_time(self.closes.data) or time(21),
                off=frozenset(_days(self.off.data) or ()),
            ),
            promises={kind: promise_typed(kind) or rules.STANDARD_PROMISES[kind] for kind in TicketKind},
            hand_out=bool(self.hand_out.data),
            ticket_cap=self.ticket_cap.data or 1,
            talk_cap=self.talk_cap.data or 1,
            reopen_days=self.reopen_days.data or 0,
            close_days=self.close_days.data or 1,
            return_days=self.return_days.data or 1,
            upset_at=int(self.upset_at.data or 0),
        )


def promise_typed(kind: TicketKind) -> Promise | None:
    """What was typed for a kind: minutes until the first answer, hours until it is put right; None when unreadable."""
    answer, resolve = request.form.get(f"answer_{kind.value}", ""), request.form.get(f"resolve_{kind.value}", "")
    if not all(text.isascii() and text.isdigit() and len(text) <= 5 and int(text) > 0 for text in (answer, resolve)):
        return None
    return Promise(int(answer), int(resolve) * 60)


def _time(text: str | None) -> time | None:
    try:
        return time.fromisoformat((text or "").strip())
    except ValueError:
        return None


def _days(text: str | None) -> list[date] | None:
    found = []
    for line in (text or "").split():
        try:
            found.append(date.fromisoformat(line))
        except ValueError:
            return None
    return found


def answers_typed(keys: Iterable[str]) -> dict[str, str]:
    """What was typed into the fields of a step, by key."""
    return {key: request.form.get(f"ask_{key}", "") for key in keys}


# ── Steps of a kind ─────────────────────────────────────────────────────────────────────────────────────────────────


def _cell(name: str, most: int = rules.LONGEST_NAME) -> str:
    return " ".join(request.form.get(name, "").replace("\x00", "").split())[:most]


def _lines(name: str) -> list[str]:
    lines = request.form.get(name, "").replace("\x00", "").splitlines()
    return list(dict.fromkeys(found for line in lines if (found := " ".join(line.split())[: rules.LONGEST_NAME])))


def _ask_typed(name: str, known: dict[str, Ask]) -> Ask | None:
    """Something that a step asks for, from the fields that begin with `name`; None where nothing was written."""
    label = _cell(f"{name}_label")
    if not label:
        return None
    before = known.get(request.form.get(f"{name}_key", ""))
    shape = request.form.get(f"{name}_shape", "line")
    asked = Ask(
        key=before.key if before else f"own-{secrets.token_hex(3)}",
        shape=shape if shape in rules.SHAPES else "line",
        needed=request.form.get(f"{name}_needed") == "1",
        label=label,
        label_en=_cell(f"{name}_label_en"),
    )
    if before is not None and label == labels.ask_written(before):
        asked = replace(asked, label=before.label)
    if asked.shape == "choice":
        names = {labels.choice_name(before, value): value for value in before.choices} if before else {}
        asked = replace(asked, choices=tuple(names.get(line, line) for line in _lines(f"{name}_choices")))
    return asked


def steps_typed(kept: Sequence[Step]) -> tuple[Step, ...]:
    """The steps as they were typed, in the order of their places. What is as it was in `kept` keeps its key, and its words."""
    known = {step.key: step for step in kept}
    found: list[tuple[int, Step]] = []
    for n in range(rules.MOST_STEPS + 2):
        name = _cell(f"s{n}_name")
        if not name or request.form.get(f"s{n}_drop") == "1":
            continue
        before = known.get(request.form.get(f"s{n}_key", ""))
        asks = {ask.key: ask for ask in before.asks} if before else {}
        place = request.form.get(f"s{n}_place", "")
        timer = request.form.get(f"s{n}_timer", "")
        step = Step(
            key=before.key if before else f"own-{secrets.token_hex(3)}",
            asks=tuple(ask for m in range(rules.MOST_ASKS) if (ask := _ask_typed(f"s{n}_a{m}", asks)) is not None),
            by_member=request.form.get(f"s{n}_by_member") == "1",
            timer=timer if timer in rules.TIMERS else "",
            name=before.name if before and name == labels.step_written(before) else name,
            name_en=_cell(f"s{n}_name_en"),
        )
        found.append((int(place) if place.isascii() and place.isdigit() and len(place) < 4 else 999, step))
    return tuple(step for _place, step in sorted(found, key=lambda pair: pair[0]))
