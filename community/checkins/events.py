"""What other rooms may react to."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class MemberCheckedIn(Event):
    """A member checked in for the first time on a day."""

    member_id: int
    group_id: int
    streak: int
