"""What channels have under somebody's name, for a hand-over."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from kernel.staff.handover import Area, handover

from .models import ContactTask, TaskState


@handover.fill
def areas() -> list[Area]:
    """Messages that somebody has taken on to give to a member."""
    return [
        Area(
            "contact_tasks",
            _l("Contact tasks they have taken"),
            ContactTask.staff_id,
            lambda: [ContactTask.state == TaskState.OPEN],
            asks="tasks.handle",
            icon="send",
        )
    ]
