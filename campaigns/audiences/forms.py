"""Input of the audience pages."""

from __future__ import annotations

from typing import Any

from flask_wtf.file import FileField, FileRequired
from wtforms import StringField
from wtforms.validators import DataRequired, Length

from kernel.forms import Form
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from . import queries
from .fields import RulesForm


class AudienceForm(RulesForm):
    """A saved audience."""

    name = StringField(_l("Name"), [DataRequired(), Length(max=80)])

    def __init__(self, *args: Any, audience_id: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.audience_id = audience_id

    def validate(self, extra_validators: Any = None) -> bool:
        """Beside the rules themselves: audiences do not stand for one another in a circle."""
        well = super().validate(extra_validators)
        if well and queries.in_a_circle(self.definition(), self.audience_id):
            self.refuse("rules", _("These audiences stand for one another in a circle. Take one of them out."))
            return False
        return well


class FileForm(Form):
    """A file that names people."""

    name = StringField(_l("Name"), [DataRequired(), Length(max=80)])
    file = FileField(_l("File"), [FileRequired()])
