"""Input of the pages."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from wtforms import (
    BooleanField,
    FileField,
    HiddenField,
    IntegerField,
    RadioField,
    SelectField,
    StringField,
    TextAreaField,
)
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional, Regexp, ValidationError

from kernel import clock
from kernel.errors import InputInvalid
from kernel.forms import Form, LocalDateTimeField, OptionalIntegerField, YuanField
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.members.rules import PhoneInvalid, canonical_phone
from membership.orders.rules import SOURCE, SourceInvalid

from . import labels
from .models import CouponKind
from .rules import Basket, Line
from .services.offers import Draft, check


class PhoneForm(Form):
    """A new person says a phone, so that the coupon has an owner."""

    phone = StringField(_l("Your mobile number"), [InputRequired(), Length(max=40)])
    canonical = ""

    def validate_phone(self, field: StringField) -> None:
        try:
            self.canonical = canonical_phone(field.data or "")
        except PhoneInvalid as refusal:
            raise ValidationError(str(refusal)) from None


class OfferForm(Form):
    """An offer with its terms. What belongs to another kind than the chosen one is left out."""

    name = StringField(_l("Name"), [InputRequired(), Length(max=60)])
    kind = RadioField(_l("What it does"), choices=list(labels.KINDS.items()), default=CouponKind.AMOUNT.value)
    value = YuanField(_l("Takes off"))
    percent = StringField(_l("Share that is paid"), [Length(max=8)])
    discount_cap = YuanField(_l("Takes off at most"))
    price = YuanField(_l("One piece costs"))
    item_title = StringField(_l("What is put into the parcel"), [Length(max=60)])
    min_spend = YuanField(_l("From a purchase of"))
    skus = TextAreaField(_l("Only for these goods"), [Length(max=4000)])
    validity = RadioField(
        _l("Can be used"),
        choices=[("days", _l("for some days from the claim")), ("dates", _l("between two dates"))],
        default="days",
    )
    valid_days = OptionalIntegerField(_l("Days from the claim"), [Optional(), NumberRange(1, 3650)])
    usable_from = LocalDateTimeField(_l("Usable from"))
    usable_until = LocalDateTimeField(_l("Usable until"))
    stock = OptionalIntegerField(_l("How many pieces"), [Optional(), NumberRange(1, 100_000_000)])
    per_member = OptionalIntegerField(_l("Each member may have"), [Optional(), NumberRange(1, 1000)], default=1)
    per_day = OptionalIntegerField(_l("A day, all together"), [Optional(), NumberRange(1, 100_000_000)])
    claim_from = LocalDateTimeField(_l("Can be claimed from"))
    claim_until = LocalDateTimeField(_l("Can be claimed until"))
    min_rank = SelectField(_l("Tier"), coerce=int, default=0)
    group_id = SelectField(_l("Group"), coerce=int, default=0)
    open_to_new = BooleanField(_l("People the shop does not know yet may claim it with their phone"))
    budget = YuanField(_l("May take off altogether"))
    per_person = OptionalIntegerField(_l("Each person may have"), [Optional(), NumberRange(1, 1000)])
    per_group = OptionalIntegerField(_l("Through each group"), [Optional(), NumberRange(1, 100_000_000)])
    remind_hours = OptionalIntegerField(_l("Remind before it ends"), [Optional(), NumberRange(1, 720)])
    exclusive = BooleanField(_l("It stands alone on an order, whatever others say"))
    stack_group = StringField(_l("Goes together with others of another kind"), [Length(max=40)])
    priority = OptionalIntegerField(_l("Order of deduction"), [Optional(), NumberRange(1, 1000)], default=100)
    with_tier = BooleanField(_l("The tier's discount counts beside it"), default=True)
    transferable = BooleanField(_l("Its owner may give it to a friend"))
    channels = StringField(_l("Only on these channels"), [Length(max=200)])
    # Drawn anew for each form that is shown, so that a double click makes one offer.
    form_key = HiddenField(validators=[Optional(), Regexp(r"^[A-Za-z0-9_-]{8,40}$")])
    # Asked for once the form has been found to lead below the floor.
    confirmation = StringField(_l("Type the offer's name to go on"), [Length(max=60)])
    terms = TextAreaField(_l("More terms, as members read them"), [Length(max=500)])

    def __init__(
        self,
        groups: list[tuple[int, str]],
        tiers: list[tuple[int, str]],
        claimed: int = 0,
        before: Draft | None = None,
        **kwargs: Any,
    ) -> None:
        """`claimed` coupons are out already: the stock cannot be lower than that. `before` is the offer as it stands."""
        super().__init__(**kwargs)
        self.group_id.choices = [(0, _("Everybody")), *groups]
        self.min_rank.choices = [(0, _("Every tier")), *tiers]
        self.claimed = claimed
        self.before = before
        # The form as a whole asks for these, each for its kind or once it is shown, so that none of them is called optional.
        for name in ("value", "percent", "price", "item_title", "valid_days", "usable_until", "confirmation"):
            self[name].flags.required = True

    def validate(self, extra_validators: Any = None) -> bool:
        """Each field by itself, then the offer as a whole, with what is wrong beside the field that it concerns."""
        fine = super().validate(extra_validators)
        try:
            check(self.draft)
        except (InputInvalid, ValueError) as refusal:
            for place, sentence in getattr(refusal, "errors", []):
                name = "price" if place == "value" and self.kind.data == CouponKind.FIXED_PRICE.value else place
                if not self[name].errors:
                    self.refuse(name, sentence)
            return False
        # Coupons that end before anybody has them help nobody; an offer that has ended by itself may still be put right.
        for name in ("usable_until", "claim_until"):
            until, said = getattr(self.draft, name), getattr(self.before, name, None)
            # The form shows whole minutes.
            kept = said is not None and until == said.replace(second=0, microsecond=0)
            if until is not None and until <= clock.now() and not kept:
                self.refuse(name, _("This moment has passed already."))
                fine = False
        return fine

    def validate_stock(self, field: OptionalIntegerField) -> None:
        if self.claimed and field.data is not None and field.data < self.claimed:
            raise ValidationError(
                _("%(claimed)s coupons are out already; the stock cannot be lower than that.", claimed=self.claimed)
            )

    def validate_percent(self, field: StringField) -> None:
        if self.kind.data == CouponKind.PERCENT.value and self.per_mille is None:
            raise ValidationError(_("Write the share that is paid: 85 or 8.5折 for a buyer who pays 85%."))

    def validate_channels(self, field: StringField) -> None:
        if not all(re.fullmatch(SOURCE, name) for name in self.sources):
            raise ValidationError(str(SourceInvalid.label))

    @property
    def sources(self) -> list[str]:
        """The channels that were typed, as the sources of orders are written."""
        return [name.strip().lower() for name in re.split("[,，、]", self.channels.data or "") if name.strip()]

    @property
    def per_mille(self) -> int | None:
        """`85`, `85%` or `8.5折` → 850; None for anything else.

        A bare number below ten is refused: whoever writes 8.5 means 8.5折, and would give everything away for 8.5 %.
        """
        text = unicodedata.normalize("NFKC", self.percent.data or "").strip()
        match = re.fullmatch(r"(\d{1,2})(?:\.(\d{1,2}))?\s*([折%]?)", text)
        if match is None:
            return None
        hundredths = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))
        value, rest = (hundredths, 0) if match[3] == "折" else divmod(hundredths, 10)
        bare = not match[3] and value < 100
        return value if 10 <= value <= 990 and not rest and not bare else None

    @property
    def draft(self) -> Draft:
        """What was typed, as the service takes it."""
        kind = CouponKind(self.kind.data)
        days = self.validity.data == "days"
        value = {
            CouponKind.AMOUNT: self.value.data,
            CouponKind.PERCENT: self.per_mille,
            CouponKind.FIXED_PRICE: self.price.data,
        }.get(kind)
        capped = kind in (CouponKind.PERCENT, CouponKind.FREE_SHIPPING)
        return Draft(
            name=self.name.data or "",
            kind=kind,
            value=value or 0,
            discount_cap=self.discount_cap.data if capped else None,
            min_spend=self.min_spend.data or 0,
            skus=[
                sku
                for line in (self.skus.data or "").splitlines()
                for sku in line.replace("，", ",").split(",")
                if sku.strip()
            ],
            item_title=(self.item_title.data or "") if kind == CouponKind.GIFT_ITEM else "",
            valid_days=self.valid_days.data if days else None,
            usable_from=None if days else self.usable_from.data,
            usable_until=None if days else self.usable_until.data,
            min_rank=self.min_rank.data or 0,
            group_id=self.group_id.data or None,
            stack_group=(self.stack_group.data or "").strip(),
            exclusive=bool(self.exclusive.data),
            priority=self.priority.data or 100,
            with_tier=bool(self.with_tier.data),
            transferable=bool(self.transferable.data),
            channels=self.sources,
            budget=self.budget.data,
            per_person=self.per_person.data,
            per_group=self.per_group.data,
            remind_hours=self.remind_hours.data,
            terms=(self.terms.data or "").strip(),
            stock=self.stock.data,
            per_member=self.per_member.data,
            per_day=self.per_day.data,
            claim_from=self.claim_from.data,
            claim_until=self.claim_until.data,
            open_to_new=bool(self.open_to_new.data),
        )

    def fill(self, draft: Draft) -> None:
        """Show an offer that is there."""
        for name in (
            "name", "discount_cap", "min_spend", "item_title", "valid_days", "usable_from", "usable_until", "stock",
            "per_member", "per_day", "claim_from", "claim_until", "min_rank", "open_to_new", "stack_group", "terms",
            "exclusive", "priority", "with_tier", "transferable", "budget", "per_person", "per_group", "remind_hours",
        ):  # fmt: skip
            self[name].data = getattr(draft, name)
        self.kind.data = draft.kind.value
        self.value.data = draft.value if draft.kind == CouponKind.AMOUNT else None
        self.price.data = draft.value if draft.kind == CouponKind.FIXED_PRICE else None
        self.percent.data = f"{draft.value / 10:g}" if draft.kind == CouponKind.PERCENT else ""
        self.min_spend.data = draft.min_spend or None
        self.skus.data = "\n".join(draft.skus)
        self.channels.data = ", ".join(draft.channels)
        self.validity.data = "days" if draft.valid_days is not None else "dates"
        self.group_id.data = draft.group_id or 0


class FloorForm(Form):
    """How low prices may fall before an offer has to be confirmed."""

    percent = IntegerField(_l("Lowest price, in percent of the list price"), [InputRequired(), NumberRange(0, 100)])


class StockForm(Form):
    more = IntegerField(_l("More pieces"), [InputRequired(), NumberRange(1, 100_000_000)])
    # The stock that the form was shown with: of a double click the second finds another one.
    seen = HiddenField()


class LinkForm(Form):
    name = StringField(_l("Where will it be shown?"), [DataRequired(), Length(max=60)])


class ReasonForm(Form):
    reason = StringField(_l("Reason"), [DataRequired(), Length(max=200)])


class GrantForm(Form):
    offer_id = SelectField(_l("Offer"), coerce=int)
    # Drawn anew for each page that is shown, so that a double click grants once.
    key = HiddenField(validators=[InputRequired(), Regexp(r"^[A-Za-z0-9_-]{8,40}$")])

    def __init__(self, offers: list[tuple[int, str]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.offer_id.choices = offers


class CodeForm(Form):
    """A member types a code."""

    code = StringField(_l("Coupon code"), [DataRequired(), Length(max=60)])


class PoolForm(Form):
    """Single-use codes that are made."""

    name = StringField(_l("What are they for?"), [DataRequired(), Length(max=60)])
    number = IntegerField(_l("How many codes"), [InputRequired(), NumberRange(1, 500_000)])
    prefix = StringField(_l("Letters in front"), [Length(max=10), Regexp(r"^[A-Za-z0-9]*$")])
    length = OptionalIntegerField(_l("Random characters"), [Optional(), NumberRange(13, 24)], default=13)
    group = OptionalIntegerField(_l("Written in groups of"), [Optional(), NumberRange(0, 8)], default=4)


class PoolFileForm(Form):
    """Single-use codes that were made elsewhere."""

    name = StringField(_l("What are they for?"), [DataRequired(), Length(max=60)])
    file = FileField(_l("File with codes"))

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.file.flags.required = True

    def validate_file(self, field: FileField) -> None:
        if not field.data or not getattr(field.data, "filename", ""):
            raise ValidationError(_("Choose a CSV file with one code per line."))


class SharedCodeForm(Form):
    """One code for everybody."""

    name = StringField(_l("Where is it shown?"), [DataRequired(), Length(max=60)])
    code = StringField(_l("Coupon code"), [DataRequired(), Length(max=40)])


class GrantManyForm(Form):
    """Coupons for many members: those of an audience, or those whom a file names."""

    audience = SelectField(_l("For whom"))
    file = FileField(_l("File with phones or e-mail addresses"))
    key = HiddenField(validators=[InputRequired(), Regexp(r"^[A-Za-z0-9_-]{8,40}$")])

    def __init__(self, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.audience.choices = [("", _("Those in the file")), *choices]

    def validate_file(self, field: FileField) -> None:
        if not self.audience.data and (not field.data or not getattr(field.data, "filename", "")):
            raise ValidationError(_("Choose an audience, or a file with one phone or e-mail address per line."))


class RedeemForm(Form):
    """The counter redeems a coupon without a till program; a coupon for certain goods also asks for those."""

    order = StringField(_l("Receipt or order number"), [DataRequired(), Length(max=60)])
    amount = YuanField(_l("What all goods cost"), [InputRequired()])
    postage = YuanField(_l("Postage"))
    sku = SelectField(_l("Goods that the coupon is for"))
    quantity = OptionalIntegerField(_l("Pieces of them"), [Optional(), NumberRange(1, 1_000_000)], default=1)
    share = YuanField(_l("What these pieces cost"))

    def __init__(self, skus: list[tuple[str, str]], posted: bool, **kwargs: Any) -> None:
        """`skus` are the goods that the coupon is for, none when it is for all; `posted` whether postage matters."""
        super().__init__(**kwargs)
        self.sku.choices = skus
        if not skus:
            del self.sku, self.quantity, self.share
        if not posted:
            del self.postage

    def validate_share(self, field: YuanField) -> None:
        if field.data is None or field.data < 1:
            raise ValidationError(_("Say what the goods that the coupon is for cost."))
        if self.amount.data is not None and field.data > self.amount.data:
            raise ValidationError(_("They cannot cost more than all goods together."))

    @property
    def basket(self) -> Basket:
        """What is being bought, as far as the coupon needs to know it."""
        amount = self.amount.data or 0
        postage = (self.postage.data or 0) if "postage" in self else 0
        if "sku" not in self:
            return Basket(amount, postage)
        share = self.share.data or 0
        lines = [Line(self.sku.data, self.quantity.data or 1, share)]
        if amount > share:
            lines.append(Line("", 1, amount - share))
        return Basket(amount, postage, tuple(lines))
