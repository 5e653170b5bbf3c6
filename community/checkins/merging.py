"""How a merge brings check-ins along: a day on which both records checked in is one day."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import CheckIn


@merge.follower(CheckIn.member_id)
def follow_check_ins(merging: merge.Merging) -> None:
    merging.join(CheckIn.member_id, CheckIn.on, label=_l("Check-ins"))
