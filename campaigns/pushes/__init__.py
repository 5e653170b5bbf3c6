"""Pushes: runs and the delivery ledger."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Load the room's tables and jobs."""
    from . import jobs, models  # noqa: F401
