"""Tiers VIP1–VIP4: rules, history, explanation."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Load the room's tables, jobs and subscribers, and open its pages."""
    from . import api, brief, console, events, jobs, labels, merging, models, personal, portal, subscribers, webhooks  # noqa: F401

    app.register_blueprint(console.bp)
    app.register_blueprint(api.bp)
    app.register_blueprint(portal.bp)
    navigation.add("members", _l("Tiers"), "tiers_console.index", "tiers.view", order=40)
