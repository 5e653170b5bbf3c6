"""What groups have under somebody's name, for a hand-over."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from kernel.staff.handover import Area, Stays, handover

from .models import Drift, Group, GroupState, JoinLink

# A group that is over keeps the name of whoever ran it.
RUNNING = (GroupState.DRAFT, GroupState.WARM_UP, GroupState.OPEN, GroupState.PAUSED)


@handover.fill
def areas() -> list[Area | Stays]:
    """Groups that run or are prepared, and links that still let people in."""
    return [
        Area(
            "groups",
            _l("Groups they run"),
            Group.owner_id,
            lambda: [Group.state.in_(RUNNING)],
            asks="groups.edit",
            icon="messages",
            waits=False,
        ),
        Area(
            "join_links",
            _l("Invitation links and posters"),
            JoinLink.staff_id,
            lambda: [JoinLink.revoked_at.is_(None)],
            asks="groups.invite",
            icon="link",
            note=_l(
                "Who came by them so far goes on counting for the one who invited; who comes from now on counts for the other."
            ),
            waits=False,
        ),
        Stays(Drift.staff_id, "Who decided about somebody who no longer qualified."),
    ]
