"""Posts that members write, and what members of a group may write at all."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

from community.groups import services as groups
from community.moderation import services as moderation
from community.moderation.models import CaseReason
from community.moderation.rules import Ruling
from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l

from .. import queries, rules
from ..events import MemberPosted
from ..models import GroupVoice, MemberPosts, Post, PostGroup, PostKind, PostState
from .comments import body_of, take_turn

KIND = "post"


class ContributionsClosed(Refusal):
    status = 403
    label = _l("In this group the shop writes the posts. You can comment on them.")


def contribute(group_id: int, member_id: int, body: str, picture: str | None = None) -> Post:
    """Write a post as a member of the group. It shows at once or waits for staff, as the group's setting and the text say.

    Refuses with `GroupOver`, `ContributionsClosed`, `Silenced`, `CommentMissing`, `CommentTooLong`, `WordRefused` and `LimitReached`.
    """
    groups.refuse_over(group_id)
    allowed = queries.voice_of(group_id).member_posts
    if allowed is MemberPosts.OFF:
        raise ContributionsClosed
    moderation.refuse_silenced(member_id, group_id)
    body = body_of(body, rules.LONGEST_CONTRIBUTION)
    verdict = moderation.examine(body)
    take_turn(member_id)
    now = clock.now()
    shows = allowed is MemberPosts.OPEN and verdict.ruling is Ruling.CLEAR
    post = Post(
        kind=PostKind.TALK,
        title=rules.title_of(body),
        body=body,
        picture=picture,
        link_url="",
        link_label="",
        state=PostState.PUBLISHED if shows else PostState.WAITING,
        publish_at=now if shows else None,
        published_at=now if shows else None,
        member_id=member_id,
        created_at=now,
    )
    db.session.add(post)
    db.session.flush()
    db.session.execute(
        insert(PostGroup).values(post_id=post.id, group_id=group_id, published_at=now if shows else None)
    )
    if shows:
        publish(MemberPosted(member_id=member_id, post_id=post.id, group_id=group_id))
    else:
        reason = {Ruling.CLEAR: CaseReason.APPROVAL}.get(
            verdict.ruling, CaseReason.WORDS if verdict.word else CaseReason.LINK
        )
        moderation.open_case(KIND, post.id, group_id, member_id, reason, verdict.word)
    return post


def hide_contribution(post_id: int) -> None:
    """Take a member's post out of its group."""
    db.session.execute(
        update(Post)
        .where(
            Post.id == post_id, Post.member_id.is_not(None), Post.state.in_((PostState.WAITING, PostState.PUBLISHED))
        )
        .values(state=PostState.REFUSED)
    )


def release_contribution(post_id: int) -> None:
    """Let a member's post show in its group from now on."""
    now = clock.now()
    moved = db.session.execute(
        update(Post)
        .where(
            Post.id == post_id,
            Post.member_id.is_not(None),
            # Of somebody who was erased meanwhile nothing is left that could show.
            Post.body != "",
            Post.state.in_((PostState.WAITING, PostState.REFUSED)),
        )
        .values(state=PostState.PUBLISHED, publish_at=now, published_at=now)
    )
    if not changed(moved):
        return
    db.session.execute(update(PostGroup).where(PostGroup.post_id == post_id).values(published_at=now))
    post = queries.get_post(post_id)
    for group_id in queries.group_ids(post_id):
        publish(MemberPosted(member_id=post.member_id or 0, post_id=post_id, group_id=group_id))


def set_voice(group_id: int, comments: bool, member_posts: MemberPosts) -> None:
    """Say what members of a group may write."""
    before = queries.voice_of(group_id)
    statement = insert(GroupVoice).values(group_id=group_id, comments=comments, member_posts=member_posts)
    db.session.execute(
        statement.on_conflict_do_update(
            index_elements=["group_id"],
            set_={"comments": statement.excluded.comments, "member_posts": statement.excluded.member_posts},
        )
    )
    audit.record(
        "group.voice_set",
        "group",
        group_id,
        {"comments": before.comments, "member_posts": before.member_posts.value},
        {"comments": comments, "member_posts": member_posts.value},
    )
