"""What the room puts on the console's first page, and its sentences on a member's timeline."""

from __future__ import annotations

from typing import Any

from flask import url_for

from kernel import today
from kernel.auth import may
from kernel.events import describes
from kernel.i18n import gettext as _
from kernel.i18n import ngettext

from . import queries
from .events import MemberBanned, MemberSilenced


def tasks() -> list[today.Task]:
    """Texts that members wait to see, or have reported."""
    if not may("moderation.decide") or not (waiting := queries.open_cases()):
        return []
    return [
        today.Task(
            weight=60,
            text=ngettext("%(num)s text waits for a decision", "%(num)s texts wait for a decision", waiting),
            url=url_for("moderation_console.index"),
            action=_("Decide"),
            icon="flag",
        )
    ]


def silenced(_event: MemberSilenced) -> Any:
    return _("May not write for a while")


def banned(_event: MemberBanned) -> Any:
    return _("Taken out of all groups")


def init() -> None:
    """Register with the kernel's ports."""
    today.tasks.fill(tasks)
    describes(MemberSilenced)(silenced)
    describes(MemberBanned)(banned)
