"""Floor 3: what the shop says to whom, and what came of it."""

from __future__ import annotations

from flask import Flask

from . import audiences, briefs, channels, forecasts, journeys, permissions, pushes, results, touchpoints

ROOMS = (audiences, channels, pushes, results, journeys, forecasts, touchpoints, briefs)


def init_app(app: Flask) -> None:
    """Grant the floor's permissions, then open its rooms from the lowest up."""
    permissions.init()
    for room in ROOMS:
        room.init_app(app)
