"""The desk: call-backs and scripts."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l
from kernel.ports import fill_slot


def init_app(app: Flask) -> None:
    """Load the room's tables and subscribers, open its pages, and put its brief and its parts of other pages in place."""
    from . import brief, console, handover, merging, models, personal, subscribers  # noqa: F401

    app.register_blueprint(console.bp)
    fill_slot("member.actions", order=20)(console.member_button)
    fill_slot("member.side", order=60)(console.member_calls)
    navigation.add("desk", _l("Call-backs"), "desk_console.index", "calls.view", order=10)
    navigation.add("desk", _l("Scripts"), "desk_console.scripts", "calls.view", order=20)
    navigation.add("results", _l("After-sale funnel"), "desk_console.funnel", "calls.view", order=10)
    brief.init()
