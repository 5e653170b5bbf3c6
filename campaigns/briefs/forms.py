"""Input of the page."""

from __future__ import annotations

from typing import Any

from wtforms import BooleanField, SelectField

from kernel.forms import Form
from kernel.i18n import lazy_gettext as _l

from . import labels

# When most shops open.
USUAL_HOUR = 9


class BriefForm(Form):
    """How somebody gets their brief by e-mail."""

    wanted = BooleanField(_l("Send me my brief by e-mail every day"))
    hour = SelectField(_l("At what hour"), coerce=int, choices=[])
    locale = SelectField(_l("Language"), choices=[])
    also_empty = BooleanField(_l("Also when nothing is due"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hour.choices = [(hour, f"{hour:02}:00") for hour in range(24)]
        self.locale.choices = [(code, str(label)) for code, label in labels.LOCALES.items()]
