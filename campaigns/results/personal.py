"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services.personal import by, declare

from .models import Attribution, Click, ReportCopy, ReportPlan

declare(
    Attribution,
    "id order_id run_id member_id kind at",
    rows=by(Attribution.member_id),
    label=_l("Orders that a push led to"),
)
declare(
    Click,
    "id delivery_id run_id member_id target at",
    rows=by(Click.member_id),
    label=_l("Clicks"),
)
# These are about staff and name no member.
declare(ReportPlan, "id name rhythm account_id locale staff_ids paused_at staff_id created_at")
declare(ReportCopy, "plan_id period staff_id state attempts retry_at failure changed_at")
