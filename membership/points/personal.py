"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services import erasure
from membership.members.services.personal import Person, by, declare, mentioning, through

from . import services
from .models import (
    PointsAccount,
    PointsBatch,
    PointsEntry,
    PointsLot,
    PointsLotUse,
    PointsOrder,
    PointsProgram,
    PointsRedemption,
    PointsReward,
    PointsTransaction,
)

declare(
    PointsAccount,
    "id kind member_id origin_id shortfall overdrawn opened_at",
    rows=by(PointsAccount.member_id),
    label=_l("Points accounts"),
)
declare(
    PointsBatch,
    "id filename digest rows_in accepted duplicate rejected points staff_id at",
    "rejects",
    rows=mentioning(PointsBatch.rejects),
)
declare(
    PointsEntry,
    "id transaction_id account_id bucket amount",
)
declare(
    PointsLot,
    "id account_id transaction_id order_id original remaining state days activates_at expires_at noticed_at",
)
declare(
    PointsLotUse,
    "lot_id transaction_id amount returned",
)
declare(
    PointsOrder,
    "order_id account_id points step program_id multiplier",
)
declare(
    PointsProgram,
    "id enabled rate rounding pending_days lot_days notice_days clawback late reopen_days worth "
    "adjust_cap effective_from staff_id created_at",
)
declare(
    PointsRedemption,
    "id reward_id member_id token points transaction_id coupon_id claim_id at undone_at",
    "undone_reason",
    rows=by(PointsRedemption.member_id),
    label=_l("Rewards for points"),
    hidden="token",
)
declare(
    PointsReward,
    "id code name description points offer_id gift_id min_rank per_member active created_at",
)
declare(
    PointsTransaction,
    "id type account_id points missing source_type source_id reverses_id order_id staff_id at",
    "reason",
    rows=through(PointsTransaction.account_id, PointsAccount.id, PointsAccount.member_id),
    label=_l("Points"),
)


@erasure.forgetters.fill
def write_points_off(person: Person) -> None:
    """Points that nobody can spend any more are no liability."""
    services.write_off(person.ids)
