"""Results: clicks, attribution, hold-out."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Open the room."""
    from . import models, portal, subscribers  # noqa: F401

    app.register_blueprint(portal.bp)
