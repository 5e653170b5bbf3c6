"""Input of the pages about orders and their files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from flask_wtf.file import FileField, FileRequired
from werkzeug.datastructures import MultiDict
from wtforms import SelectField, StringField
from wtforms.validators import Length, ValidationError

from kernel.forms import Form, one_line
from kernel.i18n import lazy_gettext as _l

from . import formats, labels
from .formats import mapped, sheet
from .models import ColumnMapping, OrderState
from .queries import OrderFilter
from .services import mappings


class ImportForm(Form):
    file = FileField(_l("File"), [FileRequired(_l("Choose a file first."))])
    source = StringField(_l("Source"), [Length(max=32)])
    format = SelectField(_l("Format"), default=formats.AUTO)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Needed, except where a mapping names it; the browser cannot know that.
        self.source.flags.required = True
        self.mappings = mappings.all_of_them()
        self.format.choices = [
            (formats.AUTO, _l("Recognise by the heading")),
            *((one.key, one.label) for one in formats.FORMATS.values() if one.key != formats.MAPPED),
            *((f"mapping:{one.id}", _l("Mapping: %(name)s", name=one.name)) for one in self.mappings),
        ]

    def validate_source(self, field: Any) -> None:
        mapping = self._mapping()
        if not (field.data or "").strip() and (mapping is None or not mapping.plan.get("source")):
            raise ValidationError(_l("This field is required."))

    def _mapping(self) -> ColumnMapping | None:
        kind, _colon, number = (self.format.data or "").partition(":")
        return mappings.get(int(number)) if kind == "mapping" and number.isdigit() else None

    @property
    def told(self) -> tuple[str, dict[str, Any]]:
        """The format that was chosen, and what its reader is told."""
        mapping = self._mapping()
        return (formats.MAPPED, mappings.as_option(mapping)) if mapping else (self.format.data, {})


class CorrectionsForm(Form):
    file = FileField(_l("File"), [FileRequired(_l("Choose a file first."))])


class MappingForm(Form):
    """Which column is which; the fields for columns and words are added by `mapping_form`."""

    source = StringField(_l("Source"), [Length(max=32)])
    state = SelectField(_l("State of all orders"), validate_choice=True)
    dates = SelectField(_l("How dates are written"))
    unit = SelectField(_l("Amounts are in"))
    name = StringField(_l("Save under the name"), [Length(max=60)])
    words: list[str] = []

    def plan(self) -> mapped.Plan:
        """What was chosen."""
        return mapped.plan_of(
            {
                "columns": {ours: self[f"column_{ours}"].data for ours in mapped.FIELDS},
                "state": self.state.data,
                "source": (self.source.data or "").strip(),
                "dates": self.dates.data,
                "unit": self.unit.data,
                "states": {word: self[f"word_{place}"].data for place, word in enumerate(self.words)},
            }
        )


def mapping_form(
    heading: Sequence[str], plan: mapped.Plan, words: Sequence[str], source: str = "", name: str = ""
) -> Any:
    """A form with a choice of the file's columns for each of ours, and of a state for each of its words."""
    names = list(dict.fromkeys(filter(None, (sheet.name_of(cell) for cell in heading))))
    fields: dict[str, Any] = {"words": list(words)}
    for ours in mapped.FIELDS:
        fields[f"column_{ours}"] = SelectField(
            labels.FIELDS[ours],
            choices=[("", _l("– not in the file –")), *((one, one) for one in names)],
            default=plan.columns.get(ours, ""),
        )
    for place, word in enumerate(words):
        fields[f"word_{place}"] = SelectField(
            word,
            choices=[
                ("", _l("– reject these orders –")),
                *((state.value, label) for state, label in labels.STATES.items()),
            ],
            default=plan.states.get(word, ""),
        )
    made = type("MappingForm", (MappingForm,), fields)
    form = made(
        data={
            "source": plan.source or source,
            "state": plan.state,
            "dates": plan.dates,
            "unit": plan.unit,
            "name": name,
        }
    )
    form.state.choices = [
        ("", _l("– a column says it –")),
        *((state.value, label) for state, label in labels.STATES.items()),
    ]
    form.dates.choices = [(dates.value, label) for dates, label in labels.DATES.items()]
    form.unit.choices = list(labels.UNITS.items())
    return form


def _day(text: str | None) -> date | None:
    """A day as an address says it; nothing for what is none, and for days beyond any calendar's arithmetic."""
    try:
        said = date.fromisoformat(text or "")
    except ValueError:
        return None
    return said if 1900 <= said.year <= 9000 else None


def filter_from(arguments: MultiDict[str, str]) -> OrderFilter:
    """What the list's address asks for; what it says wrongly narrows nothing."""

    def said(name: str) -> str:
        return one_line(arguments.get(name))[:100]

    state = said("state")
    return OrderFilter(
        q=said("q"),
        source=said("source"),
        state=OrderState(state) if state in list(OrderState) else None,
        since=_day(said("from")),
        until=_day(said("until")),
        refunded=said("refunded") == "yes",
        nobody=said("member") == "none",
    )
