"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from sqlalchemy import select

from kernel import clock
from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import erasure
from membership.members.services.personal import Person, by, declare

from . import services
from .models import Gift, GiftClaim, GiftCode, GiftState
from .rules import GIVEN_BACK, TRANSITIONS

declare(
    Gift,
    "id name kind description picture stock value claim_days active created_at",
)
declare(
    GiftClaim,
    "id gift_id member_id state benefit period group_id carrier offered_at claimed_at claim_until "
    "queued_at shipped_at delivered_at closed_at reminded_at",
    "recipient phone address tracking_number content reason",
    rows=by(GiftClaim.member_id),
    label=_l("Gifts"),
)
declare(
    GiftCode,
    "id gift_id code claim_id added_at handed_out_at",
)


@erasure.forgetters.fill
def call_gifts_off(person: Person) -> None:
    """What has not been sent is called off, its piece back in stock; what is out or has arrived stays counted."""
    claims = db.session.scalars(
        select(GiftClaim)
        .where(GiftClaim.member_id.in_(person.ids), GiftClaim.state.not_in(GIVEN_BACK))
        .order_by(GiftClaim.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for claim in claims:
        if (claim.state, GiftState.CANCELLED) in TRANSITIONS:
            services.move(claim, GiftState.CANCELLED, closed_at=clock.now())
