"""Input of the journey pages: one small form for the beginning, one for the rules, one for each kind of step."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from wtforms import BooleanField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional, Regexp

from campaigns.audiences import queries as audiences
from campaigns.pushes import labels as push_labels
from campaigns.pushes import rules as push_rules
from campaigns.pushes.models import CouponMode
from kernel.forms import Form, OptionalIntegerField, one_line
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.members import labels as member_labels
from membership.members.models import Stage

from . import labels, queries, rules
from .services import plans

HOURS = [("", _l("at any hour")), *((str(hour), f"{hour:02d}:00") for hour in range(24))]
KEPT = "kept"


def _whole(value: Any) -> int | None:
    return int(value) if value not in (None, "", "None") else None


def _plain(value: str | None) -> str:
    return (value or "").replace("\x00", "")


class NameForm(Form):
    name = StringField(_l("Name"), [DataRequired(), Length(max=plans.LONGEST_NAME)], filters=[one_line])


class NewForm(NameForm):
    """A journey of one's own: its name and what it begins with."""

    kind = SelectField(
        _l("What it begins with"), choices=list(labels.KINDS.items()), default=rules.Kind.DELIVERED.value
    )


class TriggerForm(Form):
    """What brings people in; only the fields of the kind at hand stay."""

    days = OptionalIntegerField(_l("Days"), [InputRequired(), NumberRange(0, rules.MOST_DAYS)])
    hours = OptionalIntegerField(_l("Hours"), [InputRequired(), NumberRange(1, 720)])
    stage = SelectField(_l("Life-cycle stage"), choices=[(stage.value, member_labels.STAGES[stage]) for stage in Stage])
    group_id = SelectField(_l("Group"), coerce=_whole)
    rank = SelectField(
        _l("Tier"), coerce=_whole, choices=[("", _l("any tier")), *((str(rank), f"VIP{rank}") for rank in (1, 2, 3, 4))]
    )
    basis = SelectField(_l("Counted from"), choices=list(labels.BASES.items()))
    outcome = SelectField(_l("How the call ended"), choices=[("", _l("in any way")), *labels.CALL_OUTCOMES.items()])
    type = StringField(
        _l("Type of the event"),
        [
            DataRequired(),
            Length(max=60),
            Regexp(rules.EVENT_TYPE, message=_l("Write it like cart.changed: small letters, digits and dots.")),
        ],
    )
    present = BooleanField(_l("Also those who have not ordered for longer than that already"))

    def __init__(self, kind: rules.Kind, trigger: rules.Trigger | None = None, **kwargs: Any) -> None:
        values = {}
        if trigger is not None and trigger.kind is kind:
            values = {name: getattr(trigger, name) for name in rules.ASKED[kind]}
        if kind is rules.Kind.DELIVERED and values.get("days") is None:
            values["days"] = 1
        super().__init__(data=values, **kwargs)
        self.kind = kind
        for name in ("days", "hours", "stage", "group_id", "rank", "basis", "outcome", "type", "present"):
            if name not in rules.ASKED[kind]:
                del self[name]
        if "group_id" in self:
            self["group_id"].choices = [
                ("", _("any group")),
                *((str(one), name) for one, name in queries.group_choices()),
            ]

    def trigger(self) -> rules.Trigger:
        """What was filled in."""
        values = {name: self[name].data for name in rules.ASKED[self.kind]}
        return rules.Trigger.model_validate(
            {"kind": self.kind, **{n: v for n, v in values.items() if v not in ("", None)}}
        )


COPY, FOLLOW = "copy", "follow"
TAKEN = [
    (COPY, _l("A copy of its rules: it stays as it is today")),
    (FOLLOW, _l("By its name: whoever changes the audience changes it here too")),
]


def audience_choices(present: dict[str, Any], none: Any) -> list[tuple[str, Any]]:
    """The saved audiences; first nobody in particular, then rules that were copied before. One that was put away since it
    was named here stays in the list, so that saving the form changes nothing by itself."""
    saved = [(str(one.id), one.name) for one in audiences.saved()]
    followed = _followed(present)
    if followed is not None and str(followed) not in dict(saved):
        name = audiences.get_audience(followed).name
        saved.append((str(followed), str(_("%(name)s (archived)", name=name))))
    copied = present and followed is None
    kept = [(KEPT, _("As it is: %(rules)s", rules=str(_(", ")).join(labels.audience(present))[:120]))] if copied else []
    return [("", none), *kept, *saved]


def audience_values(present: dict[str, Any]) -> dict[str, str]:
    """What stands in the two fields for the rules that are there."""
    if not present:
        return {"audience": "", "taken": COPY}
    followed = _followed(present)
    return {"audience": KEPT, "taken": COPY} if followed is None else {"audience": str(followed), "taken": FOLLOW}


def chosen_audience(said: str | None, taken: str | None, present: dict[str, Any]) -> dict[str, Any]:
    """The rules that a choice of `audience_choices` stands for: a copy of the saved audience's, or one that names it."""
    if not said:
        return {}
    if said == KEPT:
        return present
    audience = audiences.get_audience(int(said))
    return rules.following(audience.id) if taken == FOLLOW else dict(audience.definition)


def _followed(present: dict[str, Any]) -> int | None:
    """The saved audience that rules name, if it is still there."""
    found = rules.follows(present)
    return found if found is not None and audiences.find_audience(found) is not None else None


class EntryForm(Form):
    """Who may enter, how often, and when they leave."""

    audience = SelectField(_l("Who may enter"), coerce=_plain)
    taken = RadioField(_l("How a saved audience is taken"), choices=TAKEN, default=COPY)
    again = RadioField(
        _l("How often one person may enter"),
        choices=[("once", _l("Once for each person")), ("after", _l("Again, after a number of days"))],
    )
    again_after = OptionalIntegerField(
        _l("Days before they may enter again"), [Optional(), NumberRange(0, rules.MOST_DAYS)]
    )
    bought = BooleanField(_l("Leave when they order"))
    leave_audience = BooleanField(_l("Leave when they are not in the audience any more"))
    most_days = OptionalIntegerField(
        _l("Leave after this many days at the latest"), [Optional(), NumberRange(1, rules.MOST_DAYS)]
    )

    def __init__(self, plan: rules.Plan, **kwargs: Any) -> None:
        values = {
            **audience_values(plan.audience),
            "again": "once" if plan.again_after is None else "after",
            "again_after": plan.again_after,
            "bought": plan.exits.bought,
            "leave_audience": plan.exits.audience,
            "most_days": plan.exits.days,
        }
        super().__init__(data=values, **kwargs)
        self.plan = plan
        self.audience.choices = audience_choices(plan.audience, _("Everybody"))

    def validate(self, extra_validators: Any = None) -> bool:
        well = bool(super().validate(extra_validators))
        if well and self.again.data == "after" and self.again_after.data is None:
            self.refuse("again_after", _("Say after how many days; 0 lets them in each time."))
            return False
        return well

    def values(self) -> dict[str, Any]:
        """The fields of a plan that this form changes."""
        return {
            "audience": chosen_audience(self.audience.data, self.taken.data, self.plan.audience),
            "again_after": self.again_after.data if self.again.data == "after" else None,
            "exits": rules.Exits(bought=self.bought.data, audience=self.leave_audience.data, days=self.most_days.data),
        }


class StepForm(Form):
    """Base of the forms of steps: `values` is the step without its number."""

    KIND = "end"

    def values(self) -> dict[str, Any]:
        return {"kind": self.KIND}


class WaitForm(StepForm):
    KIND = "wait"
    days = OptionalIntegerField(_l("Days"), [Optional(), NumberRange(0, rules.MOST_DAYS)])
    hours = OptionalIntegerField(_l("Hours"), [Optional(), NumberRange(0, 23)])
    until_hour = SelectField(_l("Then until"), coerce=_whole, choices=HOURS)

    def validate(self, extra_validators: Any = None) -> bool:
        well = bool(super().validate(extra_validators))
        if well and not (self.days.data or self.hours.data or self.until_hour.data is not None):
            self.refuse("days", labels.WRONGS[rules.Wrong.NO_WAIT])
            return False
        return well

    def values(self) -> dict[str, Any]:
        return {
            "kind": "wait",
            "days": self.days.data or 0,
            "hours": self.hours.data or 0,
            "until_hour": self.until_hour.data,
        }


class ConditionForm(StepForm):
    KIND = "condition"
    audience = SelectField(_l("Audience"), [DataRequired()], coerce=_plain)
    taken = RadioField(_l("How a saved audience is taken"), choices=TAKEN, default=COPY)

    def __init__(self, *args: Any, present: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.present = present or {}
        self.audience.choices = audience_choices(self.present, _("Choose one"))

    def values(self) -> dict[str, Any]:
        chosen = chosen_audience(self.audience.data, self.taken.data, self.present)
        return {"kind": "condition", "audience": chosen}


def _weight(way: str, *validators: Any) -> OptionalIntegerField:
    return OptionalIntegerField(labels.OUTCOMES[way], [*validators, NumberRange(1, rules.MOST_WEIGHT)])


class SplitForm(StepForm):
    KIND = "split"
    a = _weight("a", InputRequired())
    b = _weight("b", InputRequired())
    c = _weight("c", Optional())
    d = _weight("d", Optional())
    e = _weight("e", Optional())
    f = _weight("f", Optional())

    def __init__(self, *args: Any, present: rules.Split | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.present = present
        if not self.is_submitted() and self.a.data is None:
            for way in rules.WAYS[:2]:
                self[way].data = 50

    @property
    def ways(self) -> list[Any]:
        """The fields, in order."""
        return [self[way] for way in rules.WAYS]

    @property
    def weights(self) -> list[int]:
        return [field.data for field in self.ways if field.data is not None]

    def validate(self, extra_validators: Any = None) -> bool:
        well = bool(super().validate(extra_validators))
        for before, way in pairwise(rules.WAYS):
            if well and self[before].data is None and self[way].data is not None:
                self.refuse(before, _("Fill the ways in order: this one comes first."))
                return False
        for way, inner in self.present.ways.items() if well and self.present else ():
            if inner and self[way].data is None:
                self.refuse(way, rules.WayHoldsSteps())
                return False
        return well

    def values(self) -> dict[str, Any]:
        return {"kind": "split", "weights": tuple(self.weights)}


class WordsForm(StepForm):
    """What is said over which channel."""

    account_id = SelectField(_l("Channel"), coerce=_whole)
    subject = StringField(_l("Title"), [DataRequired(), Length(max=push_rules.LONGEST_SUBJECT)])
    body = TextAreaField(_l("Message"), [DataRequired(), Length(max=push_rules.LONGEST_BODY)])
    subject_en = StringField(_l("Title in English"), [Length(max=push_rules.LONGEST_SUBJECT)])
    body_en = TextAreaField(_l("Message in English"), [Length(max=push_rules.LONGEST_BODY)])

    HAS_LINK = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.account_id.choices = [
            (str(one), _("inbox") if name == "inbox" else name) for one, name in queries.account_choices()
        ] or [("", _("inbox"))]

    def _has_offer(self) -> bool:
        return False

    def _has_link(self) -> bool:
        return True

    def validate(self, extra_validators: Any = None) -> bool:
        well = bool(super().validate(extra_validators))
        for name in ("subject", "body", "subject_en", "body_en"):
            if self[name].errors or not self[name].data:
                continue
            try:
                push_rules.check(self[name].data or "", self._has_offer(), self._has_link())
            except (push_rules.PlaceholderUnknown, push_rules.PlaceholderEmpty) as refusal:
                self.refuse(name, refusal)
                well = False
        if bool((self.subject_en.data or "").strip()) != bool((self.body_en.data or "").strip()):
            self.refuse("body_en", labels.WRONGS[rules.Wrong.NO_WORDS])
            well = False
        return well

    def words(self) -> dict[str, Any]:
        return {"account_id": self.account_id.data} | {
            name: _plain(self[name].data) for name in ("subject", "body", "subject_en", "body_en")
        }


class MessageForm(WordsForm):
    KIND = "message"
    service = SelectField(
        _l("What it is"),
        choices=[
            ("offer", _l("An offer")),
            ("service", _l("About their order or their rights")),
        ],
        default="offer",
    )
    offer_id = SelectField(_l("Coupon"), coerce=_whole)
    coupon_mode = SelectField(
        _l("How they get the coupon"), choices=[(m.value, w) for m, w in push_labels.COUPON_MODES.items()]
    )
    link_url = StringField(_l("Link"), [Length(max=1_000)])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offer_id.choices = [("", "–"), *((str(one), name) for one, name in queries.offer_choices())]

    def _has_offer(self) -> bool:
        return self.offer_id.data is not None

    def _has_link(self) -> bool:
        return bool((self.link_url.data or "").strip())

    def validate(self, extra_validators: Any = None) -> bool:
        well = super().validate(extra_validators)
        link = (self.link_url.data or "").strip()
        if link and not rules.link_fits(link):
            self.refuse("link_url", labels.WRONGS[rules.Wrong.LINK])
            return False
        return well

    def values(self) -> dict[str, Any]:
        return self.words() | {
            "kind": "message",
            "service": self.service.data == "service",
            "offer_id": self.offer_id.data,
            "coupon_mode": CouponMode(self.coupon_mode.data),
            "link_url": _plain(self.link_url.data).strip(),
        }


class InviteForm(WordsForm):
    KIND = "invite"
    group_id = SelectField(_l("Group"), [InputRequired()], coerce=_whole)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group_id.choices = [(str(one), name) for one, name in queries.group_choices()]

    def values(self) -> dict[str, Any]:
        return self.words() | {"kind": "invite", "group_id": self.group_id.data}


class CouponForm(StepForm):
    KIND = "coupon"
    offer_id = SelectField(_l("Coupon"), [InputRequired()], coerce=_whole)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offer_id.choices = [(str(one), name) for one, name in queries.offer_choices()]

    def values(self) -> dict[str, Any]:
        return {"kind": "coupon", "offer_id": self.offer_id.data}


class PointsForm(StepForm):
    KIND = "points"
    points = OptionalIntegerField(_l("Points"), [InputRequired(), NumberRange(1, rules.MOST_POINTS)], default=100)
    reason = StringField(_l("What the member reads"), [Length(max=60)])

    def values(self) -> dict[str, Any]:
        return {"kind": "points", "points": self.points.data, "reason": _plain(self.reason.data)}


class TagForm(StepForm):
    KIND = "tag"
    name = StringField(_l("Tag"), [DataRequired(), Length(max=40)])
    carried = SelectField(_l("What to do"), choices=[("on", _l("Put it on")), ("off", _l("Take it off"))], default="on")

    def values(self) -> dict[str, Any]:
        return {"kind": "tag", "name": _plain(self.name.data), "carried": self.carried.data == "on"}


class TaskForm(StepForm):
    KIND = "task"
    about = TextAreaField(_l("What the call is about"), [DataRequired(), Length(max=500)])

    def values(self) -> dict[str, Any]:
        return {"kind": "task", "about": _plain(self.about.data)}


FORMS: dict[str, type[StepForm]] = {
    form.KIND: form
    for form in (
        WaitForm,
        ConditionForm,
        SplitForm,
        MessageForm,
        InviteForm,
        CouponForm,
        PointsForm,
        TagForm,
        TaskForm,
        StepForm,
    )
}


def step_form(kind: str, step: rules.AnyStep | None = None) -> StepForm:
    """The form of a kind of step, filled with a step's values."""
    values: dict[str, Any] = {}
    more: dict[str, Any] = {}
    if step is not None:
        values = {name: value for name, value in step if name not in ("id", "kind", *step.ways)}
        match step:
            case rules.Message():
                values |= {"service": "service" if step.service else "offer", "coupon_mode": step.coupon_mode.value}
            case rules.Tagging():
                values["carried"] = "on" if step.carried else "off"
            case rules.Condition():
                values |= audience_values(step.audience)
                more["present"] = step.audience
            case rules.Split():
                values = dict(zip(rules.WAYS, step.weights, strict=False))
                more["present"] = step
    return FORMS[kind](data=values, **more)


class TrialForm(Form):
    """Who tries the journey: a phone, an e-mail address or a member's number."""

    who = StringField(_l("Phone, e-mail or member number"), [DataRequired(), Length(max=200)])
