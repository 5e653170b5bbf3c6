"""Input of the gift pages."""

from __future__ import annotations

from typing import Any

from flask_wtf.file import FileField
from wtforms import BooleanField, HiddenField, IntegerField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional, Regexp

from kernel.forms import Form, OptionalIntegerField, PictureForm, YuanField, one_line, storable
from kernel.i18n import lazy_gettext as _l
from membership.members.services.reveals import REASONS

from . import labels
from .models import GiftKind, GiftState
from .queries import ClaimFilter, GiftFilter
from .services import Draft


class GiftForm(PictureForm):
    name = StringField(_l("Name"), [DataRequired(), Length(max=60)], [storable])
    kind = RadioField(
        _l("Kind"),
        choices=[(kind.value, label) for kind, label in labels.KINDS.items()],
        default=GiftKind.PHYSICAL.value,
    )
    description = TextAreaField(_l("What members read about it"), [Length(max=500)], [storable])
    stock = OptionalIntegerField(_l("Pieces in stock"), [Optional(), NumberRange(0, 100_000_000)])
    value = YuanField(_l("What one is worth"))
    claim_days = IntegerField(_l("Can be claimed for"), [InputRequired(), NumberRange(1, 365)], default=14)
    active = BooleanField(_l("It is given now"), default=True)

    def draft(self, kind: GiftKind | None = None) -> Draft:
        """What was typed, once it is valid; a kind that may not change any more is given."""
        return Draft(
            name=self.name.data or "",
            kind=kind or GiftKind(self.kind.data),
            description=self.description.data or "",
            picture=self.picture.data or None,
            stock=self.stock.data,
            value=self.value.data or 0,
            claim_days=self.claim_days.data or 0,
            active=bool(self.active.data),
        )


class ShipForm(Form):
    carrier = StringField(_l("Carrier"), [DataRequired(), Length(max=60)], [storable])
    tracking_number = StringField(_l("Tracking number"), [DataRequired(), Length(max=60)], [storable])


class HandOverForm(Form):
    content = TextAreaField(_l("The code or link"), [DataRequired(), Length(max=500)], [storable])


class PaidForm(Form):
    content = StringField(_l("Payment reference"), [Length(max=60)], [storable])


class CodesForm(Form):
    file = FileField(_l("File"))
    text = TextAreaField(_l("Or the codes themselves"))


class GiveForm(Form):
    gift_id = IntegerField(_l("Gift"), [InputRequired()])
    # Drawn anew for each page that is shown, so that a double click gives once.
    key = HiddenField(validators=[InputRequired(), Regexp(r"^[A-Za-z0-9_-]{8,40}$")])


class ReasonForm(Form):
    reason = StringField(_l("Reason"), [DataRequired(), Length(max=300)], [storable])


class RevealForm(Form):
    """Why somebody wants to see where a gift goes."""

    reason = SelectField(_l("Why do you look?"), [InputRequired()], choices=[("", "–"), *REASONS.items()])


class TrackingForm(Form):
    file = FileField(_l("File"))
    text = TextAreaField(_l("Or the lines themselves"))


class AddressForm(Form):
    """Where a parcel goes; `rules.checked_address` judges it."""

    recipient = StringField(_l("Name on the parcel"), [DataRequired()], [storable])
    phone = StringField(_l("Phone for the courier"), [DataRequired()], [storable])
    address = TextAreaField(_l("Address"), [DataRequired()], [storable])


def _chosen(kind: type[Any], text: str | None) -> Any:
    return kind(text) if text in {member.value for member in kind} else None


def _id(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def gift_filter(said: Any) -> GiftFilter:
    """What the address asks of the catalogue; nonsense asks nothing."""
    return GiftFilter(
        q=one_line(said.get("q"))[:100],
        kind=_chosen(GiftKind, said.get("kind")),
        active={"given": True, "stopped": False}.get(said.get("active", "")),
        low=said.get("stock") == "low",
    )


def claim_filter(said: Any) -> ClaimFilter:
    """What the address asks of members' gifts; nonsense asks nothing."""
    return ClaimFilter(
        q=one_line(said.get("q"))[:100],
        state=_chosen(GiftState, said.get("state")),
        gift_id=_id(said.get("gift")),
        group_id=_id(said.get("group")),
    )
