"""Answers: what the shop knows, the bot that finds it, and how it learns."""

from __future__ import annotations

from flask import Flask

from community.conversations import ports
from kernel import navigation
from kernel.i18n import lazy_gettext as _l
from kernel.ports import fill_slot


def init_app(app: Flask) -> None:
    """Load the room's tables, jobs and subscribers, open its pages, and answer what conversations ask."""
    from . import api, console, jobs, merging, models, personal, portal, services, subscribers  # noqa: F401

    app.register_blueprint(console.bp)
    app.register_blueprint(portal.bp)
    app.register_blueprint(api.bp)
    fill_slot("me.nav", order=75)(portal.my_row)
    ports.answer.fill(services.answer)
    ports.welcome.fill(services.welcome)
    ports.suggest.fill(services.suggestions)
    navigation.add("desk", _l("FAQ"), "answers_console.index", "answers.view", order=35)
