"""How a merge brings clicks and attributed orders along."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import Attribution, Click


@merge.follower(Click.member_id, Attribution.member_id)
def follow_results(merging: merge.Merging) -> None:
    merging.repoint(Click.member_id, label=_l("Clicks"))
    merging.repoint(Attribution.member_id)
