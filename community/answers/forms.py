"""Input of the answers' pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import request
from flask_wtf.file import FileField, FileRequired
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

from kernel.forms import Form, PictureForm, one_line, storable
from kernel.i18n import lazy_gettext as _l

from . import labels, rules
from .models import Intent
from .services import Draft


class IntentForm(PictureForm):
    question = StringField(_l("Question"), [DataRequired(), Length(max=rules.LONGEST_QUESTION)])
    topic = StringField(_l("Theme"), [Length(max=40)])
    answer = TextAreaField(_l("The answer"), [DataRequired(), Length(max=rules.LONGEST_ANSWER)])
    phrasings = TextAreaField(_l("Phrasings"), [Length(max=200_000)])
    link_url = StringField(_l("Link"), [Length(max=500)])
    link_label = StringField(_l("What the link's button says"), [Length(max=40)])
    question_en = StringField(_l("Question in English"), [Length(max=160)])
    answer_en = TextAreaField(_l("Answer in English"), [Length(max=rules.LONGEST_ANSWER)])
    related = SelectMultipleField(
        _l("Asked next"), coerce=int, widget=ListWidget(prefix_label=False), option_widget=CheckboxInput()
    )
    voice_group = TextAreaField(labels.CHANNELS["group"], [Length(max=rules.LONGEST_ANSWER)])
    voice_wecom = TextAreaField(labels.CHANNELS["wecom"], [Length(max=rules.LONGEST_ANSWER)])
    voice_agent = TextAreaField(labels.CHANNELS["agent"], [Length(max=rules.LONGEST_ANSWER)])
    enabled = BooleanField(_l("Switched on"), default=True)
    # Filled where the picture that came with a pack was still being drawn when the page was opened.
    awaited = HiddenField()

    def offer(self, choices: Sequence[tuple[int, str]], but: int | None = None) -> IntentForm:
        """Let these questions be asked next."""
        self.related.choices = [(i, words) for i, words in choices if i != but]
        return self

    @property
    def draft(self) -> Draft:
        """The question as typed, once it is valid."""
        return Draft(
            question=one_line(self.question.data),
            answer=storable(self.answer.data) or "",
            question_en=one_line(self.question_en.data),
            answer_en=storable(self.answer_en.data) or "",
            topic=one_line(self.topic.data),
            picture=self.picture.data or None,
            link_url=one_line(self.link_url.data),
            link_label=one_line(self.link_label.data),
            related=tuple(self.related.data or ()),
            voices={name: storable(self[f"voice_{name}"].data) or "" for name in rules.CHANNELS},
            enabled=bool(self.enabled.data),
            phrasings=tuple(rules.lines_of(self.phrasings.data or "")),
        )

    def show(self, intent: Intent, phrasings: Sequence[str]) -> IntentForm:
        """Fill in a question that is there already."""
        for name in ("question", "topic", "answer", "link_url", "link_label", "question_en", "answer_en", "enabled"):
            self[name].data = getattr(intent, name)
        self.picture.data, self.related.data = intent.picture or "", intent.related
        self.phrasings.data = "\n".join(phrasings)
        for name in rules.CHANNELS:
            self[f"voice_{name}"].data = intent.voices.get(name, "")
        return self


class PackForm(Form):
    file = FileField(_l("File"), [FileRequired(_l("Choose a file first."))])


class BotForm(Form):
    mode = RadioField(_l("What the bot does"), choices=[(m.value, words) for m, words in labels.MODES.items()])
    routing = RadioField(_l("Who answers first"), choices=[(r.value, words) for r, words in labels.ROUTINGS.items()])
    most_waiting = IntegerField(
        _l("Let the bot speak when more wait than"), [InputRequired(), NumberRange(min=0, max=1_000)]
    )
    greeting = TextAreaField(_l("Greeting"), [Length(max=300)])
    greeting_en = TextAreaField(_l("Greeting in English"), [Length(max=300)])
    people_words = TextAreaField(_l("Words that only people answer"), [Length(max=2_000)])

    @property
    def settings(self) -> rules.BotSettings:
        """The settings as typed, once they are valid."""
        return rules.BotSettings(
            mode=rules.Mode(self.mode.data),
            routing=rules.Routing(self.routing.data),
            most_waiting=self.most_waiting.data or 0,
            greeting=storable(self.greeting.data) or "",
            greeting_en=storable(self.greeting_en.data) or "",
            people_words=tuple(rules.lines_of(self.people_words.data or "")),
        )

    def show(self, settings: rules.BotSettings) -> BotForm:
        """Fill in the present settings."""
        self.mode.data, self.routing.data = settings.mode.value, settings.routing.value
        self.most_waiting.data, self.greeting.data = settings.most_waiting, settings.greeting
        self.greeting_en.data, self.people_words.data = settings.greeting_en, "\n".join(settings.people_words)
        return self


class TeachForm(Form):
    """The words to learn, and the question that they ask."""

    text = StringField(_l("Phrasing"), [DataRequired(), Length(max=rules.LONGEST_PHRASING)])
    intent = SelectField(_l("Question"), [DataRequired()], coerce=int)

    def offer(self, choices: Sequence[tuple[int, str]]) -> TeachForm:
        self.intent.choices = list(choices)
        return self


def typed_cards() -> list[tuple[int, str, str]]:
    """The nine rows of the welcome cards as they were sent: intent, label, label in English; empty rows left out."""
    found: list[tuple[int, str, str]] = []
    for place in range(1, 10):
        chosen: Any = request.form.get(f"intent_{place}", "")
        if chosen.isascii() and chosen.isdigit() and len(chosen) < 19:
            label, label_en = (one_line(request.form.get(f"{name}_{place}"))[:30] for name in ("label", "label_en"))
            found.append((int(chosen), label, label_en))
    return found
