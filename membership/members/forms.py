"""Input of the pages about people."""

from __future__ import annotations

import re
from typing import Any

from werkzeug.datastructures import MultiDict
from wtforms import DateField, HiddenField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length, Optional, ValidationError

from kernel import clock
from kernel.forms import Form
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from . import labels, rules
from .listing import MemberFilter
from .models import Contact, CustomerType, Stage, ValueLabel
from .services import ProfileChange

# A hundred years: what lies further back is no order of this shop.
LONGEST_DAYS = 36_525
_RANGE = re.compile(r"(\d{1,9})-(\d{1,9})?")


def _range(text: str | None) -> tuple[int, int | None] | None:
    """`30-90` and `365-` (no end) as numbers; anything else as no range."""
    match = _RANGE.fullmatch(text or "")
    if match is None:
        return None
    least, most = int(match[1]), int(match[2]) if match[2] else None
    return (least, most) if most is None or most > least else None


def _days(text: str | None) -> tuple[int, int | None] | None:
    """A range of days back, no further than there are days to count."""
    days = _range(text)
    return days if days is None or max(days[0], days[1] or 0) <= LONGEST_DAYS else None


def _in_fen(yuan: tuple[int, int | None] | None) -> tuple[int, int | None] | None:
    return None if yuan is None else (yuan[0] * 100, None if yuan[1] is None else yuan[1] * 100)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 18 else None


def filter_from(arguments: MultiDict[str, str]) -> MemberFilter:
    """What the list's address asks for; what it says wrongly narrows nothing."""
    said = arguments.get
    tier, stage, consent = _number(said("tier")), said("stage", ""), said("consent", "")
    label, month = said("label", ""), _number(said("birthday"))
    return MemberFilter(
        q=" ".join(said("q", "").replace("\x00", "").split())[:100],
        tier=tier if tier is not None and tier <= 4 else None,
        stage=Stage(stage) if stage in list(Stage) else None,
        tag=said("tag", "").replace("\x00", "")[:100],
        source=said("source", "").replace("\x00", "")[:100],
        consent=consent if consent == "none" or consent in list(Contact) else "",
        last_order_days=_days(said("ordered")),
        never_ordered=said("ordered") == "never",
        spend=_in_fen(_range(said("spend"))),
        group=_number(said("group")),
        value=_range(said("value")),
        label=ValueLabel(label) if label in list(ValueLabel) else None,
        birthday_month=month if month is not None and 1 <= month <= 12 else None,
    )


def _one_line(text: str | None) -> str:
    return " ".join((text or "").replace("\x00", "").split())


def _birthday(form: Form, field: Any) -> None:
    if field.data is not None and not (field.data.year >= 1900 and field.data <= clock.today()):
        raise ValidationError(_("A birthday lies between 1900 and today."))


class ProfileForm(Form):
    """The details of a person, edited by staff."""

    name = StringField(_l("Full name"), [Optional(), Length(max=80)], filters=[_one_line])
    nickname = StringField(_l("Nickname"), [Optional(), Length(max=80)], filters=[_one_line])
    birthday = DateField(_l("Birthday"), [Optional(), _birthday])
    customer_type = SelectField(_l("Customer type"), [Optional()])
    hobbies = StringField(_l("Hobbies"), [Optional(), Length(max=200)], filters=[_one_line])
    city = StringField(_l("City"), [Optional(), Length(max=80)], filters=[_one_line])
    address = TextAreaField(_l("Address"), [Optional(), Length(max=300)])

    def __init__(self, *args: Any, with_address: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not with_address:
            # Whoever may not see where people live does not get it through the form either.
            del self.address
        self.customer_type.choices = [
            ("", _("Not known")),
            *((t.value, name) for t, name in labels.CUSTOMER_TYPES.items()),
        ]

    @property
    def change(self) -> ProfileChange:
        return ProfileChange(
            name=self.name.data or "",
            nickname=self.nickname.data or "",
            birthday=self.birthday.data,
            hobbies=self.hobbies.data or "",
            customer_type=CustomerType(self.customer_type.data) if self.customer_type.data else None,
            city=self.city.data or "",
            address=None if self.address is None else (self.address.data or "").replace("\x00", "").strip(),
        )


class MyProfileForm(Form):
    """The details that a person changes themselves."""

    name = StringField(_l("Full name"), [InputRequired(), Length(max=80)], filters=[_one_line])
    birthday = DateField(_l("Birthday"), [Optional(), _birthday])
    city = StringField(_l("City"), [Optional(), Length(max=80)], filters=[_one_line])
    address = TextAreaField(_l("Delivery address"), [Optional(), Length(max=300)])


class TagForm(Form):
    name = StringField(_l("Tag"), [InputRequired(), Length(max=40)], filters=[_one_line])


class NoteForm(Form):
    body = TextAreaField(_l("Note"), [InputRequired(), Length(max=4000)])


class RightForm(Form):
    """What a person told staff about hearing offers."""

    channel = SelectField(_l("By what"), [InputRequired()], choices=[(c.value, n) for c, n in labels.CONTACTS.items()])
    wish = SelectField(_l("Their wish"), choices=[("give", _l("Agrees")), ("withdraw", _l("Does not want it"))])
    told = SelectField(_l("How they told us"), choices=list(labels.TOLD_BY.items()))


def _phone(form: Form, field: Any) -> None:
    try:
        field.canonical = rules.canonical_phone(field.data or "")
    except rules.PhoneInvalid as refusal:
        raise ValidationError(str(refusal)) from None


def _email(form: Form, field: Any) -> None:
    try:
        field.canonical = rules.canonical_email(field.data or "")
    except rules.EmailInvalid as refusal:
        raise ValidationError(str(refusal)) from None


class SignInForm(Form):
    next = HiddenField()
    phone = StringField(_l("Your phone number"), [InputRequired(), Length(max=40), _phone])
    order_number = StringField(_l("Number of one of your orders"), [InputRequired(), Length(max=100)])


class CodeForm(Form):
    next = HiddenField()
    email = StringField(_l("Your e-mail address"), [InputRequired(), Length(max=254), _email])


class CodeCheckForm(Form):
    next = HiddenField()
    code = StringField(_l("The six digits"), [InputRequired(), Length(max=20)])
