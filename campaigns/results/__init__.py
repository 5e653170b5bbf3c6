"""Results: clicks, attribution, hold-out."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Load the room's tables."""
    from . import models  # noqa: F401
