"""Input of the pages about tiers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Any

from wtforms import (
    BooleanField,
    IntegerField,
    RadioField,
    SelectField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)  # fmt: skip
from wtforms.validators import DataRequired, InputRequired, Length, ValidationError
from wtforms.widgets import CheckboxInput, ListWidget

from kernel.forms import Form, LocalDateTimeField, OptionalIntegerField, YuanField, one_line
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.members import queries as members

from . import labels, queries, rules
from .models import Downgrade, Metric, RefundEffect, Window


class Needed:
    """Marks a field that is needed where its level or window is chosen; `rules.mistakes_in` decides that."""

    field_flags = {"required": True}

    def __call__(self, form: Any, field: Any) -> None:
        return None


class PerMilleField(StringField):
    """A percentage with at most one decimal (`95`, `98.5`); `data` is per mille, or None when empty."""

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return "" if self.data is None else f"{self.data / 10:g}"

    def process_formdata(self, valuelist: list[str]) -> None:
        if not valuelist:
            return
        match = re.fullmatch(r"(\d{1,3})(?:[.。](\d))?\s*%?", unicodedata.normalize("NFKC", valuelist[0]).strip())
        self.data = int(match[1]) * 10 + int(match[2] or 0) if match else None
        if valuelist[0].strip() and match is None:
            raise ValidationError(_("Write a percentage, such as 95 or 98.5."))


class MultiplierField(StringField):
    """How often points are given (`1`, `1.5`, `2`); `data` is per mille, or None when it cannot be read."""

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return "" if self.data is None else f"{self.data / 1000:g}"

    def process_formdata(self, valuelist: list[str]) -> None:
        if not valuelist:
            return
        match = re.fullmatch(
            r"(\d{1,3})(?:[.。](\d{1,3}))?\s*[x×倍]?", unicodedata.normalize("NFKC", valuelist[0]).strip()
        )
        self.data = int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0")) if match else None
        if match is None:
            raise ValidationError(_("Write how often, such as 1 or 1.5."))


class Choices(SelectMultipleField):
    """Several of a list, as boxes to tick."""

    widget = ListWidget(prefix_label=False)
    option_widget = CheckboxInput()


# What a level gives by id, and which of `queries.things` each takes.
GIVEN = {
    "entry_gift_id": "gift",
    "entry_offer_id": "offer",
    "monthly_offer_id": "offer",
    "birthday_gift_id": "gift",
}


class PolicyForm(Form):
    """The policy; the fields of each level follow below as `on_1`, `name_1` and so on."""

    draft_name = StringField(_l("Name of the draft"), [DataRequired(), Length(max=60)])
    metric = RadioField(_l("What is counted"), choices=list(labels.METRICS.items()), coerce=Metric)
    window = RadioField(_l("From when"), choices=list(labels.WINDOWS.items()), coerce=Window)
    rolling_days = OptionalIntegerField(_l("How many days"), [Needed()])
    valid_days = IntegerField(_l("A tier holds for"), [InputRequired()])
    grace_days = IntegerField(_l("and is kept after its end for"), [InputRequired()])
    downgrade = RadioField(
        _l("When it has ended and is not reached again"), choices=list(labels.DOWNGRADES.items()), coerce=Downgrade
    )
    birthday_days = IntegerField(_l("A birthday gift comes this long before the day"), [InputRequired()])
    refund_effect = RadioField(
        _l("When refunds take away what reached it"), choices=list(labels.REFUND_EFFECTS.items()), coerce=RefundEffect
    )

    @classmethod
    def of(cls, policy: rules.Policy, draft_name: str = "") -> PolicyForm:
        """The form filled with a policy; levels that are off are filled with the standard ones."""
        values: dict[str, Any] = {
            name: getattr(policy, name)
            for name in (
                "metric", "window", "rolling_days", "valid_days", "grace_days", "downgrade", "refund_effect",
                "birthday_days",
            )
        }  # fmt: skip
        for rank in rules.RANKS:
            level = policy.level(rank) or rules.STANDARD.level(rank)
            if level is not None:
                values |= {
                    f"on_{rank}": policy.level(rank) is not None,
                    f"name_{rank}": level.name,
                    f"name_en_{rank}": level.name_en,
                    f"spend_{rank}": level.spend,
                    f"orders_{rank}": level.orders,
                    f"discount_{rank}": level.discount,
                    f"benefits_{rank}": level.benefits,
                    f"multiplier_{rank}": level.multiplier,
                    f"free_shipping_{rank}": level.free_shipping,
                    f"priority_service_{rank}": level.priority_service,
                    f"group_ids_{rank}": list(level.group_ids),
                } | {f"{name}_{rank}": getattr(level, name) or 0 for name in GIVEN}
        return cls(data=values | {"draft_name": draft_name})

    @property
    def policy(self) -> rules.Policy:
        """What was typed, as a policy that may still hold mistakes."""
        levels = [
            rules.Level(
                rank=rank,
                name=(self[f"name_{rank}"].data or "").strip(),
                name_en=(self[f"name_en_{rank}"].data or "").strip(),
                spend=self[f"spend_{rank}"].data or 0,
                orders=self[f"orders_{rank}"].data or 0,
                discount=self[f"discount_{rank}"].data or 0,
                benefits=" ".join((self[f"benefits_{rank}"].data or "").split()),
                multiplier=self[f"multiplier_{rank}"].data or 0,
                free_shipping=bool(self[f"free_shipping_{rank}"].data),
                priority_service=bool(self[f"priority_service_{rank}"].data),
                group_ids=tuple(sorted(self[f"group_ids_{rank}"].data or ())),
                **{name: self[f"{name}_{rank}"].data or None for name in GIVEN},
            )
            for rank in rules.RANKS
            if self[f"on_{rank}"].data
        ]
        return rules.Policy(
            metric=self.metric.data,
            window=self.window.data,
            rolling_days=self.rolling_days.data if self.window.data is Window.ROLLING else None,
            valid_days=self.valid_days.data,
            grace_days=self.grace_days.data,
            birthday_days=self.birthday_days.data,
            downgrade=self.downgrade.data,
            refund_effect=self.refund_effect.data,
            levels=tuple(levels),
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        things = queries.all_things()
        groups = list(members.group_names().items())
        for rank in rules.RANKS:
            for name, kind in GIVEN.items():
                field = self[f"{name}_{rank}"]
                # What a level gives already stays to be chosen, so that an ended offer is named and not silently dropped.
                field.choices = [
                    (0, _("None")),
                    *((one.id, one.name) for one in things if one.kind == kind and (one.open or one.id == field.data)),
                ]
            self[f"group_ids_{rank}"].choices = groups

    def show(self, mistakes: list[rules.PolicyMistake]) -> None:
        """Put the rules' mistakes beside the fields they concern."""
        for one in mistakes:
            field = f"{one.field}_{one.rank}" if one.rank else "on_1" if one.field == "levels" else one.field
            self.refuse(field, labels.MISTAKES[one.mistake])


for _rank in rules.RANKS:
    setattr(PolicyForm, f"on_{_rank}", BooleanField(_l("VIP%(rank)s is given", rank=_rank)))
    setattr(PolicyForm, f"name_{_rank}", StringField(_l("Name"), [Needed(), Length(max=20)]))
    setattr(PolicyForm, f"name_en_{_rank}", StringField(_l("Name in English"), [Length(max=30)]))
    setattr(PolicyForm, f"spend_{_rank}", YuanField(_l("From a spend of"), [Needed()]))
    setattr(PolicyForm, f"orders_{_rank}", OptionalIntegerField(_l("From a number of orders"), [Needed()]))
    setattr(PolicyForm, f"discount_{_rank}", PerMilleField(_l("Members pay, of the price"), [Needed()]))
    setattr(PolicyForm, f"benefits_{_rank}", TextAreaField(_l("In words"), [Length(max=200)]))
    setattr(PolicyForm, f"multiplier_{_rank}", MultiplierField(_l("Points"), [Needed()]))
    for _name in GIVEN:
        setattr(PolicyForm, f"{_name}_{_rank}", SelectField(labels.FIELDS[_name], coerce=int))
    setattr(PolicyForm, f"free_shipping_{_rank}", BooleanField(labels.FIELDS["free_shipping"]))
    setattr(PolicyForm, f"priority_service_{_rank}", BooleanField(labels.FIELDS["priority_service"]))
    setattr(PolicyForm, f"group_ids_{_rank}", Choices(labels.FIELDS["group_ids"], coerce=int))


class ManualTierForm(Form):
    rank = SelectField(_l("Tier"), coerce=int)
    reason = StringField(_l("Reason"), [DataRequired(), Length(max=300)])
    until = LocalDateTimeField(_l("Until"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rank.choices = [
            (level.rank, f"VIP{level.rank} {labels.level_name(level)}") for level in queries.policy().levels
        ]


def number_from(said: str | None, choices: Collection[int]) -> int | None:
    """A number of a query, None when it is none of the choices."""
    return int(said) if said and said.isascii() and said.isdigit() and int(said[:9]) in choices else None


def falls_from(args: Any) -> queries.FallFilter:
    """The filter of the list of upcoming falls; what cannot be read narrows nothing."""
    return queries.FallFilter(
        days=number_from(args.get("days"), labels.FALL_DAYS) or 30,
        tier=number_from(args.get("tier"), rules.RANKS),
        q=one_line(args.get("q"))[:60],
    )


def by_hand_from(args: Any) -> queries.ManualFilter:
    """The filter of the list of tiers set by hand."""
    ends = args.get("ends", "")
    return queries.ManualFilter(
        tier=number_from(args.get("tier"), rules.RANKS),
        ends=ends if ends in labels.ENDS else "",
        q=one_line(args.get("q"))[:60],
    )


def concerned_from(args: Any) -> queries.ConcernedFilter:
    """Which of the members that a draft concerns are asked for."""
    ranks = (0, *rules.RANKS)
    return queries.ConcernedFilter(
        falls=args.get("kind") == "falls",
        from_rank=number_from(args.get("from"), ranks),
        to_rank=number_from(args.get("to"), ranks),
        q=one_line(args.get("q"))[:60],
    )
