"""Entering: one thing that happened brings a member in once, and nobody is inside twice."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock, restoring
from kernel.db import db
from kernel.errors import NotFound
from kernel.events import publish_all
from membership.members import queries as members

from .. import queries, rules
from ..events import JourneyEntered
from ..models import Journey, JourneyLog, JourneyMember, JourneyPush, JourneyState, JourneyVersion, PlaceState
from . import leaving, plans

AT_ONCE = 500


def enter(journey_id: int, member_id: int, key: str, since: datetime) -> bool:
    """Bring a member into a journey that is on, because of what `key` names; returns whether they entered.

    Not when the very thing brought them in before, when they are inside or were lately, or are not in its audience.
    """
    if restoring.held():
        # What is brought in again after a restore happened, and was answered, long ago.
        return False
    member = members.find_member(member_id)
    held = _held(journey_id)
    if member is None or held is None:
        return False
    version, plan = held
    found = queries.candidates(journey_id, plan, queries.one_candidate(member.id, key, since), 1)
    return _bring_in(journey_id, version, plan, found) == 1


def look(journey_id: int) -> bool:
    """Bring in whom the clock brings, up to some hundreds; returns whether there may be more."""
    held = _held(journey_id)
    if held is None:
        return False
    version, plan = held
    journey = db.session.get_one(Journey, journey_id)
    if plan.trigger.kind not in rules.LOOKED_FOR or journey.switched_on_at is None:
        return False
    found = queries.candidates(journey_id, plan, queries.brought(plan.trigger, journey.switched_on_at), AT_ONCE)
    entered = _bring_in(journey_id, version, plan, found)
    if entered and len(found) == AT_ONCE:
        return True
    journey.looked_at = clock.now()
    return False


def pass_over(journey_id: int) -> int:
    """Bring in whom the clock brings at this moment and let them leave at once, because a restore has forgotten that they
    may have been inside; returns how many."""
    held = _held(journey_id)
    if held is None:
        return 0
    version, plan = held
    total = 0
    while plan.trigger.kind in rules.LOOKED_FOR:
        since = db.session.get_one(Journey, journey_id).switched_on_at or clock.now()
        found = queries.candidates(journey_id, plan, queries.brought(plan.trigger, since), AT_ONCE)
        _bring_in(journey_id, version, plan, found)
        keys = [row.key for row in found]
        places = db.session.scalars(
            select(JourneyMember).where(
                JourneyMember.journey_id == journey_id, JourneyMember.key.in_(keys), queries.LIVE
            )
        ).all()
        left = leaving.let_leave(places, "restored")
        total += left
        if not left or len(found) < AT_ONCE:
            break
    return total


def _held(journey_id: int) -> tuple[JourneyVersion, rules.Plan] | None:
    """The version of a journey that is on, its row held: who looks whether somebody was inside lately looks alone."""
    journey = db.session.scalar(
        select(Journey)
        .where(Journey.id == journey_id, Journey.state == JourneyState.ON)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if journey is None or journey.version_id is None:
        return None
    version = db.session.get_one(JourneyVersion, journey.version_id)
    return version, queries.plan_of(version)


def _bring_in(journey_id: int, version: JourneyVersion, plan: rules.Plan, found: Sequence[Any]) -> int:
    now = clock.now()
    if not found:
        return 0
    first = plan.steps[0]
    due = rules.due_at(first, clock.local(now))
    entered = db.session.execute(
        insert(JourneyMember)
        .values(
            [
                {"journey_id": journey_id, "version_id": version.id, "member_id": row.member_id, "key": row.key,
                 "since": row.since, "entered_at": now, "state": PlaceState.ACTIVE, "step": first.id, "due_at": due,
                 "trial": False}
                for row in found
            ]
        )
        .on_conflict_do_nothing()
        .returning(JourneyMember.id, JourneyMember.member_id)
    ).all()  # fmt: skip
    _log_entries(version.id, [row.id for row in entered], now, trial=False)
    publish_all(JourneyEntered(member_id=row.member_id, journey_id=journey_id) for row in entered)
    return len(entered)


def _log_entries(version_id: int, place_ids: Sequence[int], now: datetime, trial: bool) -> None:
    if place_ids:
        db.session.execute(
            JourneyLog.__table__.insert(),
            [
                {"place_id": one, "version_id": version_id, "step": "", "outcome": "entered", "trial": trial, "at": now}
                for one in place_ids
            ],
        )


def try_out(journey: Journey, member_id: int, staff_id: int | None) -> JourneyMember:
    """Send one member through a journey as it is written now, with no wait longer than seconds; returns their way.

    What they get is real; it is marked as a trial and counted nowhere. A trial of theirs that is under way is taken for it.
    Refuses with `NotFound` and `NotReady`.
    """
    member = members.get_member(member_id)
    if member.erased_at is not None:
        raise NotFound
    db.session.flush()
    db.session.refresh(journey, with_for_update={"key_share": True})
    live = db.session.scalar(
        select(JourneyMember).where(
            JourneyMember.journey_id == journey.id,
            JourneyMember.member_id == member.id,
            JourneyMember.trial,
            queries.LIVE,
        )
    )
    if live is not None:
        return live
    plan = rules.parse(journey.draft)
    if rules.faults(plan, queries.known()):
        raise plans.NotReady
    version = queries.version_of(journey)
    if version is None or version.plan != journey.draft:
        version = plans.lay_down(journey, plan, None, staff_id, trial=True)
    elif not db.session.scalar(
        select(JourneyPush.step).where(JourneyPush.version_id == version.id, JourneyPush.trial).limit(1)
    ):
        plans.lay_pushes(journey, version, plan, trial=True)
    now = clock.now()
    first = plan.steps[0]
    place = JourneyMember(
        journey_id=journey.id, version_id=version.id, member_id=member.id, key=f"trial:{secrets.token_hex(8)}", since=now,
        entered_at=now, step=first.id, due_at=rules.due_at(first, clock.local(now), trial=True), trial=True,
    )  # fmt: skip
    db.session.add(place)
    db.session.flush()
    _log_entries(version.id, [place.id], now, trial=True)
    audit.record("journey.tried", "journey", journey.id, after={"member_id": member.id})
    return place
