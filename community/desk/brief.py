"""What the desk puts on the console's first page."""

from __future__ import annotations

from datetime import timedelta

from flask import url_for

from kernel import clock, today
from kernel.auth import current_staff, may
from kernel.i18n import gettext as _
from kernel.i18n import ngettext

from . import queries

WEEK = timedelta(days=7)


def tasks() -> list[today.Task]:
    """Calls that should have been made, and calls of today."""
    who = current_staff()
    if who is None or not may("calls.view"):
        return []
    found = []
    due, overdue = queries.waiting()
    if overdue:
        found.append(
            today.Task(
                weight=80,
                text=ngettext("%(num)s call-back is overdue", "%(num)s call-backs are overdue", overdue),
                url=url_for("desk_console.index", due="overdue"),
                action=_("Call now"),
                icon="phone-call",
                about=_("These customers expected to hear from the shop before today."),
            )
        )
    if due:
        mine = queries.of_staff(who.id)
        found.append(
            today.Task(
                weight=70,
                text=ngettext("%(num)s call-back today", "%(num)s call-backs today", due),
                url=url_for("desk_console.index"),
                action=_("See the calls"),
                icon="headset",
                about=ngettext("%(num)s of them is yours", "%(num)s of them are yours", mine) if mine else "",
            )
        )
    return found


def numbers() -> list[today.Number]:
    """Members who placed their second order."""
    if not may("orders.view"):
        return []
    now = clock.now()
    this, before = queries.second_orders(now - 2 * WEEK, now - WEEK, now)
    return [
        today.Number(
            label=_("Second orders"), value=this, before=before, url=url_for("desk_console.funnel"), position=3
        )
    ]


def init() -> None:
    """Register with the kernel's ports."""
    today.tasks.fill(tasks)
    today.numbers.fill(numbers)
