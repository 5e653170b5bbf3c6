"""Conversations: what members ask, and the inbox in which staff answer."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l
from kernel.ports import fill_slot


def init_app(app: Flask) -> None:
    """Load the room's tables and jobs, open its pages, and put its parts of other pages in place."""
    from . import brief, console, handover, jobs, merging, models, personal, portal, webhooks  # noqa: F401

    app.register_blueprint(console.bp)
    app.register_blueprint(portal.bp)
    fill_slot("member.side", order=56)(console.member_conversations)
    fill_slot("desk.results", order=10)(console.results)
    fill_slot("me.nav", order=65)(portal.my_row)
    fill_slot("group.welcome", order=10)(portal.render_cards)
    navigation.add("desk", _l("Conversations"), "conversations_console.index", "talks.view", order=2)
    brief.init()
