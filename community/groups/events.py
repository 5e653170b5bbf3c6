"""What happened in groups."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class MemberJoinedGroup(Event):
    """A seat was taken. `source` is where the member came from, `staff_id` who invited them, if somebody did."""

    member_id: int
    group_id: int
    seat_id: int
    source: str = ""
    staff_id: int | None = None
    inviter_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class MemberLeftGroup(Event):
    """A seat was given up (`reason` is `left`) or taken back (the reason that staff wrote)."""

    member_id: int
    group_id: int
    reason: str = "left"


@dataclass(frozen=True, kw_only=True)
class MemberMovedGroup(Event):
    """A seat was given up for one in another group: by the member, or by staff (`reason` is `successor` or `drift`)."""

    member_id: int
    group_id: int
    to_group_id: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class MemberDrifted(Event):
    """Somebody in a group no longer meets its rules, was told, and keeps the seat until `grace_until`."""

    member_id: int
    group_id: int
    grace_until: datetime


@dataclass(frozen=True, kw_only=True)
class MemberQueued(Event):
    """The group was full; the member got a number on its waiting list."""

    member_id: int
    group_id: int
    number: int


@dataclass(frozen=True, kw_only=True)
class MemberInvitedFromQueue(Event):
    """A seat became free and is kept for the member, the first of the waiting list."""

    member_id: int
    group_id: int
    number: int


@dataclass(frozen=True, kw_only=True)
class GroupOpened(Event):
    group_id: int


@dataclass(frozen=True, kw_only=True)
class GroupCopied(Event):
    """A group was made after another one. Rooms above copy what they keep of it, moved by `shift_seconds`."""

    group_id: int
    from_group_id: int
    shift_seconds: int


@dataclass(frozen=True, kw_only=True)
class GroupClosed(Event):
    group_id: int
