"""What an audience may ask of a member: a closed list of rules, each with bounds, joined by and, or and not.

A definition is JSON, `{"rules": [{"kind": "tier", "ranks": [2, 3]}, …]}`; its rules all hold unless `match` is "any". A rule
of the kind "of" is a group of further rules. Nothing of a definition ever becomes SQL text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from membership.members.models import Contact, Stage, ValueLabel

MOST_DAYS = 36_500
MOST_FEN = 10_000_000_000_00
MOST_ORDERS = 1_000_000
MOST_POINTS = 10**12
# Levels of rules within rules, the outermost counted; and rules on all of them together.
DEPTH = 4
MOST_RULES = 60
# How many audiences may stand behind one another by name.
MOST_BEHIND = 20

Days = Annotated[int, Field(ge=0, le=MOST_DAYS)]
Window = Annotated[int, Field(ge=1, le=MOST_DAYS)]
Fen = Annotated[int, Field(ge=0, le=MOST_FEN)]
Orders = Annotated[int, Field(ge=0, le=MOST_ORDERS)]
Points = Annotated[int, Field(ge=0, le=MOST_POINTS)]
Index = Annotated[int, Field(ge=0, le=100)]
Id = Annotated[int, Field(ge=1, lt=2**63)]
Words = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Match = Literal["all", "any"]


class AudienceInvalid(Refusal):
    status = 422
    label = _l("This audience holds a rule that Siyu does not know. Choose its rules again.")


class RuleBase(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Range(RuleBase):
    """Two ends, both included; the upper one may be open."""

    @model_validator(mode="after")
    def ordered(self) -> Any:
        low, high = (getattr(self, name) for name in self._ends())
        if high is not None and high < low:
            raise ValueError("the end lies before the beginning")
        return self

    @classmethod
    def _ends(cls) -> tuple[str, str]:
        low = next(name for name in cls.model_fields if name.startswith("from_"))
        return low, "to_" + low.removeprefix("from_")


class TierRule(RuleBase):
    """Stands on one of these ranks now (0 is below VIP1)."""

    kind: Literal["tier"] = "tier"
    ranks: Annotated[list[Annotated[int, Field(ge=0, le=4)]], Field(min_length=1, max_length=5)]


class LastOrderRule(_Range):
    """The last order was at least `from_days` and at most `to_days` days ago (shop's calendar days, both included)."""

    kind: Literal["last_order"] = "last_order"
    from_days: Days = 0
    to_days: Days | None = None


class DaysAgoRule(_Range):
    """A moment in a member's life was so many of the shop's calendar days ago (both included)."""

    kind: Literal["days_ago"] = "days_ago"
    moment: Literal["first_order", "enrolled", "known", "stage"]
    from_days: Days = 0
    to_days: Days | None = None


class BoughtRule(RuleBase):
    """Has (or has never) bought a product whose SKU is these words or whose title holds them."""

    kind: Literal["bought"] = "bought"
    words: Words
    ever: bool = True
    within_days: Window | None = None


class CategoryRule(RuleBase):
    """Has (or has never) bought something of a category of products."""

    kind: Literal["category"] = "category"
    category: Words
    ever: bool = True
    within_days: Window | None = None


class OrderedOnRule(RuleBase):
    """Has (or has never) ordered over a channel, named as the order feeds name it."""

    kind: Literal["ordered_on"] = "ordered_on"
    source: Words
    ever: bool = True
    within_days: Window | None = None


class GroupRule(RuleBase):
    """Sits (or does not sit) in a group, or in any when none is named; `within_days`: joined it in the last days."""

    kind: Literal["group"] = "group"
    group_id: Id | None = None
    inside: bool = True
    within_days: Window | None = None


class TagRule(RuleBase):
    """Carries any (or none) of these tags."""

    kind: Literal["tag"] = "tag"
    tag_ids: Annotated[list[Id], Field(min_length=1, max_length=50)]
    carried: bool = True


class SpendRule(_Range):
    """Has spent between these amounts (分, both included), in all or in the last days, everywhere or over one channel."""

    kind: Literal["spend"] = "spend"
    from_fen: Fen = 0
    to_fen: Fen | None = None
    within_days: Window | None = None
    source: Words | None = None


class OrdersRule(_Range):
    """Has placed between so many orders (both included), in all or in the last days, everywhere or over one channel."""

    kind: Literal["orders"] = "orders"
    from_count: Orders = 0
    to_count: Orders | None = None
    within_days: Window | None = None
    source: Words | None = None


class PointsRule(_Range):
    """Can spend between so many points now (both included)."""

    kind: Literal["points"] = "points"
    from_points: Points = 0
    to_points: Points | None = None


class StageRule(RuleBase):
    """Is at one of these stages of the life cycle."""

    kind: Literal["stage"] = "stage"
    stages: Annotated[list[Annotated[Stage, Field(strict=False)]], Field(min_length=1, max_length=len(Stage))]


class ValueRule(_Range):
    """Has a value index between these numbers (0–100, both included)."""

    kind: Literal["value"] = "value"
    from_index: Index = 0
    to_index: Index | None = None


class TieRule(RuleBase):
    """What ties a valuable customer to the shop is one of these."""

    kind: Literal["tie"] = "tie"
    ties: Annotated[list[Annotated[ValueLabel, Field(strict=False)]], Field(min_length=1, max_length=len(ValueLabel))]


class BirthdayRule(RuleBase):
    """Has their birthday today or in the next `in_days` days; one of 29 February has it on 1 March in other years."""

    kind: Literal["birthday"] = "birthday"
    in_days: Annotated[int, Field(ge=0, le=365)]


class CityRule(RuleBase):
    """Lives in one of these cities: the profile's city holds one of the words."""

    kind: Literal["city"] = "city"
    names: Annotated[list[Words], Field(min_length=1, max_length=50)]
    inside: bool = True


class CameFromRule(RuleBase):
    """Came to the shop over one of these ways, as the profile says it."""

    kind: Literal["came_from"] = "came_from"
    sources: Annotated[list[Words], Field(min_length=1, max_length=50)]


Deed = Literal["opened", "clicked", "claimed", "redeemed", "seen", "liked", "entered", "called"]
DEEDS: tuple[Deed, ...] = ("opened", "clicked", "claimed", "redeemed", "seen", "liked", "entered", "called")


class DidRule(RuleBase):
    """Did something with the shop (see `DEEDS`) in the last days, or did not; without days: ever, or never."""

    kind: Literal["did"] = "did"
    deed: Deed
    ever: bool = True
    within_days: Window | None = None


class DueRule(RuleBase):
    """Is due to buy something again within the next days, as the repurchase clock says; with `words`, a product whose SKU is
    these words or whose title holds them."""

    kind: Literal["due"] = "due"
    in_days: Annotated[int, Field(ge=0, le=365)]
    words: Words | None = None


Measure = Literal["alive", "orders", "value"]
MEASURES: tuple[Measure, ...] = ("alive", "orders", "value")
# Members' orders are forecast for so many days ahead, at least and at most; these are offered first.
NEAREST, FARTHEST = 7, 730
HORIZONS = (30, 90, 180, 365)


class ForecastRule(_Range):
    """What is forecast of them lies between these numbers (both included): the probability that they still buy (percent), the
    orders or the value (yuan) expected in the next days; all in hundredths. Whoever has no forecast never fits."""

    kind: Literal["forecast"] = "forecast"
    measure: Measure
    in_days: Annotated[int, Field(ge=NEAREST, le=FARTHEST)] = 90
    from_hundredths: Fen = 0
    to_hundredths: Fen | None = None


class EnrolledRule(RuleBase):
    """Has (or has not) accepted an invitation or a link."""

    kind: Literal["enrolled"] = "enrolled"
    value: bool = True


class ConsentRule(RuleBase):
    """Agreed to marketing over a channel, or has not."""

    kind: Literal["consent"] = "consent"
    channel: Annotated[Contact, Field(strict=False)]
    given: bool = True

    @property
    def contact(self) -> Contact:
        return self.channel


class SavedRule(RuleBase):
    """Is in a saved audience (include, intersect), or is not (exclude)."""

    kind: Literal["saved"] = "saved"
    audience_id: Id
    inside: bool = True


class Nested(RuleBase):
    """Further rules that hold all, or any of them; `negated`: just that must not be so."""

    kind: Literal["of"] = "of"
    match: Match = "all"
    negated: bool = False
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=MOST_RULES, strict=False)]


Rule = Annotated[
    TierRule
    | LastOrderRule
    | DaysAgoRule
    | BoughtRule
    | CategoryRule
    | OrderedOnRule
    | GroupRule
    | TagRule
    | SpendRule
    | OrdersRule
    | PointsRule
    | StageRule
    | ValueRule
    | TieRule
    | BirthdayRule
    | CityRule
    | CameFromRule
    | DidRule
    | DueRule
    | ForecastRule
    | EnrolledRule
    | ConsentRule
    | SavedRule
    | Nested,
    Field(discriminator="kind"),
]


class Definition(RuleBase):
    """Rules that all hold, or any of them; none at all means everybody."""

    rules: Annotated[tuple[Rule, ...], Field(max_length=MOST_RULES, strict=False)] = ()
    match: Match = "all"

    @model_validator(mode="after")
    def bounded(self) -> Definition:
        if sum(1 for _rule in self.walk()) > MOST_RULES:
            raise ValueError("too many rules")
        return self

    def dump(self) -> dict[str, Any]:
        """The plain JSON that is stored."""
        stored = self.model_dump(mode="json")
        if self.match == "all":
            del stored["match"]
        return stored

    def first(self, kind: str, **values: Any) -> Any | None:
        """The first rule of a kind that must hold and whose fields have these values, or None."""
        for rule in self.rules if self.match == "all" else ():
            if rule.kind == kind and all(getattr(rule, name) == value for name, value in values.items()):
                return rule
        return None

    def walk(self) -> Iterator[Any]:
        """Every rule on every level, groups too."""
        waiting: list[Any] = list(self.rules)
        while waiting:
            rule = waiting.pop()
            yield rule
            if isinstance(rule, Nested):
                waiting.extend(rule.rules)

    def named(self) -> set[int]:
        """The saved audiences that it speaks of."""
        return {rule.audience_id for rule in self.walk() if isinstance(rule, SavedRule)}


Nested.model_rebuild()
Definition.model_rebuild()


def depth_of(definition: Any) -> int:
    """How many levels of rules a stored definition has; what is none has one."""
    deepest, waiting = 1, [(definition, 1)]
    while waiting:
        node, level = waiting.pop()
        deepest = max(deepest, level)
        inner = node.get("rules") if isinstance(node, dict) else None
        if level <= DEPTH and isinstance(inner, list | tuple):
            waiting += [(rule, level + 1) for rule in inner if isinstance(rule, dict) and "rules" in rule]
    return deepest


def parse(definition: Any) -> Definition:
    """The rules that a stored definition holds. Refuses with `AudienceInvalid` whatever is not one of ours."""
    if depth_of(definition) > DEPTH:
        raise AudienceInvalid
    try:
        return Definition.model_validate(definition)
    except ValidationError:
        raise AudienceInvalid from None


def days_window(from_days: int, to_days: int | None, today: date) -> tuple[date | None, date]:
    """The business dates `[since, until)` that lie so many days back; no first one when the window is open."""
    until = today - timedelta(days=from_days) + timedelta(days=1)
    return None if to_days is None else today - timedelta(days=to_days), until


def order_window(rule: LastOrderRule, today: date) -> tuple[date | None, date]:
    """The business dates `[since, until)` on which the last order lies; no first one when the window is open."""
    return days_window(rule.from_days, rule.to_days, today)


def bought_since(definition: Definition, today: date) -> date | None:
    """From which date on an order takes a member out again: the end of the window that the audience asks for."""
    rule = definition.first("last_order")
    return order_window(rule, today)[1] if rule is not None else None


def birthdays(in_days: int, today: date) -> list[tuple[int, int]]:
    """The birthdays (month, day) from today on, the last of `in_days` days included; 29 February stands beside 1 March when
    the year has none."""
    found = []
    for ahead in range(in_days + 1):
        day = today + timedelta(days=ahead)
        found.append((day.month, day.day))
        if (day.month, day.day) == (3, 1) and (day - timedelta(days=1)).day == 28:
            found.append((2, 29))
    return found


@dataclass(frozen=True)
class Bands:
    """The lower ends of five bands, strictly rising, the first one being the least that there is."""

    starts: tuple[int, ...]

    def place(self, value: int) -> int:
        """The band (0–4) that a value lies in."""
        return max(0, sum(1 for start in self.starts if value >= start) - 1)

    def ends(self, band: int) -> tuple[int, int | None]:
        """First and last value of a band, both included; the last band is open."""
        return self.starts[band], self.starts[band + 1] - 1 if band + 1 < len(self.starts) else None


def bands(counts: Sequence[tuple[int, int]], least: int) -> Bands:
    """Five bands that hold about a fifth of the people each; `counts` are (value, people). Where many share a value, a band is
    as narrow as one value and the next ones begin after it."""
    ordered = sorted(counts)
    people = sum(n for _value, n in ordered)
    starts, seen, place = [least], 0, 0
    for fifth in range(1, 5):
        while place < len(ordered) and seen + ordered[place][1] <= people * fifth / 5:
            seen += ordered[place][1]
            place += 1
        at = ordered[place][0] if place < len(ordered) else starts[-1] + 1
        starts.append(max(at, starts[-1] + 1))
    return Bands(tuple(starts))
