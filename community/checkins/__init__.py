"""Daily check-ins with streaks."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l
from kernel.ports import fill_slot


def init_app(app: Flask) -> None:
    """Load the room's table, open its pages, and put its strip on the groups' pages."""
    from . import brief, console, merging, models, personal, portal  # noqa: F401

    app.register_blueprint(console.bp)
    app.register_blueprint(portal.bp)
    fill_slot("group.page", order=20)(portal.render_strip)
    navigation.add("groups", _l("Daily check-in"), "checkins_console.index", "posts.view", order=35)
    brief.init()
