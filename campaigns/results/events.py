"""What members do with messages."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class ImportToCredit(Event):
    """A slice of an import's orders, `[first_id, last_id]`, to be credited to what led to them."""

    run_id: int
    first_id: int
    last_id: int


@dataclass(frozen=True, kw_only=True)
class LinkFollowed(Event):
    """A member opened the link of a push's message; visits within ten minutes of one another are one."""

    member_id: int
    run_id: int
    push_id: int
    target: str
