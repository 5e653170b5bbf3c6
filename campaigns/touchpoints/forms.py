"""Input of the pages of touchpoints."""

from __future__ import annotations

from typing import Any

from wtforms import BooleanField, SelectField, StringField, TextAreaField
from wtforms.validators import DataRequired, Length

from kernel.forms import Form, one_line, storable
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.staff import services as colleagues

from . import labels
from .models import Stage, TouchKind
from .services import NAME_LENGTH, NOTES_LENGTH, Draft

NOBODY = ""


class TouchpointForm(Form):
    """What staff say of a touchpoint."""

    name = StringField(_l("Name"), [DataRequired(), Length(max=NAME_LENGTH)], filters=[one_line])
    kind = SelectField(_l("Kind"), choices=[])
    stage = SelectField(_l("Stage"), choices=[])
    owner_id = SelectField(_l("Responsible"), choices=[], default=NOBODY)
    importance = SelectField(_l("Importance"), choices=[], default="")
    sources = TextAreaField(_l("Names of its links"), [Length(max=600)], filters=[storable])
    notes = TextAreaField(_l("Notes"), [Length(max=NOTES_LENGTH)], filters=[storable])
    active = BooleanField(_l("In use"), default=True)

    def __init__(self, *args: Any, present_owner: int | None = None, **kwargs: Any) -> None:
        """`present_owner` sees to it now, and may go on standing there after they have left."""
        super().__init__(*args, **kwargs)
        self.kind.choices = [(kind.value, str(label)) for kind, label in labels.KINDS.items()]
        self.stage.choices = [(stage.value, str(label)) for stage, label in labels.STAGES.items()]
        self.owner_id.choices = [(NOBODY, str(_("Nobody in particular")))] + [
            (str(person.id), person.name)
            for person in colleagues.everyone()
            if person.disabled_at is None or person.id == present_owner
        ]
        self.importance.choices = [("", str(_("Go by what is measured")))] + [
            (str(number), label)
            for number, label in (
                (1, _("1 – hardly matters")), (2, "2"), (3, "3"), (4, "4"), (5, _("5 – decides whether they stay")),
            )
        ]  # fmt: skip

    def draft_of(self, kind: TouchKind | None = None) -> Draft:
        """What was typed, once the form is valid; `kind` where it cannot be chosen."""
        # A touchpoint that is not met through links has no such field.
        typed = self.sources.data if "sources" in self else ""
        said = (one_line(line) for line in (typed or "").splitlines())
        return Draft(
            name=self.name.data or "",
            kind=kind or TouchKind(self.kind.data),
            stage=Stage(self.stage.data),
            active=self.active.data,
            owner_id=int(self.owner_id.data) if self.owner_id.data else None,
            importance=int(self.importance.data) if self.importance.data else None,
            notes=self.notes.data or "",
            sources=tuple(dict.fromkeys(name[:60] for name in said if name)),
        )
