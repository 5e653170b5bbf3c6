"""Input of the staff pages."""

from __future__ import annotations

from wtforms import EmailField, HiddenField, PasswordField, SelectField, StringField
from wtforms.validators import DataRequired, Email, Length

from ..auth import ROLE_LABELS, Role
from ..forms import Form
from ..i18n import lazy_gettext as _l


class SignInForm(Form):
    email = EmailField(_l("E-mail"), [DataRequired(), Length(max=200)])
    password = PasswordField(_l("Password"), [DataRequired(), Length(max=200)])
    next = HiddenField()


class StaffForm(Form):
    name = StringField(_l("Name"), [DataRequired(), Length(max=80)])
    role = SelectField(_l("Role"), choices=[(role.value, label) for role, label in ROLE_LABELS.items()])
    signature = StringField(_l("Signature under messages"), [Length(max=80)])

    @property
    def chosen_role(self) -> Role:
        return Role(self.role.data)


class NewStaffForm(StaffForm):
    email = EmailField(_l("E-mail"), [DataRequired(), Email(), Length(max=200)])
    password = PasswordField(_l("First password"), [DataRequired(), Length(min=10, max=200)])


class PasswordForm(Form):
    current = PasswordField(_l("Present password"), [DataRequired(), Length(max=200)])
    fresh = PasswordField(_l("New password"), [DataRequired(), Length(min=10, max=200)])
