"""What posts have under somebody's name, for a hand-over."""

from __future__ import annotations

from sqlalchemy import and_, or_

from kernel import clock
from kernel.i18n import lazy_gettext as _l
from kernel.staff.handover import Area, Stays, handover

from .models import Comment, Post, PostState


@handover.fill
def areas() -> list[Area | Stays]:
    """Posts that have not shown yet."""
    return [
        Area(
            "posts",
            _l("Drafts of posts and scheduled ones"),
            Post.author_id,
            lambda: [
                or_(
                    Post.state == PostState.DRAFT,
                    and_(Post.state == PostState.SCHEDULED, Post.publish_at > clock.now()),
                )
            ],
            asks="posts.edit",
            icon="article",
            note=_l("What has been published stays under the name of whoever wrote it."),
        ),
        Stays(Comment.staff_id, "Who said it."),
    ]
