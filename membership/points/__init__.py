"""Points: a double-entry ledger with lots, earned by orders and spent on rewards."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Load the room's tables, events, jobs and subscribers, open its pages, and fill the places that other rooms offer."""
    from . import (  # noqa: F401
        api,
        brief,
        console,
        events,
        jobs,
        merging,
        models,
        personal,
        portal,
        services,
        subscribers,
        timeline,
        webhooks,
    )

    app.register_blueprint(console.bp)
    app.register_blueprint(portal.bp)
    app.register_blueprint(api.bp)
    navigation.add("members", _l("Points"), "points_console.index", "points.view", order=45)
    brief.init()
