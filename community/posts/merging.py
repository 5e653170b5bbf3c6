"""How a merge brings along what a person saw, liked, clicked and voted, once each, and what they wrote."""

from __future__ import annotations

from sqlalchemy import select, tuple_

from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import Comment, PollOption, PollVote, Post, PostGroup, Reaction, ReactionKind

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


@merge.follower(Comment.member_id)
def follow_comments(merging: merge.Merging) -> None:
    merging.repoint(Comment.member_id, label=_l("Comments"))


@merge.follower(Post.member_id)
def follow_posts(merging: merge.Merging) -> None:
    merging.repoint(Post.member_id, label=_l("Posts of theirs"))


@merge.follower(PollVote.member_id)
def follow_votes(merging: merge.Merging) -> None:
    """Who voted under both records voted once: the survivor's choice stands, the other's is taken out of the count."""
    votes, options = PollVote.__table__, PollOption.__table__
    polls = select(options.c.post_id).join(votes, votes.c.option_id == options.c.id)
    voted = polls.where(votes.c.member_id == merging.survivor)
    spare = select(options.c.id).where(options.c.post_id.in_(voted))
    gone = votes.c.member_id == merging.absorbed, votes.c.option_id.in_(spare)
    for option_id in db.session.scalars(select(votes.c.option_id).where(*gone).order_by(votes.c.option_id)).all():
        merging.add_to(PollOption.votes, {"id": option_id}, -1)
    with merging.watching(PollVote, votes.c.member_id == merging.absorbed):
        db.session.execute(votes.delete().where(*gone))
    merging.repoint(PollVote.member_id, label=_l("Votes"))
