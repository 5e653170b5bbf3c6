"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services.personal import by, declare

from .models import Delivery, Push, Run, Slice, Target

declare(
    Delivery,
    "id run_id member_id slice_number state reason attempts not_before contacted_on variant consent_id coupon_id "
    "accepted_at clicked_at delivered_at undelivered_at",
    "provider_id",
    rows=by(Delivery.member_id),
    label=_l("Messages of pushes"),
)
declare(
    Push,
    "id name origin contact_class account_id audience subject body subject_en body_en variants sample_percent "
    "winner_after_hours control_percent link_url offer_id coupon_mode rate_per_second stop_when_bought "
    "attribution_days priority usual_hour life_hours rrule stopped_at utm cards staff_id changed_by "
    "copied_from_id created_at",
)
declare(
    Run,
    "id push_id occurrence state scheduled_at expires_at cursor through_id slices planned tokens "
    "tokens_at woken_at started_at bought_since finished_at failure tally listed asked_by approved_by "
    "approved_at decide_at winner best_hour terms",
)
declare(
    Target,
    "run_id member_id",
    rows=by(Target.member_id),
    label=_l("Lists of pushes"),
)
declare(
    Slice,
    "id run_id number from_member to_member state token leased_until due_at total accepted unsent unknown assigned",
)
