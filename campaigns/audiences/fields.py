"""The builder of an audience's rules, for every form that asks for them: kinds of rules with their inputs, groups within groups.

A rule's inputs are named by its place, `rules-0-kind`, `rules-1-0-words` (the first rule in the group that stands second).
The builder works without a script: a button `build` adds or takes away and gives the same page back, nothing else happens.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError as ModelInvalid
from wtforms import Field

from kernel import money
from kernel.forms import Form
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.members import labels as members
from membership.members import listing
from membership.members.models import Contact
from membership.products import queries as products

from . import labels, queries, rules
from .rules import Definition

Choices = Callable[[], Sequence[tuple[str, Any]]]
_NUMBER = re.compile(r"[0-9]{1,15}")


class Unreadable(Exception):
    """What stands in an input cannot be read; the text says why."""


@dataclass(frozen=True)
class Input:
    """One input of a rule. `shape` is number, yuan, decimal (read as hundredths), text, names (parted by commas), select or checks."""

    name: str
    label: Any
    shape: str = "number"
    suffix: Any = ""
    needed: bool = False
    choices: Choices | None = None
    read: Callable[[str], Any] = str
    default: str = ""
    # Numbers that are offered while somebody types one.
    offered: tuple[int, ...] = ()
    # What a value is called that was chosen once and is offered no longer; None for one that there never was.
    formerly: Callable[[str], str | None] = lambda _said: None

    def choices_beside(self, typed: Sequence[str]) -> list[tuple[str, Any]]:
        """What is offered, and before it what stands there although it is offered no longer."""
        found = list(self.choices()) if self.choices is not None else []
        known = {str(value) for value, _label in found}
        kept = [(one, name) for one in typed if one not in known and (name := self.formerly(one)) is not None]
        return kept + found

    def value(self, typed: Sequence[str]) -> Any:
        """What was typed, as the rule holds it; None when nothing was. Raises `Unreadable`."""
        said = [text for text in (_plain(one) for one in typed) if text]
        if not said:
            if self.needed:
                raise Unreadable(_("Fill this in, or remove the rule."))
            return None
        if self.choices is not None:
            known = {str(value) for value, _label in self.choices_beside(said)}
            if not known.issuperset(said):
                raise Unreadable(_("Not a valid choice."))
        match self.shape:
            case "checks":
                return [self.read(one) for one in said]
            case "names":
                return [one for one in (part.strip() for part in re.split("[,，、;；]", said[0])) if one]
            case "number":
                if not _NUMBER.fullmatch(said[0]):
                    raise Unreadable(_("Write a whole number."))
                return int(said[0])
            case "decimal":
                try:
                    return money.parse_yuan(said[0])
                except money.MoneyInvalid:
                    raise Unreadable(_("Write a number, such as 80 or 1.5.")) from None
            case "yuan":
                try:
                    return money.parse_yuan(said[0])
                except money.MoneyInvalid:
                    raise Unreadable(_("Write an amount in yuan, such as 99 or 1,234.50.")) from None
        return self.read(said[0])

    def typed(self, value: Any) -> list[str]:
        """What stands in the input for a value of the rule."""
        if value is None:
            return []
        match self.shape:
            case "checks":
                return [str(one) for one in value]
            case "names":
                return [str(_(", ")).join(value)]
            case "yuan" | "decimal":
                return [f"{value / 100:.2f}".removesuffix(".00")]
        return [("yes" if value else "no") if isinstance(value, bool) else str(value)]


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text.replace("\x00", "")).split())


@dataclass(frozen=True)
class Kind:
    """A kind of rule as the builder offers it."""

    rule: Any
    label: Any
    inputs: tuple[Input, ...]
    given: dict[str, Any] = field(default_factory=dict)


def _truth(text: str) -> bool:
    return text == "yes"


def _archived(said: str) -> str | None:
    name = queries.audience_name(int(said)) if _NUMBER.fullmatch(said) else None
    return None if name is None else str(_("%(name)s (archived)", name=name))


def _yes_no(yes: Any, no: Any) -> Choices:
    return lambda: [("yes", yes), ("no", no)]


def _either(name: str, yes: Any, no: Any) -> Input:
    return Input(name, _l("Whether"), "select", needed=True, choices=_yes_no(yes, no), read=_truth, default="yes")


def _ends(what: str, shape: str = "number", suffix: Any = "") -> tuple[Input, Input]:
    return (
        Input(f"from_{what}", _l("at least"), shape, suffix),
        Input(f"to_{what}", _l("at most"), shape, suffix),
    )


def _days(name: str = "within_days") -> Input:
    return Input(name, _l("in the last"), suffix=_l("days"))


def _ranks() -> Sequence[tuple[str, Any]]:
    return [("4", "VIP4"), ("3", "VIP3"), ("2", "VIP2"), ("1", "VIP1"), ("0", _("below VIP1"))]


def _ids(found: Sequence[tuple[int, str]]) -> list[tuple[str, str]]:
    return [(str(number), name) for number, name in found]


def _sources() -> Sequence[tuple[str, Any]]:
    return [(source, members.source_label(source)) for source in products.sources()]


def _ways() -> Sequence[tuple[str, Any]]:
    return [(source, members.source_label(source)) for source in listing.sources()]


_SOURCE = Input("source", _l("over the channel"), "select", choices=lambda: [("", _("any channel")), *_sources()])

# What the builder offers, in its order: {section: {name of the kind: …}}.
SECTIONS: list[tuple[Any, dict[str, Kind]]] = [
    (
        _l("Who they are"),
        {
            "tier": Kind(
                rules.TierRule, _l("Tier"), (Input("ranks", _l("is"), "checks", needed=True, choices=_ranks, read=int),)
            ),
            "stage": Kind(
                rules.StageRule,
                _l("Life-cycle stage"),
                (
                    Input(
                        "stages",
                        _l("is"),
                        "checks",
                        needed=True,
                        choices=lambda: [(s.value, w) for s, w in members.STAGES.items()],
                    ),
                ),
            ),
            "value": Kind(rules.ValueRule, _l("Value index (0–100)"), _ends("index")),
            "tie": Kind(
                rules.TieRule,
                _l("Tied by"),
                (
                    Input(
                        "ties",
                        _l("is"),
                        "checks",
                        needed=True,
                        choices=lambda: [(t.value, w) for t, w in members.TIES.items()],
                    ),
                ),
            ),
            "points": Kind(rules.PointsRule, _l("Points to spend"), _ends("points")),
            "enrolled": Kind(
                rules.EnrolledRule, _l("Joined as a member"), (_either("value", _l("joined already"), _l("not yet")),)
            ),
            "days_ago": Kind(
                rules.DaysAgoRule,
                _l("A date in their life"),
                (
                    Input(
                        "moment",
                        _l("what happened"),
                        "select",
                        needed=True,
                        choices=lambda: list(labels.MOMENTS.items()),
                        default="enrolled",
                    ),
                    *_ends("days", suffix=_l("days ago")),
                ),
            ),
            "birthday": Kind(
                rules.BirthdayRule,
                _l("Birthday"),
                (Input("in_days", _l("in the next"), suffix=_l("days"), needed=True, default="7"),),
            ),
            "tag": Kind(
                rules.TagRule,
                _l("Tags"),
                (
                    _either("carried", _l("carries one of these"), _l("carries none of these")),
                    Input(
                        "tag_ids",
                        _l("Tags"),
                        "checks",
                        needed=True,
                        choices=lambda: _ids(queries.tag_choices()),
                        read=int,
                    ),
                ),
            ),
            "city": Kind(
                rules.CityRule,
                _l("City"),
                (
                    _either("inside", _l("lives in"), _l("does not live in")),
                    Input("names", _l("cities, separated by commas"), "names", needed=True),
                ),
            ),
            "came_from": Kind(
                rules.CameFromRule,
                _l("Came to the shop through"),
                (Input("sources", _l("one of"), "checks", needed=True, choices=_ways),),
            ),
            "consent": Kind(
                rules.ConsentRule,
                _l("Agreed to offers by"),
                (
                    _either("given", _l("agreed"), _l("did not agree")),
                    Input(
                        "channel",
                        _l("way"),
                        "select",
                        needed=True,
                        default=Contact.INBOX.value,
                        choices=lambda: [(c.value, labels.contact(c)) for c in Contact],
                        read=Contact,
                    ),
                ),
            ),
        },
    ),
    (
        _l("Orders"),
        {
            "last_order": Kind(rules.LastOrderRule, _l("Last order"), _ends("days", suffix=_l("days ago"))),
            "orders": Kind(rules.OrdersRule, _l("Number of orders"), (*_ends("count"), _days(), _SOURCE)),
            "spend": Kind(rules.SpendRule, _l("Spend"), (*_ends("fen", "yuan"), _days(), _SOURCE)),
            "bought": Kind(
                rules.BoughtRule,
                _l("Product"),
                (
                    _either("ever", _l("has bought"), _l("has not bought")),
                    Input("words", _l("SKU, or words of the title"), "text", needed=True),
                    _days(),
                ),
            ),
            "category": Kind(
                rules.CategoryRule,
                _l("Category of products"),
                (
                    _either("ever", _l("has bought"), _l("has not bought")),
                    Input(
                        "category",
                        _l("category"),
                        "select",
                        needed=True,
                        choices=lambda: [(name, name) for name in products.categories()],
                    ),
                    _days(),
                ),
            ),
            "ordered_on": Kind(
                rules.OrderedOnRule,
                _l("Channel of orders"),
                (
                    _either("ever", _l("has ordered on"), _l("has not ordered on")),
                    Input("source", _l("over the channel"), "select", needed=True, choices=_sources),
                    _days(),
                ),
            ),
        },
    ),
    (
        _l("What is to be expected"),
        {
            "due": Kind(
                rules.DueRule,
                _l("Due to buy again"),
                (
                    Input("in_days", _l("in the next"), suffix=_l("days"), needed=True, default="7"),
                    Input("words", _l("SKU, or words of the title"), "text"),
                ),
            ),
            "forecast": Kind(
                rules.ForecastRule,
                _l("Forecast"),
                (
                    Input(
                        "measure",
                        _l("what is expected"),
                        "select",
                        needed=True,
                        choices=lambda: list(labels.MEASURES.items()),
                        default="alive",
                    ),
                    Input(
                        "in_days",
                        _l("in the next"),
                        suffix=_l("days"),
                        needed=True,
                        default="90",
                        offered=rules.HORIZONS,
                    ),
                    *_ends("hundredths", "decimal"),
                ),
            ),
        },
    ),
    (
        _l("Groups and what they did"),
        {
            "group": Kind(
                rules.GroupRule,
                _l("Group"),
                (
                    _either("inside", _l("has a seat in"), _l("has no seat in")),
                    Input(
                        "group_id",
                        _l("Group"),
                        "select",
                        read=int,
                        choices=lambda: [("", _("any group")), *_ids(queries.group_choices())],
                    ),
                    Input("within_days", _l("joined in the last"), suffix=_l("days")),
                ),
            ),
            "did": Kind(
                rules.DidRule,
                _l("What they did"),
                (
                    _either("ever", _l("did"), _l("did not")),
                    Input(
                        "deed",
                        _l("what"),
                        "select",
                        needed=True,
                        choices=lambda: list(labels.DEEDS.items()),
                        default="clicked",
                    ),
                    _days(),
                ),
            ),
        },
    ),
    (
        _l("Other audiences"),
        {
            "saved": Kind(
                rules.SavedRule,
                _l("A saved audience"),
                (
                    _either("inside", _l("is in"), _l("is not in")),
                    Input(
                        "audience_id",
                        _l("Audience"),
                        "select",
                        needed=True,
                        read=int,
                        choices=lambda: _ids(queries.audience_choices()),
                        formerly=_archived,
                    ),
                ),
            ),
        },
    ),
]
KINDS: dict[str, Kind] = {name: kind for _label, kinds in SECTIONS for name, kind in kinds.items()}
OF = "of"


@dataclass
class Draft:
    """A rule as it is being written: what was typed, what is wrong with it, and for a group its rules."""

    kind: str
    typed: dict[str, list[str]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    inner: list[Draft] = field(default_factory=list)
    fresh: bool = False

    @property
    def group(self) -> bool:
        return self.kind == OF

    def first(self, name: str, default: str = "") -> str:
        """The one thing typed in an input."""
        return (self.typed.get(name) or [default])[0]

    def rule(self) -> Any:
        """The rule that it says, or None with `errors` filled."""
        self.errors = {}
        if self.group:
            return self._nested()
        kind, values = KINDS[self.kind], {}
        for one in kind.inputs:
            try:
                value = one.value(self.typed.get(one.name, []))
            except Unreadable as wrong:
                self.errors[one.name] = str(wrong)
            else:
                if value is not None:
                    values[one.name] = value
        if self.errors:
            return None
        if not values:
            self.errors[kind.inputs[0].name] = str(_("Fill this in, or remove the rule."))
            return None
        try:
            return kind.rule(**values)
        except ModelInvalid as invalid:
            for fault in invalid.errors():
                # A fault of the whole rule is that its ends are the wrong way round.
                place = (
                    str(fault["loc"][0]) if fault["loc"] else next(o.name for o in kind.inputs if o.name[:3] == "to_")
                )
                self.errors[place] = str(
                    _("This is out of range.") if fault["loc"] else _("This is less than the beginning.")
                )
            return None

    def _nested(self) -> Any:
        found = [one.rule() for one in self.inner]
        if not found:
            self.errors["match"] = str(_("Add a rule to this group, or remove the group."))
        if not found or any(one is None for one in found):
            return None
        match, negated = self.match
        return rules.Nested(match=match, negated=negated, rules=tuple(found))

    @property
    def match(self) -> tuple[Any, bool]:
        """How the rules of a group hold: ("all" or "any", whether just that must not be so)."""
        said = self.first("match")
        return ("any" if said in ("any", "none") else "all"), said in ("none", "not_all")


def drafted(rule: Any) -> Draft:
    """A rule of a definition as the builder shows it."""
    if isinstance(rule, rules.Nested):
        names = {("all", False): "all", ("any", False): "any", ("all", True): "not_all", ("any", True): "none"}
        draft = Draft(OF, {"match": [names[rule.match, rule.negated]]})
        draft.inner = [drafted(one) for one in rule.rules]
        return draft
    kind = KINDS[rule.kind]
    return Draft(rule.kind, {one.name: one.typed(getattr(rule, one.name)) for one in kind.inputs})


class RulesField(Field):
    """The rules of an audience. `data` is the definition, None while something in it is wrong; `root` what was typed."""

    sections, kinds, depth = SECTIONS, KINDS, rules.DEPTH

    def process(self, formdata: Any, data: Any = None, extra_filters: Any = None) -> None:
        """Take the rules from what was posted, else from a definition."""
        self.process_errors: list[str] = []
        self.errors: list[str] = []
        self.built = False
        self.root = Draft(OF, {"match": ["all"]})
        given = data if isinstance(data, rules.Definition) else rules.Definition()
        # What comes back with the form is the form's; a page that is opened shows what is stored.
        if formdata is None or not self._read(formdata):
            self.root.typed["match"] = [given.match]
            self.root.inner = [drafted(rule) for rule in given.rules]
        self.data = self._definition()
        # Nothing is called wrong before somebody has asked for it.
        _forgive(self.root)

    def _read(self, formdata: Any) -> bool:
        places = re.compile(re.escape(self.name) + r"((?:-[0-9]{1,2})*)-([a-z_]{1,20})")
        nodes: dict[tuple[int, ...], dict[str, list[str]]] = {}
        for key in formdata:
            if found := places.fullmatch(key):
                path = tuple(int(part) for part in found[1].split("-")[1:])
                nodes.setdefault(path, {})[found[2]] = list(formdata.getlist(key))
        said = (formdata.getlist("build") or [""])[0]
        if not nodes and not said:
            return False
        self.root.typed = nodes.pop((), {"match": ["all"]})
        drafts: dict[tuple[int, ...], Draft] = {(): self.root}
        # The levels one after the other, so that a group stands before its rules.
        for path in sorted(nodes, key=lambda one: (len(one), one))[: rules.MOST_RULES + 1]:
            kind = (nodes[path].pop("kind", None) or [""])[0]
            above = drafts.get(path[:-1])
            if above is None or not above.group or not (kind in KINDS or kind == OF) or len(path) > rules.DEPTH:
                self.process_errors = [str(rules.AudienceInvalid().message)]
                continue
            drafts[path] = Draft(kind, nodes[path])
            above.inner.append(drafts[path])
        if len(nodes) > rules.MOST_RULES:
            self.process_errors = [str(_("An audience has at most %(most)s rules.", most=rules.MOST_RULES))]
        if said:
            self.built = True
            self._build(said, drafts)
        return True

    def _build(self, said: str, drafts: dict[tuple[int, ...], Draft]) -> None:
        act, _colon, place = said.partition(":")
        parts = place.split("-") if place else []
        path = tuple(int(part) if part.isascii() and part.isdigit() else -1 for part in parts)
        draft = drafts.get(path)
        if draft is None:
            return
        if act == "drop" and path:
            drafts[path[:-1]].inner.remove(draft)
        elif act == "nest" and draft.group and len(path) < rules.DEPTH - 1:
            draft.inner.append(Draft(OF, {"match": ["any"]}, fresh=True))
        elif act == "add" and draft.group and (kind := KINDS.get(draft.first("add"))):
            typed = {one.name: [one.default] for one in kind.inputs if one.default}
            draft.inner.append(Draft(draft.first("add"), typed, fresh=True))

    def _definition(self) -> rules.Definition | None:
        found = [draft.rule() for draft in self.root.inner]
        if self.process_errors or any(rule is None for rule in found):
            return None
        try:
            match: Any = "any" if self.root.first("match") == "any" else "all"
            return rules.Definition(rules=tuple(found), match=match)
        except ModelInvalid:
            self.process_errors = [str(_("An audience has at most %(most)s rules.", most=rules.MOST_RULES))]
            return None

    def validate(self, form: Any, extra_validators: Any = ()) -> bool:
        """Say what is wrong beside each input, and once for all of them."""
        self.data = self._definition()
        self.errors = list(self.process_errors)
        if self.data is None and not self.errors:
            self.errors = [str(_("A rule is not filled in, or out of range."))]
        return self.data is not None


def _forgive(draft: Draft) -> None:
    draft.errors = {}
    for one in draft.inner:
        _forgive(one)


class RulesForm(Form):
    """The rules alone."""

    rules = RulesField(_l("Rules"))

    def __init__(self, *args: Any, definition: Definition | None = None, **kwargs: Any) -> None:
        if definition is not None:
            kwargs = {"rules": definition, **kwargs}
        super().__init__(*args, **kwargs)

    @property
    def built(self) -> bool:
        """Whether a button of the builder was pressed: the page is to be shown again, and nothing is wrong with it yet."""
        return bool(self.rules.built)

    def validate(self, extra_validators: Any = None) -> bool:
        """Nothing is valid, and nothing called wrong, while the builder is at work."""
        return not self.built and bool(super().validate(extra_validators))

    def definition(self) -> Definition:
        """The rules that were written; those of nobody in particular while one of them is wrong."""
        return self.rules.data or Definition()
