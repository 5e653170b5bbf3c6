"""Posts: written once, published to groups on time, with what members did with each."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class PostKind(enum.StrEnum):
    TIP = "tip"
    MISTAKE = "mistake"
    NEW_PRODUCT = "new_product"
    PROMOTION = "promotion"
    LIVE = "live"
    SHORT_VIDEO = "short_video"
    SURVEY = "survey"
    ANNOUNCEMENT = "announcement"


class PostState(enum.StrEnum):
    DRAFT = "draft"
    SCHEDULED = "scheduled"
    PUBLISHED = "published"
    ARCHIVED = "archived"


class Post(db.Model):
    __tablename__ = "post"
    id: Mapped[pk]
    kind: Mapped[PostKind]
    title: Mapped[str]
    body: Mapped[str]
    picture: Mapped[str | None]
    link_url: Mapped[str] = mapped_column(default="")
    link_label: Mapped[str] = mapped_column(default="")
    state: Mapped[PostState] = mapped_column(default=PostState.DRAFT)
    publish_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    # A post that the system wrote for one member or one event (welcome) is not listed among the manager's.
    automatic: Mapped[bool] = mapped_column(default=False)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_post_due", "publish_at", postgresql_where=text("state = 'scheduled'")),
        Index("ix_post_list", text("created_at DESC"), text("id DESC")),
    )


class PostGroup(db.Model):
    """A post in a group, with its numbers there."""

    __tablename__ = "post_group"
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id", ondelete="CASCADE"), primary_key=True)
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"), primary_key=True)
    # When the post shows in this group: set when it is scheduled, so that the feed follows the clock and needs no sweep.
    published_at: Mapped[datetime | None]
    seen: Mapped[int] = mapped_column(default=0)
    liked: Mapped[int] = mapped_column(default=0)
    clicked: Mapped[int] = mapped_column(default=0)
    commented: Mapped[int] = mapped_column(default=0)

    __table_args__ = (Index("ix_post_group_feed", "group_id", text("published_at DESC"), text("post_id DESC")),)


class ReactionKind(enum.StrEnum):
    SEEN = "seen"
    LIKED = "liked"
    CLICKED = "clicked"


class Reaction(db.Model):
    """That a member saw, liked or clicked a post in a group: once each."""

    __tablename__ = "reaction"
    id: Mapped[pk]
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id", ondelete="CASCADE"))
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"))
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    kind: Mapped[ReactionKind]
    at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("post_id", "group_id", "member_id", "kind"),
        Index("ix_reaction_member", "member_id"),
    )
