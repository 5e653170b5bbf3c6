"""Forecasts: when members need something again, and what they are expected to order."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Open the room."""
    from . import brief, console, jobs, merging, models, personal, subscribers  # noqa: F401

    brief.init()
    app.register_blueprint(console.bp)
    navigation.add("campaigns", _l("Forecasts"), "forecasts_console.index", "forecasts.view", order=25)
