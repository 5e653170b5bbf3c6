"""Tickets: what customers want put right after the sale, and how the desk sees to it."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l
from kernel.ports import fill_slot


def init_app(app: Flask) -> None:
    """Load the room's tables, jobs and subscribers, open its pages, and put its parts of other pages in place."""
    from . import api, brief, console, handover, jobs, merging, models, personal, portal, subscribers, webhooks  # noqa: F401

    app.register_blueprint(console.bp)
    app.register_blueprint(portal.bp)
    app.register_blueprint(api.bp)
    fill_slot("member.actions", order=25)(console.member_button)
    fill_slot("member.side", order=55)(console.member_tickets)
    fill_slot("order.side", order=50)(console.order_button)
    fill_slot("call.actions", order=10)(console.call_button)
    fill_slot("me.nav", order=70)(portal.my_row)
    fill_slot("me.order", order=10)(portal.order_row)
    navigation.add("desk", _l("Tickets"), "tickets_console.index", "tickets.view", order=5)
    navigation.add("desk", _l("Saved answers"), "tickets_console.macros", "tickets.view", order=30)
    navigation.add("desk", _l("Hours and promises"), "tickets_console.desk_page", "tickets.view", order=40)
    navigation.add("desk", _l("Ticket steps"), "tickets_console.workflows", "tickets.view", order=42)
    navigation.add("results", _l("Desk"), "tickets_console.results", "tickets.view", order=20)
    brief.init()
