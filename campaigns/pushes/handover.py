"""What pushes have under somebody's name, for a hand-over."""

from __future__ import annotations

from sqlalchemy import and_, or_, select

from kernel.i18n import lazy_gettext as _l
from kernel.staff.handover import Area, handover

from .models import Origin, Push, Run, RunState

AHEAD = (RunState.DRAFT, RunState.APPROVAL, RunState.SCHEDULED)


@handover.fill
def areas() -> list[Area]:
    """Pushes that have not begun, and those that repeat.

    Who wrote the words last and who asked for approval stays, so that nobody approves what they wrote before it was handed over.
    """
    ahead = select(Run.id).where(Run.push_id == Push.id, Run.state.in_(AHEAD)).exists()
    repeats = and_(Push.rrule.is_not(None), Push.stopped_at.is_(None))
    return [
        Area(
            "pushes",
            _l("Drafts of pushes and scheduled ones"),
            Push.staff_id,
            lambda: [Push.origin == Origin.MARKETER, or_(ahead, repeats)],
            asks="pushes.edit",
            icon="send",
            waits=False,
        )
    ]
