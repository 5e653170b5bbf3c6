"""Groups: kinds, seats, waiting list, join links."""

from __future__ import annotations

from flask import Flask

from kernel import navigation, views
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Load the room's tables, events and jobs, open its pages, and fill the places that other rooms offer."""
    from . import console, handover, jobs, labels, merging, models, personal, places, portal, subscribers  # noqa: F401

    app.register_blueprint(console.bp)
    app.register_blueprint(portal.bp)
    navigation.add("groups", _l("Groups"), "groups_console.index", "groups.view", order=10)
    navigation.add("groups", _l("Calendar of groups"), "groups_console.calendar", "groups.view", order=20)
    navigation.add("groups", _l("Opening conditions"), "groups_console.opening", "groups.edit", order=90)
    views.offer("groups", "groups_console.index", "groups.view")
    places.init()
