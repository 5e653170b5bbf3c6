"""What tickets put on the console's first page."""

from __future__ import annotations

from flask import url_for

from kernel import today
from kernel.auth import current_staff, may
from kernel.i18n import gettext as _
from kernel.i18n import ngettext

from . import queries


def tasks() -> list[today.Task]:
    """Promises that are broken, tickets that nobody has, one's own, and parcels that are not back."""
    who = current_staff()
    if who is None or not may("tickets.view"):
        return []
    found, tallies = [], queries.tallies(who.id)
    if tallies.late:
        found.append(
            today.Task(
                weight=90,
                text=ngettext("%(num)s ticket is late", "%(num)s tickets are late", tallies.late),
                url=url_for("tickets_console.index", view="late"),
                action=_("Take care of it"),
                icon="alert-triangle",
                about=_("The customer was promised an answer by now."),
            )
        )
    if tallies.nobody:
        found.append(
            today.Task(
                weight=75,
                text=ngettext("%(num)s ticket is not assigned", "%(num)s tickets are not assigned", tallies.nobody),
                url=url_for("tickets_console.index", view="nobody"),
                action=_("Take one"),
                icon="inbox",
            )
        )
    if tallies.returns:
        found.append(
            today.Task(
                weight=60,
                text=ngettext(
                    "%(num)s returned parcel is not back in time",
                    "%(num)s returned parcels are not back in time",
                    tallies.returns,
                ),
                url=url_for("tickets_console.index", kind="return"),
                action=_("Ask where it is"),
                icon="truck",
            )
        )
    if tallies.mine:
        found.append(
            today.Task(
                weight=50,
                text=ngettext("%(num)s ticket is yours", "%(num)s tickets are yours", tallies.mine),
                url=url_for("tickets_console.index", view="mine"),
                action=_("Open my tickets"),
                icon="headset",
            )
        )
    return found


def init() -> None:
    """Register with the kernel's ports."""
    today.tasks.fill(tasks)
