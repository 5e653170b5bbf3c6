"""How a merge brings the lists of frozen audiences along: whoever was on one stays on it once."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import AudienceMember


@merge.follower(AudienceMember.member_id)
def follow_lists(merging: merge.Merging) -> None:
    """A list that both are on is kept once."""
    merging.join(AudienceMember.member_id, AudienceMember.audience_id, label=_l("Audiences"))
