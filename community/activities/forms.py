"""Input of the console's pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wtforms import BooleanField, IntegerField, SelectField, StringField, TextAreaField
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional, ValidationError

from kernel.forms import Form, LocalDateTimeField, OptionalIntegerField, YuanField
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from . import rules
from .models import SaleKind
from .services import LotteryDraft, PrizeDraft, SaleDraft


def strip(value: Any) -> Any:
    return value.replace("\x00", "").strip() if isinstance(value, str) else value


def given(moment: datetime | None) -> datetime:
    """A moment that the form asks for; `ValueError` before it was validated."""
    if moment is None:
        raise ValueError("the form has not been validated")
    return moment


class LotteryForm(Form):
    """A draw, with up to three kinds of prizes."""

    title = StringField(_l("Name"), [DataRequired(), Length(max=40)], filters=[strip])
    note = TextAreaField(_l("What members read"), [Length(max=300)], filters=[strip])
    opens_at = LocalDateTimeField(_l("Entry begins"))
    closes_at = LocalDateTimeField(_l("Entry closes"), [DataRequired()])
    prize_1 = SelectField(_l("First prize"), default="")
    number_1 = OptionalIntegerField(_l("How many"), [Optional(), NumberRange(1, rules.MOST_PRIZES)], default=1)
    prize_2 = SelectField(_l("Second prize"), default="")
    number_2 = OptionalIntegerField(_l("How many"), [Optional(), NumberRange(1, rules.MOST_PRIZES)])
    prize_3 = SelectField(_l("Third prize"), default="")
    number_3 = OptionalIntegerField(_l("How many"), [Optional(), NumberRange(1, rules.MOST_PRIZES)])

    def __init__(self, things: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prize_1.choices = [("", _("Choose one")), *things]
        self.prize_2.choices = self.prize_3.choices = [("", _("None")), *things]
        self.prize_1.flags.required = self.number_1.flags.required = True

    @property
    def _pairs(self) -> list[tuple[SelectField, OptionalIntegerField]]:
        return [(self.prize_1, self.number_1), (self.prize_2, self.number_2), (self.prize_3, self.number_3)]

    def validate_prize_1(self, field: SelectField) -> None:
        if not field.data:
            raise ValidationError(_("Say what can be won."))

    def validate_prize_3(self, field: SelectField) -> None:
        if field.data and not self.prize_2.data:
            raise ValidationError(_("Fill in the second prize first."))

    def _number(self, prize: SelectField, field: OptionalIntegerField) -> None:
        if prize.data and field.data is None and not field.errors:
            raise ValidationError(_("Say how many."))

    def validate_number_1(self, field: OptionalIntegerField) -> None:
        self._number(self.prize_1, field)

    def validate_number_2(self, field: OptionalIntegerField) -> None:
        self._number(self.prize_2, field)

    def validate_number_3(self, field: OptionalIntegerField) -> None:
        self._number(self.prize_3, field)

    @property
    def draft(self) -> LotteryDraft:
        """What was typed, once it is valid."""
        prizes = []
        for prize, number in self._pairs:
            if prize.data:
                kind, _colon, row = prize.data.partition(":")
                prizes.append(PrizeDraft(number.data or 0, **{f"{kind}_id": int(row)}))
        return LotteryDraft(
            self.title.data or "", given(self.closes_at.data), tuple(prizes), self.note.data or "", self.opens_at.data
        )

    def fill(self, draft: LotteryDraft) -> None:
        """Show what a draw is."""
        self.title.data, self.note.data = draft.title, draft.note
        self.opens_at.data, self.closes_at.data = draft.opens_at, draft.closes_at
        for (prize, number), one in zip(self._pairs, draft.prizes, strict=False):
            prize.data = f"gift:{one.gift_id}" if one.gift_id is not None else f"offer:{one.offer_id}"
            number.process_data(one.number)


class SaleForm(Form):
    """A flash sale or a group price."""

    confirmation = StringField(_l("Type the name to start it all the same"), filters=[strip])
    title = StringField(_l("Name"), [DataRequired(), Length(max=40)], filters=[strip])
    note = TextAreaField(_l("What members read"), [Length(max=300)], filters=[strip])
    product_id = SelectField(_l("Product"), coerce=int)
    price = YuanField(_l("Price in the group"), [InputRequired()])
    starts_at = LocalDateTimeField(_l("Starts"))
    ends_at = LocalDateTimeField(_l("Ends"), [DataRequired()])
    stock = OptionalIntegerField(_l("Pieces in all"), [Optional(), NumberRange(1, 1_000_000)])
    per_member = IntegerField(_l("Pieces each"), [InputRequired(), NumberRange(1, 20)], default=1)
    pay_days = IntegerField(_l("Days to order after the end"), [InputRequired(), NumberRange(0, 30)], default=1)
    combines = BooleanField(_l("Goes together with other coupons on one order"))

    def __init__(self, kind: SaleKind, products: list[tuple[int, str]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.product_id.choices = [(0, _("Choose one")), *products]
        self.stock.flags.required = kind is SaleKind.FLASH_SALE

    def validate_product_id(self, field: SelectField) -> None:
        if not field.data:
            raise ValidationError(_("Choose a product with a list price."))

    @property
    def draft(self) -> SaleDraft:
        """What was typed, once it is valid."""
        return SaleDraft(
            self.title.data or "",
            self.product_id.data,
            self.price.data or 0,
            given(self.ends_at.data),
            self.starts_at.data,
            self.stock.data,
            self.per_member.data or 1,
            self.pay_days.data or 0,
            bool(self.combines.data),
            self.note.data or "",
        )

    def fill(self, draft: SaleDraft) -> None:
        """Show what a sale is."""
        for name in ("title", "note", "product_id", "price", "starts_at", "ends_at", "stock", "per_member", "pay_days"):
            self[name].data = getattr(draft, name)
        self.combines.data = draft.combines


class CancelForm(Form):
    reason = StringField(_l("Reason"), [DataRequired(), Length(max=200)], filters=[strip])
