"""Input of the points pages."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime, timedelta
from typing import Any

from flask_wtf.file import FileField, FileRequired
from wtforms import BooleanField, HiddenField, IntegerField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional, Regexp, ValidationError

from kernel import clock
from kernel.forms import Form, LocalDateTimeField, OptionalIntegerField, YuanField, one_line, storable
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from . import labels, rules
from .models import Clawback, Kind, Late, PointsReward, Rounding
from .queries import LedgerFilter
from .services import RewardDraft

TOKEN = Regexp(r"^[A-Za-z0-9_-]{8,40}$")


_RATE = re.compile(r"(-?)(\d{1,6})(?:\.(\d{1,3})0*)?")


class RateField(StringField):
    """Points a yuan with up to three decimals; `data` is per mille."""

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return "" if self.data is None else f"{self.data / rules.MILLE:.3f}".rstrip("0").rstrip(".")

    def process_formdata(self, valuelist: list[str]) -> None:
        if not valuelist:
            return
        self.data = None
        # Read without a thousands comma: for whoever writes 1,5 it is one and a half, and must not become fifteen.
        match = _RATE.fullmatch(unicodedata.normalize("NFKC", valuelist[0]).strip())
        if match is None:
            raise ValidationError(_("Write a number such as 1 or 0.5, with three decimals at most."))
        sign, whole, part = match.groups()
        mille = int(whole) * rules.MILLE + int((part or "").ljust(3, "0"))
        self.data = -mille if sign else mille


class ProgramForm(Form):
    enabled = BooleanField(_l("Orders earn points"))
    rate = RateField(_l("Points for every ¥1"), [InputRequired()])
    rounding = SelectField(
        _l("Parts of a point"), choices=[(one.value, text) for one, text in labels.ROUNDINGS.items()]
    )
    worth = YuanField(_l("What 1,000 points are worth"), [InputRequired()])
    pending_days = IntegerField(_l("Pending after the parcel has arrived"), [InputRequired()])
    lot_days = OptionalIntegerField(_l("Can be used for"), [Optional()])
    notice_days = IntegerField(_l("Tell members before points lapse"), [InputRequired()])
    clawback = RadioField(
        _l("When an order is refunded, take back"),
        choices=[(one.value, text) for one, text in labels.CLAWBACKS.items()],
    )
    late = SelectField(
        _l("Points given back after they have lapsed"),
        choices=[(one.value, text) for one, text in labels.LATES.items()],
    )
    reopen_days = IntegerField(_l("Days that they can be used once more"), [InputRequired()])
    adjust_cap = IntegerField(_l("Points a colleague may change by hand a day"), [InputRequired()])
    effective_from = LocalDateTimeField(_l("Orders paid from"), [InputRequired()])

    def show(self, program: rules.Program) -> None:
        """Fill the form with settings."""
        for name in self.data.keys() & rules.Program.__dataclass_fields__.keys():
            value = getattr(program, name)
            self[name].data = value.value if isinstance(value, Rounding | Clawback | Late) else value
        if program.id is None:
            self.enabled.data = True
            self.effective_from.data = clock.now()

    def program(self) -> rules.Program:
        """What was typed, once it is valid."""
        assert self.effective_from.data is not None  # noqa: S101 - the field is required
        return rules.Program(
            enabled=bool(self.enabled.data),
            rate=self.rate.data or 0,
            rounding=Rounding(self.rounding.data),
            pending_days=self.pending_days.data if self.pending_days.data is not None else -1,
            lot_days=self.lot_days.data,
            notice_days=self.notice_days.data if self.notice_days.data is not None else -1,
            clawback=Clawback(self.clawback.data),
            late=Late(self.late.data),
            reopen_days=self.reopen_days.data or 0,
            worth=self.worth.data if self.worth.data is not None else -1,
            adjust_cap=self.adjust_cap.data if self.adjust_cap.data is not None else -1,
            effective_from=self.effective_from.data,
        )

    def refuse_mistakes(self, mistakes: list[rules.ProgramMistake]) -> None:
        """Put what is wrong beside its field."""
        for mistake in mistakes:
            field, sentence = labels.MISTAKES[mistake]
            self.refuse(field, sentence)


class RewardForm(Form):
    name = StringField(_l("Name"), [DataRequired(), Length(max=60)], [storable])
    points = IntegerField(_l("Costs"), [InputRequired(), NumberRange(1, rules.MOST_POINTS)])
    thing = SelectField(_l("What they get"), [InputRequired()], validate_choice=True)
    description = TextAreaField(_l("What members read about it"), [Length(max=500)], [storable])
    min_rank = SelectField(_l("For whom"), coerce=int)
    per_member = OptionalIntegerField(_l("How often each member can take it"), [Optional(), NumberRange(1, 1_000_000)])
    active = BooleanField(_l("It can be taken now"), default=True)

    def show(self, reward: PointsReward) -> None:
        """Fill the form with a reward."""
        self.process(formdata=None, obj=reward)
        self.thing.data = f"offer:{reward.offer_id}" if reward.offer_id is not None else f"gift:{reward.gift_id}"

    def draft(self) -> RewardDraft:
        """What was typed, once it is valid."""
        kind, _colon, number = (self.thing.data or "").partition(":")
        return RewardDraft(
            name=self.name.data or "",
            points=self.points.data or 0,
            description=self.description.data or "",
            offer_id=int(number) if kind == "offer" else None,
            gift_id=int(number) if kind == "gift" else None,
            min_rank=self.min_rank.data or 0,
            per_member=self.per_member.data,
            active=bool(self.active.data),
        )


class AdjustForm(Form):
    way = RadioField(_l("Give or take"), choices=[("give", _l("Give")), ("take", _l("Take away"))], default="give")
    points = IntegerField(_l("Points"), [InputRequired(), NumberRange(1, rules.MOST_POINTS)])
    reason = StringField(_l("Reason"), [DataRequired(), Length(max=300)], [storable])
    # Drawn anew for each page that is shown, so that a double click changes once.
    key = HiddenField(validators=[InputRequired(), TOKEN])

    @property
    def change(self) -> int:
        points = self.points.data or 0
        return points if self.way.data == "give" else -points


class TakeForm(Form):
    """A member takes a reward; the token is drawn for each page that is shown."""

    token = HiddenField(validators=[InputRequired(), TOKEN])


class ReasonForm(Form):
    reason = StringField(_l("Reason"), [DataRequired(), Length(max=300)], [storable])


class BatchForm(Form):
    file = FileField(_l("File"), [FileRequired(_l("Choose a CSV file."))])


def _day(text: str | None) -> date | None:
    try:
        found = datetime.strptime(text or "", "%Y-%m-%d").date()  # noqa: DTZ007 - a date has no zone
    except ValueError:
        return None
    return found if 2000 <= found.year <= 2100 else None


def ledger_filter(args: Any) -> LedgerFilter:
    """What the query narrows the ledger to; whatever makes no sense is passed over."""
    kind, days = args.get("kind", ""), args.get("days", "")
    since = clock.today() - timedelta(days=int(days) - 1) if days in labels.SPANS else _day(args.get("since"))
    return LedgerFilter(
        q=one_line(args.get("q"))[:60],
        kind=Kind(kind) if kind in {one.value for one in Kind} else None,
        since=since,
        until=_day(args.get("until")),
    )
