"""What members do with messages."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class LinkFollowed(Event):
    """A member opened the link of a push's message; visits within ten minutes of one another are one."""

    member_id: int
    run_id: int
    push_id: int
    target: str
