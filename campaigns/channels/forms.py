"""Input of the channel pages and of the contact budget."""

from __future__ import annotations

from typing import Any

from wtforms import (
    BooleanField,
    PasswordField,
    RadioField,
    SelectField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)
from wtforms.validators import DataRequired, Length, NumberRange, Optional, Regexp, ValidationError

from community.posts import queries as posts
from community.posts.labels import KINDS as POST_KINDS
from kernel import outbound
from kernel.errors import Refusal
from kernel.forms import Form, OptionalIntegerField
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.members.rules import canonical_email

from . import labels, pace, sms
from .adapters import gateway, wecom_crypto
from .adapters.robot import MINUTE
from .models import Account, ChannelKind

_HOST = r"^[A-Za-z0-9.:-]+$"
_RATE = [Optional(), NumberRange(1, 10_000)]
_LONG_RATE = [Optional(), NumberRange(1, 100_000_000)]


def _email(form: Any, field: StringField) -> None:
    if field.data:
        try:
            field.data = canonical_email(field.data)
        except Refusal as refusal:
            raise ValidationError(refusal.message) from None


class AccountForm(Form):
    """What every account has."""

    name = StringField(_l("Name"), [DataRequired(), Length(max=80)])
    rate_per_second = OptionalIntegerField(_l("a second"), _RATE)
    rate_per_minute = OptionalIntegerField(_l("a minute"), _LONG_RATE)
    rate_per_hour = OptionalIntegerField(_l("an hour"), _LONG_RATE)
    rate_per_day = OptionalIntegerField(_l("a day"), _LONG_RATE)

    kind: ChannelKind

    def settings(self) -> dict[str, Any]:
        return {}

    @property
    def rates(self) -> pace.Rates:
        return pace.Rates(
            self.rate_per_second.data, self.rate_per_minute.data, self.rate_per_hour.data, self.rate_per_day.data
        )

    @property
    def secret_typed(self) -> str | dict[str, str] | None:
        """A new secret, or None to keep the present one; by their names where there are several."""
        return None


class InboxForm(AccountForm):
    """The inbox has rates and nothing else; so has the mail server of the environment."""

    kind = ChannelKind.INBOX
    name = None


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
            Regexp(_HOST, message=_l("Write a host name such as smtp.example.com.")),
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


def _address(form: Any, field: StringField) -> None:
    """An address that may be called: https, on the open internet."""
    field.data = (field.data or "").strip()
    if not field.data:
        return
    try:
        outbound.read(field.data)
    except Refusal as refusal:
        raise ValidationError(refusal.message) from None


class WebhookForm(AccountForm):
    kind = ChannelKind.WEBHOOK
    url = StringField(_l("Address"), [DataRequired(), Length(max=1000), _address])
    signing_secret = PasswordField(_l("Signing secret"), [Length(max=500)])
    contact = SelectField(_l("What it sends by"), choices=list(labels.CONTACTS.items()), default="sms")
    idempotent = BooleanField(_l("The receiver keeps each message's key and takes it only once"))

    def settings(self) -> dict[str, Any]:
        return {"url": self.url.data, "contact": self.contact.data, "idempotent": bool(self.idempotent.data)}

    @property
    def secret_typed(self) -> str | None:
        return self.signing_secret.data or None


class SmsForm(AccountForm):
    """Text messages, over Aliyun or over a gateway of the shop's choice."""

    kind = ChannelKind.SMS
    provider = RadioField(_l("Sent by"), choices=list(labels.PROVIDERS.items()), default="aliyun")
    signature = StringField(_l("Signature"), [DataRequired(), Length(2, 20)])
    opt_out = StringField(_l("How to stop"), [DataRequired(), Length(max=40)], default="拒收请回复R")
    key_id = StringField(_l("AccessKey ID"), [Length(max=100)])
    templates = TextAreaField(_l("Approved templates"), [Length(max=20_000)])
    url = StringField(_l("Address"), [Length(max=1000), _address])
    form = SelectField(_l("Form of the request"), choices=list(labels.FORMS.items()), default="json")
    template = TextAreaField(_l("Request"), [Length(max=4_000)])
    headers = TextAreaField(_l("Headers"), [Length(max=2_000)])
    ok_path = StringField(_l("Success stands at"), [Length(max=100)])
    ok_value = StringField(_l("and is"), [Length(max=100)])
    id_path = StringField(_l("The message's number stands at"), [Length(max=100)])
    reason_path = StringField(_l("The reason of a refusal stands at"), [Length(max=100)])
    idempotent = BooleanField(_l("The receiver keeps each message's key and takes it only once"))
    codes = BooleanField(_l("Sign-in codes go over it too"))
    key = PasswordField(_l("Secret"), [Length(max=500)])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Each of them is needed by one of the two ways, and the page shows the way that is chosen.
        for field in (self.key_id, self.url, self.template):
            field.flags.required = True

    def validate_codes(self, field: BooleanField) -> None:
        if field.data and self.provider.data == "aliyun" and "验证码" not in (self.templates.data or ""):
            raise ValidationError(
                _("Among the templates there is none for codes: one with 验证码 and one place that varies.")
            )

    def validate_signature(self, field: StringField) -> None:
        field.data = (field.data or "").strip().strip("【】")
        if not 2 <= len(field.data) <= 20 or any(c.isspace() or c in "【】" for c in field.data):
            raise ValidationError(_("Write the registered name without blanks, 2 to 20 characters."))

    def validate_opt_out(self, field: StringField) -> None:
        field.data = (field.data or "").strip()
        if not sms.phrase_stands(field.data):
            raise ValidationError(_("Write how to stop and what to answer, such as 拒收请回复R."))

    def validate_key_id(self, field: StringField) -> None:
        if self.provider.data == "aliyun" and not (field.data or "").strip():
            raise ValidationError(_("This field is required."))

    def validate_templates(self, field: TextAreaField) -> None:
        if self.provider.data != "aliyun":
            return
        try:
            found = sms.read_templates(field.data or "")
        except Refusal as refusal:
            raise ValidationError(refusal.message) from None
        for template in found:
            # A code is nothing to stop: whoever gets one has asked for it.
            if "验证码" not in template.text and not sms.says_how_to_stop(template.text, self.opt_out.data or ""):
                raise ValidationError(_("The template %(code)s does not say how to stop.", code=template.code))

    def validate_url(self, field: StringField) -> None:
        if self.provider.data == "gateway" and not field.data:
            raise ValidationError(_("This field is required."))

    def validate_template(self, field: TextAreaField) -> None:
        if self.provider.data != "gateway":
            return
        try:
            gateway.read_template(field.data or "", self.form.data or "json")
        except Refusal as refusal:
            raise ValidationError(refusal.message) from None

    def validate_headers(self, field: TextAreaField) -> None:
        try:
            gateway.read_headers(field.data or "")
        except Refusal as refusal:
            raise ValidationError(refusal.message) from None

    def settings(self) -> dict[str, Any]:
        shared = {
            "provider": self.provider.data,
            "signature": self.signature.data,
            "opt_out": self.opt_out.data,
            "codes": bool(self.codes.data),
        }
        if self.provider.data == "aliyun":
            return shared | {"key_id": (self.key_id.data or "").strip(), "templates": self.templates.data or ""}
        names = ("url", "form", "template", "headers", "ok_path", "ok_value", "id_path", "reason_path")
        return (
            shared
            | {name: (self[name].data or "").strip() for name in names}
            | {"idempotent": bool(self.idempotent.data)}
        )

    @property
    def secret_typed(self) -> str | None:
        return self.key.data or None


class WecomForm(AccountForm):
    kind = ChannelKind.WECOM
    corp_id = StringField(
        _l("Company ID"),
        [DataRequired(), Length(max=64), Regexp(r"^[A-Za-z0-9_-]+$", message=_l("Write it as WeCom shows it."))],
    )
    secret = PasswordField(_l("Secret of customer contact"), [Length(max=200)])
    sender = StringField(
        _l("Sent by the member of staff"),
        [Length(max=64), Regexp(r"^[A-Za-z0-9_.@-]*$", message=_l("Write it as WeCom shows it."))],
    )
    per_month = OptionalIntegerField(
        _l("Mass sends per customer and month"), [Optional(), NumberRange(1, 31)], default=4
    )
    token = PasswordField(_l("Token of the callback"), [Length(max=64)])
    aes_key = PasswordField(_l("EncodingAESKey of the callback"), [Length(max=43)])

    def validate_aes_key(self, field: PasswordField) -> None:
        if field.data:
            try:
                wecom_crypto.key_of(field.data)
            except wecom_crypto.EnvelopeRefused:
                raise ValidationError(_("The key has 43 letters and digits.")) from None

    def settings(self) -> dict[str, Any]:
        return {
            "corp_id": self.corp_id.data,
            "sender": self.sender.data or "",
            "per_month": self.per_month.data,
        }

    @property
    def secret_typed(self) -> dict[str, str] | None:
        typed = {name: self[name].data for name in ("secret", "token", "aes_key")}
        return {name: value for name, value in typed.items() if value} or None


class TaskForm(AccountForm):
    kind = ChannelKind.TASK
    days = OptionalIntegerField(_l("To be done within"), [Optional(), NumberRange(1, 30)], default=2)

    def settings(self) -> dict[str, Any]:
        return {"days": self.days.data or 2}


class GroupsForm(AccountForm):
    """An account that concerns some of the shop's groups."""

    groups = SelectMultipleField(_l("Groups"), coerce=int)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.groups.choices = [(group.id, group.name) for group in posts.writable_groups()]


class RobotForm(GroupsForm):
    kind = ChannelKind.ROBOT
    robot = SelectField(_l("Kind of chat"), choices=list(labels.ROBOTS.items()), default="feishu")
    url = PasswordField(_l("Address of the robot"), [Length(max=1000), _address])
    secret = PasswordField(_l("Signing secret"), [Length(max=200)])
    notices = BooleanField(_l("Tell the staff in this chat when something needs them"))

    @property
    def rates(self) -> pace.Rates:
        found = super().rates
        most = MINUTE[self.robot.data or "feishu"]
        minute = most if found.minute is None else min(found.minute, most)
        return pace.Rates(found.second, minute, found.hour, found.day)

    def settings(self) -> dict[str, Any]:
        return {"robot": self.robot.data, "groups": self.groups.data or [], "notices": bool(self.notices.data)}

    @property
    def secret_typed(self) -> dict[str, str] | None:
        typed = {name: self[name].data for name in ("url", "secret")}
        return {name: value for name, value in typed.items() if value} or None


class GroupPostForm(GroupsForm):
    kind = ChannelKind.GROUP_POST
    post_kind = SelectField(_l("Kind of post"), choices=list(POST_KINDS.items()), default="promotion")

    def validate_groups(self, field: SelectMultipleField) -> None:
        if not field.data:
            raise ValidationError(_("Choose at least one group."))

    def settings(self) -> dict[str, Any]:
        return {"groups": self.groups.data or [], "post_kind": self.post_kind.data}


FORMS: dict[ChannelKind, Any] = {
    ChannelKind.INBOX: InboxForm,
    ChannelKind.EMAIL: EmailForm,
    ChannelKind.SMS: SmsForm,
    ChannelKind.WECOM: WecomForm,
    ChannelKind.TASK: TaskForm,
    ChannelKind.WEBHOOK: WebhookForm,
    ChannelKind.ROBOT: RobotForm,
    ChannelKind.GROUP_POST: GroupPostForm,
}
# What must be typed once, because nothing works without it.
NEEDED = {ChannelKind.WECOM: "secret", ChannelKind.ROBOT: "url"}


def secret_name(form: Any) -> str | None:
    """The field of the secret without which nothing works, or None."""
    if form.kind is ChannelKind.SMS:
        return "key" if form.provider.data == "aliyun" else None
    return NEEDED.get(form.kind)


def lacks_secret(form: Any) -> bool:
    """Whether a new account lacks what nothing works without; puts it beside the field."""
    name = secret_name(form)
    if name is None or form[name].data:
        return False
    form.refuse(name, _("This field is required."))
    return True


def form_of(account: Account) -> Any:
    """The form of an account with what is set; secrets are never put in."""
    rates = {f"rate_per_{span}": getattr(account, f"rate_per_{span}") for span in ("second", "minute", "hour", "day")}
    if account.settings.get("environment"):
        return InboxForm(**rates)
    return FORMS[account.kind](**{"name": account.name, **rates, **account.settings})


class TestForm(Form):
    """Where a test goes, and what it says."""

    __test__ = False
    address = StringField(_l("Send a test to"), [Length(max=254)])
    body = TextAreaField(_l("Text"), [Length(max=1_000)])


class TaskOutcomeForm(Form):
    """What became of a message that a person gave."""

    outcome = RadioField(
        _l("What became of it"),
        choices=[
            ("done", _l("Done: they heard it")),
            ("not_reached", _l("Not reached")),
            ("refused", _l("They want no calls")),
        ],
        default="done",
    )
    note = TextAreaField(_l("Note"), [Length(max=500)])
