"""Which pushes belong to which journey, for the results of all its steps together."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from campaigns.results.queries import journeys

from .models import Journey, JourneyPush, JourneyVersion


@journeys.fill
def pushes_of_journeys() -> Any:
    """Every push of a journey's steps, of all its versions; trials are left out."""
    return (
        select(Journey.id, Journey.name, JourneyPush.push_id)
        .join(JourneyVersion, JourneyVersion.journey_id == Journey.id)
        .join(JourneyPush, JourneyPush.version_id == JourneyVersion.id)
        .where(JourneyPush.trial.is_(False))
        .distinct()
    )
