"""How a merge brings along what a person saw, liked and clicked; who did it under both records did it once."""

from __future__ import annotations

from sqlalchemy import tuple_

from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import PostGroup, Reaction, ReactionKind

COUNTERS = {
    ReactionKind.SEEN: PostGroup.seen,
    ReactionKind.LIKED: PostGroup.liked,
    ReactionKind.CLICKED: PostGroup.clicked,
}


@merge.follower(Reaction.member_id)
def follow_reactions(merging: merge.Merging) -> None:
    rows = Reaction.__table__
    own = rows.select().with_only_columns(rows.c.post_id, rows.c.group_id, rows.c.kind)
    twice = db.session.execute(
        own.where(
            rows.c.member_id == merging.absorbed,
            tuple_(rows.c.post_id, rows.c.group_id, rows.c.kind).in_(own.where(rows.c.member_id == merging.survivor)),
        ).order_by(rows.c.post_id, rows.c.group_id, rows.c.kind)
    ).all()
    for post_id, group_id, kind in twice:
        merging.add_to(COUNTERS[ReactionKind(kind)], {"post_id": post_id, "group_id": group_id}, -1)
    merging.join(
        Reaction.member_id, Reaction.post_id, Reaction.group_id, Reaction.kind, label=_l("What they did with posts")
    )
