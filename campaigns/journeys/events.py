"""What journeys tell the other rooms."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class JourneyEntered(Event):
    """A person was brought into a journey; trials are not told."""

    member_id: int
    journey_id: int


@dataclass(frozen=True, kw_only=True)
class JourneyEnded(Event):
    """A person's way through a journey is over. `state` is `done`, `left` or `failed`, `reason` why they left."""

    member_id: int
    journey_id: int
    state: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class EventReceived(Event):
    """Another program told of something that a member did; `type` is in that program's words."""

    member_id: int
    received_id: int
    type: str
