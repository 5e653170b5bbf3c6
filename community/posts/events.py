"""What other rooms may react to."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class PostPublished(Event):
    """A post has appeared in its groups (told by the sweep, so up to half a minute after the members can read it)."""

    post_id: int
    group_ids: list[int]


@dataclass(frozen=True, kw_only=True)
class PostClicked(Event):
    """A member followed a post's link for the first time."""

    member_id: int
    post_id: int
    group_id: int


@dataclass(frozen=True, kw_only=True)
class PostCommented(Event):
    """What a member said under a post shows (at once, or after staff let it)."""

    member_id: int
    post_id: int
    group_id: int
    comment_id: int


@dataclass(frozen=True, kw_only=True)
class MemberPosted(Event):
    """A member's own post shows in its group."""

    member_id: int
    post_id: int
    group_id: int
