"""What other programs are told of points."""

from __future__ import annotations

from kernel.http import Instant, Strict
from kernel.i18n import lazy_gettext as _l
from kernel.webhooks import expose

from .events import PointsClawedBack, PointsEarned, PointsExpired, PointsExpiring, PointsReturned, PointsSpent
from .models import Kind


class PointsEarnedMessage(Strict):
    """`type` says how; while `pending` they cannot be spent yet."""

    transaction_id: int
    member_id: int
    type: Kind
    points: int
    source_type: str
    source_id: str
    pending: bool
    usable_from: Instant | None
    reason: str


class PointsSpentMessage(Strict):
    transaction_id: int
    member_id: int
    type: Kind
    points: int
    source_type: str
    source_id: str
    reason: str


class PointsReturnedMessage(Strict):
    """`lost` of the points had lapsed meanwhile."""

    transaction_id: int
    member_id: int
    points: int
    lost: int


class PointsClawedBackMessage(Strict):
    """`shortfall` could not be taken; the next earn is netted by it."""

    transaction_id: int
    member_id: int
    order_id: int
    points: int
    shortfall: int


class PointsExpiredMessage(Strict):
    member_id: int
    points: int


class PointsExpiringMessage(Strict):
    member_id: int
    points: int
    expires_at: Instant


def earned(event: PointsEarned) -> PointsEarnedMessage:
    return PointsEarnedMessage(
        transaction_id=event.transaction_id,
        member_id=event.member_id,
        type=Kind(event.kind),
        points=event.points,
        source_type=event.source_type,
        source_id=event.source_id,
        pending=event.pending,
        usable_from=event.usable_from,
        reason=event.reason,
    )


def spent(event: PointsSpent) -> PointsSpentMessage:
    return PointsSpentMessage(
        transaction_id=event.transaction_id,
        member_id=event.member_id,
        type=Kind(event.kind),
        points=event.points,
        source_type=event.source_type,
        source_id=event.source_id,
        reason=event.reason,
    )


expose(PointsEarned, "points.earned", earned, _l("A member has been given points."))
expose(PointsSpent, "points.spent", spent, _l("A member has spent points."))
expose(PointsReturned, "points.returned", PointsReturnedMessage, _l("Spent points have come back."))
expose(PointsClawedBack, "points.clawed_back", PointsClawedBackMessage, _l("A refund has taken points back."))
expose(PointsExpired, "points.expired", PointsExpiredMessage, _l("Points of a member have lapsed."))
expose(PointsExpiring, "points.expiring", PointsExpiringMessage, _l("A member has been told that points will lapse."))
