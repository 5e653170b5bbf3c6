"""Posts: written once, published to groups on time, with what members did with each and said under it."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
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
    # What a member says; staff do not choose it.
    TALK = "talk"


class PostState(enum.StrEnum):
    # A member's post that staff have not looked at, or took out.
    WAITING = "waiting"
    REFUSED = "refused"
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
    # The key of a short video (`kernel.files`) and the length of its file; the picture is shown until it is played.
    video: Mapped[str | None]
    video_bytes: Mapped[int | None]
    link_url: Mapped[str] = mapped_column(default="")
    link_label: Mapped[str] = mapped_column(default="")
    state: Mapped[PostState] = mapped_column(default=PostState.DRAFT)
    publish_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    # A post that the system wrote for one member or one event (welcome) is not listed among the manager's.
    automatic: Mapped[bool] = mapped_column(default=False)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    # A member wrote it, for one group.
    member_id: Mapped[int | None] = mapped_column(ForeignKey("member.id"))
    created_at: Mapped[datetime]
    # The first post with this text, when it is used again: all uses of one piece name the same.
    origin_id: Mapped[int | None] = mapped_column(ForeignKey("post.id", ondelete="SET NULL"))
    # Since when the library keeps it as a piece that is worth using again.
    kept_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_post_origin", "origin_id", postgresql_where=text("origin_id IS NOT NULL")),
        Index("ix_post_video", "video", postgresql_where=text("video IS NOT NULL")),
        CheckConstraint("member_id IS NULL OR author_id IS NULL", name="one_author"),
        CheckConstraint("member_id IS NOT NULL OR state NOT IN ('waiting', 'refused')", name="waiting"),
        Index("ix_post_member", "member_id", text("id DESC"), postgresql_where=text("member_id IS NOT NULL")),
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
    # Members who ordered within five days after they saw it here, as last counted (`services.count_orders`).
    bought: Mapped[int] = mapped_column(default=0, server_default="0")

    __table_args__ = (Index("ix_post_group_feed", "group_id", text("published_at DESC"), text("post_id DESC")),)


class PostProduct(db.Model):
    """A product that a post is about."""

    __tablename__ = "post_product"
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id", ondelete="CASCADE"), primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"), primary_key=True, index=True)


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


class CommentState(enum.StrEnum):
    SHOWN = "shown"
    HELD = "held"
    HIDDEN = "hidden"
    WITHDRAWN = "withdrawn"


class Comment(db.Model):
    """What a member, or somebody of the shop, said under a post in one of its groups."""

    __tablename__ = "comment"
    id: Mapped[pk]
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id", ondelete="CASCADE"))
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"))
    member_id: Mapped[int | None] = mapped_column(ForeignKey("member.id"))
    staff_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    # The comment that this one answers; an answer to an answer stands beside it.
    answers_id: Mapped[int | None] = mapped_column(ForeignKey("comment.id", ondelete="CASCADE"), index=True)
    body: Mapped[str]
    state: Mapped[CommentState]
    at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("(member_id IS NULL) <> (staff_id IS NULL)", name="one_author"),
        Index("ix_comment_shown", "post_id", "group_id", text("id DESC"), postgresql_where=text("state = 'shown'")),
        Index("ix_comment_member", "member_id", text("id DESC"), postgresql_where=text("member_id IS NOT NULL")),
    )


class Poll(db.Model):
    """A question under a post with answers to choose from; the post's title asks it."""

    __tablename__ = "poll"
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id", ondelete="CASCADE"), primary_key=True)
    # Whether a member may choose more than one answer.
    several: Mapped[bool] = mapped_column(default=False)
    closes_at: Mapped[datetime | None]


class PollOption(db.Model):
    __tablename__ = "poll_option"
    id: Mapped[pk]
    post_id: Mapped[int] = mapped_column(ForeignKey("poll.post_id", ondelete="CASCADE"))
    number: Mapped[int]
    words: Mapped[str]
    votes: Mapped[int] = mapped_column(default=0)

    __table_args__ = (UniqueConstraint("post_id", "number"), CheckConstraint("votes >= 0", name="votes"))


class PollVote(db.Model):
    """That a member chose an answer: a person votes once in a poll, in however many of its groups they are."""

    __tablename__ = "poll_vote"
    option_id: Mapped[int] = mapped_column(ForeignKey("poll_option.id", ondelete="CASCADE"), primary_key=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), primary_key=True)
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"))
    at: Mapped[datetime]

    __table_args__ = (Index("ix_poll_vote_member", "member_id"),)


class MemberPosts(enum.StrEnum):
    OFF = "off"
    APPROVAL = "approval"
    OPEN = "open"


class GroupVoice(db.Model):
    """What members of a group may write; a group without a row has comments, and posts that staff look at first."""

    __tablename__ = "group_voice"
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"), primary_key=True)
    comments: Mapped[bool] = mapped_column(default=True)
    member_posts: Mapped[MemberPosts] = mapped_column(default=MemberPosts.APPROVAL)
