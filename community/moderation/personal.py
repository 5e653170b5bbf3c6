"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services.personal import by, declare

from .models import Case, Complaint, Sanction, StopWord

declare(
    Case,
    "id kind subject_id group_id member_id reason word held state opened_at decided_at decided_by_id",
    "note",
    rows=by(Case.member_id),
    label=_l("Cases about what they wrote"),
)
declare(
    Complaint,
    "id case_id member_id ground at",
    "note",
    rows=by(Complaint.member_id),
    label=_l("What they reported"),
)
declare(
    Sanction,
    "id kind member_id group_id until staff_id at lifted_at lifted_by_id",
    "reason",
    rows=by(Sanction.member_id),
    label=_l("Silences and bans"),
)
declare(
    StopWord,
    "id word effect created_at",
)
