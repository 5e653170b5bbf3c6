"""What happened at the desk."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class CallTaskOpened(Event):
    """Somebody is to be called; `reason` is a value of `CallReason`."""

    member_id: int
    task_id: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class CallClosed(Event):
    """A call came to its end; `outcome` is `reached`, `refused` or `unreachable`."""

    member_id: int
    task_id: int
    outcome: str
    staff_id: int


@dataclass(frozen=True, kw_only=True)
class MemberInvited(Event):
    """After a call a member was given their own way into a group."""

    member_id: int
    group_id: int
    staff_id: int
