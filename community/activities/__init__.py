"""Activities of a group: draws that anybody can check, flash sales, group prices."""

from __future__ import annotations

from flask import Flask

from community.groups import services as groups
from kernel import navigation
from kernel.i18n import lazy_gettext as _l
from kernel.ports import fill_slot


def init_app(app: Flask) -> None:
    """Load the room's tables and jobs, open its pages, and put its strips and its tab in their places."""
    from . import brief, console, jobs, merging, models, personal, portal, queries, subscribers  # noqa: F401

    app.register_blueprint(console.bp)
    app.register_blueprint(portal.bp)
    fill_slot("group.page", order=1)(portal.render_strips)
    fill_slot("group.tabs", order=20)(console.lists.group_tab)
    groups.shown_apart.fill(queries.offers_shown)
    navigation.add("groups", _l("Draws and sales"), "activities_console.index", "activities.view", order=30)
    brief.init()
