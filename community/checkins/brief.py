"""The room's sentence on a member's timeline."""

from __future__ import annotations

from typing import Any

from kernel.events import describes
from kernel.i18n import ngettext

from .events import MemberCheckedIn


def checked_in(event: MemberCheckedIn) -> Any:
    return ngettext("Checked in, %(num)s day in a row", "Checked in, %(num)s days in a row", event.streak)


def init() -> None:
    """Register with the kernel's ports."""
    describes(MemberCheckedIn)(checked_in)
