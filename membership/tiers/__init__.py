"""Tiers VIP1–VIP4: rules, history, explanation."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Load the room's tables, jobs and subscribers."""
    from . import events, jobs, labels, models, subscribers  # noqa: F401
