"""Input of the channel pages and of the contact budget."""

from __future__ import annotations

from datetime import time
from typing import Any
from urllib.parse import urlsplit

from wtforms import BooleanField, DecimalField, PasswordField, SelectField, StringField
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional, Regexp, ValidationError

from kernel.errors import Refusal
from kernel.forms import Form, OptionalIntegerField
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.members.rules import canonical_email

from . import labels
from .models import Account, ChannelKind

_HOST = r"^[A-Za-z0-9.:-]+$"
_RATE = [Optional(), NumberRange(1, 10_000)]


def _email(form: Any, field: StringField) -> None:
    if field.data:
        try:
            field.data = canonical_email(field.data)
        except Refusal as refusal:
            raise ValidationError(refusal.message) from None


class AccountForm(Form):
    """What every account has."""

    name = StringField(_l("Name"), [DataRequired(), Length(max=80)])
    rate_per_second = OptionalIntegerField(_l("At most"), _RATE)

    kind: ChannelKind

    def settings(self) -> dict[str, Any]:
        return {}

    @property
    def secret_typed(self) -> str | None:
        """A new secret, or None to keep the present one."""
        return None


class InboxForm(Form):
    """The inbox has a rate and nothing else."""

    kind = ChannelKind.INBOX
    rate_per_second = OptionalIntegerField(_l("At most"), _RATE)
    secret_typed = None

    def settings(self) -> dict[str, Any]:
        return {}


class EmailForm(AccountForm):
    kind = ChannelKind.EMAIL
    sender = StringField(_l("Sender's address"), [DataRequired(), Length(max=254), _email])
    sender_name = StringField(_l("Sender's name"), [Length(max=80)])
    reply_to = StringField(_l("Answers go to"), [Length(max=254), _email])
    host = StringField(
        _l("Mail server"),
        [
            DataRequired(),
            Length(max=253),
            Regexp(r"^[A-Za-z0-9.:-]+$", message=_l("Write a host name such as smtp.example.com.")),
        ],
    )
    port = OptionalIntegerField(_l("Port"), [Optional(), NumberRange(1, 65_535)])
    security = SelectField(_l("Encryption"), choices=list(labels.SECURITIES.items()), default="starttls")
    username = StringField(_l("User name"), [Length(max=254)])
    password = PasswordField(_l("Password"), [Length(max=500)])

    def settings(self) -> dict[str, Any]:
        standard = {"starttls": 587, "tls": 465, "none": 25}[self.security.data or "starttls"]
        return {
            "sender": self.sender.data,
            "sender_name": " ".join((self.sender_name.data or "").split()),
            "reply_to": self.reply_to.data or "",
            "host": self.host.data,
            "port": self.port.data or standard,
            "security": self.security.data,
            "username": self.username.data or "",
        }

    @property
    def secret_typed(self) -> str | None:
        return self.password.data or None


class WebhookForm(AccountForm):
    kind = ChannelKind.WEBHOOK
    url = StringField(_l("Address"), [DataRequired(), Length(max=1000)])
    signing_secret = PasswordField(_l("Signing secret"), [Length(max=500)])
    contact = SelectField(_l("What it sends by"), choices=list(labels.CONTACTS.items()), default="sms")
    idempotent = BooleanField(_l("The receiver keeps each message's key and takes it only once"))

    def validate_url(self, field: StringField) -> None:
        try:
            parts = urlsplit((field.data or "").strip())
            well = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            well = False
        if not well or any(c.isspace() for c in (field.data or "").strip()):
            raise ValidationError(_("Write an address such as https://gateway.example/messages."))
        field.data = (field.data or "").strip()

    def settings(self) -> dict[str, Any]:
        return {"url": self.url.data, "contact": self.contact.data, "idempotent": bool(self.idempotent.data)}

    @property
    def secret_typed(self) -> str | None:
        return self.signing_secret.data or None


FORMS: dict[ChannelKind, Any] = {
    ChannelKind.INBOX: InboxForm,
    ChannelKind.EMAIL: EmailForm,
    ChannelKind.WEBHOOK: WebhookForm,
}


def form_of(account: Account) -> Any:
    """The form of an account with what is set; secrets are never put in."""
    fields = {"name": account.name, "rate_per_second": account.rate_per_second, **account.settings}
    if account.settings.get("environment"):
        return InboxForm(rate_per_second=account.rate_per_second)
    return FORMS[account.kind](**fields)


class TestForm(Form):
    """Where a test goes."""

    __test__ = False
    address = StringField(_l("Send a test to"), [DataRequired(), Length(max=254)])


class BudgetForm(Form):
    """The contact budget, the quiet hours and the hold-out."""

    per_day = OptionalIntegerField(_l("Messages a day"), [Optional(), NumberRange(0, 100)])
    per_month = OptionalIntegerField(_l("Messages a month"), [Optional(), NumberRange(0, 1_000)])
    quiet_from = StringField(_l("Quiet from"), [InputRequired()])
    quiet_until = StringField(_l("Quiet until"), [InputRequired()])
    holdout = DecimalField(_l("Held out of every push"), [InputRequired(), NumberRange(0, 50)], places=1)

    def validate_quiet_from(self, field: StringField) -> None:
        _clock_time(field)

    def validate_quiet_until(self, field: StringField) -> None:
        _clock_time(field)


def _clock_time(field: StringField) -> None:
    try:
        field.data = time.fromisoformat((field.data or "").strip()[:5]).isoformat("minutes")
    except ValueError:
        raise ValidationError(_("Write a time such as 22:00.")) from None
