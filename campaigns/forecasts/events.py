"""What the clocks tell themselves."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class BuyersChanged(Event):
    """An import changed the orders of these members, who are worked out together."""

    member_ids: list[int]
