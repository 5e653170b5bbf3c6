"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services.personal import by, declare

from .models import Delivery, Push, Run, Slice

declare(
    Delivery,
    "id run_id member_id slice_number state reason attempts not_before contacted_on coupon_id accepted_at clicked_at",
    "provider_id",
    rows=by(Delivery.member_id),
    label=_l("Messages of pushes"),
)
declare(
    Push,
    "id name contact_class account_id audience subject body link_url offer_id coupon_mode rate_per_second "
    "stop_when_bought attribution_days staff_id created_at",
)
declare(
    Run,
    "id push_id occurrence state scheduled_at expires_at cursor through_id slices planned tokens "
    "tokens_at woken_at started_at bought_since finished_at failure tally",
)
declare(
    Slice,
    "id run_id number from_member to_member state token leased_until due_at total accepted unsent unknown",
)
