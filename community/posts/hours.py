"""When the members of groups look at posts, and which hours are suggested for the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Integer, cast, extract, func, select

from kernel import clock
from kernel.db import db

from . import queries, rules
from .models import Post, PostGroup, PostState, Reaction, ReactionKind

# The latest posts tell enough, and a group of five thousand members is read in a moment. Many groups share a number of posts,
# as the page asks again with every group that is ticked.
LATEST_POSTS, LATEST_IN_ALL, FEWEST_POSTS = 40, 200, 3


def looks(group_ids: Sequence[int]) -> rules.Looks:
    """What members of the groups looked at in the last eight weeks, of the latest forty posts of each; of fewer where the
    groups are many.

    A look is the hour in which a member saw posts for the first time: many posts read in one sitting are one look.
    """
    if not group_ids:
        return rules.Looks({}, 0, 0)
    now, most = clock.now(), min(LATEST_POSTS, max(FEWEST_POSTS, LATEST_IN_ALL // len(set(group_ids))))
    ranked = (
        select(
            PostGroup.post_id,
            PostGroup.group_id,
            func.row_number()
            .over(partition_by=PostGroup.group_id, order_by=PostGroup.published_at.desc())
            .label("place"),
        )
        .join(Post, Post.id == PostGroup.post_id)
        .where(
            PostGroup.group_id.in_(group_ids),
            PostGroup.published_at <= now,
            PostGroup.published_at > now - timedelta(weeks=rules.LOOKED_AT_WEEKS),
            Post.state.in_((PostState.SCHEDULED, PostState.PUBLISHED, PostState.ARCHIVED)),
            queries.was_shown(),
        )
        .subquery()
    )
    wall = func.timezone(str(clock.ZONE), Reaction.at)
    seen = (
        select(Reaction.member_id, Reaction.post_id, func.date_trunc("hour", wall).label("hour"))
        .join(ranked, (ranked.c.post_id == Reaction.post_id) & (ranked.c.group_id == Reaction.group_id))
        .where(ranked.c.place <= most, Reaction.kind == ReactionKind.SEEN)
        .cte("seen")
    )
    once = select(seen.c.member_id, seen.c.hour).distinct().subquery()
    hour_of_week: ColumnElement[int] = cast(
        (extract("isodow", once.c.hour) - 1) * 24 + extract("hour", once.c.hour), Integer
    )
    rows = db.session.execute(select(hour_of_week.label("at"), func.count()).group_by("at")).all()
    members, posts = db.session.execute(
        select(func.count(seen.c.member_id.distinct()), func.count(seen.c.post_id.distinct()))
    ).one()
    return rules.Looks({row.at: row[1] for row in rows}, members, posts)


@dataclass(frozen=True)
class Suggestion:
    """A window that is suggested, with the next instant at which it begins."""

    window: rules.Window
    at: datetime


@dataclass(frozen=True)
class Advice:
    """What is known of the best time: `best` is empty while too little was seen, or when all hours are alike."""

    looks: rules.Looks
    best: list[Suggestion]


def advice(group_ids: Sequence[int]) -> Advice:
    """The best times for the next post to these groups, with the numbers behind them."""
    found, now = looks(group_ids), clock.local(clock.now())
    return Advice(
        found,
        [
            Suggestion(
                window,
                clock.at(
                    now.date()
                    + timedelta(days=rules.next_day_of(window.weekday, window.hour, now.weekday(), now.hour)),
                    window.hour,
                ),
            )
            for window in rules.best_windows(found)
        ],
    )
