"""Input of the groups' pages."""

from __future__ import annotations

import unicodedata
from typing import Any
from urllib.parse import urlsplit

from flask_wtf.file import FileField
from wtforms import BooleanField, IntegerField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional, ValidationError

from kernel import clock
from kernel.forms import Form, LocalDateTimeField, OptionalIntegerField, YuanField
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.members.rules import PhoneInvalid, canonical_phone

from . import labels, rules
from .models import Group, GroupKind, Platform
from .services import GroupDraft

DEMO_COVERS = ("demo/tea.webp", "demo/table.webp", "demo/shelf.webp", "demo/parcels.webp")


def strip(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


class JoinForm(Form):
    """The one tap, with what it may carry."""

    marketing = BooleanField(_l("Yes, tell me about offers"))
    password = StringField(_l("The group's password"), [Optional(), Length(max=60)], filters=[strip])
    phone = StringField(_l("Your phone number"), [Optional(), Length(max=40)], filters=[strip])


class NewcomerForm(JoinForm):
    """The same for somebody whom nobody knows yet."""

    phone = StringField(_l("Your phone number"), [DataRequired(), Length(max=40)], filters=[strip])

    def validate_phone(self, field: StringField) -> None:
        try:
            canonical_phone(field.data or "")
        except PhoneInvalid as refusal:
            raise ValidationError(str(refusal)) from None


class GroupForm(Form):
    """A group, with the fields that its kind has."""

    name = StringField(_l("Name"), [DataRequired(), Length(max=40)], filters=[strip])
    intro = TextAreaField(_l("What this group is"), [Length(max=300)], filters=[strip])
    announcement = TextAreaField(_l("Announcement"), [Length(max=300)], filters=[strip])
    welcome_post = TextAreaField(_l("Welcome"), [Length(max=1000)], filters=[strip])
    cover = FileField(_l("Cover"))
    demo_cover = RadioField(_l("Or one of these"), validate_choice=False)
    capacity = IntegerField(_l("Seats in all"), [InputRequired(), NumberRange(1, rules.LARGEST_CAPACITY)], default=5000)
    seats_each = IntegerField(
        _l("Seats in each sub-group"), [InputRequired(), NumberRange(1, rules.LARGEST_CAPACITY)], default=500
    )
    hold_minutes = IntegerField(_l("A held seat is kept for"), [InputRequired(), NumberRange(1, 1440)], default=10)
    invite_hours = IntegerField(
        _l("A seat offered from the waiting list is kept for"), [InputRequired(), NumberRange(1, 168)], default=24
    )
    opens_at = LocalDateTimeField(_l("Opens"))
    closes_at = LocalDateTimeField(_l("Closes"))
    successor_id = SelectField(_l("Group offered when it closes"), coerce=int, default=0)
    grace_days = IntegerField(
        _l("Whoever no longer qualifies keeps the seat for"), [Optional(), NumberRange(0, 365)], default=14
    )
    welcome_gift_id = SelectField(_l("Welcome gift"), coerce=int, default=0)
    open_to_new = BooleanField(_l("Let people join who are new to the shop, with their phone number alone"))
    mode = RadioField(
        _l("When there are several"), choices=[(key, label) for key, label in labels.MODES.items()], default="all"
    )
    rank = SelectField(_l("From which tier"), coerce=int, default=0)
    spend = YuanField(_l("Has spent at least"), [Optional()])
    orders = OptionalIntegerField(_l("Has ordered at least"), [Optional(), NumberRange(1, 10_000)])
    sku = StringField(_l("Has bought the product"), [Length(max=100)], filters=[strip])
    tag = StringField(_l("Has the tag"), [Length(max=40)], filters=[strip])
    password = StringField(_l("Knows the password"), [Length(max=60)], filters=[strip])
    invitation = BooleanField(_l("Has a personal invitation"))

    def __init__(
        self,
        kind: GroupKind,
        gifts: list[tuple[int, str]],
        groups: list[tuple[int, str]],
        ranks: list[tuple[int, str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kind = kind
        self.welcome_gift_id.choices = [(0, _("None")), *gifts]
        self.successor_id.choices = [(0, _("None")), *groups]
        self.rank.choices = [(0, _("Any")), *ranks]
        # What the kind cannot do without is not marked as optional.
        self.closes_at.flags.required = kind is GroupKind.FLASH
        self.tag.flags.required = kind is GroupKind.INTEREST
        self.demo_cover.choices = [(key, key) for key in DEMO_COVERS]

    def validate_closes_at(self, field: LocalDateTimeField) -> None:
        if self.kind is not GroupKind.FLASH or field.errors:
            return
        if field.data is None:
            raise ValidationError(_("A flash group closes by the clock: say when."))
        if self.opens_at.data is not None and field.data <= self.opens_at.data:
            raise ValidationError(_("It closes after it opens."))

    def validate_rank(self, field: SelectField) -> None:
        if self.kind is GroupKind.VIP and not field.data:
            raise ValidationError(_("A VIP group is joined from a tier upward: choose it."))

    def validate_tag(self, field: StringField) -> None:
        if self.kind is GroupKind.INTEREST and not field.data:
            raise ValidationError(_("An interest group is for people with a tag: name it."))

    def validate_seats_each(self, field: IntegerField) -> None:
        if self.capacity.data and field.data and -(-self.capacity.data // field.data) > rules.MOST_SUB_GROUPS:
            raise ValidationError(str(rules.TooManySubGroups(most=rules.MOST_SUB_GROUPS)))

    def validate_announcement(self, field: TextAreaField) -> None:
        sentences = [labels.lint_sentence(finding) for finding in rules.lint_announcement(field.data or "")]
        if sentences:
            raise ValidationError(" ".join(sentences))

    @property
    def join_rule(self) -> dict[str, Any]:
        """The rules of entry as they are stored."""
        found: list[dict[str, Any]] = []
        if self.rank.data:
            found.append({"kind": "tier", "rank": self.rank.data})
        if self.spend.data:
            found.append({"kind": "spend", "fen": self.spend.data})
        if self.orders.data:
            found.append({"kind": "orders", "count": self.orders.data})
        if self.sku.data:
            found.append({"kind": "product", "sku": self.sku.data})
        if self.tag.data:
            found.append({"kind": "tag", "tag": " ".join(self.tag.data.split())})
        if self.password.data:
            found.append({"kind": "password", "password": unicodedata.normalize("NFKC", self.password.data)})
        if self.invitation.data:
            found.append({"kind": "invitation"})
        return {"mode": self.mode.data or "all", "rules": found} if found else {}

    def draft(self, cover: str | None, titles: dict[str, str], owner_id: int | None) -> GroupDraft:
        """What was typed, as the service takes it; `titles` names products."""
        rule = self.join_rule
        for one in rule.get("rules", ()):
            if one["kind"] == "product" and one["sku"] in titles:
                one["title"] = titles[one["sku"]]
        flash = self.kind is GroupKind.FLASH
        return GroupDraft(
            name=self.name.data or "",
            intro=self.intro.data or "",
            announcement=self.announcement.data or "",
            welcome_post=self.welcome_post.data or "",
            capacity=self.capacity.data or 1,
            seats_each=self.seats_each.data or 1,
            hold_minutes=self.hold_minutes.data or 10,
            invite_hours=self.invite_hours.data or 24,
            opens_at=self.opens_at.data,
            closes_at=self.closes_at.data if flash else None,
            join_rule=rule,
            open_to_new=bool(self.open_to_new.data),
            welcome_gift_id=self.welcome_gift_id.data or None,
            successor_id=(self.successor_id.data or None) if self.kind in (GroupKind.FLASH, GroupKind.VIP) else None,
            grace_days=self.grace_days.data if self.kind is GroupKind.VIP and self.grace_days.data is not None else 14,
            owner_id=owner_id,
            cover=cover or (self.demo_cover.data if self.demo_cover.data in DEMO_COVERS else None),
        )


def values_of(group: Group) -> dict[str, Any]:
    """A group as the form's fields show it."""
    values: dict[str, Any] = {
        name: getattr(group, name)
        for name in (
            "name", "intro", "announcement", "welcome_post", "capacity", "seats_each", "hold_minutes", "invite_hours",
            "opens_at", "closes_at", "open_to_new", "grace_days",
        )
    }  # fmt: skip
    values["welcome_gift_id"] = group.welcome_gift_id or 0
    values["successor_id"] = group.successor_id or 0
    values["demo_cover"] = group.cover if group.cover in DEMO_COVERS else None
    values["mode"] = group.join_rule.get("mode", "all")
    fields = {
        "tier": ("rank", "rank"),
        "spend": ("spend", "fen"),
        "orders": ("orders", "count"),
        "product": ("sku", "sku"),
    }
    for rule in group.join_rule.get("rules", ()):
        field, key = fields.get(rule["kind"], (rule["kind"], rule["kind"]))
        values[field] = rule.get(key, True)
    return values


class CopyForm(Form):
    """A group made after another one."""

    name = StringField(_l("Name"), [DataRequired(), Length(max=40)], filters=[strip])
    opens_at = LocalDateTimeField(_l("Opens"))
    links = BooleanField(_l("Its links, with new addresses"), default=True)
    sessions = BooleanField(_l("Its live sessions, moved by as much as the opening"), default=True)
    coupons = BooleanField(_l("Its coupons, as drafts for the new group"), default=True)


class OpeningForm(Form):
    """What the shop has to have sold before it opens a group."""

    on = BooleanField(_l("Ask for orders before a group can be announced or opened"))
    orders = IntegerField(_l("At least"), [InputRequired(), NumberRange(1, 100_000)], default=30)
    days = IntegerField(_l("In the last"), [InputRequired(), NumberRange(1, 365)], default=30)


class LinkForm(Form):
    """A further join link."""

    name = StringField(_l("Name"), [DataRequired(), Length(max=40)], filters=[strip])
    source = StringField(_l("Source"), [DataRequired(), Length(max=40)], filters=[strip])
    staff_id = SelectField(_l("Who invites"), coerce=int, default=0)

    def __init__(self, staff: list[tuple[int, str]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.staff_id.choices = [(0, _("Nobody in particular")), *staff]


class SessionForm(Form):
    """A live session."""

    title = StringField(_l("Title"), [DataRequired(), Length(max=60)], filters=[strip])
    starts_at = LocalDateTimeField(_l("Starts"), [InputRequired()])
    ends_at = LocalDateTimeField(_l("Ends"), [InputRequired()])
    watch_url = StringField(_l("Where to watch"), [Length(max=500)], filters=[strip])
    replay_url = StringField(_l("Recording"), [Length(max=500)], filters=[strip])

    def validate_ends_at(self, field: LocalDateTimeField) -> None:
        if field.data and self.starts_at.data and field.data <= self.starts_at.data:
            raise ValidationError(_("It ends after it starts."))

    def validate_watch_url(self, field: StringField) -> None:
        whole_address(self, field)

    validate_replay_url = validate_watch_url


def _is_whole(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def whole_address(form: Form, field: StringField) -> None:
    """Refuse what is no web address."""
    if field.data and not _is_whole(field.data):
        raise ValidationError(_("Write a whole address that begins with https:// or http://."))


class DropForm(Form):
    """Something that shows while a session runs."""

    title = StringField(_l("Title"), [DataRequired(), Length(max=40)], filters=[strip])
    note = TextAreaField(_l("A sentence about it"), [Length(max=200)], filters=[strip])
    minute = IntegerField(_l("Shows after"), [InputRequired(), NumberRange(0, 1440)], default=0)
    offer_id = SelectField(_l("Coupon"), coerce=int, default=0)
    url = StringField(_l("Or a link"), [Length(max=500), whole_address], filters=[strip])

    def __init__(self, offers: list[tuple[int, str]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.offer_id.choices = [(0, _("None")), *offers]


class OutsideCodeForm(Form):
    """The picture of a group's QR code on another platform."""

    platform = SelectField(
        _l("Where it is"),
        choices=[(key.value, label) for key, label in labels.PLATFORMS.items()],
        default=Platform.WECOM,
    )
    name = StringField(_l("Name"), [DataRequired(), Length(max=40)], filters=[strip])
    picture = FileField(_l("Picture of the code"))
    expires_at = LocalDateTimeField(_l("Ends"))
    seats = OptionalIntegerField(_l("Takes"), [Optional(), NumberRange(1, 100_000)])

    def validate_expires_at(self, field: LocalDateTimeField) -> None:
        if field.data is not None and field.data <= clock.now():
            raise ValidationError(_("This moment has passed already."))


class RewardForm(Form):
    """What a member gets for a friend."""

    kind = SelectField(
        _l("Thank-you"), choices=[("", _l("Nothing")), ("coupon", _l("A coupon")), ("points", _l("Points"))], default=""
    )
    offer_id = SelectField(_l("Coupon"), coerce=int, default=0)
    points = OptionalIntegerField(_l("Points"))
    after = RadioField(
        _l("Given once the friend"),
        choices=[("stay", _l("has stayed long enough")), ("order", _l("has stayed long enough and ordered"))],
        default="stay",
    )
    days = IntegerField(_l("Days in the group"), [InputRequired(), NumberRange(0, 90)], default=7)
    cap = IntegerField(
        _l("Friends a member is rewarded for, at most"), [InputRequired(), NumberRange(1, 1_000)], default=10
    )

    def __init__(self, offers: list[tuple[int, str]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.offer_id.choices = [(0, _("None")), *offers]

    def validate_offer_id(self, field: SelectField) -> None:
        if self.kind.data == "coupon" and not field.data:
            raise ValidationError(_("Choose which coupon it is."))

    def validate_points(self, field: OptionalIntegerField) -> None:
        if self.kind.data == "points" and not 1 <= (field.data or 0) <= 100_000:
            raise ValidationError(_("Say how many points it is, 1 to 100,000."))

    @property
    def terms(self) -> rules.Reward | None:
        """What was chosen, None for nothing."""
        if not self.kind.data:
            return None
        coupon = self.kind.data == "coupon"
        return rules.Reward(
            self.kind.data,
            self.offer_id.data or 0 if coupon else 0,
            0 if coupon else self.points.data or 0,
            self.after.data or "stay",
            self.days.data or 0,
            self.cap.data or 1,
        )


class RemoveForm(Form):
    """Taking a member's seat back."""

    reason = StringField(_l("Reason"), [DataRequired(), Length(max=200)], filters=[strip])
    barred = BooleanField(_l("May not come back"))


class AnnouncementForm(Form):
    """The announcement alone."""

    announcement = TextAreaField(_l("Announcement"), [Length(max=300)], filters=[strip])

    def validate_announcement(self, field: TextAreaField) -> None:
        sentences = [labels.lint_sentence(finding) for finding in rules.lint_announcement(field.data or "")]
        if sentences:
            raise ValidationError(" ".join(sentences))
