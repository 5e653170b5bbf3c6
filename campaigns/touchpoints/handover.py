"""What touchpoints have under somebody's name, for a hand-over."""

from __future__ import annotations

from flask import url_for

from kernel.i18n import lazy_gettext as _l
from kernel.staff.handover import Area, handover

from .models import Touchpoint


@handover.fill
def areas() -> list[Area]:
    """Touchpoints that somebody sees to."""
    return [
        Area(
            "touchpoints",
            _l("Touchpoints they see to"),
            Touchpoint.owner_id,
            list,
            asks="touchpoints.edit",
            icon="target",
            address=lambda staff_id: url_for("touchpoints_console.index"),
            waits=False,
        )
    ]
