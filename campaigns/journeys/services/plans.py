"""Writing journeys: the draft step by step, publishing it as a version, switching on and off."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, text, update

from campaigns.channels import services as channels
from campaigns.channels.models import ContactClass
from campaigns.pushes.models import Origin, Push
from kernel import audit, clock, shop
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .. import queries, recipes, rules
from ..models import Journey, JourneyPush, JourneyState, JourneyVersion
from . import leaving

LONGEST_NAME = 80
EVERYBODY: dict[str, Any] = {"rules": []}


class NotReady(Refusal):
    status = 422
    title = _l("Not ready yet")
    label = _l("Something in this journey has to be put right first. Its page says what and where.")
    icon = "alert-triangle"


# ── The draft ───────────────────────────────────────────────────────────────────────────────────────────────────────


def create(name: str, plan: rules.Plan, staff_id: int | None, recipe: str | None = None) -> Journey:
    """Make a journey that is off, with a draft."""
    journey = Journey(
        name=name.strip()[:LONGEST_NAME], recipe=recipe, draft=plan.dump(), staff_id=staff_id, created_at=clock.now()
    )
    db.session.add(journey)
    db.session.flush()
    audit.record("journey.created", "journey", journey.id, after={"name": journey.name})
    return journey


def copy(journey: Journey, name: str, staff_id: int | None) -> Journey:
    """Make a journey of one's own with the draft of another."""
    return create(name, rules.parse(journey.draft), staff_id)


def rename(journey: Journey, name: str) -> None:
    """Give a journey another name, of 1 to 80 characters."""
    before, journey.name = journey.name, name.strip()[:LONGEST_NAME]
    if journey.name == before:
        return
    audit.record("journey.renamed", "journey", journey.id, {"name": before}, {"name": journey.name})


def _locked(journey: Journey) -> rules.Plan:
    """The draft as it stands, held until the transaction ends, so that of two changes at once neither is lost."""
    db.session.flush()
    db.session.refresh(journey, with_for_update=True)
    return rules.parse(journey.draft)


def _keep(journey: Journey, plan: rules.Plan, act: str, **what: Any) -> None:
    journey.draft = plan.dump()
    audit.record(f"journey.{act}", "journey", journey.id, after=what or None)


def set_plan(journey: Journey, **values: Any) -> None:
    """Change what brings people in, who may enter, when they leave or how often; `values` are fields of `rules.Plan`."""
    plan = _locked(journey)
    _keep(journey, rules.parse(plan.model_copy(update=values).dump()), "changed", fields=sorted(values))


def add_step(journey: Journey, spot: rules.Spot, step: dict[str, Any]) -> str:
    """Put a step into the draft; returns its number. Refuses with `StepUnknown`, `TooManySteps`, `PlanInvalid`."""
    plan = _locked(journey)
    number = rules.next_id(plan)
    _keep(journey, rules.added(plan, spot, rules.step_of({**step, "id": number})), "step_added", step=number)
    return number


def put_step(journey: Journey, step: dict[str, Any]) -> None:
    """Change a step of the draft; its ways stay. Refuses with `StepUnknown`, `PlanInvalid`."""
    plan = _locked(journey)
    _keep(journey, rules.replaced(plan, rules.step_of(step)), "step_changed", step=step["id"])


def remove_step(journey: Journey, step_id: str) -> None:
    """Take a step out of the draft, with whatever its ways hold. Refuses with `StepUnknown`."""
    plan = _locked(journey)
    _keep(journey, rules.removed(plan, step_id), "step_removed", step=step_id)


def move_step(journey: Journey, step_id: str, by: int) -> None:
    """Move a step up (below zero) or down in its list. Refuses with `StepUnknown`."""
    plan = _locked(journey)
    _keep(journey, rules.moved(plan, step_id, by), "step_moved", step=step_id)


def revert(journey: Journey) -> None:
    """Throw the changes of the draft away: it becomes the published version again."""
    _locked(journey)
    version = queries.version_of(journey)
    if version is not None:
        journey.draft = version.plan
        audit.record("journey.reverted", "journey", journey.id)


# ── Versions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def publish(journey: Journey, staff_id: int | None) -> JourneyVersion:
    """Make the draft the version that people enter from now on; the same draft again is the same version.

    Who is inside finishes the version they entered. Refuses with `NotReady` a draft with faults.
    """
    plan = _locked(journey)
    present = queries.version_of(journey)
    if present is not None and present.plan == journey.draft:
        return present
    if rules.faults(plan, queries.known()):
        raise NotReady
    number = (
        db.session.scalar(select(func.max(JourneyVersion.number)).where(JourneyVersion.journey_id == journey.id)) or 0
    ) + 1
    version = lay_down(journey, plan, number, staff_id, trial=False)
    journey.version_id, journey.trigger = version.id, plan.trigger.kind.value
    journey.looked_at = None
    if present is not None and rules.parse(present.plan).trigger != plan.trigger:
        # What came true under another trigger is not made up for.
        journey.switched_on_at = clock.now() if journey.state is JourneyState.ON else journey.switched_on_at
    db.session.flush()
    audit.record("journey.published", "journey", journey.id, after={"version": number})
    return version


def lay_down(
    journey: Journey, plan: rules.Plan, number: int | None, staff_id: int | None, trial: bool
) -> JourneyVersion:
    """Write a plan down as a version, with a push for each step that says something."""
    version = JourneyVersion(
        journey_id=journey.id, number=number, plan=plan.dump(), staff_id=staff_id, created_at=clock.now()
    )
    db.session.add(version)
    db.session.flush()
    lay_pushes(journey, version, plan, trial)
    return version


def lay_pushes(journey: Journey, version: JourneyVersion, plan: rules.Plan, trial: bool) -> None:
    """Give each step that says something its push: the one of the version before when it says the same, else a new one."""
    former = _former_pushes(journey, version, trial)
    inbox = channels.inbox_account().id
    for step in rules.walk(plan.steps):
        if not isinstance(step, rules.Message | rules.Invite):
            continue
        wanted = _push_fields(step, inbox)
        if trial:
            # Outside the hold-out and the contact budget, so that whoever tries it gets it.
            wanted["contact_class"] = ContactClass.SERVICE
        push = former.get(step.id)
        if push is None or any(getattr(push, name) != value for name, value in wanted.items()):
            name = _push_name(journey, step, trial)
            push = Push(
                name=name, audience=EVERYBODY, origin=Origin.JOURNEY, stop_when_bought=False,
                staff_id=version.staff_id, created_at=clock.now(), **wanted,
            )  # fmt: skip
            db.session.add(push)
            db.session.flush()
        db.session.add(JourneyPush(version_id=version.id, step=step.id, trial=trial, push_id=push.id))
    db.session.flush()


def _former_pushes(journey: Journey, version: JourneyVersion, trial: bool) -> dict[str, Push]:
    rows = db.session.execute(
        select(JourneyPush.step, Push)
        .join(Push, Push.id == JourneyPush.push_id)
        .join(JourneyVersion, JourneyVersion.id == JourneyPush.version_id)
        .where(JourneyVersion.journey_id == journey.id, JourneyPush.trial == trial, JourneyVersion.id < version.id)
        .order_by(JourneyVersion.id)
    )
    return {row[0]: row[1] for row in rows}


def _push_name(journey: Journey, step: rules.Message | rules.Invite, trial: bool) -> str:
    name = f"{journey.name} · {step.subject}"
    return (f"[try] {name}" if trial else name)[:LONGEST_NAME]


def _push_fields(step: rules.Message | rules.Invite, inbox: int) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "account_id": step.account_id or inbox,
        "subject": step.subject.strip(),
        "body": step.body.replace("\r\n", "\n").strip(),
        "subject_en": step.subject_en.strip() or None,
        "body_en": step.body_en.replace("\r\n", "\n").strip() or None,
    }
    if isinstance(step, rules.Invite):
        return fields | {
            "contact_class": ContactClass.TRIGGERED,
            "link_url": f"group:{step.group_id}",
            "offer_id": None,
        }
    return fields | {
        "contact_class": ContactClass.SERVICE if step.service else ContactClass.TRIGGERED,
        "link_url": step.link_url.strip() or None,
        "offer_id": step.offer_id,
        "coupon_mode": step.coupon_mode,
    }


# ── On and off ──────────────────────────────────────────────────────────────────────────────────────────────────────


def switch_on(journey: Journey, staff_id: int | None) -> None:
    """Let people enter from now on; publishes the draft when there is no version yet. Refuses with `NotReady`."""
    if journey.version_id is None:
        publish(journey, staff_id)
    turned = db.session.execute(
        update(Journey)
        .where(Journey.id == journey.id, Journey.state == JourneyState.OFF, Journey.version_id.is_not(None))
        .values(state=JourneyState.ON, switched_on_at=clock.now(), looked_at=None)
        .execution_options(synchronize_session=False)
    )
    if changed(turned):
        audit.record("journey.switched_on", "journey", journey.id)
    db.session.refresh(journey)


def switch_off(journey: Journey, take_people_out: bool = False) -> int:
    """Let nobody enter any more; who is inside finishes, or is taken out. Returns how many were taken out."""
    turned = db.session.execute(
        update(Journey)
        .where(Journey.id == journey.id, Journey.state == JourneyState.ON)
        .values(state=JourneyState.OFF)
        .execution_options(synchronize_session=False)
    )
    db.session.refresh(journey)
    out = leaving.take_all_out(journey.id) if take_people_out else 0
    if changed(turned) or out:
        audit.record("journey.switched_off", "journey", journey.id, after={"taken_out": out})
    return out


def ensure_recipes() -> int:
    """Put the ready-made journeys into the shop, switched off, when they are not there yet; returns how many were new.

    Each comes once only: one that the shop has changed stays as the shop wants it.
    """
    made: list[str] = shop.get("journeys.made", [])
    if set(made) >= {recipe.key for recipe in recipes.RECIPES}:
        return 0
    db.session.execute(text("SELECT pg_advisory_xact_lock(hashtext('journeys.made'))"))
    there = set(db.session.scalars(select(Journey.recipe).where(Journey.recipe.is_not(None))))
    fresh = [one for one in recipes.RECIPES if one.key not in {*made, *there}]
    for recipe in fresh:
        create(recipe.name, recipe.plan, None, recipe.key)
    shop.put("journeys.made", [recipe.key for recipe in recipes.RECIPES])
    return len(fresh)
