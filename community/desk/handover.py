"""What the desk has under somebody's name, for a hand-over."""

from __future__ import annotations

from flask import url_for

from kernel.i18n import lazy_gettext as _l
from kernel.staff.handover import Area, handover

from . import rules
from .models import CallTask, Script


@handover.fill
def areas() -> list[Area]:
    """Calls that are still to be made, due as it was promised, and scripts that somebody wrote for themselves."""
    return [
        Area(
            "calls",
            _l("Open call-backs"),
            CallTask.assignee_id,
            lambda: [CallTask.state.in_(rules.LIVE)],
            asks="calls.handle",
            icon="phone-call",
            address=lambda staff_id: url_for("desk_console.index", due="all", who=staff_id),
        ),
        Area(
            "scripts",
            _l("Scripts of their own"),
            Script.owner_id,
            list,
            asks="scripts.own",
            icon="note",
            waits=False,
        ),
    ]
