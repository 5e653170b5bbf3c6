"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from membership.members.services.personal import declare

from .models import LimitCounter

declare(
    LimitCounter,
    "limit_name window_name used",
    "subject",
    why="A number of the record, or a keyed hash of a phone that nobody can read back: a limit holds for "
    "whoever comes again.",
)
