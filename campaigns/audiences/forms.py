"""Input of the audience pages."""

from __future__ import annotations

from wtforms import IntegerField, StringField
from wtforms.validators import DataRequired, Length, NumberRange, Optional

from kernel.i18n import lazy_gettext as _l

from .fields import RulesForm


class AudienceForm(RulesForm):
    """A saved audience."""

    name = StringField(_l("Name"), [DataRequired(), Length(max=80)])


class ReachForm(RulesForm):
    """The rules as the address of a page holds them, with the account over which they would be reached."""

    class Meta(RulesForm.Meta):
        csrf = False

    account_id = IntegerField(validators=[Optional(), NumberRange(1, 2**62)])
