"""What happens to tiers."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class TierChanged(Event):
    """A member has another rank (0 is below VIP1). `reason` is a value of `rules.Why`."""

    member_id: int
    from_rank: int
    to_rank: int
    reason: str
