"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services import erasure
from membership.members.services.personal import Person, by, declare, mentioning, through

from . import services
from .models import (
    ClaimLink,
    CodePool,
    Coupon,
    CouponClearance,
    CouponEvent,
    CouponTransfer,
    GrantRun,
    Offer,
    OfferVersion,
    PoolCode,
    Redemption,
)

declare(
    ClaimLink,
    "id token offer_id name revoked_at created_at",
)
declare(
    CodePool,
    "id offer_id name kind prefix length group_length total done accepted rejects finished_at closed_at created_at",
    "body",
    why="Codes that were read in from a file, no people.",
)
declare(
    Coupon,
    "id offer_id version_id member_id code state ordinal grant_key source usable_from usable_until "
    "issued_at reserved_source reserved_order reserved_until redeemed_at reminded_at parent_id",
    "network device",
    rows=by(Coupon.member_id),
    label=_l("Coupons"),
    hidden="network device",
)
declare(
    CouponClearance,
    "coupon_id staff_id at",
)
declare(
    CouponEvent,
    "id coupon_id from_state to_state at",
    "detail reason",
    rows=through(CouponEvent.coupon_id, Coupon.id, Coupon.member_id),
    label=_l("What happened to coupons"),
    why="The state of a coupon is the fold of these; they name ids and steps.",
)
declare(
    CouponTransfer,
    "id coupon_id from_member_id state created_at expires_at ended_at to_member_id new_coupon_id",
    rows=by(CouponTransfer.from_member_id, CouponTransfer.to_member_id),
    label=_l("Coupons given to a friend"),
)
declare(
    GrantRun,
    "id offer_id name members total done granted had_already without form_key finished_at staff_id created_at",
    "rejects",
    rows=mentioning(GrantRun.rejects),
)
declare(
    Offer,
    "id name state version_id stock claimed per_member per_day claimed_on claimed_today claim_from "
    "claim_until open_to_new budget per_person per_group remind_hours archived_at form_key created_at",
)
declare(
    OfferVersion,
    "id offer_id number kind value discount_cap min_spend skus item_title usable_from usable_until "
    "valid_days min_rank group_id channels stack_group exclusive priority with_tier transferable terms "
    "created_at",
)
declare(
    PoolCode,
    "id pool_id code coupon_id",
)
declare(
    Redemption,
    "id coupon_id offer_id source order_external_id amount discount shares tier_discount tier_postage redeemed_at",
    "rolled_back_at rollback_reason",
    rows=through(Redemption.coupon_id, Coupon.id, Coupon.member_id),
    label=_l("Coupons that were used"),
)


@erasure.forgetters.fill
def take_coupons_back(person: Person) -> None:
    """Coupons that nobody can use any more are no liability; what was on its way to a friend is called back with them."""
    services.cancel_all_of(person.ids)
    services.revoke_all_of(person.ids, "erased")
