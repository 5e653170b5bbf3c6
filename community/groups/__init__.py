"""Groups: kinds, seats, waiting list, join links."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Load the room's tables, events and jobs, open its pages, and fill the places that other rooms offer."""
    from . import console, jobs, labels, merging, models, personal, places, portal, subscribers  # noqa: F401

    app.register_blueprint(console.bp)
    app.register_blueprint(portal.bp)
    navigation.add("groups", _l("Groups"), "groups_console.index", "groups.view", order=10)
    places.init()
