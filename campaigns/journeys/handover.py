"""What journeys have under somebody's name, for a hand-over."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from kernel.staff.handover import Area, handover

from .models import Journey


@handover.fill
def areas() -> list[Area]:
    """Every journey that somebody made, switched on or not; who published which version stays."""
    return [
        Area(
            "journeys",
            _l("Journeys and their drafts"),
            Journey.staff_id,
            list,
            asks="journeys.edit",
            icon="adjustments",
            waits=False,
        )
    ]
