"""Moving people on: everybody who is due at one step of one version, in one short transaction.

The rows of those people stay locked while the step is done, and what it does, where they go and what is written down commit
together. A worker that dies leaves nothing half done, and its people are due as before; two workers never hold the same
person. What a step does is keyed by the person's way and the step besides, and a step is logged once a person: whatever went
wrong here would be refused by the tables.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update

from campaigns.audiences import queries as audiences
from campaigns.audiences import rules as audience_rules
from campaigns.pushes import services as pushes
from campaigns.pushes.models import Push
from community.desk import services as desk
from kernel import clock
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.events import publish_all
from kernel.i18n import gettext as _
from membership.coupons import services as coupons
from membership.members import services as members
from membership.members.models import Member
from membership.points import services as points
from membership.points.models import Kind as PointsKind

from .. import queries, rules
from ..events import JourneyEnded
from ..models import JourneyLog, JourneyMember, JourneyVersion, PlaceState
from . import leaving

log = logging.getLogger(__name__)
AT_ONCE = 200
NO_SYNC = {"synchronize_session": False}


class Displaced(RuntimeError):
    """Somebody is not where they were found, though their row is held. Nothing of the step is kept."""


@dataclass(frozen=True)
class Came:
    """What came of a step for one person: the outcome that is logged, and which way they go from there."""

    outcome: str = "passed"
    detail: str | None = None
    way: str = ""


@dataclass
class Effects:
    """What one call of `advance` did: how many people it moved, let go, and could not serve."""

    moved: int = 0
    left: int = 0
    failed: int = 0
    put_off: int = 0

    @property
    def people(self) -> int:
        return self.moved + self.left + self.failed + self.put_off


@dataclass
class Batch:
    """People due at one step, their rows held."""

    version: JourneyVersion
    plan: rules.Plan
    step: rules.AnyStep
    places: list[JourneyMember] = field(default_factory=list)

    @property
    def member_ids(self) -> list[int]:
        return [place.member_id for place in self.places]


def advance(limit: int = AT_ONCE) -> Effects:
    """Do the step at which somebody has been due the longest, for up to `limit` people who are due there.

    One transaction of the caller's; nothing left to do when it counts nobody.
    """
    batch = _take(limit)
    effects = Effects()
    if batch is None:
        return effects
    _let_go(batch, effects)
    if batch.places:
        came = _do(batch, effects)
        _move(batch, came, effects)
    return effects


def _take(limit: int) -> Batch | None:
    """Hold the people of one step. The step is that of whoever has been due the longest and is held by nobody else."""
    now = clock.now()
    due = (queries.LIVE, JourneyMember.due_at <= now)
    head = db.session.execute(
        select(JourneyMember.version_id, JourneyMember.step, JourneyMember.trial)
        .where(*due)
        .order_by(JourneyMember.due_at, JourneyMember.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if head is None:
        return None
    version = db.session.get_one(JourneyVersion, head.version_id)
    plan = queries.plan_of(version)
    places = db.session.scalars(
        select(JourneyMember)
        .where(
            *due,
            JourneyMember.version_id == head.version_id,
            JourneyMember.step == head.step,
            JourneyMember.trial == head.trial,
        )
        .order_by(JourneyMember.due_at, JourneyMember.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    return Batch(version, plan, rules.find(plan, head.step), list(places)) if places else None


# ── Leaving ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _let_go(batch: Batch, effects: Effects) -> None:
    """Let those leave who have bought, are gone, or no longer belong here; what is left of the batch goes on."""
    why: dict[int, str] = {}
    exits, now = batch.plan.exits, clock.now()
    ids = [place.id for place in batch.places]
    gone = select(JourneyMember.id).join(Member, Member.id == JourneyMember.member_id)
    gone = gone.where(JourneyMember.id.in_(ids), (Member.erased_at.is_not(None)) | (Member.merged_into_id.is_not(None)))
    why |= dict.fromkeys(db.session.scalars(gone), "gone")
    if exits.bought:
        bought = select(JourneyMember.id).where(
            JourneyMember.id.in_(ids), queries.bought_since(JourneyMember.member_id, JourneyMember.since)
        )
        why |= dict.fromkeys(db.session.scalars(bought), "bought")
    if exits.audience:
        inside = _inside(batch.plan.audience, batch.member_ids)
        why |= {place.id: "audience" for place in batch.places if place.member_id not in inside}
    if exits.days is not None:
        long_ago = [p for p in batch.places if (now - p.entered_at).days >= exits.days]
        why |= {place.id: "days" for place in long_ago}
    by_reason: dict[str, list[JourneyMember]] = defaultdict(list)
    for place in batch.places:
        if place.id in why:
            by_reason[why[place.id]].append(place)
    batch.places = [place for place in batch.places if place.id not in why]
    for reason, places in by_reason.items():
        effects.left += leaving.let_leave(places, reason)


def _inside(audience: dict[str, Any], member_ids: Sequence[int]) -> set[int]:
    definition = audience_rules.parse(audience)
    return set(db.session.scalars(audiences.member_ids(definition).where(Member.id.in_(member_ids))))


# ── What steps do ───────────────────────────────────────────────────────────────────────────────────────────────────


def _do(batch: Batch, effects: Effects) -> dict[int, Came]:
    """Do the step for everybody; where that fails, for each by themselves, so that one person's trouble stays theirs."""
    try:
        with db.session.begin_nested():
            return _perform(batch)
    except Displaced:
        raise
    except Exception as error:
        if not isinstance(error, Refusal):
            log.exception("a step of a journey failed for %s people", len(batch.places))
    came: dict[int, Came] = {}
    served: list[JourneyMember] = []
    for place in batch.places:
        alone = Batch(batch.version, batch.plan, batch.step, [place])
        try:
            with db.session.begin_nested():
                came |= _perform(alone)
            served.append(place)
        except Displaced:
            raise
        except Exception as error:
            _put_off(place, batch.step, str(error) or type(error).__name__, effects)
    batch.places = served
    return came


def _put_off(place: JourneyMember, step: rules.AnyStep, reason: str, effects: Effects) -> None:
    """Have a step tried again later, or give up after some tries."""
    now = clock.now()
    attempts = place.attempts + 1
    values: dict[str, Any] = {"attempts": attempts, "due_at": rules.retry_at(now, attempts)}
    if attempts >= rules.ATTEMPTS:
        values |= {"state": PlaceState.FAILED, "step": None, "due_at": None, "ended_at": now, "reason": reason[:300]}
        effects.failed += 1
    else:
        effects.put_off += 1
    _changed_all(
        update(JourneyMember)
        .where(JourneyMember.id == place.id, queries.LIVE, JourneyMember.step == step.id)
        .values(**values),
        1,
    )
    if attempts >= rules.ATTEMPTS:
        _write_log([(place, Came("failed", reason[:300]))], step.id, now)
        _tell_ended([place], PlaceState.FAILED, reason[:300])


def _perform(batch: Batch) -> dict[int, Came]:
    """Do the step for the people of a batch; what came of it by their way's id."""
    return PERFORMERS[batch.step.kind](batch, batch.step)


def _nothing(batch: Batch, step: Any) -> dict[int, Came]:
    return {place.id: Came() for place in batch.places}


def _ask(batch: Batch, step: rules.Condition) -> dict[int, Came]:
    inside = _inside(step.audience, batch.member_ids)
    ways = {place.id: "yes" if place.member_id in inside else "no" for place in batch.places}
    return {place_id: Came(way, way=way) for place_id, way in ways.items()}


def _part(batch: Batch, step: rules.Split) -> dict[int, Came]:
    salt = f"journey:{batch.version.journey_id}"
    ways = {place.id: rules.way_of(step, salt, place.member_id) for place in batch.places}
    return {place_id: Came(way, way=way) for place_id, way in ways.items()}


def _say(batch: Batch, step: Any) -> dict[int, Came]:
    """Hand the people to the ledger of pushes, which asks for consent, budget and quiet hours and sends once."""
    trial = batch.places[0].trial
    push = db.session.get_one(Push, queries.push_of(batch.version.id, step.id, trial))
    # Each of these people passes this step once, so that no two batches have the same first one.
    occurrence = f"step:{step.id}:{min(place.id for place in batch.places)}"
    pushes.run_for(push, occurrence, sorted(set(batch.member_ids)))
    return _nothing(batch, step)


def key_of(place: JourneyMember, step: rules.AnyStep) -> str:
    """The key under which a person gets what a step gives: once."""
    return f"journey:{place.id}:{step.id}"


def _give_coupon(batch: Batch, step: rules.GrantCoupon) -> dict[int, Came]:
    source = f"journey:{batch.version.journey_id}"
    given = coupons.grant_many(
        step.offer_id or 0, [(place.member_id, key_of(place, step)) for place in batch.places], source
    )
    return {p.id: Came("passed" if p.member_id in given else "no_coupon") for p in batch.places}


def _give_points(batch: Batch, step: rules.GrantPoints) -> dict[int, Came]:
    for place in sorted(batch.places, key=lambda one: one.member_id):
        points.award(
            place.member_id,
            step.points,
            type=PointsKind.AWARD,
            source_type="journey",
            source_id=f"{place.id}:{step.id}",
            reason=step.reason.strip() or _("A present from the shop"),
        )
    return _nothing(batch, step)


def _tag(batch: Batch, step: rules.Tagging) -> dict[int, Came]:
    (members.tag if step.carried else members.untag)(batch.member_ids, step.name)
    return _nothing(batch, step)


def _have_called(batch: Batch, step: rules.Task) -> dict[int, Came]:
    asked = {p.id: desk.ask_to_call(p.member_id, step.about) for p in sorted(batch.places, key=lambda p: p.member_id)}
    return {place_id: Came("passed" if task is not None else "no_call") for place_id, task in asked.items()}


PERFORMERS: Mapping[str, Callable[[Batch, Any], dict[int, Came]]] = {
    "wait": _nothing,
    "end": _nothing,
    "condition": _ask,
    "split": _part,
    "message": _say,
    "invite": _say,
    "coupon": _give_coupon,
    "points": _give_points,
    "tag": _tag,
    "task": _have_called,
}


# ── Moving ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _changed_all(statement: Any, people: int) -> None:
    """Run an UPDATE that must find so many people where they were; raises `Displaced` when it does not."""
    if changed(db.session.execute(statement.execution_options(**NO_SYNC))) != people:
        raise Displaced


def _move(batch: Batch, came: Mapping[int, Came], effects: Effects) -> None:
    """Take everybody for whom the step was done to their next one, or to the end."""
    now = clock.now()
    lead = rules.routes(batch.plan)
    onward: dict[str | None, list[JourneyMember]] = defaultdict(list)
    for place in batch.places:
        onward[lead[batch.step.id, came[place.id].way]].append(place)
    for following, places in onward.items():
        here = update(JourneyMember).where(
            JourneyMember.id.in_([place.id for place in places]), queries.LIVE, JourneyMember.step == batch.step.id
        )
        if following is None:
            values: dict[str, Any] = {"state": PlaceState.DONE, "step": None, "due_at": None, "ended_at": now}
        else:
            due = rules.due_at(rules.find(batch.plan, following), clock.local(now), places[0].trial)
            values = {"step": following, "due_at": due, "attempts": 0}
        _changed_all(here.values(**values), len(places))
        if following is None:
            _tell_ended(places, PlaceState.DONE, "")
    _write_log([(place, came[place.id]) for place in batch.places], batch.step.id, now)
    effects.moved += len(batch.places)
    for place in batch.places:
        db.session.expire(place)


def _write_log(found: Sequence[tuple[JourneyMember, Came]], step: str, now: datetime) -> None:
    if found:
        db.session.execute(
            JourneyLog.__table__.insert(),
            [
                {"place_id": place.id, "version_id": place.version_id, "step": step, "outcome": one.outcome,
                 "detail": one.detail, "trial": place.trial, "at": now}
                for place, one in found
            ],
        )  # fmt: skip


def _tell_ended(places: Sequence[JourneyMember], state: PlaceState, reason: str) -> None:
    publish_all(
        JourneyEnded(member_id=p.member_id, journey_id=p.journey_id, state=state.value, reason=reason)
        for p in places
        if not p.trial
    )


def due_people() -> int:
    """How many are due and not moved yet."""
    statement = select(func.count()).select_from(JourneyMember)
    return db.session.scalar(statement.where(queries.LIVE, JourneyMember.due_at <= clock.now())) or 0
