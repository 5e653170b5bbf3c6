"""What other rooms may react to."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class MemberSilenced(Event):
    """A member may not write for a while; `group_id` is empty for every group."""

    member_id: int
    sanction_id: int
    group_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class MemberBanned(Event):
    """A member was taken out of the shop's groups and does not come back in until staff lift it."""

    member_id: int
    sanction_id: int
