"""What an audience may ask of a member: a closed list of rules, each with bounds, all of which hold together.

A definition is JSON, `{"rules": [{"kind": "tier", "ranks": [2, 3]}, …]}`; nothing of it ever becomes SQL text.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from membership.members.models import Contact

MOST_DAYS = 36_500
MOST_FEN = 10_000_000_000_00
MOST_ORDERS = 1_000_000

Days = Annotated[int, Field(ge=0, le=MOST_DAYS)]
Fen = Annotated[int, Field(ge=0, le=MOST_FEN)]
Orders = Annotated[int, Field(ge=0, le=MOST_ORDERS)]
Id = Annotated[int, Field(ge=1, lt=2**63)]
Words = Annotated[str, Field(min_length=1, max_length=200)]


class AudienceInvalid(Refusal):
    status = 422
    label = _l("This audience holds a rule that Siyu does not know. Choose its rules again.")


class RuleBase(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class TierRule(RuleBase):
    """Stands on one of these ranks now (0 is below VIP1)."""

    kind: Literal["tier"] = "tier"
    ranks: Annotated[list[Annotated[int, Field(ge=0, le=4)]], Field(min_length=1, max_length=5)]


class LastOrderRule(RuleBase):
    """The last order was at least `from_days` and at most `to_days` days ago (shop's calendar days, both included)."""

    kind: Literal["last_order"] = "last_order"
    from_days: Days = 0
    to_days: Days | None = None

    @model_validator(mode="after")
    def ordered(self) -> LastOrderRule:
        if self.to_days is not None and self.to_days < self.from_days:
            raise ValueError("to_days is before from_days")
        return self


class BoughtRule(RuleBase):
    """Has (or has never) bought a product whose SKU is these words or whose title holds them."""

    kind: Literal["bought"] = "bought"
    words: Words
    ever: bool = True
    within_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] | None = None


class GroupRule(RuleBase):
    """Sits (or does not sit) in a group."""

    kind: Literal["group"] = "group"
    group_id: Id
    inside: bool = True


class TagRule(RuleBase):
    """Carries any (or none) of these tags."""

    kind: Literal["tag"] = "tag"
    tag_ids: Annotated[list[Id], Field(min_length=1, max_length=50)]
    carried: bool = True


class SpendRule(RuleBase):
    """Has spent between these amounts (分, both included) in all."""

    kind: Literal["spend"] = "spend"
    from_fen: Fen = 0
    to_fen: Fen | None = None

    @model_validator(mode="after")
    def ordered(self) -> SpendRule:
        if self.to_fen is not None and self.to_fen < self.from_fen:
            raise ValueError("to_fen is below from_fen")
        return self


class OrdersRule(RuleBase):
    """Has placed between so many orders (both included) in all."""

    kind: Literal["orders"] = "orders"
    from_count: Orders = 0
    to_count: Orders | None = None

    @model_validator(mode="after")
    def ordered(self) -> OrdersRule:
        if self.to_count is not None and self.to_count < self.from_count:
            raise ValueError("to_count is below from_count")
        return self


class EnrolledRule(RuleBase):
    """Has (or has not) accepted an invitation or a link."""

    kind: Literal["enrolled"] = "enrolled"
    value: bool = True


class ConsentRule(RuleBase):
    """Agreed to marketing over a channel."""

    kind: Literal["consent"] = "consent"
    channel: Literal["inbox", "email", "sms", "call"]

    @property
    def contact(self) -> Contact:
        return Contact(self.channel)


Rule = Annotated[
    TierRule | LastOrderRule | BoughtRule | GroupRule | TagRule | SpendRule | OrdersRule | EnrolledRule | ConsentRule,
    Field(discriminator="kind"),
]


class Definition(RuleBase):
    """Rules that all hold; none at all means everybody."""

    rules: Annotated[tuple[Rule, ...], Field(max_length=20, strict=False)] = ()

    def dump(self) -> dict[str, Any]:
        """The plain JSON that is stored."""
        return self.model_dump(mode="json")

    def first(self, kind: str, **values: Any) -> Any | None:
        """The first rule of a kind whose fields have these values, or None."""
        for rule in self.rules:
            if rule.kind == kind and all(getattr(rule, name) == value for name, value in values.items()):
                return rule
        return None


def parse(definition: dict[str, Any]) -> Definition:
    """The rules that a stored definition holds. Refuses with `AudienceInvalid` whatever is not one of ours."""
    try:
        return Definition.model_validate(definition)
    except ValidationError:
        raise AudienceInvalid from None


def order_window(rule: LastOrderRule, today: date) -> tuple[date | None, date]:
    """The business dates `[since, until)` on which the last order lies; no first one when the window is open."""
    until = today - timedelta(days=rule.from_days) + timedelta(days=1)
    return None if rule.to_days is None else today - timedelta(days=rule.to_days), until


def bought_since(definition: Definition, today: date) -> date | None:
    """From which date on an order takes a member out again: the end of the window that the audience asks for."""
    rule = definition.first("last_order")
    return order_window(rule, today)[1] if rule is not None else None
