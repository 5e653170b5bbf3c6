"""How a merge brings a person's points along: the account changes its owner, the ledger stays as it is."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import PointsAccount, PointsRedemption


@merge.follower(PointsAccount.member_id, PointsRedemption.member_id)
def follow_points(merging: merge.Merging) -> None:
    merging.repoint(PointsAccount.member_id, label=_l("Points accounts"))
    merging.repoint(PointsRedemption.member_id)
