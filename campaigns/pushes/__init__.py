"""Pushes: runs and the delivery ledger."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Open the room."""
    from . import brief, console, handover, jobs, merging, models, personal, restored, subscribers, uses  # noqa: F401

    brief.init()
    app.register_blueprint(console.bp)
    navigation.add("campaigns", _l("Pushes"), "pushes_console.index", "pushes.view", order=10)
    navigation.add("campaigns", _l("Contact budget"), "pushes_console.budget", "channels.view", order=40)
