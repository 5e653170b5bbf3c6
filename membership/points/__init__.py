"""Points: a double-entry ledger with lots, earned by orders and spent on rewards."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Load the room's tables, events, jobs and subscribers."""
    from . import events, jobs, merging, models, personal, subscribers  # noqa: F401
