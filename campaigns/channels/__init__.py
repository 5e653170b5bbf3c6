"""Channels: inbox, e-mail; accounts and budgets."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Open the room."""
    from . import brief, console, deeds, handover, hooks, jobs, merging, models, personal, portal, restored, subscribers  # noqa: F401

    brief.init()
    app.register_blueprint(console.bp)
    app.register_blueprint(portal.bp)
    app.register_blueprint(hooks.bp)
    # Gateways, mail servers and WeCom have never seen a page of ours; their signature is the proof, where one is needed.
    app.extensions["csrf_protect"].exempt(hooks.bp)
    navigation.add("campaigns", _l("Channels"), "channels_console.index", "channels.view", order=30)
    navigation.add("campaigns", _l("Contact tasks"), "channels_console.tasks", "tasks.view", order=35)
