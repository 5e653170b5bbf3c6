"""Input of the pages about people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, ClassVar, Self

from werkzeug.datastructures import MultiDict
from wtforms import DateField, HiddenField, IntegerField, SelectField, StringField, TextAreaField
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional, ValidationError

from kernel import clock
from kernel.errors import Refusal
from kernel.forms import Form, one_line
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from . import labels, rules
from .listing import MemberFilter
from .models import Channel, Contact, Member, Stage, ValueLabel
from .services.reveals import REASONS

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
        q=one_line(said("q"))[:100],
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


def _lines(text: str | None) -> str:
    return (text or "").replace("\x00", "").replace("\r\n", "\n").strip()


def _birthday(form: Form, field: Any) -> None:
    if field.data is not None and not (field.data.year >= 1900 and field.data <= clock.today()):
        raise ValidationError(_("A birthday lies between 1900 and today."))


LANGUAGES = [("zh_Hans", "中文"), ("en", "English")]


class DetailsForm(Form):
    """Details of a person. `before` holds them as they were when the form was shown, so that nobody writes over what
    somebody else has changed meanwhile."""

    before = HiddenField()
    EDITED: tuple[str, ...] = ()

    @classmethod
    def of(cls, member: Member, **options: Any) -> Self:
        """The form with a member's present details."""
        form = cls(formdata=None, obj=member, **options)
        form.keep(member)
        return form

    @property
    def fields(self) -> list[str]:
        return [name for name in self.EDITED if name in self]

    def keep(self, member: Member) -> None:
        """Remember what a member's details are at this moment."""
        self.before.data = json.dumps({name: _plain(getattr(member, name)) for name in self.fields}, ensure_ascii=False)

    @property
    def mine(self) -> dict[str, Any]:
        """What was written, as plain values."""
        # What a form did not ask for stays as it is; and a language is always one.
        said = {name: _plain(self[name].data) for name in self.fields if self[name].raw_data}
        return {name: value for name, value in said.items() if value or name != "locale"}

    @property
    def seen(self) -> dict[str, Any]:
        """What whoever wrote it had seen; empty when that cannot be read."""
        try:
            said = json.loads(self.before.data or "{}")
        except ValueError:
            return {}
        return {key: value for key, value in said.items() if key in self.fields} if isinstance(said, dict) else {}

    def told(self, names: Iterable[str], member: Member) -> list[tuple[Any, Any, Any]]:
        """What to show of fields that clashed: the label, what is there now, what was written."""
        return [
            (
                self[name].label.text,
                self._shown(name, _plain(getattr(member, name))),
                self._shown(name, self.mine[name]),
            )
            for name in names
        ]

    def _shown(self, name: str, value: str) -> Any:
        return dict(getattr(self[name], "choices", None) or []).get(value, value) if value else "–"


def _plain(value: Any) -> str:
    return str(value).replace("\r\n", "\n").strip() if value not in (None, "None") else ""


class ProfileForm(DetailsForm):
    """The details of a person, edited by staff."""

    EDITED = ("name", "nickname", "birthday", "customer_type", "hobbies", "city", "address", "locale")

    name = StringField(_l("Full name"), [Optional(), Length(max=80)], filters=[one_line])
    nickname = StringField(_l("Nickname"), [Optional(), Length(max=80)], filters=[one_line])
    birthday = DateField(_l("Birthday"), [Optional(), _birthday])
    customer_type = SelectField(_l("Customer type"), [Optional()])
    hobbies = StringField(_l("Hobbies"), [Optional(), Length(max=200)], filters=[one_line])
    city = StringField(_l("City"), [Optional(), Length(max=80)], filters=[one_line])
    address = TextAreaField(_l("Address"), [Optional(), Length(max=300)], filters=[_lines])
    locale = SelectField(_l("Language of messages"), [Optional()], choices=LANGUAGES)

    def __init__(self, *args: Any, with_address: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not with_address:
            # Whoever may not see where people live does not get it through the form either.
            del self.address
        self.customer_type.choices = [
            ("", _("Not known")),
            *((t.value, name) for t, name in labels.CUSTOMER_TYPES.items()),
        ]


class MyProfileForm(DetailsForm):
    """The details that a person changes themselves."""

    EDITED = ("name", "birthday", "hobbies", "city", "address", "locale")

    name = StringField(_l("Full name"), [DataRequired(), Length(max=80)], filters=[one_line])
    birthday = DateField(_l("Birthday"), [Optional(), _birthday])
    hobbies = StringField(_l("What you like"), [Optional(), Length(max=200)], filters=[one_line])
    city = StringField(_l("City"), [Optional(), Length(max=80)], filters=[one_line])
    address = TextAreaField(_l("Delivery address"), [Optional(), Length(max=300)], filters=[_lines])
    locale = SelectField(_l("Language of messages"), [Optional()], choices=LANGUAGES)


class StagesForm(Form):
    """After how many days somebody is at another stage of life, and what the shop does at each stage."""

    active = IntegerField(_l("Active: days since the last order, at most"), [InputRequired(), NumberRange(1, 3650)])
    dormant = IntegerField(_l("Dormant: days without an order or joining"), [InputRequired(), NumberRange(1, 3650)])
    lost = IntegerField(_l("Lost: days without an order or joining"), [InputRequired(), NumberRange(1, 3650)])
    lead = TextAreaField(labels.STAGES[Stage.LEAD], [Optional(), Length(max=500)], filters=[_lines])
    customer = TextAreaField(labels.STAGES[Stage.CUSTOMER], [Optional(), Length(max=500)], filters=[_lines])
    member = TextAreaField(labels.STAGES[Stage.MEMBER], [Optional(), Length(max=500)], filters=[_lines])
    active_text = TextAreaField(labels.STAGES[Stage.ACTIVE], [Optional(), Length(max=500)], filters=[_lines])
    dormant_text = TextAreaField(labels.STAGES[Stage.DORMANT], [Optional(), Length(max=500)], filters=[_lines])
    lost_text = TextAreaField(labels.STAGES[Stage.LOST], [Optional(), Length(max=500)], filters=[_lines])

    TEXTS: ClassVar = dict(
        zip(Stage, ("lead", "customer", "member", "active_text", "dormant_text", "lost_text"), strict=True)
    )

    def validate_lost(self, field: Any) -> None:
        if self.dormant.data is not None and field.data is not None and field.data <= self.dormant.data:
            raise ValidationError(_("Whoever is lost has been away for longer than whoever is dormant."))

    @property
    def days(self) -> rules.StageDays:
        return rules.StageDays(active=self.active.data or 0, dormant=self.dormant.data or 0, lost=self.lost.data or 0)

    @property
    def texts(self) -> dict[Stage, str]:
        return {stage: self[name].data or "" for stage, name in self.TEXTS.items()}


class TagForm(Form):
    name = StringField(_l("Tag"), [InputRequired(), Length(max=40)], filters=[one_line])


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
    """Where a one-time code goes: to a phone, to an e-mail address, or to whichever of the two is typed."""

    next = HiddenField()
    address = StringField(_l("Your phone number or e-mail address"), [InputRequired(), Length(max=254)])
    way: Channel
    canonical: str

    def __init__(self, ways: frozenset[Channel], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ways = ways
        if len(ways) == 1:
            label = _("Your phone number") if Channel.PHONE in ways else _("Your e-mail address")
            self.address.label.text = label

    def validate_address(self, field: StringField) -> None:
        typed = field.data or ""
        mail = self.ways == {Channel.EMAIL} or ("@" in typed and Channel.EMAIL in self.ways)
        self.way = Channel.EMAIL if mail else Channel.PHONE
        try:
            self.canonical = rules.canonical_email(typed) if mail else rules.canonical_phone(typed)
        except Refusal as refusal:
            raise ValidationError(refusal.message) from None


class CodeCheckForm(Form):
    next = HiddenField()
    code = StringField(_l("The six digits"), [InputRequired(), Length(max=20)])


class RevealForm(Form):
    """Why somebody wants to see what is masked."""

    reason = SelectField(_l("Why do you look?"), [InputRequired()], choices=[("", "–"), *REASONS.items()])


class NewMemberForm(Form):
    """A person whom staff write down: at the counter, from a call, from a chat."""

    name = StringField(_l("Full name"), [DataRequired(), Length(max=80)], filters=[one_line])
    phone = StringField(_l("Phone"), [Optional(), Length(max=40), _phone])
    email = StringField(_l("E-mail address"), [Optional(), Length(max=254), _email])
    channel = SelectField(_l("Account on"), [Optional()])
    account = StringField(_l("Name of the account"), [Length(max=200)], filters=[one_line])
    city = StringField(_l("City"), [Optional(), Length(max=80)], filters=[one_line])
    tags = StringField(_l("Tags"), [Optional(), Length(max=200)], filters=[one_line])
    source = SelectField(_l("Came by"), [Optional()])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        named = [c for c in Channel if c not in (Channel.PHONE, Channel.EMAIL)]
        self.channel.choices = [("", _("No account")), *((c.value, labels.CHANNELS[c]) for c in named)]
        self.source.choices = [(c.value, labels.CHANNELS[c]) for c in named]

    def validate_account(self, field: Any) -> None:
        if bool(field.data) != bool(self.channel.data):
            raise ValidationError(_("An account has a channel and a name: give both, or neither."))

    @property
    def identities(self) -> list[tuple[Channel, str]]:
        """What the person is known by."""
        found = [(Channel.PHONE, self.phone.data), (Channel.EMAIL, self.email.data)]
        if self.channel.data:
            found.append((Channel(self.channel.data), self.account.data))
        return [(channel, said) for channel, said in found if said]

    @property
    def tag_names(self) -> list[str]:
        """Tags, parted by commas of either script."""
        return [name for name in (part.strip() for part in re.split(r"[,，、;；]", self.tags.data or "")) if name]


class PairForm(Form):
    """Two records."""

    first = IntegerField(validators=[InputRequired(), NumberRange(1, 2**62)])
    other = IntegerField(validators=[InputRequired(), NumberRange(1, 2**62)])
