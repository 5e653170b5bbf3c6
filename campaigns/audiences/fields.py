"""The fields of an audience's rules, for every form that asks for them.

Each may be left empty; what is filled in holds together with the rest.
"""

from __future__ import annotations

from typing import Any

from wtforms import SelectField, SelectMultipleField, StringField
from wtforms.validators import Length, NumberRange, Optional
from wtforms.widgets import CheckboxInput, ListWidget

from kernel.forms import Form, OptionalIntegerField, YuanField
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from . import queries, rules

_DAYS = [Optional(), NumberRange(0, rules.MOST_DAYS)]
_COUNT = [Optional(), NumberRange(0, rules.MOST_ORDERS)]


class Checks(SelectMultipleField):
    """Several choices as boxes."""

    widget = ListWidget(prefix_label=False)
    option_widget = CheckboxInput()


def _word(value: str | None) -> str:
    return value or ""


def _whole(value: str | None) -> int | None:
    return int(value) if value else None


class RulesForm(Form):
    """The rules alone."""

    ranks = Checks(_l("Tier"), coerce=int)
    last_from = OptionalIntegerField(_l("Last order at least"), _DAYS)
    last_to = OptionalIntegerField(_l("Last order at most"), _DAYS)
    bought = StringField(_l("Has bought"), [Length(max=200)])
    bought_within = OptionalIntegerField(_l("Within the last"), [Optional(), NumberRange(1, rules.MOST_DAYS)])
    not_bought = StringField(_l("Has not bought"), [Length(max=200)])
    not_bought_within = OptionalIntegerField(_l("Within the last"), [Optional(), NumberRange(1, rules.MOST_DAYS)])
    orders_from = OptionalIntegerField(_l("Orders, at least"), _COUNT)
    orders_to = OptionalIntegerField(_l("Orders, at most"), _COUNT)
    spend_from = YuanField(_l("Spend, at least"))
    spend_to = YuanField(_l("Spend, at most"))
    in_group = SelectField(_l("Is in the group"), coerce=_whole)
    not_in_group = SelectField(_l("Is not in the group"), coerce=_whole)
    tags = Checks(_l("Carries one of the tags"), coerce=int)
    no_tags = Checks(_l("Carries none of the tags"), coerce=int)
    enrolled = SelectField(
        _l("Joined as a member"),
        coerce=_word,
        default="",
        choices=[("", _l("either")), ("yes", _l("yes")), ("no", _l("not yet"))],
    )
    consent = SelectField(
        _l("Agreed to offers by"),
        coerce=_word,
        default="",
        choices=[
            ("", _l("any way or none")),
            ("inbox", _l("inbox")),
            ("email", _l("e-mail")),
            ("sms", _l("SMS")),
            ("call", _l("calls")),
        ],
    )

    def __init__(self, *args: Any, definition: rules.Definition | None = None, **kwargs: Any) -> None:
        if definition is not None:
            kwargs = {**values_of(definition), **kwargs}
        super().__init__(*args, **kwargs)
        self.ranks.choices = [(4, "VIP4"), (3, "VIP3"), (2, "VIP2"), (1, "VIP1"), (0, _("below VIP1"))]
        groups = [("", "–"), *((str(i), name) for i, name in queries.group_choices())]
        self.in_group.choices = self.not_in_group.choices = groups
        self.tags.choices = self.no_tags.choices = queries.tag_choices()

    def validate(self, extra_validators: Any = None) -> bool:
        well = super().validate(extra_validators)
        for low, high in (("last_from", "last_to"), ("orders_from", "orders_to"), ("spend_from", "spend_to")):
            least, most = self[low].data, self[high].data
            if least is not None and most is not None and most < least:
                self.refuse(high, _("This is less than the beginning."))
                well = False
        return bool(well)

    def definition(self) -> rules.Definition:
        """The rules that have been filled in."""
        found: list[Any] = []
        if self.ranks.data:
            found.append(rules.TierRule(ranks=self.ranks.data))
        if self.last_from.data is not None or self.last_to.data is not None:
            found.append(rules.LastOrderRule(from_days=self.last_from.data or 0, to_days=self.last_to.data))
        for words, within, ever in (
            (self.bought, self.bought_within, True),
            (self.not_bought, self.not_bought_within, False),
        ):
            text = " ".join((words.data or "").replace("\x00", "").split())
            if text:
                found.append(rules.BoughtRule(words=text, ever=ever, within_days=within.data))
        if self.orders_from.data is not None or self.orders_to.data is not None:
            found.append(rules.OrdersRule(from_count=self.orders_from.data or 0, to_count=self.orders_to.data))
        if self.spend_from.data is not None or self.spend_to.data is not None:
            found.append(rules.SpendRule(from_fen=self.spend_from.data or 0, to_fen=self.spend_to.data))
        for field, inside in ((self.in_group, True), (self.not_in_group, False)):
            if field.data:
                found.append(rules.GroupRule(group_id=field.data, inside=inside))
        for field, carried in ((self.tags, True), (self.no_tags, False)):
            if field.data:
                found.append(rules.TagRule(tag_ids=field.data, carried=carried))
        if self.enrolled.data:
            found.append(rules.EnrolledRule(value=self.enrolled.data == "yes"))
        if self.consent.data:
            found.append(rules.ConsentRule(channel=self.consent.data))
        return rules.Definition(rules=tuple(found))


def values_of(definition: rules.Definition) -> dict[str, Any]:
    """What the fields hold for a definition."""
    values: dict[str, Any] = {}
    for rule in definition.rules:
        match rule:
            case rules.TierRule():
                values["ranks"] = rule.ranks
            case rules.LastOrderRule():
                values |= {"last_from": rule.from_days, "last_to": rule.to_days}
            case rules.BoughtRule():
                name = "bought" if rule.ever else "not_bought"
                values |= {name: rule.words, f"{name}_within": rule.within_days}
            case rules.OrdersRule():
                values |= {"orders_from": rule.from_count, "orders_to": rule.to_count}
            case rules.SpendRule():
                values |= {"spend_from": rule.from_fen, "spend_to": rule.to_fen}
            case rules.GroupRule():
                values["in_group" if rule.inside else "not_in_group"] = str(rule.group_id)
            case rules.TagRule():
                values["tags" if rule.carried else "no_tags"] = rule.tag_ids
            case rules.EnrolledRule():
                values["enrolled"] = "yes" if rule.value else "no"
            case rules.ConsentRule():
                values["consent"] = rule.channel
    return values
