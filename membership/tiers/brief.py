"""What tiers put on the console's first page."""

from __future__ import annotations

from flask import url_for

from kernel import today
from kernel.auth import may
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.today import Running, Task

from . import queries
from .models import SimulationState


@today.tasks.fill
def tasks() -> list[Task]:
    """Tiers that fall within a week: the last moment to win the next order by them."""
    if not may("tiers.view"):
        return []
    falling = queries.falls_within(7)
    if not falling:
        return []
    return [
        Task(
            58,
            ngettext("%(num)s member loses a tier within 7 days", "%(num)s members lose a tier within 7 days", falling),
            url_for("tiers_console.falls", days=7),
            _("See who"),
            "crown",
            _("An order in time keeps it; the list says what is missing for each."),
        )
    ]


@today.running.fill
def running() -> list[Running]:
    """Drafts that are being tried."""
    if not may("tiers.view"):
        return []
    return [
        Running(one.name, url_for("tiers_console.draft", draft_id=one.id), one.done, one.total, _("Being tried"))
        for one in queries.open_drafts(20)
        if one.state is SimulationState.RUNNING
    ]
