"""Results: clicks, attribution, hold-outs, and the reports on them."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Open the room."""
    from . import brief, console, deeds, jobs, merging, models, personal, portal, restored, subscribers  # noqa: F401

    app.register_blueprint(console.bp)
    app.register_blueprint(portal.bp)
    navigation.add("results", _l("What pushes brought"), "results_console.index", "results.view", order=40)
