"""How staff look at, hide and release what members wrote here: see `community.moderation.subjects`."""

from __future__ import annotations

from collections.abc import Sequence

from flask import url_for
from sqlalchemy import select

from community.moderation.subjects import Shown, Subject
from kernel.db import db
from kernel.i18n import lazy_gettext as _l

from . import rules, services
from .models import Comment, CommentState, Post


def _comments(ids: Sequence[int]) -> dict[int, Shown]:
    rows = db.session.scalars(select(Comment).where(Comment.id.in_(ids), Comment.state != CommentState.WITHDRAWN))
    return {
        row.id: Shown(row.body, row.at, url_for("posts_console.show", post_id=row.post_id) + "#comments")
        for row in rows
        if row.body
    }


def _posts(ids: Sequence[int]) -> dict[int, Shown]:
    rows = db.session.scalars(select(Post).where(Post.id.in_(ids)))
    return {
        row.id: Shown(
            rules.excerpt(row.body, 200), row.created_at, url_for("posts_console.show", post_id=row.id), row.picture
        )
        for row in rows
        if row.body
    }


COMMENTS = Subject(_l("Comment of a member"), _comments, services.hide_comment, services.release_comment)
POSTS = Subject(_l("Post of a member"), _posts, services.hide_contribution, services.release_contribution)
