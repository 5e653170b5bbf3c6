"""Input of the pages about orders and their files."""

from __future__ import annotations

from datetime import date
from typing import Any

from flask_wtf.file import FileField, FileRequired
from werkzeug.datastructures import MultiDict
from wtforms import SelectField, StringField
from wtforms.validators import DataRequired, Length

from kernel.forms import Form
from kernel.i18n import lazy_gettext as _l

from . import formats
from .models import OrderState
from .queries import OrderFilter


class ImportForm(Form):
    file = FileField(_l("File"), [FileRequired(_l("Choose a file first."))])
    source = StringField(_l("Source"), [DataRequired(), Length(max=32)])
    format = SelectField(_l("Format"), default=formats.AUTO)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.format.choices = [
            (formats.AUTO, _l("Recognise by the heading")),
            *((one.key, one.label) for one in formats.FORMATS.values()),
        ]


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return None


def filter_from(arguments: MultiDict[str, str]) -> OrderFilter:
    """What the list's address asks for; what it says wrongly narrows nothing."""

    def said(name: str) -> str:
        return " ".join(arguments.get(name, "").replace("\x00", "").split())[:100]

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
