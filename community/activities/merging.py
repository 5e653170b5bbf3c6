"""How a merge brings tickets along: of two for one draw the one that has won stays, else the survivor's.

The frozen list of a draw is its own and keeps both: what it hashes to was shown.
"""

from __future__ import annotations

from sqlalchemy import select

from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import LotteryEntry


@merge.follower(LotteryEntry.member_id)
def follow_entries(merging: merge.Merging) -> None:
    rows = LotteryEntry.__table__
    won = select(rows.c.lottery_id).where(rows.c.member_id == merging.absorbed, rows.c.place.is_not(None))
    spare = rows.c.member_id == merging.survivor, rows.c.place.is_(None), rows.c.lottery_id.in_(won)
    with merging.watching(LotteryEntry, rows.c.member_id.in_(merging.pair)):
        db.session.execute(rows.delete().where(*spare))
    merging.join(LotteryEntry.member_id, LotteryEntry.lottery_id, label=_l("Tickets of draws"))
