"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services.personal import by, declare

from .models import CheckIn

declare(
    CheckIn,
    "member_id on group_id streak points at",
    rows=by(CheckIn.member_id),
    label=_l("Check-ins"),
)
