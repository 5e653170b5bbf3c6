"""Pure decisions of journeys: what a plan may hold, which step follows which, when a step is due, what is wrong with a draft.

A plan is a tree: steps follow one another, a condition and a split have a list of steps for each way, and after either way the
next step of the list around them follows. There is no going back, so that everybody comes to an end.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from campaigns.audiences import rules as audience_rules
from campaigns.pushes import rules as push_rules
from campaigns.pushes.models import CouponMode
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from membership.members.models import Stage

MOST_STEPS = 60
MOST_DAYS = 730
MOST_POINTS = 100_000
# The ways of a split by their names, in order; it has two of them at least.
WAYS = ("a", "b", "c", "d", "e", "f")
MOST_WEIGHT = 1_000
# What came true longer ago than this when it was noticed is no reason to begin any more.
LATE = timedelta(days=2)
# A step that cannot be done is tried again, later each time, and then given up.
ATTEMPTS = 5
FIRST_RETRY = timedelta(minutes=2)
# In a trial no wait takes longer.
TRIAL_WAIT = timedelta(seconds=10)


class PlanInvalid(Refusal):
    status = 422
    label = _l("This journey holds something that Siyu does not know. Look at its steps again.")


class StepUnknown(Refusal):
    status = 404
    label = _l("This step is not there any more. Somebody may have changed the journey in the meantime.")


class TooManySteps(Refusal):
    status = 422
    label = _l("A journey has at most %(most)s steps. Make a second one for the rest.")


class WayHoldsSteps(Refusal):
    status = 422
    label = _l("A way that you take away still has steps. Remove them first.")


class Part(BaseModel):
    """A piece of a plan: types are not bent, unknown fields are refused, nothing is changed in place."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Days = Annotated[int, Field(ge=0, le=MOST_DAYS)]
Hours = Annotated[int, Field(ge=0, le=23)]
Id = Annotated[int, Field(ge=1, lt=2**63)]
StepId = Annotated[str, Field(pattern=r"^s[1-9][0-9]{0,5}$")]


# ── What brings people in ───────────────────────────────────────────────────────────────────────────────────────────


class Kind(enum.StrEnum):
    """What a journey begins with."""

    SHIPPED = "shipped"
    ARRIVING = "arriving"
    DELIVERED = "delivered"
    UNCONFIRMED = "unconfirmed"
    STAGE = "stage"
    JOINED = "joined"
    ENROLLED = "enrolled"
    BIRTHDAY = "birthday"
    ANNIVERSARY = "anniversary"
    TIER_UP = "tier_up"
    TIER_FALL = "tier_fall"
    COUPON_ENDING = "coupon_ending"
    CART = "cart"
    DORMANT = "dormant"
    DUE = "due"
    CALL_CLOSED = "call_closed"
    TICKET_CLOSED = "ticket_closed"
    EVENT = "event"


# The values that each kind asks for, of those that `Trigger` has.
ASKED: Mapping[Kind, tuple[str, ...]] = {
    Kind.SHIPPED: (),
    Kind.ARRIVING: ("hours",),
    Kind.DELIVERED: ("days",),
    Kind.UNCONFIRMED: ("days",),
    Kind.STAGE: ("stage",),
    Kind.JOINED: ("group_id",),
    Kind.ENROLLED: (),
    Kind.BIRTHDAY: ("days",),
    Kind.ANNIVERSARY: ("days", "basis"),
    Kind.TIER_UP: ("rank",),
    Kind.TIER_FALL: ("days",),
    Kind.COUPON_ENDING: ("days",),
    Kind.CART: ("hours",),
    Kind.DORMANT: ("days", "present"),
    Kind.DUE: ("days",),
    Kind.CALL_CLOSED: ("outcome",),
    Kind.TICKET_CLOSED: (),
    Kind.EVENT: ("type",),
}
# What may be left open: any group, any tier, any outcome.
OPTIONAL = frozenset({"group_id", "rank", "outcome"})
# Those that the clock brings about, and how often somebody looks for them.
LOOKED_FOR: Mapping[Kind, timedelta] = {
    Kind.ARRIVING: timedelta(minutes=5),
    Kind.DELIVERED: timedelta(minutes=1),
    Kind.UNCONFIRMED: timedelta(minutes=10),
    Kind.BIRTHDAY: timedelta(minutes=30),
    Kind.ANNIVERSARY: timedelta(minutes=30),
    Kind.COUPON_ENDING: timedelta(minutes=10),
    Kind.CART: timedelta(minutes=1),
    Kind.DORMANT: timedelta(minutes=30),
    Kind.DUE: timedelta(minutes=30),
}
EVENT_TYPE = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){0,3}$"
# The events of a shopping cart, which a shop's own programs send: it holds something, it is empty again.
CART_CHANGED, CART_EMPTIED = "cart.changed", "cart.emptied"


class Trigger(Part):
    """What brings somebody into the journey. Which values count says `ASKED`."""

    kind: Kind = Field(strict=False)
    days: Days | None = None
    hours: Annotated[int, Field(ge=1, le=720)] | None = None
    stage: Stage | None = Field(default=None, strict=False)
    group_id: Id | None = None
    rank: Annotated[int, Field(ge=1, le=4)] | None = None
    basis: Literal["enrolled", "first_order"] | None = None
    outcome: Literal["reached", "refused", "unreachable"] | None = None
    type: Annotated[str, Field(pattern=EVENT_TYPE, max_length=60)] | None = None
    # Also those for whom it came true long ago.
    present: bool | None = None


# ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Step(Part):
    id: StepId

    @property
    def ways(self) -> Mapping[str, Sequence[AnyStep]]:
        """The lists of steps that begin here, by the outcome that leads there."""
        return {}


class Wait(Step):
    """So many days and hours, and then until the clock shows an hour of the shop's day."""

    kind: Literal["wait"] = "wait"
    days: Days = 0
    hours: Hours = 0
    until_hour: Hours | None = None


class Condition(Step):
    """Goes on by whether the member is in an audience at that moment."""

    kind: Literal["condition"] = "condition"
    audience: dict[str, Any] = Field(default_factory=dict)
    yes: tuple[AnyStep, ...] = Field(default=(), strict=False)
    no: tuple[AnyStep, ...] = Field(default=(), strict=False)

    @property
    def ways(self) -> Mapping[str, Sequence[AnyStep]]:
        return {"yes": self.yes, "no": self.no}


class Split(Step):
    """Sends people two to six ways, each person always the same. The shares of the ways stand to one another like `weights`."""

    kind: Literal["split"] = "split"
    weights: Annotated[
        tuple[Annotated[int, Field(ge=1, le=MOST_WEIGHT, strict=True)], ...],
        Field(min_length=2, max_length=len(WAYS), strict=False),
    ] = (50, 50)
    a: tuple[AnyStep, ...] = Field(default=(), strict=False)
    b: tuple[AnyStep, ...] = Field(default=(), strict=False)
    c: tuple[AnyStep, ...] = Field(default=(), strict=False)
    d: tuple[AnyStep, ...] = Field(default=(), strict=False)
    e: tuple[AnyStep, ...] = Field(default=(), strict=False)
    f: tuple[AnyStep, ...] = Field(default=(), strict=False)

    @model_validator(mode="before")
    @classmethod
    def with_weights(cls, found: Any) -> Any:
        """Plans that were written when there were but two ways say the share of the first in percent."""
        if isinstance(found, dict) and type(found.get("percent")) is int and "weights" not in found:
            first = found["percent"]
            return {name: value for name, value in found.items() if name != "percent"} | {
                "weights": (first, 100 - first)
            }
        return found

    @model_validator(mode="after")
    def without_steps_beside(self) -> Split:
        if any(getattr(self, way) for way in WAYS[len(self.weights) :]):
            raise ValueError("steps on a way that has no share")
        return self

    @property
    def ways(self) -> Mapping[str, Sequence[AnyStep]]:
        return {way: getattr(self, way) for way, _weight in zip(WAYS, self.weights, strict=False)}

    @property
    def percents(self) -> dict[str, float]:
        """The share of each way, in percent."""
        return {way: 100 * weight / sum(self.weights) for way, weight in zip(WAYS, self.weights, strict=False)}


Subject = Annotated[str, Field(max_length=push_rules.LONGEST_SUBJECT)]
Body = Annotated[str, Field(max_length=push_rules.LONGEST_BODY)]


class Message(Step):
    """Says something over a channel: through the ledger of pushes, with consent, contact budget and quiet hours.

    `account_id` none is the inbox. `service` is about an order or a right of theirs: it asks for the consent to such messages
    and is outside the marketing budget.
    """

    kind: Literal["message"] = "message"
    account_id: Id | None = None
    service: bool = False
    subject: Subject = ""
    body: Body = ""
    subject_en: Subject = ""
    body_en: Body = ""
    link_url: Annotated[str, Field(max_length=1_000)] = ""
    offer_id: Id | None = None
    coupon_mode: CouponMode = Field(default=CouponMode.LINK, strict=False)


class Invite(Step):
    """Invites into a group with the member's own link, said over a channel."""

    kind: Literal["invite"] = "invite"
    group_id: Id | None = None
    account_id: Id | None = None
    subject: Subject = ""
    body: Body = ""
    subject_en: Subject = ""
    body_en: Body = ""


class GrantCoupon(Step):
    """Puts a coupon among the member's own."""

    kind: Literal["coupon"] = "coupon"
    offer_id: Id | None = None


class GrantPoints(Step):
    kind: Literal["points"] = "points"
    points: Annotated[int, Field(ge=1, le=MOST_POINTS)] = 100
    reason: Annotated[str, Field(max_length=60)] = ""


class Tagging(Step):
    """Puts a tag on the member, or takes it off."""

    kind: Literal["tag"] = "tag"
    name: Annotated[str, Field(max_length=40)] = ""
    carried: bool = True


class Task(Step):
    """Has a colleague call the member."""

    kind: Literal["task"] = "task"
    about: Annotated[str, Field(max_length=500)] = ""


class End(Step):
    """The way ends here, though steps may follow for others."""

    kind: Literal["end"] = "end"


AnyStep = Annotated[
    Wait | Condition | Split | Message | Invite | GrantCoupon | GrantPoints | Tagging | Task | End,
    Field(discriminator="kind"),
]
STEPS: dict[str, type[Step]] = {
    "message": Message,
    "wait": Wait,
    "condition": Condition,
    "split": Split,
    "coupon": GrantCoupon,
    "points": GrantPoints,
    "invite": Invite,
    "tag": Tagging,
    "task": Task,
    "end": End,
}
SAYING = ("message", "invite")


class Exits(Part):
    """When somebody leaves wherever they stand."""

    bought: bool = True
    # The rules by which they entered no longer hold.
    audience: bool = False
    # After so many days inside.
    days: Annotated[int, Field(ge=1, le=MOST_DAYS)] | None = None


class Plan(Part):
    """A journey as it is written: what brings people in, who may enter, when they leave, how often, and the steps."""

    trigger: Trigger
    # An audience's definition; empty lets everybody in.
    audience: dict[str, Any] = Field(default_factory=dict)
    exits: Exits = Exits()
    # None: once for ever. Else again when so many days have passed since they last entered.
    again_after: Annotated[int, Field(ge=0, le=MOST_DAYS)] | None = None
    steps: tuple[AnyStep, ...] = Field(default=(), strict=False)

    def dump(self) -> dict[str, Any]:
        """The plain JSON that is stored."""
        return self.model_dump(mode="json")


for _model in (Condition, Split, Plan):
    _model.model_rebuild()


def parse(plan: Mapping[str, Any]) -> Plan:
    """The plan that stored JSON holds. Refuses with `PlanInvalid` whatever is none of ours, or has a step twice."""
    try:
        found = Plan.model_validate(plan)
    except (ValidationError, RecursionError):
        raise PlanInvalid from None
    ids = [step.id for step in walk(found.steps)]
    if len(ids) != len(set(ids)):
        raise PlanInvalid
    if len(ids) > MOST_STEPS:
        raise TooManySteps(most=MOST_STEPS)
    return found


_ONE = TypeAdapter(AnyStep)


def step_of(values: Mapping[str, Any]) -> AnyStep:
    """One step from plain values. Refuses with `PlanInvalid`."""
    try:
        found: AnyStep = _ONE.validate_python(dict(values))
    except ValidationError:
        raise PlanInvalid from None
    return found


# ── Ways through a plan ─────────────────────────────────────────────────────────────────────────────────────────────


def walk(steps: Sequence[AnyStep]) -> Iterator[AnyStep]:
    """Every step in the order of reading."""
    for step in steps:
        yield step
        for way in step.ways.values():
            yield from walk(way)


def followed(plan: Plan) -> set[int]:
    """The saved audiences that a plan names instead of copying their rules."""
    asked = [plan.audience, *(step.audience for step in walk(plan.steps) if isinstance(step, Condition))]
    found: set[int] = set()
    for definition in asked:
        try:
            found |= audience_rules.parse(definition).named()
        except audience_rules.AudienceInvalid:
            # Rules that cannot be read name nobody; `faults` says so where they stand.
            continue
    return found


def follows(definition: Mapping[str, Any]) -> int | None:
    """The saved audience that a definition is, when it names just that one."""
    try:
        found = audience_rules.parse(dict(definition)).rules
    except audience_rules.AudienceInvalid:
        return None
    alone = found[0] if len(found) == 1 else None
    return alone.audience_id if isinstance(alone, audience_rules.SavedRule) and alone.inside else None


def following(audience_id: int) -> dict[str, Any]:
    """The definition that names a saved audience, whatever its rules are at the time."""
    return audience_rules.Definition(rules=(audience_rules.SavedRule(audience_id=audience_id),)).dump()


def find(plan: Plan, step_id: str) -> AnyStep:
    """A step of a plan; refuses with `StepUnknown`."""
    for step in walk(plan.steps):
        if step.id == step_id:
            return step
    raise StepUnknown


def routes(plan: Plan) -> dict[tuple[str, str], str | None]:
    """Where each step leads: `(step, way)` → the next step, or None where the journey ends. The way is "" where there is but one."""
    found: dict[tuple[str, str], str | None] = {}

    def lay(steps: Sequence[AnyStep], after: str | None) -> None:
        for place, step in enumerate(steps):
            following = steps[place + 1].id if place + 1 < len(steps) else after
            if step.kind == "end":
                following = None
            if not step.ways:
                found[step.id, ""] = following
            for way, inner in step.ways.items():
                found[step.id, way] = inner[0].id if inner else following
                lay(inner, following)

    lay(plan.steps, None)
    return found


def due_at(step: AnyStep, now: datetime, trial: bool = False) -> datetime:
    """When somebody who comes to a step at `now` has it done: at once, unless it is a wait. Shop's local time in and out."""
    if not isinstance(step, Wait):
        return now
    until = now + timedelta(days=step.days, hours=step.hours)
    if step.until_hour is not None:
        until = next_hour(until, step.until_hour)
    return min(until, now + TRIAL_WAIT) if trial else until


def next_hour(moment: datetime, hour: int) -> datetime:
    """The first time from `moment` on at which its clock shows a full hour."""
    wanted = moment.replace(hour=hour, minute=0, second=0, microsecond=0)
    return wanted if wanted >= moment else wanted + timedelta(days=1)


def way_of(step: Split, salt: str, member_id: int) -> str:
    """Which way of a split a member goes: where SHA-256 of salt, step and member falls when the ways lie side by side, each as
    broad as its weight."""
    drawn = int.from_bytes(hashlib.sha256(f"{salt}:{step.id}:{member_id}".encode()).digest()[:8], "big")
    place = drawn * sum(step.weights)
    ends = zip(WAYS, accumulate(step.weights), strict=False)
    return next(way for way, end in ends if place < end * 2**64)


def retry_at(now: datetime, attempts: int) -> datetime:
    """When a step that failed `attempts` times is tried again."""
    return now + FIRST_RETRY * 4 ** (attempts - 1)


def birthday_in(born: date, year: int) -> date:
    """The birthday of a year; who was born on 29 February has it on the 28th in other years."""
    try:
        return born.replace(year=year)
    except ValueError:
        return date(year, 2, 28)


# ── Editing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Spot:
    """A place in a plan: before the step at `position` of the list that `way` of the step `parent` is (the plan's own: "")."""

    parent: str = ""
    way: str = ""
    position: int = 0


def next_id(plan: Plan) -> str:
    """A step number that the plan does not use."""
    return f"s{max((int(step.id[1:]) for step in walk(plan.steps)), default=0) + 1}"


def _changed(steps: Sequence[AnyStep], parent: str, way: str, here: str, change: Any) -> tuple[AnyStep, ...]:
    """The steps with `change(list)` laid over the list that a parent and a way name; `here` is the list's own parent and way."""
    found = tuple(change(steps)) if f"{parent}/{way}" == here else tuple(steps)
    return tuple(
        step.model_copy(
            update={
                name: _changed(inner, parent, way, f"{step.id}/{name}", change) for name, inner in step.ways.items()
            }
        )
        if step.ways
        else step
        for step in found
    )


def _laid(plan: Plan, steps: tuple[AnyStep, ...]) -> Plan:
    return parse(plan.model_copy(update={"steps": steps}).dump())


def added(plan: Plan, spot: Spot, step: AnyStep) -> Plan:
    """The plan with a step more. Refuses with `StepUnknown` a place that is none, and with `TooManySteps`."""
    if spot.parent and spot.way not in find(plan, spot.parent).ways:
        raise StepUnknown

    def insert(steps: Sequence[AnyStep]) -> Sequence[AnyStep]:
        place = min(max(spot.position, 0), len(steps))
        return [*steps[:place], step, *steps[place:]]

    return _laid(plan, _changed(plan.steps, spot.parent, spot.way, "/", insert))


def spot_of(plan: Plan, step_id: str) -> Spot:
    """Where a step stands; refuses with `StepUnknown`."""

    def look(steps: Sequence[AnyStep], parent: str, way: str) -> Spot | None:
        for place, step in enumerate(steps):
            if step.id == step_id:
                return Spot(parent, way, place)
            for name, inner in step.ways.items():
                if (found := look(inner, step.id, name)) is not None:
                    return found
        return None

    found = look(plan.steps, "", "")
    if found is None:
        raise StepUnknown
    return found


def removed(plan: Plan, step_id: str) -> Plan:
    """The plan without a step and without whatever its ways hold."""
    spot = spot_of(plan, step_id)
    return _laid(
        plan, _changed(plan.steps, spot.parent, spot.way, "/", lambda steps: [s for s in steps if s.id != step_id])
    )


def replaced(plan: Plan, step: AnyStep) -> Plan:
    """The plan with a step as it is given; its ways stay as they were. Refuses with `WayHoldsSteps` to take a way away that is
    not empty."""
    spot, present = spot_of(plan, step.id), find(plan, step.id)
    if any(inner for way, inner in present.ways.items() if way not in step.ways):
        raise WayHoldsSteps
    fresh = step.model_copy(update={way: inner for way, inner in present.ways.items() if way in step.ways})
    return _laid(
        plan,
        _changed(
            plan.steps, spot.parent, spot.way, "/", lambda steps: [fresh if s.id == step.id else s for s in steps]
        ),
    )


def moved(plan: Plan, step_id: str, by: int) -> Plan:
    """The plan with a step so many places further down (up, below zero) in its own list."""
    spot = spot_of(plan, step_id)

    def shift(steps: Sequence[AnyStep]) -> Sequence[AnyStep]:
        rest = [s for s in steps if s.id != step_id]
        place = min(max(spot.position + by, 0), len(rest))
        return [*rest[:place], steps[spot.position], *rest[place:]]

    return _laid(plan, _changed(plan.steps, spot.parent, spot.way, "/", shift))


# ── What is wrong with a draft ──────────────────────────────────────────────────────────────────────────────────────


class Wrong(enum.StrEnum):
    """What keeps a draft from being published."""

    TRIGGER = "trigger"
    AUDIENCE = "audience"
    NO_STEPS = "no_steps"
    NO_WAIT = "no_wait"
    NO_WORDS = "no_words"
    PLACEHOLDER = "placeholder"
    EMPTY_PLACEHOLDER = "empty_placeholder"
    ACCOUNT = "account"
    OFFER = "offer"
    GROUP = "group"
    TAG = "tag"
    ABOUT = "about"
    LINK = "link"
    NO_WAYS = "no_ways"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class Fault:
    """One thing to put right; `step` is where, empty for the journey itself."""

    wrong: Wrong
    step: str = ""


@dataclass(frozen=True)
class Known:
    """What there is to choose from: accounts, offers that run, groups that let people in; and whether rules of an audience are readable."""

    accounts: frozenset[int] = frozenset()
    offers: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    readable: Any = None

    def reads(self, definition: dict[str, Any]) -> bool:
        return self.readable is None or bool(self.readable(definition))


def faults(plan: Plan, known: Known) -> list[Fault]:
    """What keeps a plan from being published, in the order of reading."""
    found: list[Fault] = []
    if any(
        getattr(plan.trigger, name) is None for name in ASKED[plan.trigger.kind] if name not in (*OPTIONAL, "present")
    ):
        found.append(Fault(Wrong.TRIGGER))
    if not known.reads(plan.audience):
        found.append(Fault(Wrong.AUDIENCE))
    if not plan.steps:
        found.append(Fault(Wrong.NO_STEPS))
    for step in walk(plan.steps):
        found += [Fault(wrong, step.id) for wrong in _faults_of(step, known)]
    found += [Fault(Wrong.UNREACHABLE, step_id) for step_id in _unreachable(plan)]
    return found


def link_fits(link: str) -> bool:
    """Whether a link leads to a path of this site or to an https address."""
    inside = link.startswith("/") and not link.startswith("//")
    return (inside or link.startswith("https://")) and link.isprintable() and not re.search(r"[\s\\\\]", link)


def _faults_of(step: AnyStep, known: Known) -> Iterator[Wrong]:
    match step:
        case Wait() if not (step.days or step.hours or step.until_hour is not None):
            yield Wrong.NO_WAIT
        case Condition():
            if not known.reads(step.audience) or not step.audience:
                yield Wrong.AUDIENCE
            if not any(step.ways.values()):
                yield Wrong.NO_WAYS
        case Split() if not any(step.ways.values()):
            yield Wrong.NO_WAYS
        case Message():
            yield from _faults_of_words(step, step.offer_id is not None, bool(step.link_url))
            if step.account_id is not None and step.account_id not in known.accounts:
                yield Wrong.ACCOUNT
            if step.offer_id is not None and step.offer_id not in known.offers:
                yield Wrong.OFFER
            if step.link_url and not link_fits(step.link_url):
                yield Wrong.LINK
        case Invite():
            yield from _faults_of_words(step, False, True)
            if step.account_id is not None and step.account_id not in known.accounts:
                yield Wrong.ACCOUNT
            if step.group_id not in known.groups:
                yield Wrong.GROUP
        case GrantCoupon() if step.offer_id not in known.offers:
            yield Wrong.OFFER
        case Tagging() if not step.name.strip():
            yield Wrong.TAG
        case Task() if not step.about.strip():
            yield Wrong.ABOUT


def _faults_of_words(step: Message | Invite, has_offer: bool, has_link: bool) -> Iterator[Wrong]:
    english = (step.subject_en.strip(), step.body_en.strip())
    if not step.subject.strip() or not step.body.strip() or any(english) != all(english):
        yield Wrong.NO_WORDS
    try:
        for words in (step.subject, step.body, *english):
            push_rules.check(words, has_offer, has_link)
    except push_rules.PlaceholderUnknown:
        yield Wrong.PLACEHOLDER
    except push_rules.PlaceholderEmpty:
        yield Wrong.EMPTY_PLACEHOLDER


def _unreachable(plan: Plan) -> list[str]:
    """Steps that nobody comes to: those after an end, and after two ways that both end."""
    lead = routes(plan)
    reached: set[str] = set()
    todo = [plan.steps[0].id] if plan.steps else []
    while todo:
        here = todo.pop()
        if here in reached:
            continue
        reached.add(here)
        todo += [following for (step, _way), following in lead.items() if step == here and following is not None]
    return [step.id for step in walk(plan.steps) if step.id not in reached]
