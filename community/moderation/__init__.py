"""Moderation: what members wrote and staff look at, silences and bans, and the words that stop a text."""

from __future__ import annotations

from flask import Flask

from community.groups import services as groups
from kernel import navigation
from kernel.i18n import lazy_gettext as _l
from kernel.ports import fill_slot


def init_app(app: Flask) -> None:
    """Load the room's tables, open its pages, and put its brief and its parts of other pages in place."""
    from . import brief, console, merging, models, personal, portal, services  # noqa: F401

    app.register_blueprint(console.bp)
    app.register_blueprint(portal.bp)
    fill_slot("member.side", order=65)(console.member_sanctions)
    navigation.add("groups", _l("Moderation"), "moderation_console.index", "moderation.view", order=40)
    groups.before_entering.fill(services.refuse_banned)
    brief.init()
