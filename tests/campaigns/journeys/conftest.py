"""Journeys that are on, and a clock that lets people walk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from campaigns.journeys import queries, rules, services
from campaigns.journeys.models import Journey, JourneyLog, JourneyMember, PlaceState
from kernel import clock as kernel_clock

ALL = {"kind": "event", "type": "test.begun"}


def walk_on(most: int = 200) -> int:
    """Move everybody on until nobody is due; returns how many steps were done."""
    total = 0
    for _ in range(most):
        people = services.advance().people
        if not people:
            return total
        total += people
    raise AssertionError("somebody is due for ever")


def numbered(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps with numbers in the order of reading."""
    count = 0

    def number(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        nonlocal count
        laid = []
        for step in found:
            count += 1
            fresh = {**step, "id": f"s{count}"}
            for way in ("yes", "no", *rules.WAYS):
                if way in fresh:
                    fresh[way] = number(fresh[way])
            laid.append(fresh)
        return laid

    return number(steps)


@pytest.fixture
def make_journey(db: Any) -> Callable[..., Journey]:
    """`make_journey([steps], trigger={…}, on=True, **plan)` publishes a journey and switches it on."""

    def make(
        steps: list[dict[str, Any]],
        trigger: dict[str, Any] | None = None,
        on: bool = True,
        name: str = "Care",
        **plan: Any,
    ) -> Journey:
        written = rules.parse({"trigger": trigger or ALL, "steps": numbered(steps), **plan})
        journey = services.create(name, written, None)
        if on:
            services.switch_on(journey, None)
        return journey

    return make


@pytest.fixture
def bring(db: Any) -> Callable[..., bool]:
    """`bring(journey, member, key=…)` is a trigger that has come true now."""

    def bring_in(journey: Journey, member: Any, key: str = "", since: datetime | None = None) -> bool:
        return services.enter(journey.id, member.id, key or f"test:{member.id}", since or kernel_clock.now())

    return bring_in


def place_of(db: Any, member: Any, journey: Journey | None = None) -> JourneyMember:
    """The newest way of a member."""
    statement = select(JourneyMember).where(JourneyMember.member_id == member.id).order_by(JourneyMember.id.desc())
    if journey is not None:
        statement = statement.where(JourneyMember.journey_id == journey.id)
    return db.session.scalars(statement.limit(1).execution_options(populate_existing=True)).one()


def log_of(db: Any, place: JourneyMember) -> list[tuple[str, str]]:
    """What was written down of a way: (step, outcome)."""
    return [(row.step, row.outcome) for row in queries.way_of(place.id)]


def inside(db: Any, journey: Journey) -> int:
    """How many are on the way."""
    return db.session.scalar(
        select(func.count())
        .select_from(JourneyMember)
        .where(JourneyMember.journey_id == journey.id, JourneyMember.state == PlaceState.ACTIVE)
    )


def logged(db: Any) -> int:
    return db.session.scalar(select(func.count()).select_from(JourneyLog))


HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
