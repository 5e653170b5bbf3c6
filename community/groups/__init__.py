"""Groups: kinds, seats, waiting list, join links."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Load the room's tables, events and jobs, open its pages, and fill the places that other rooms offer."""
    from . import labels, models, portal  # noqa: F401

    app.register_blueprint(portal.bp)
