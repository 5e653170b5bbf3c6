"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services.personal import by, declare

from .models import BenefitGrant, BenefitRound

declare(
    BenefitGrant,
    "id member_id benefit rank period state given_rank offer_id gift_id coupon_id claim_id at",
    rows=by(BenefitGrant.member_id),
    label=_l("Benefits of the tier"),
)
declare(
    BenefitRound,
    "period policy_id cursor total given missed started_at finished_at",
)
