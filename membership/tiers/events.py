"""What happens to tiers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class TierChanged(Event):
    """A member has another rank (0 is below VIP1). `reason` is a value of `rules.Why`."""

    member_id: int
    from_rank: int
    to_rank: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class TierFallAnnounced(Event):
    """A member was told, `days` days ahead, that their rank falls at `falls_at` if nothing more is bought."""

    member_id: int
    from_rank: int
    to_rank: int
    falls_at: datetime
    days: int
