"""What the staff put on the console's first page: work that is left with somebody who cannot sign in."""

from __future__ import annotations

from flask import url_for

from .. import today
from ..auth import may
from ..i18n import gettext as _
from ..i18n import ngettext
from . import handover, services


def tasks() -> list[today.Task]:
    """One task a person who is gone and still has work; three at most, who has the most first."""
    if not may("staff.hand_over"):
        return []
    left = sorted(handover.left_behind().items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    names = services.names([staff_id for staff_id, _count in left])
    return [
        today.Task(
            weight=75,
            text=ngettext(
                "%(num)d piece of work is still with %(name)s, who cannot sign in",
                "%(num)d pieces of work are still with %(name)s, who cannot sign in",
                count,
                name=names.get(staff_id, "–"),
            ),
            url=url_for("staff_console.hand_over", staff_id=staff_id),
            action=_("Hand the work over"),
            icon="users",
        )
        for staff_id, count in left
    ]


def init() -> None:
    """Register with the kernel's port."""
    today.tasks.fill(tasks)
