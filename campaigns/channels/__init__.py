"""Channels: inbox, e-mail; accounts and budgets."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Load the room's tables and subscribers."""
    from . import models, subscribers  # noqa: F401
