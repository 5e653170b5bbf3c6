"""Input of the pages about products."""

from __future__ import annotations

from wtforms import StringField
from wtforms.validators import InputRequired, Length, NumberRange, Optional

from kernel.forms import OptionalIntegerField, PictureForm, YuanField, one_line
from kernel.i18n import lazy_gettext as _l


class ProductForm(PictureForm):
    title = StringField(_l("Product title"), [InputRequired(), Length(max=200)], filters=[one_line])
    category = StringField(_l("Category"), [Optional(), Length(max=80)], filters=[one_line])
    list_price = YuanField(_l("List price"))
    cost = YuanField(_l("Cost"))
    days_of_use = OptionalIntegerField(_l("Lasts for"), [Optional(), NumberRange(min=1, max=3650)])
