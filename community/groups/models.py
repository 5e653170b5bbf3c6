"""Groups, their sub-groups and seats, the waiting list, and the links that lead in."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class GroupKind(enum.StrEnum):
    FLASH = "flash"
    LIVE = "live"
    VIP = "vip"
    REGULAR = "regular"
    MEMBER = "member"
    INTEREST = "interest"


class GroupState(enum.StrEnum):
    DRAFT = "draft"
    WARM_UP = "warm_up"
    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"
    ARCHIVED = "archived"


class SeatState(enum.StrEnum):
    HELD = "held"
    TAKEN = "taken"
    LEFT = "left"
    REMOVED = "removed"
    MOVED = "moved"
    LAPSED = "lapsed"


class WaitingState(enum.StrEnum):
    QUEUED = "queued"
    INVITED = "invited"
    SEATED = "seated"
    LAPSED = "lapsed"


class SeatRole(enum.StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class DriftState(enum.StrEnum):
    GRACE = "grace"
    DUE = "due"
    RECOVERED = "recovered"
    KEPT = "kept"
    MOVED = "moved"
    REMOVED = "removed"
    GONE = "gone"
    UNDONE = "undone"


class RewardState(enum.StrEnum):
    WAITING = "waiting"
    GIVEN = "given"
    REFUSED = "refused"
    LAPSED = "lapsed"


class Platform(enum.StrEnum):
    WECOM = "wecom"
    TAOBAO = "taobao"
    OTHER = "other"


class Group(db.Model):
    __tablename__ = "group"
    id: Mapped[pk]
    # What stands in public addresses: random, so that nobody can walk through the groups.
    public_id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    kind: Mapped[GroupKind]
    state: Mapped[GroupState] = mapped_column(default=GroupState.DRAFT)
    intro: Mapped[str] = mapped_column(default="")
    announcement: Mapped[str] = mapped_column(default="")
    cover: Mapped[str | None]
    # The whole group's seats; sub-groups of `seats_each` open one after another up to it. May only be raised.
    capacity: Mapped[int] = mapped_column(default=5000)
    seats_each: Mapped[int] = mapped_column(default=500)
    # Seats whose row says held or taken, and people who wait without an invitation; both are changed only under this
    # row's lock. A hold that ran out stays counted until the next act under the lock reaps it: see services/book.py.
    seated: Mapped[int] = mapped_column(default=0)
    queued: Mapped[int] = mapped_column(default=0)
    # The last number that was given out on the waiting list.
    last_number: Mapped[int] = mapped_column(default=0)
    # Members who opened the group's page in the last seven days, refreshed by a job: lists show it.
    active_week: Mapped[int] = mapped_column(default=0)
    hold_minutes: Mapped[int] = mapped_column(default=10)
    # How long the seat of somebody invited from the waiting list is kept for them.
    invite_hours: Mapped[int] = mapped_column(default=24)
    opens_at: Mapped[datetime | None]
    closes_at: Mapped[datetime | None]
    # Rules of entry: {"mode": "all"|"any", "rules": [{"kind": "tier", "rank": 3}, {"kind": "spend", "fen": 10000}, …]}
    join_rule: Mapped[dict[str, Any]] = mapped_column(default=dict)
    # Whether somebody whom the shop does not know may join with a phone number alone, through a public link.
    open_to_new: Mapped[bool] = mapped_column(default=False)
    welcome_gift_id: Mapped[int | None] = mapped_column(ForeignKey("gift.id"))
    welcome_post: Mapped[str] = mapped_column(default="")
    # A flash group that closes offers this one; a vip group's people who no longer qualify may be moved here.
    successor_id: Mapped[int | None] = mapped_column(ForeignKey("group.id"))
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    # A vip group: so many days after the notice staff may move or remove somebody who no longer qualifies.
    grace_days: Mapped[int] = mapped_column(default=14, server_default=text("14"))
    # What a member gets for a friend who came and stayed; empty when nothing: {"kind": "coupon"|"points", "offer_id" or
    # "points", "after": "stay"|"order", "days": 7, "cap": 10}
    reward: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'::jsonb"))
    # Offered first when somebody makes a group, and the group that this one was copied from.
    template: Mapped[bool] = mapped_column(default=False, server_default=false())
    copied_from_id: Mapped[int | None] = mapped_column(ForeignKey("group.id"))
    created_at: Mapped[datetime]
    # When it was really opened and closed, by hand or by the clock.
    opened_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("seated >= 0 AND seated <= capacity", name="seated"),
        CheckConstraint("queued >= 0 AND last_number >= 0", name="queued"),
        CheckConstraint("capacity > 0 AND seats_each > 0", name="sizes"),
        CheckConstraint("closes_at > opens_at", name="times"),
        CheckConstraint("successor_id <> id", name="successor"),
        CheckConstraint("grace_days >= 0", name="grace"),
        Index("ix_group_clock", "state", postgresql_where=text("state IN ('warm_up', 'open', 'paused')")),
    )


class SubGroup(db.Model):
    __tablename__ = "sub_group"
    id: Mapped[pk]
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"))
    number: Mapped[int]
    seats: Mapped[int]
    seated: Mapped[int] = mapped_column(default=0)

    __table_args__ = (
        UniqueConstraint("group_id", "number"),
        CheckConstraint("seated >= 0 AND seated <= seats", name="seated"),
    )


class Seat(db.Model):
    """One stay of a member in a group. Rows are never reused: coming back is a new row."""

    __tablename__ = "seat"
    id: Mapped[pk]
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"))
    sub_group_id: Mapped[int] = mapped_column(ForeignKey("sub_group.id"), index=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    state: Mapped[SeatState]
    role: Mapped[SeatRole] = mapped_column(default=SeatRole.MEMBER)
    source: Mapped[str] = mapped_column(default="")
    inviter_id: Mapped[int | None]
    staff_id: Mapped[int | None]
    # The join link that they came by; no foreign key, for seats are given out under a crowd.
    link_id: Mapped[int | None]
    held_until: Mapped[datetime | None]
    held_at: Mapped[datetime]
    joined_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None]
    # Removed, and not to come back until staff let them.
    barred: Mapped[bool] = mapped_column(default=False)
    # The member wants no reminders of this group until then.
    muted_until: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "uq_seat_live", "group_id", "member_id", unique=True, postgresql_where=text("state IN ('held', 'taken')")
        ),
        Index("ix_seat_roster", "group_id", text("id DESC"), postgresql_where=text("state = 'taken'")),
        Index("ix_seat_member", "member_id", text("id DESC")),
        Index("ix_seat_hold", "group_id", "held_until", postgresql_where=text("state = 'held'")),
        Index("ix_seat_active", "group_id", "seen_at", postgresql_where=text("state = 'taken'")),
        Index("ix_seat_joined", "joined_at", postgresql_where=text("joined_at IS NOT NULL")),
        Index("ix_seat_inviter", "inviter_id", postgresql_where=text("inviter_id IS NOT NULL")),
        Index("ix_seat_barred", "group_id", "member_id", postgresql_where=text("barred")),
        CheckConstraint("(state = 'held') <= (held_until IS NOT NULL)", name="held"),
        CheckConstraint("(state = 'taken') <= (joined_at IS NOT NULL)", name="taken"),
        CheckConstraint("(state IN ('held', 'taken')) = (ended_at IS NULL)", name="ended"),
    )


class Waiting(db.Model):
    __tablename__ = "waiting"
    id: Mapped[pk]
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"))
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    # The number a member is told; numbers of a group are given out under the group's row lock and never twice.
    number: Mapped[int]
    state: Mapped[WaitingState] = mapped_column(default=WaitingState.QUEUED)
    queued_at: Mapped[datetime]
    invited_at: Mapped[datetime | None]
    invited_until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("group_id", "number"),
        Index(
            "uq_waiting_live",
            "group_id",
            "member_id",
            unique=True,
            postgresql_where=text("state IN ('queued', 'invited')"),
        ),
        Index("ix_waiting_queue", "group_id", "number", postgresql_where=text("state = 'queued'")),
        Index("ix_waiting_member", "member_id"),
        CheckConstraint("(state = 'invited') <= (invited_until IS NOT NULL)", name="invited"),
        CheckConstraint("(state IN ('queued', 'invited')) = (ended_at IS NULL)", name="ended"),
    )


class JoinLink(db.Model):
    """A permanent way in that remembers where people come from. Personal invitations are signed links, not rows."""

    __tablename__ = "join_link"
    id: Mapped[pk]
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"), index=True)
    token: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(default="")
    source: Mapped[str] = mapped_column(default="")
    staff_id: Mapped[int | None]
    opened: Mapped[int] = mapped_column(default=0)
    joined: Mapped[int] = mapped_column(default=0)
    revoked_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class LiveSession(db.Model):
    __tablename__ = "live_session"
    id: Mapped[pk]
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"), index=True)
    title: Mapped[str]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    watch_url: Mapped[str] = mapped_column(default="")
    replay_url: Mapped[str] = mapped_column(default="")
    reminded_day_at: Mapped[datetime | None]
    reminded_soon_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("ends_at > starts_at", name="times"),
        Index("ix_live_session_next", "starts_at"),
    )


class LiveDrop(db.Model):
    """Something that shows in the group's page only while a live session runs: a coupon, or words with a link."""

    __tablename__ = "live_drop"
    id: Mapped[pk]
    session_id: Mapped[int] = mapped_column(ForeignKey("live_session.id"), index=True)
    # What stands in its address.
    token: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    note: Mapped[str] = mapped_column(default="")
    url: Mapped[str] = mapped_column(default="")
    offer_id: Mapped[int | None] = mapped_column(ForeignKey("offer.id"))
    # So many minutes after the session's beginning it shows; a session that is moved takes it along.
    minute: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("minute >= 0", name="minute"),)


class OutsideCode(db.Model):
    """The picture of a QR code that leads into a group on another platform, for as long as the platform lets it.

    People are shown the first one, by position, that has not ended and has not been shown to as many as it takes.
    """

    __tablename__ = "outside_code"
    id: Mapped[pk]
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"), index=True)
    platform: Mapped[Platform]
    name: Mapped[str]
    picture: Mapped[str]
    position: Mapped[int]
    expires_at: Mapped[datetime | None]
    # How many people it takes; null is as many as come.
    seats: Mapped[int | None]
    shown: Mapped[int] = mapped_column(default=0)
    retired_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("shown >= 0 AND (seats IS NULL OR shown <= seats)", name="shown"),
        Index("ix_outside_code_ending", "expires_at", postgresql_where=text("retired_at IS NULL")),
    )


class OutsideView(db.Model):
    """Somebody was shown a code: it stays theirs while it lasts, and is counted once."""

    __tablename__ = "outside_view"
    code_id: Mapped[int] = mapped_column(ForeignKey("outside_code.id"), primary_key=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), primary_key=True)
    at: Mapped[datetime]

    __table_args__ = (Index("ix_outside_view_member", "member_id"),)


class Drift(db.Model):
    """Somebody in a group whose rules they no longer meet: told, given time, and then staff decide.

    `due` is only written down by the sweep; the clock says it already once `grace_until` has passed.
    """

    __tablename__ = "drift"
    id: Mapped[pk]
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"))
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    seat_id: Mapped[int] = mapped_column(ForeignKey("seat.id"))
    state: Mapped[DriftState] = mapped_column(default=DriftState.GRACE)
    # What they lacked when it was found: the rules that were not met, as in `Group.join_rule`.
    missing: Mapped[list[Any]] = mapped_column(default=list)
    rank: Mapped[int]
    found_at: Mapped[datetime]
    grace_until: Mapped[datetime]
    # Staff let them stay until then, whatever the rules say.
    kept_until: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    staff_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    # The seat that they were moved to, and the one that undoing gave them.
    moved_seat_id: Mapped[int | None] = mapped_column(ForeignKey("seat.id"))
    undone_at: Mapped[datetime | None]

    __table_args__ = (
        Index("uq_drift_open", "seat_id", unique=True, postgresql_where=text("state IN ('grace', 'due')")),
        Index("ix_drift_group", "group_id", text("id DESC")),
        CheckConstraint("(state IN ('grace', 'due')) = (decided_at IS NULL)", name="decided"),
        CheckConstraint("(state = 'undone') = (undone_at IS NOT NULL)", name="undone"),
    )


class FriendLink(db.Model):
    """A member's own way to bring friends into a group."""

    __tablename__ = "friend_link"
    id: Mapped[pk]
    token: Mapped[str] = mapped_column(unique=True)
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"))
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    opened: Mapped[int] = mapped_column(default=0)
    # Keyed hashes of the address and the browser that it was made from.
    network: Mapped[str | None]
    device: Mapped[str | None]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("group_id", "member_id"),)


class FriendReward(db.Model):
    """One friend who came by a member's link, and what the member got for it: once a friend and group."""

    __tablename__ = "friend_reward"
    id: Mapped[pk]
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"))
    inviter_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    friend_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    state: Mapped[RewardState] = mapped_column(default=RewardState.WAITING)
    # The group's terms when the friend came, so that later changes are for later friends.
    terms: Mapped[dict[str, Any]] = mapped_column(default=dict)
    # Why it was refused or lapsed: a value of `rules.Farming`, or `left`, `no_order`, `cap`.
    reason: Mapped[str] = mapped_column(default="")
    network: Mapped[str | None]
    device: Mapped[str | None]
    came_at: Mapped[datetime]
    due_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    coupon_id: Mapped[int | None] = mapped_column(ForeignKey("coupon.id"))
    points: Mapped[int | None]

    __table_args__ = (
        UniqueConstraint("group_id", "friend_id"),
        Index("ix_friend_reward_inviter", "inviter_id", "group_id"),
        Index("ix_friend_reward_due", "due_at", postgresql_where=text("state = 'waiting'")),
        Index("ix_friend_reward_group", "group_id", text("id DESC")),
        CheckConstraint("(state = 'waiting') = (settled_at IS NULL)", name="settled"),
    )


class OpeningWish(db.Model):
    """A member who wants to hear when a group that is announced opens."""

    __tablename__ = "opening_wish"
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"), primary_key=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), primary_key=True)
    at: Mapped[datetime]
    told_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_opening_wish_member", "member_id"),)
