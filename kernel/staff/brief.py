"""What the staff put on the console's first page: work that is left with somebody who cannot do it."""

from __future__ import annotations

from flask import url_for

from .. import today
from ..auth import may
from ..i18n import gettext as _
from ..i18n import ngettext
from . import handover, services
from .models import Staff


def tasks() -> list[today.Task]:
    """One task a person who is gone, or may not do it any more, and still has work; three at most, who has the most first."""
    if not may("staff.hand_over"):
        return []
    left = sorted(handover.left_behind().items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    people = {person.id: person for person in services.everyone()} if left else {}
    return [
        today.Task(
            weight=75,
            text=_left(people[staff_id], count),
            url=url_for("staff_console.hand_over", staff_id=staff_id),
            action=_("Hand the work over"),
            icon="users",
        )
        for staff_id, count in left
    ]


def _left(person: Staff, count: int) -> str:
    if person.disabled_at is None:
        return ngettext(
            "%(num)s piece of work is with %(name)s, whose role does not allow it",
            "%(num)s pieces of work are with %(name)s, whose role does not allow it",
            count,
            name=person.name,
        )
    return ngettext(
        "%(num)s piece of work is still with %(name)s, who cannot sign in",
        "%(num)s pieces of work are still with %(name)s, who cannot sign in",
        count,
        name=person.name,
    )


def init() -> None:
    """Register with the kernel's port."""
    today.tasks.fill(tasks)
