"""Journeys: what happens after something happened to a member, step by step."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Open the room."""
    from . import (  # noqa: F401
        api,
        brief,
        console,
        handover,
        jobs,
        measured,
        merging,
        models,
        personal,
        restored,
        subscribers,
        timeline,
    )

    brief.init()
    app.register_blueprint(console.bp)
    app.register_blueprint(api.bp)
    navigation.add("campaigns", _l("Journeys"), "journeys_console.index", "journeys.view", order=15)
