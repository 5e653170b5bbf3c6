"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services.personal import by, declare

from .models import MemberTier, TierChange, TierDraft, TierDraftMember, TierPolicy, TierWarning

declare(
    MemberTier,
    "member_id rank since own_rank valid_until backed_at spend orders manual_rank manual_until policy_id "
    "reviewed_at falls_at falls_to keep_spend keep_orders manual_staff_id manual_at",
    "manual_reason",
    rows=by(MemberTier.member_id),
    label=_l("Tier"),
    drop=True,
)
declare(
    TierChange,
    "id member_id from_rank to_rank reason spend orders policy_id staff_id at",
    rows=by(TierChange.member_id),
    label=_l("Changes of the tier"),
)
declare(
    TierDraft,
    "id name terms staff_id created_at updated_at policy_id state run compared_id started_at finished_at "
    "worked_at cursor done total result",
)
declare(
    TierDraftMember,
    "draft_id member_id from_rank to_rank spend falls_at falls_to falls_anyway",
    rows=by(TierDraftMember.member_id),
    drop=True,
)
declare(
    TierPolicy,
    "id metric window rolling_days valid_days grace_days downgrade refund_effect birthday_days levels "
    "note staff_id created_at",
)
declare(
    TierWarning,
    "member_id valid_until days told_at",
    rows=by(TierWarning.member_id),
    drop=True,
)
