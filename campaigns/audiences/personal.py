"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services.personal import by, declare

from .models import Audience, AudienceMember

declare(
    Audience,
    "id name definition frozen source filename frozen_at refresh_asked_at people estimated counted_at staff_id created_at "
    "changed_at archived_at",
)
declare(
    AudienceMember,
    "audience_id member_id",
    rows=by(AudienceMember.member_id),
    label=_l("Audiences"),
    drop=True,
)
