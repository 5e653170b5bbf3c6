"""How a merge brings reports and sanctions along: what was decided about either record holds for the person."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import Case, Complaint, Sanction


@merge.follower(Case.member_id)
def follow_cases(merging: merge.Merging) -> None:
    merging.repoint(Case.member_id, label=_l("Cases about what they wrote"))


@merge.follower(Complaint.member_id)
def follow_complaints(merging: merge.Merging) -> None:
    merging.join(Complaint.member_id, Complaint.case_id, label=_l("What they reported"))


@merge.follower(Sanction.member_id)
def follow_sanctions(merging: merge.Merging) -> None:
    merging.repoint(Sanction.member_id, label=_l("Silences and bans"))
