"""Groups, their sub-groups and seats, the waiting list, and the links that lead in."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
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
    # Live seats (held or taken), changed only under this row's lock.
    seated: Mapped[int] = mapped_column(default=0)
    hold_minutes: Mapped[int] = mapped_column(default=10)
    opens_at: Mapped[datetime | None]
    closes_at: Mapped[datetime | None]
    # Rules of entry: {"mode": "all"|"any", "rules": [{"kind": "tier", "rank": 3}, {"kind": "spend", "fen": 10000}, …]}
    join_rule: Mapped[dict[str, Any]] = mapped_column(default=dict)
    welcome_gift_id: Mapped[int | None] = mapped_column(ForeignKey("gift.id"))
    welcome_post: Mapped[str] = mapped_column(default="")
    # A flash group that closes offers this one.
    successor_id: Mapped[int | None] = mapped_column(ForeignKey("group.id"))
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("seated >= 0 AND seated <= capacity", name="seated"),
        CheckConstraint("capacity > 0 AND seats_each > 0", name="sizes"),
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
    role: Mapped[str] = mapped_column(default="member")
    source: Mapped[str] = mapped_column(default="")
    inviter_id: Mapped[int | None]
    staff_id: Mapped[int | None]
    held_until: Mapped[datetime | None]
    held_at: Mapped[datetime]
    joined_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None]
    muted_until: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]

    __table_args__ = (
        Index("uq_seat_live", "group_id", "member_id", unique=True, postgresql_where=text("state IN ('held', 'taken')")),
        Index("ix_seat_roster", "group_id", text("id DESC"), postgresql_where=text("state = 'taken'")),
        Index("ix_seat_member", "member_id", text("id DESC")),
        Index("ix_seat_hold", "held_until", postgresql_where=text("state = 'held'")),
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
        Index("uq_waiting_live", "group_id", "member_id", unique=True, postgresql_where=text("state IN ('queued', 'invited')")),
        Index("ix_waiting_member", "member_id"),
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
