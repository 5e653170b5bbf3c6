"""What members do with a post without a word: see it, like it, follow its link. Each counts once a member."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import clock
from kernel.db import changed, db
from kernel.errors import NotFound
from kernel.events import publish

from .. import queries
from ..events import PostClicked
from ..models import Post, PostGroup, PostState, Reaction, ReactionKind

# Who saw a post in its first weeks saw it; later orders are not looked for any more.
ORDERS_LOOKED_FOR = timedelta(days=60)


def _count(group_id: int, member_id: int, post_ids: Sequence[int], kind: ReactionKind) -> list[int]:
    """Count a reaction once a member; returns the posts for which it was the first."""
    wanted = sorted(set(post_ids))
    if not wanted:
        return []
    # The counters are locked in one order before anything else, so that two phones never wait for each other.
    shown = list(
        db.session.scalars(
            select(PostGroup.post_id)
            .join(Post, Post.id == PostGroup.post_id)
            .where(
                PostGroup.group_id == group_id,
                PostGroup.post_id.in_(wanted),
                PostGroup.published_at <= clock.now(),
                Post.state.in_((PostState.SCHEDULED, PostState.PUBLISHED)),
                ~select(Reaction.id)
                .where(
                    Reaction.post_id == PostGroup.post_id,
                    Reaction.group_id == PostGroup.group_id,
                    Reaction.member_id == member_id,
                    Reaction.kind == kind,
                )
                .exists(),
            )
            .order_by(PostGroup.post_id)
            .with_for_update(of=PostGroup)
        )
    )
    if not shown:
        return []
    now = clock.now()
    fresh = list(
        db.session.scalars(
            insert(Reaction)
            .values(
                [
                    {"post_id": post_id, "group_id": group_id, "member_id": member_id, "kind": kind, "at": now}
                    for post_id in shown
                ]
            )
            .on_conflict_do_nothing()
            .returning(Reaction.post_id)
        )
    )
    if fresh:
        column = getattr(PostGroup, kind.value)
        db.session.execute(
            update(PostGroup)
            .where(PostGroup.group_id == group_id, PostGroup.post_id.in_(fresh))
            .values({column: column + 1})
            .execution_options(synchronize_session=False)
        )
    return fresh


def see(group_id: int, member_id: int, post_ids: Sequence[int]) -> int:
    """Record that the member has seen these posts in the group; returns how many were new to them."""
    return len(_count(group_id, member_id, post_ids, ReactionKind.SEEN))


def like(post_id: int, group_id: int, member_id: int, liked: bool) -> None:
    """Like a post, or take the like back; saying the same twice changes nothing. Refuses with `NotFound` what is not shown."""
    if queries.shown_in(post_id, group_id, clock.now()) is None:
        raise NotFound
    if liked:
        see(group_id, member_id, [post_id])
        _count(group_id, member_id, [post_id], ReactionKind.LIKED)
        return
    gone = db.session.execute(
        delete(Reaction).where(
            Reaction.post_id == post_id,
            Reaction.group_id == group_id,
            Reaction.member_id == member_id,
            Reaction.kind == ReactionKind.LIKED,
        )
    )
    if changed(gone):
        db.session.execute(
            update(PostGroup)
            .where(PostGroup.post_id == post_id, PostGroup.group_id == group_id)
            .values(liked=func.greatest(PostGroup.liked - 1, 0))
            .execution_options(synchronize_session=False)
        )


def click(post_id: int, group_id: int, member_id: int) -> None:
    """Record that the member followed the post's link; the first time is published as `PostClicked`."""
    see(group_id, member_id, [post_id])
    if _count(group_id, member_id, [post_id], ReactionKind.CLICKED):
        publish(PostClicked(member_id=member_id, post_id=post_id, group_id=group_id))


def recent_posts() -> list[int]:
    """The posts shown in the last sixty days, for which orders are still counted, in order."""
    now = clock.now()
    return list(
        db.session.scalars(
            select(PostGroup.post_id)
            .join(Post, Post.id == PostGroup.post_id)
            .where(
                PostGroup.published_at <= now,
                PostGroup.published_at > now - ORDERS_LOOKED_FOR,
                queries.was_shown(),
            )
            .distinct()
            .order_by(PostGroup.post_id)
        )
    )


def count_orders(post_ids: Sequence[int]) -> int:
    """Count anew who ordered within five days after they saw these posts; returns in how many places that changed.

    Read first and written one after the other in the order in which likes lock them, so that no phone waits for the counting.
    """
    fresh = queries.bought_after(post_ids)
    for (post_id, group_id), number in sorted(fresh.items()):
        db.session.execute(
            update(PostGroup)
            .where(PostGroup.post_id == post_id, PostGroup.group_id == group_id)
            .values(bought=number)
            .execution_options(synchronize_session=False)
        )
    return len(fresh)
