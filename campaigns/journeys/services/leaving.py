"""Leaving before the end: because they bought, because somebody takes them out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import func, select, update

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.events import publish_all
from kernel.i18n import lazy_gettext as _l

from .. import queries
from ..events import JourneyEnded
from ..models import JourneyLog, JourneyMember, JourneyVersion, PlaceState

AT_ONCE = 1_000


class GoneAlready(Refusal):
    title = _l("Too late for this")
    label = _l("This member has come to the end of the journey, or left it, in the meantime.")


def let_leave(places: Sequence[JourneyMember], reason: str) -> int:
    """End the way of people whose rows the caller holds locked; returns how many."""
    now = clock.now()
    ids = [place.id for place in places]
    rows = [
        {"place_id": p.id, "version_id": p.version_id, "step": p.step, "outcome": "left", "detail": reason,
         "trial": p.trial, "at": now}
        for p in places
    ]  # fmt: skip
    if not rows:
        return 0
    ended = db.session.execute(
        update(JourneyMember)
        .where(JourneyMember.id.in_(ids), queries.LIVE)
        .values(state=PlaceState.LEFT, step=None, due_at=None, ended_at=now, reason=reason)
        .execution_options(synchronize_session=False)
    )
    if changed(ended) != len(ids):
        raise GoneAlready
    db.session.execute(JourneyLog.__table__.insert(), rows)
    publish_all(
        JourneyEnded(member_id=p.member_id, journey_id=p.journey_id, state=PlaceState.LEFT.value, reason=reason)
        for p in places
        if not p.trial
    )
    for place in places:
        db.session.expire(place)
    return len(ids)


def leave_buyers(member_ids: Collection[int]) -> int:
    """Let those of these members leave who have ordered since what brought them in; returns how many.

    Only out of journeys whose version says so. The same is asked again before each step: this only makes it prompt.
    """
    total = 0
    wanted = sorted(set(member_ids))
    leaves = JourneyVersion.plan["exits"]["bought"].as_boolean()
    for start in range(0, len(wanted), AT_ONCE):
        places = db.session.scalars(
            select(JourneyMember)
            .join(JourneyVersion, JourneyVersion.id == JourneyMember.version_id)
            .where(
                JourneyMember.member_id == func.any(wanted[start : start + AT_ONCE]),
                queries.LIVE,
                leaves,
                queries.bought_since(JourneyMember.member_id, JourneyMember.since),
            )
            .order_by(JourneyMember.id)
            .with_for_update(of=JourneyMember, skip_locked=True)
            .execution_options(populate_existing=True)
        ).all()
        total += let_leave(places, "bought")
    return total


def take_out(place: JourneyMember) -> None:
    """Take one member out of a journey by hand. Refuses with `GoneAlready`."""
    db.session.refresh(place, with_for_update=True)
    if place.state is not PlaceState.ACTIVE:
        raise GoneAlready
    member_id, journey_id = place.member_id, place.journey_id
    let_leave([place], "taken_out")
    audit.record("journey.member_taken_out", "journey", journey_id, after={"member_id": member_id})


def take_all_out(journey_id: int) -> int:
    """Take everybody out of a journey, trials too; returns how many."""
    total = 0
    statement: Any = (
        select(JourneyMember)
        .where(JourneyMember.journey_id == journey_id, queries.LIVE)
        .order_by(JourneyMember.id)
        .limit(AT_ONCE)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    while places := db.session.scalars(statement).all():
        total += let_leave(places, "taken_out")
    return total


def take_some_out(journey_id: int, place_ids: Sequence[int]) -> int:
    """Take those of these people out who are still inside; returns how many."""
    places = db.session.scalars(
        select(JourneyMember)
        .where(JourneyMember.id.in_(list(place_ids)), JourneyMember.journey_id == journey_id, queries.LIVE)
        .order_by(JourneyMember.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    members = [place.member_id for place in places]
    out = let_leave(places, "taken_out")
    if out:
        audit.record("journey.members_taken_out", "journey", journey_id, after={"member_ids": members})
    return out
