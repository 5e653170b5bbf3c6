"""Input of the push page: whom, what, when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlsplit

from wtforms import BooleanField, DateField, DecimalField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional, ValidationError

from campaigns.audiences.fields import RulesForm
from campaigns.channels import registry
from campaigns.channels import rules as channel_rules
from campaigns.channels import services as channels
from campaigns.channels.models import Account, ChannelKind, ContactClass, FestivalEffect
from kernel import clock
from kernel.auth import safe_next
from kernel.errors import Refusal
from kernel.forms import Form, LocalDateTimeField, OptionalIntegerField
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from . import labels, message, queries, recurrence, rules, services
from .models import CouponMode, Push, Run

PRIORITIES = [(1, _l("Before others")), (0, _l("In turn")), (-1, _l("After others"))]
REPEATS = [
    ("", _l("Once")),
    *labels.SERIES.items(),
    ("own", _l("By a rule of your own")),
]
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
    subject_en = StringField(_l("Title in English"), [Length(max=rules.LONGEST_SUBJECT)])
    body_en = TextAreaField(_l("Message in English"), [Length(max=rules.LONGEST_BODY)])
    sample_percent = OptionalIntegerField(_l("Try the wordings on"), [Optional(), NumberRange(5, 90)])
    winner_after_hours = OptionalIntegerField(
        _l("Send the winner to the rest after"), [Optional(), NumberRange(1, 160)]
    )
    control_percent = OptionalIntegerField(_l("Control group of this push"), [Optional(), NumberRange(0, 50)])
    priority = SelectField(_l("Over the same channel"), coerce=int, choices=PRIORITIES, default=0)
    usual_hour = BooleanField(_l("Each member at their usual hour"))
    repeat = SelectField(_l("How often"), choices=REPEATS, default="")
    rrule = StringField(_l("Rule"), [Length(max=recurrence.LONGEST)])
    utm_source = StringField("utm_source", [Length(max=60)])
    utm_medium = StringField("utm_medium", [Length(max=60)])
    utm_campaign = StringField("utm_campaign", [Length(max=60)])
    attribution_days = SelectField(
        _l("Look at orders for"),
        coerce=int,
        choices=[(7, _l("7 days")), (14, _l("14 days")), (30, _l("30 days"))],
        default=14,
    )

    def __init__(self, *args: Any, offer: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.accounts: dict[int, Account] = {account.id: account for account in channels.accounts()}
        # The page leaves out what concerns members alone as long as a chat or a feed is chosen.
        self.account_id.choices = [
            (account.id, channels.shown_name(account), {"data-shared": ""} if account.kind.shared else {})
            for account in self.accounts.values()
        ]
        products = [("", _("No product")), *queries.product_choices()]
        for product, _url in self.card_fields:
            product.choices = products
        self.offer_id.choices = [
            ("", _("No coupon")),
            *((str(offer_id), name) for offer_id, name in queries.offer_choices(offer)),
        ]

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """The fields of each other wording."""
        return [
            {name: self[f"{letter}_{name}"] for name in ("share", "subject", "body", "subject_en", "body_en")}
            for letter in OTHERS
        ]

    def variants(self) -> list[dict[str, Any]]:
        """The other wordings that were written, without gaps between them."""
        return [
            {
                "share": block["share"].data,
                "subject": rules.one_line(block["subject"].data),
                "body": _text(block["body"].data),
                "subject_en": rules.one_line(block["subject_en"].data or "") or None,
                "body_en": _text(block["body_en"].data) or None,
            }
            for block in self.blocks
            if block["subject"].data and block["body"].data and block["share"].data
        ]

    @property
    def card_fields(self) -> list[tuple[Any, Any]]:
        """The two fields of each product card."""
        return [(self[f"card_{n}_product"], self[f"card_{n}_url"]) for n in range(1, MOST_CARDS + 1)]

    def cards(self) -> list[dict[str, Any]]:
        """The products that were chosen, with where they lead."""
        return [{"product_id": one.data, "url": url.data} for one, url in self.card_fields if one.data and url.data]

    def rule(self) -> str | None:
        """The rule of a series, in one spelling; None for a push that goes once."""
        text = self.rrule.data if self.repeat.data == "own" else self.repeat.data
        return recurrence.canonical(text or "") if self.repeat.data else None

    def validate_rrule(self, field: StringField) -> None:
        try:
            rule = self.rule()
        except Refusal as refusal:
            raise ValidationError(refusal.message) from None
        if rule is not None and recurrence.next_after(rule, self.start, clock.ZONE) is None:
            raise ValidationError(recurrence.NeverComes().message)

    @property
    def start(self) -> datetime:
        """The moment typed, or now."""
        return self.scheduled_at.data if self.moment.data == "at" and self.scheduled_at.data else clock.now()

    def validate_usual_hour(self, field: BooleanField) -> None:
        if field.data and int(self.life.data or 48) < 24:
            raise ValidationError(_("Everybody's hour comes once a day: give it 24 hours at least."))

    def validate_sample_percent(self, field: OptionalIntegerField) -> None:
        if self.winner_after_hours.data is None:
            raise ValidationError(_("Say both on how many the wordings are tried and when the rest gets the winner."))

    def validate_winner_after_hours(self, field: OptionalIntegerField) -> None:
        if self.sample_percent.data is None:
            raise ValidationError(_("Say both on how many the wordings are tried and when the rest gets the winner."))
        if not self.variants():
            raise ValidationError(_("There is one wording only: write a second one first."))
        if (field.data or 0) >= int(self.life.data or 48):
            raise ValidationError(_("By then the push has been given up. Give it more time, or choose sooner."))
        try:
            counted = message.counts_clicks(Push(**self.fields()), registry.adapter_of(self.account).abilities.contact)
        except Refusal:
            # A text that cannot be read is refused at its own field.
            return
        if not counted:
            raise ValidationError(
                _(
                    "The winner is the wording whose link most people open, and this message has no link of the member's own."
                    " Give it one, or leave this empty: every wording then goes out at once."
                )
            )

    def _check_block(self, letter: str) -> None:
        block = self.blocks[OTHERS.index(letter)]
        typed = [block[name].data for name in ("share", "subject", "body")]
        if any(typed) and not all(typed):
            raise ValidationError(_("A wording needs its share, its title and its text."))
        if block is not None and sum(one["share"].data or 0 for one in self.blocks) > 95:
            raise ValidationError(_("The shares of the others leave too little for the first wording."))

    @property
    def account(self) -> Account:
        """The chosen account, or the inbox while none is."""
        return self.accounts.get(self.account_id.data or 0) or next(iter(self.accounts.values()))

    @property
    def lifetime(self) -> timedelta:
        return timedelta(hours=int(self.life.data or 48))

    @property
    def to_all(self) -> bool:
        """Whether it goes to a chat or a feed, and to no member."""
        return self.account.kind.shared

    def validate_offer_id(self, field: SelectField) -> None:
        if self.to_all and (field.data is not None or self.variants()):
            raise ValidationError(services.ForOneGroup().message)

    def validate_link_url(self, field: StringField) -> None:
        text = (field.data or "").strip()
        field.data = text or None
        if not text or safe_next(text, "") == text:
            return
        if not _is_web_address(text):
            raise ValidationError(
                _("Write an address such as https://shop.example/tea, or a path of this site such as /me/.")
            )

    def _check_words(self, field: StringField) -> None:
        try:
            names = rules.check(field.data or "", self.offer_id.data is not None, bool(self.link_url.data))
            if self.to_all:
                rules.check_for_all(field.data or "")
            if "body" in field.name:
                channels.check(self.account, field.data or "", ContactClass(self.contact_class.data).budgeted)
        except Refusal as refusal:
            raise ValidationError(refusal.message) from None
        wanted = "coupon_link" if self.offer_id.data is not None else "link" if self.link_url.data else None
        # The inbox and a post have a button for the link, and a robot writes it below.
        reaches_by_text = self.account.kind is not ChannelKind.INBOX and not self.to_all
        if (
            field.name.endswith(("body", "body_en"))
            and reaches_by_text
            and wanted
            and not names & {"coupon_link", "link"}
        ):
            raise ValidationError(
                _("Put {%(name)s} where the link is to stand: this channel shows no button.", name=wanted)
            )

    def validate_subject_en(self, field: StringField) -> None:
        if field.data:
            self._check_words(field)

    def validate_body_en(self, field: StringField) -> None:
        if field.data:
            self._check_words(field)

    def validate_subject(self, field: StringField) -> None:
        self._check_words(field)

    def validate_body(self, field: StringField) -> None:
        self._check_words(field)
        if self.account.kind is not ChannelKind.ROBOT:
            return
        whole = message.longest(Push(**self.fields()), self.account)
        try:
            if whole is not None:
                channels.check_whole(self.account, whole)
        except Refusal as refusal:
            raise ValidationError(refusal.message) from None

    def validate_scheduled_at(self, field: LocalDateTimeField) -> None:
        if self.moment.data != "at":
            return
        if field.data is None:
            raise ValidationError(_("Write the time, or let it start at once."))
        if field.data <= clock.now():
            raise ValidationError(_("This moment has passed."))

    def fields(self) -> dict[str, Any]:
        """What was typed, as the fields of `Push`; of one to a whole group without what concerns members alone."""
        said = self._said()
        if self.to_all:
            said |= _FOR_ALL
        return said

    def _said(self) -> dict[str, Any]:
        return {
            "name": " ".join((self.name.data or "").split()),
            "contact_class": ContactClass(self.contact_class.data),
            "account_id": self.account.id,
            "stop_when_bought": bool(self.stop_when_bought.data),
            "audience": self.definition().dump(),
            "subject": rules.one_line(self.subject.data or ""),
            "body": _text(self.body.data),
            "offer_id": self.offer_id.data,
            "coupon_mode": CouponMode(self.coupon_mode.data),
            "link_url": self.link_url.data or None,
            "rate_per_second": self.rate_per_second.data,
            "attribution_days": self.attribution_days.data,
            "subject_en": rules.one_line(self.subject_en.data or "") or None,
            "body_en": _text(self.body_en.data) or None,
            "variants": self.variants(),
            "sample_percent": self.sample_percent.data,
            "winner_after_hours": self.winner_after_hours.data,
            "control_percent": self.control_percent.data or 0,
            "priority": self.priority.data,
            "usual_hour": bool(self.usual_hour.data),
            "life_hours": int(self.life.data or 48),
            "rrule": self._rule_if_well(),
            "cards": self.cards(),
            "utm": {
                name: text
                for name in ("source", "medium", "campaign")
                if (text := "".join((self[f"utm_{name}"].data or "").split()))
            },
        }

    def _rule_if_well(self) -> str | None:
        try:
            return self.rule()
        except Refusal:
            # The page that is being typed is drawn all the same; saving it is refused beside the field.
            return None


_FOR_ALL: dict[str, Any] = {
    "audience": {"rules": []},
    "contact_class": ContactClass.BROADCAST,
    "stop_when_bought": False,
    "control_percent": 0,
    "usual_hour": False,
    "subject_en": None,
    "body_en": None,
    "sample_percent": None,
    "winner_after_hours": None,
}
MOST_CARDS = 3
OTHERS = tuple(rules.LETTERS[1:].lower())


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not any(c.isspace() for c in text)


def _unless_blank(typed: str | None) -> str:
    return typed if typed and typed.strip() else ""


def _text(typed: str | None) -> str:
    return (typed or "").replace("\r\n", "\n").replace("\x00", "")


def _block_checker(letter: str) -> Callable[[PushForm, Any], None]:
    return lambda form, field: form._check_block(letter)


def _words_checker(form: PushForm, field: Any) -> None:
    if field.data:
        form._check_words(field)
        if form[f"{field.name[0]}_share"].data is None:
            raise ValidationError(_("A wording needs its share, its title and its text."))


def _card_checker(form: PushForm, field: Any) -> None:
    number = field.name.split("_")[1]
    text = field.data = (field.data or "").strip()
    if bool(text) != (form[f"card_{number}_product"].data is not None):
        raise ValidationError(_("A product needs its address, and an address its product."))
    if text and not _is_web_address(text):
        raise ValidationError(_("Write an address such as https://shop.example/tea."))


for _number in range(1, MOST_CARDS + 1):
    # The titles are the shop's own words, in whatever language.
    _product = SelectField(
        _l("Product"), coerce=lambda value: int(value) if value else None, default="", render_kw={"translate": "no"}
    )
    setattr(PushForm, f"card_{_number}_product", _product)
    setattr(PushForm, f"card_{_number}_url", StringField(_l("Address"), [Length(max=1000)]))
    setattr(PushForm, f"validate_card_{_number}_url", _card_checker)
for _letter in OTHERS:
    setattr(PushForm, f"{_letter}_share", OptionalIntegerField(_l("Share"), [Optional(), NumberRange(1, 95)]))
    for _name, _kind, _label, _longest in (
        ("subject", StringField, _l("Title"), rules.LONGEST_SUBJECT),
        ("body", TextAreaField, _l("Message"), rules.LONGEST_BODY),
        ("subject_en", StringField, _l("Title in English"), rules.LONGEST_SUBJECT),
        ("body_en", TextAreaField, _l("Message in English"), rules.LONGEST_BODY),
    ):
        setattr(PushForm, f"{_letter}_{_name}", _kind(_label, [Length(max=_longest)], filters=[_unless_blank]))
        setattr(PushForm, f"validate_{_letter}_{_name}", _words_checker)
    setattr(PushForm, f"validate_{_letter}_share", _block_checker(_letter))


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
        "life": str(push.life_hours) if str(push.life_hours) in dict(LIVES) else "48",
        "subject_en": push.subject_en,
        "body_en": push.body_en,
        "sample_percent": push.sample_percent,
        "winner_after_hours": push.winner_after_hours,
        "control_percent": push.control_percent or None,
        "priority": push.priority,
        "usual_hour": push.usual_hour,
        "repeat": push.rrule if push.rrule in dict(REPEATS) else "own" if push.rrule else "",
        "rrule": push.rrule,
        **{
            f"card_{number}_{name}": str(card[key])
            for number, card in enumerate(push.cards, 1)
            for name, key in (("product", "product_id"), ("url", "url"))
        },
        **{f"utm_{name}": push.utm.get(name) for name in ("source", "medium", "campaign")},
        **{
            f"{letter}_{name}": value
            for letter, variant in zip(OTHERS, push.variants, strict=False)
            for name, value in variant.items()
        },
        "rate_per_second": push.rate_per_second,
        "attribution_days": push.attribution_days,
    }


class CheckForm(PushForm):
    """The push page as it is being typed: nothing of it needs to be complete yet."""

    def validate(self, extra_validators: Any = None) -> bool:
        super().validate(extra_validators)
        return True


class TestForm(Form):
    """Where a test of a push goes; the inbox asks for nothing."""

    __test__ = False
    address = StringField(_l("Send a test to"), [Length(max=254)])


# ── The contact budget ──────────────────────────────────────────────────────────────────────────────────────────────

_CAP = [Optional(), NumberRange(0, 1_000)]


class BudgetForm(Form):
    """The contact budget, the quiet hours, the hold-out and who approves large pushes."""

    per_day = OptionalIntegerField(_l("Messages a day"), [Optional(), NumberRange(0, 100)])
    per_week = OptionalIntegerField(_l("Messages a week"), [Optional(), NumberRange(0, 300)])
    per_month = OptionalIntegerField(_l("Messages a month"), [Optional(), NumberRange(0, 1_000)])
    quiet_from = StringField(_l("Quiet from"), [InputRequired()])
    quiet_until = StringField(_l("Quiet until"), [InputRequired()])
    holdout = DecimalField(_l("Held out of every push"), [InputRequired(), NumberRange(0, 50)], places=1)
    approval_above = OptionalIntegerField(
        _l("A second person approves pushes to more than"), [Optional(), NumberRange(0, 10**9)]
    )

    @classmethod
    def present(cls) -> dict[str, Any]:
        """What is in force, as the fields hold it."""
        caps, quiet = channels.budget(), channels.quiet_hours()
        values: dict[str, Any] = {
            "per_day": caps.per_day,
            "per_week": caps.per_week,
            "per_month": caps.per_month,
            "quiet_from": quiet.since.isoformat("minutes"),
            "quiet_until": quiet.until.isoformat("minutes"),
            "holdout": channels.holdout_percent(),
            "approval_above": services.approval_above(),
        }
        for key, one in [*caps.by_class.items(), *caps.by_rank.items()]:
            name = key.value if isinstance(key, ContactClass) else f"rank{key}"
            values |= {f"{name}_{window}": cap for window, cap in zip(channel_rules.WINDOWS, one.windows, strict=True)}
        return values

    def _caps(self, name: str) -> channel_rules.Caps | None:
        found = [self[f"{name}_{window}"].data for window in channel_rules.WINDOWS]
        return channel_rules.Caps(*found) if any(cap is not None for cap in found) else None

    def caps(self) -> channel_rules.Budget:
        """The budget that was typed; a class or a tier without a number has no caps of its own."""
        return channel_rules.Budget(
            self.per_day.data,
            self.per_week.data,
            self.per_month.data,
            {one: caps for one in CAPPED if (caps := self._caps(one.value)) is not None},
            {rank: caps for rank in TIERS if (caps := self._caps(f"rank{rank}")) is not None},
        )

    def validate_quiet_from(self, field: StringField) -> None:
        _clock_time(field)

    def validate_quiet_until(self, field: StringField) -> None:
        _clock_time(field)


CAPPED = (ContactClass.TRIGGERED, ContactClass.REPURCHASE, ContactClass.BROADCAST)
TIERS = (1, 2, 3, 4)
_WINDOW_LABELS = {"day": _l("a day"), "week": _l("a week"), "month": _l("a month")}
for _name in (*(one.value for one in CAPPED), *(f"rank{rank}" for rank in TIERS)):
    for _window, _label in _WINDOW_LABELS.items():
        setattr(BudgetForm, f"{_name}_{_window}", OptionalIntegerField(_label, _CAP))


def _clock_time(field: StringField) -> None:
    try:
        field.data = time.fromisoformat((field.data or "").strip()[:5]).isoformat("minutes")
    except ValueError:
        raise ValidationError(_("Write a time such as 22:00.")) from None


class FestivalForm(Form):
    """Days that change the contact budget."""

    festival_name = StringField(_l("Festival"), [DataRequired(), Length(max=40)])
    from_on = DateField(_l("First day"), [DataRequired()])
    to_on = DateField(_l("Last day"), [DataRequired()])
    effect = RadioField(
        _l("What changes"), choices=list(labels.FESTIVAL_EFFECTS.items()), default=FestivalEffect.QUIET.value
    )
    extra = OptionalIntegerField(_l("Messages more than usual"), [Optional(), NumberRange(1, 20)])

    def validate_to_on(self, field: DateField) -> None:
        if field.data and self.from_on.data and not 0 <= (field.data - self.from_on.data).days <= 60:
            raise ValidationError(_("The days end before they begin, or last longer than 60 days."))

    def validate_effect(self, field: RadioField) -> None:
        if field.data == FestivalEffect.EXTRA and self.extra.data is None:
            raise ValidationError(_("Say how many more."))

    def validate_from_on(self, field: DateField) -> None:
        if field.data and abs(field.data.year - clock.today().year) > 50:
            raise ValidationError(_("This day is too far away."))
        if field.data and channels.has_festival(" ".join((self.festival_name.data or "").split()), field.data):
            raise ValidationError(_("This festival is in the calendar already."))

    def values(self) -> tuple[str, date, date, FestivalEffect, int]:
        """What was typed, as `channels.save_festival` takes it."""
        until = self.to_on.data + timedelta(days=1)
        return (
            self.festival_name.data or "",
            self.from_on.data,
            until,
            FestivalEffect(self.effect.data),
            self.extra.data or 0,
        )
