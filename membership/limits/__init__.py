"""Limits: the one mechanism for caps."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Load the room's tables."""
    from . import merging, models, personal, services  # noqa: F401
