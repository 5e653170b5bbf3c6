"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from sqlalchemy import func, select, update

from kernel import files
from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import erasure
from membership.members.services.personal import Person, by, declare

from .models import (
    Comment,
    CommentState,
    GroupVoice,
    Poll,
    PollOption,
    PollVote,
    Post,
    PostGroup,
    PostProduct,
    PostState,
    Reaction,
)

declare(
    Post,
    "id kind video video_bytes link_url link_label state publish_at published_at automatic author_id member_id created_at "
    "origin_id kept_at",
    "title body picture",
    rows=by(Post.member_id),
    label=_l("Posts of theirs"),
)
declare(
    PostGroup,
    "post_id group_id published_at seen liked clicked commented bought",
)
declare(
    PostProduct,
    "post_id product_id",
)
declare(
    Reaction,
    "id post_id group_id member_id kind at",
    rows=by(Reaction.member_id),
    label=_l("What they did with posts"),
)
declare(
    Comment,
    "id post_id group_id member_id staff_id answers_id state at",
    "body",
    rows=by(Comment.member_id),
    label=_l("Comments"),
)
declare(
    Poll,
    "post_id several closes_at",
)
declare(
    PollOption,
    "id post_id number words votes",
)
declare(
    PollVote,
    "option_id member_id group_id at",
    rows=by(PollVote.member_id),
    label=_l("Votes"),
)
declare(
    GroupVoice,
    "group_id comments member_posts",
)


@erasure.forgetters.fill
def take_out_words(person: Person) -> None:
    """What somebody wrote shows to nobody any more, and their pictures are removed; texts are blanked with the other columns."""
    pictures = select(Post.picture).where(Post.member_id.in_(person.ids), Post.picture.is_not(None))
    shown = [key for key in db.session.scalars(pictures) if key]
    for group_post in db.session.execute(
        select(Comment.post_id, Comment.group_id, func.count())
        .where(Comment.member_id.in_(person.ids), Comment.state == CommentState.SHOWN)
        .group_by(Comment.post_id, Comment.group_id)
    ).all():
        post_id, group_id, number = group_post
        db.session.execute(
            update(PostGroup)
            .where(PostGroup.post_id == post_id, PostGroup.group_id == group_id)
            .values(commented=PostGroup.commented - number)
            .execution_options(synchronize_session=False)
        )
    db.session.execute(
        update(Comment)
        .where(Comment.member_id.in_(person.ids))
        .values(state=CommentState.WITHDRAWN)
        .execution_options(synchronize_session=False)
    )
    db.session.execute(
        update(Post)
        .where(Post.member_id.in_(person.ids))
        .values(state=PostState.REFUSED, picture=None)
        .execution_options(synchronize_session=False)
    )
    # Asked once their own posts name none any more: what is named then belongs to others.
    files.drop_pictures(shown)
