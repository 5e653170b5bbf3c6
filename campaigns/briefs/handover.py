"""What this room has under somebody's name, for a hand-over."""

from __future__ import annotations

from collections.abc import Sequence

from kernel.staff.handover import Area, Stays, handover

from .models import BriefCopy, BriefMail


@handover.fill
def areas() -> Sequence[Area | Stays]:
    """A habit of somebody, and what went to them."""
    return [
        Stays(BriefMail.staff_id, "When somebody reads their own brief; nothing goes to an account that is closed."),
        Stays(BriefCopy.staff_id, "Who was sent the brief."),
    ]
