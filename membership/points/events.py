"""What happens to points, as other rooms and programs hear of it. Files of orders publish none of these order by order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class PointsEarned(Event):
    """A member has been given points: by an order, an award or by hand. `kind` is a value of `models.Kind`; while
    `usable_from` lies ahead, or is not known (None and `pending`), they cannot be spent yet."""

    member_id: int
    transaction_id: int
    kind: str
    points: int
    source_type: str
    source_id: str
    pending: bool = False
    usable_from: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PointsSpent(Event):
    """A member has spent points; `kind` is `spend`, `redeem` or `adjust`."""

    member_id: int
    transaction_id: int
    kind: str
    points: int
    source_type: str
    source_id: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PointsReturned(Event):
    """Spent points have come back; `lost` of them had expired meanwhile."""

    member_id: int
    transaction_id: int
    points: int
    lost: int
    source_type: str
    source_id: str


@dataclass(frozen=True, kw_only=True)
class PointsExpired(Event):
    """Points of a member have lapsed."""

    member_id: int
    points: int


@dataclass(frozen=True, kw_only=True)
class PointsClawedBack(Event):
    """A refund has taken points back; `shortfall` of them were gone already and the next earn is netted by them."""

    member_id: int
    transaction_id: int
    order_id: int
    points: int
    shortfall: int


@dataclass(frozen=True, kw_only=True)
class PointsExpiring(Event):
    """A member has been told that points will lapse."""

    member_id: int
    points: int
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class RewardTaken(Event):
    """A member has taken a reward for points."""

    member_id: int
    redemption_id: int
    reward_id: int
    points: int


@dataclass(frozen=True, kw_only=True)
class ImportToEarn(Event):
    """A slice of an import's orders, `[first_id, last_id]`, whose points are to be booked."""

    run_id: int
    first_id: int
    last_id: int
