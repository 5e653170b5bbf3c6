"""Input of the push page: whom, what, when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from wtforms import BooleanField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import DataRequired, Length, NumberRange, Optional, ValidationError

from campaigns.audiences.fields import RulesForm
from campaigns.channels import services as channels
from campaigns.channels.models import Account, ChannelKind
from kernel import clock
from kernel.auth import safe_next
from kernel.errors import Refusal
from kernel.forms import LocalDateTimeField, OptionalIntegerField
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from . import labels, queries, rules
from .models import ContactClass, CouponMode, Push, Run

LIVES = [("24", _l("24 hours")), ("48", _l("48 hours")), ("72", _l("3 days")), ("168", _l("7 days"))]


class PushForm(RulesForm):
    """A push with its audience."""

    name = StringField(_l("Name"), [DataRequired(), Length(max=80)])
    contact_class = RadioField(
        _l("What it is"), choices=list(labels.CLASSES.items()), default=ContactClass.REPURCHASE.value
    )
    account_id = SelectField(_l("Channel"), coerce=int)
    stop_when_bought = BooleanField(_l("Leave out whoever buys before it reaches them"), default=True)
    subject = StringField(_l("Title"), [DataRequired(), Length(max=rules.LONGEST_SUBJECT)])
    body = TextAreaField(_l("Message"), [DataRequired(), Length(max=rules.LONGEST_BODY)])
    offer_id = SelectField(_l("Coupon"), coerce=lambda value: int(value) if value else None)
    coupon_mode = RadioField(
        _l("How they get the coupon"), choices=list(labels.COUPON_MODES.items()), default=CouponMode.LINK.value
    )
    link_url = StringField(_l("Link"), [Length(max=1000)])
    moment = RadioField(_l("Start"), choices=[("now", _l("At once")), ("at", _l("At a time"))], default="now")
    scheduled_at = LocalDateTimeField(_l("Time"))
    life = SelectField(_l("Give up after"), choices=LIVES, default="48")
    rate_per_second = OptionalIntegerField(_l("At most"), [Optional(), NumberRange(1, 10_000)])
    attribution_days = SelectField(
        _l("Look at orders for"),
        coerce=int,
        choices=[(7, _l("7 days")), (14, _l("14 days")), (30, _l("30 days"))],
        default=14,
    )

    def __init__(self, *args: Any, offer: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.accounts: dict[int, Account] = {account.id: account for account in channels.accounts()}
        self.account_id.choices = [(account.id, channels.shown_name(account)) for account in self.accounts.values()]
        self.offer_id.choices = [
            ("", _("No coupon")),
            *((str(offer_id), name) for offer_id, name in queries.offer_choices(offer)),
        ]

    @property
    def account(self) -> Account:
        """The chosen account, or the inbox while none is."""
        return self.accounts.get(self.account_id.data or 0) or next(iter(self.accounts.values()))

    @property
    def lifetime(self) -> timedelta:
        return timedelta(hours=int(self.life.data or 48))

    def validate_link_url(self, field: StringField) -> None:
        text = (field.data or "").strip()
        field.data = text or None
        if not text or safe_next(text, "") == text:
            return
        try:
            parts = urlsplit(text)
            well = parts.scheme in ("http", "https") and bool(parts.hostname) and not any(c.isspace() for c in text)
        except ValueError:
            well = False
        if not well:
            raise ValidationError(
                _("Write an address such as https://shop.example/tea, or a path of this site such as /me/.")
            )

    def _check_words(self, field: StringField) -> None:
        try:
            names = rules.check(field.data or "", self.offer_id.data is not None, bool(self.link_url.data))
        except Refusal as refusal:
            raise ValidationError(refusal.message) from None
        wanted = "coupon_link" if self.offer_id.data is not None else "link" if self.link_url.data else None
        reaches_by_text = self.account.kind is not ChannelKind.INBOX
        if field is self.body and reaches_by_text and wanted and not names & {"coupon_link", "link"}:
            raise ValidationError(
                _("Put {%(name)s} where the link is to stand: this channel shows no button.", name=wanted)
            )

    def validate_subject(self, field: StringField) -> None:
        self._check_words(field)

    def validate_body(self, field: StringField) -> None:
        self._check_words(field)

    def validate_scheduled_at(self, field: LocalDateTimeField) -> None:
        if self.moment.data != "at":
            return
        if field.data is None:
            raise ValidationError(_("Write the time, or let it start at once."))
        if field.data <= clock.now():
            raise ValidationError(_("This moment has passed."))

    def fields(self) -> dict[str, Any]:
        """What was typed, as the fields of `Push`."""
        return {
            "name": " ".join((self.name.data or "").split()),
            "contact_class": ContactClass(self.contact_class.data),
            "account_id": self.account.id,
            "stop_when_bought": bool(self.stop_when_bought.data),
            "audience": self.definition().dump(),
            "subject": rules.one_line(self.subject.data or ""),
            "body": (self.body.data or "").replace("\r\n", "\n").replace("\x00", ""),
            "offer_id": self.offer_id.data,
            "coupon_mode": CouponMode(self.coupon_mode.data),
            "link_url": self.link_url.data or None,
            "rate_per_second": self.rate_per_second.data,
            "attribution_days": self.attribution_days.data,
        }


def values_of(push: Push, run: Run) -> dict[str, Any]:
    """What the fields hold for a draft."""
    return {
        "name": push.name,
        "contact_class": push.contact_class.value,
        "account_id": push.account_id,
        "stop_when_bought": push.stop_when_bought,
        "subject": push.subject,
        "body": push.body,
        "offer_id": str(push.offer_id or ""),
        "coupon_mode": push.coupon_mode.value,
        "link_url": push.link_url,
        "moment": "at" if run.scheduled_at else "now",
        "scheduled_at": run.scheduled_at,
        "life": _life(run),
        "rate_per_second": push.rate_per_second,
        "attribution_days": push.attribution_days,
    }


def _life(run: Run) -> str:
    if run.scheduled_at is None or run.expires_at is None:
        return "48"
    hours = str(int((run.expires_at - run.scheduled_at).total_seconds() // 3600))
    return hours if hours in dict(LIVES) else "48"


class CheckForm(PushForm):
    """The push page as it is being typed: nothing of it needs to be complete yet."""

    def validate(self, extra_validators: Any = None) -> bool:
        super().validate(extra_validators)
        return True
