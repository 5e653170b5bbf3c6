"""How a merge brings tickets along: of two for one draw the one that has won stays, else the one that is on the list, else the
survivor's.

The frozen list of a draw is its own and keeps both: what it hashes to was shown.
"""

from __future__ import annotations

from sqlalchemy import and_, exists, or_, select

from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import LotteryEntry


@merge.follower(LotteryEntry.member_id)
def follow_entries(merging: merge.Merging) -> None:
    rows = LotteryEntry.__table__
    theirs = rows.c.member_id.in_(merging.pair)
    # A draw that is under way holds its tickets: only after it can be seen which of them has won.
    undrawn = select(rows.c.id).where(theirs, rows.c.place.is_(None))
    db.session.execute(undrawn.order_by(rows.c.id).with_for_update())
    other = rows.alias("other")
    better = or_(other.c.place.is_not(None), and_(rows.c.left_out, ~other.c.left_out))
    has_better = exists().where(other.c.member_id == merging.absorbed, other.c.lottery_id == rows.c.lottery_id, better)
    with merging.watching(LotteryEntry, theirs):
        db.session.execute(
            rows.delete().where(rows.c.member_id == merging.survivor, rows.c.place.is_(None), has_better)
        )
    merging.join(LotteryEntry.member_id, LotteryEntry.lottery_id, label=_l("Tickets of draws"))
