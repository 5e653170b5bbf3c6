"""Touchpoints: where members meet the shop, how much each matters, how well it does, and what follows."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Open the room."""
    from . import console, handover, jobs, models, personal  # noqa: F401

    app.register_blueprint(console.bp)
    navigation.add("results", _l("Touchpoints"), "touchpoints_console.index", "touchpoints.view", order=60)
