"""What happens to people."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class MemberEnrolled(Event):
    """Somebody accepted an invitation or a link; benefits count from here."""

    member_id: int
    source: str


@dataclass(frozen=True, kw_only=True)
class ConsentChanged(Event):
    member_id: int
    channel: str
    purpose: str
    granted: bool
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class MemberTagged(Event):
    member_id: int
    tag: str


@dataclass(frozen=True, kw_only=True)
class MemberUntagged(Event):
    member_id: int
    tag: str


@dataclass(frozen=True, kw_only=True)
class NoteWritten(Event):
    member_id: int
    note_id: int
    author: str


@dataclass(frozen=True, kw_only=True)
class MemberIdentified(Event):
    """Somebody proved on a browser who they are; `means` is `order` or `code`."""

    member_id: int
    means: str


@dataclass(frozen=True, kw_only=True)
class StageChanged(Event):
    member_id: int
    from_stage: str
    to_stage: str


@dataclass(frozen=True, kw_only=True)
class MembersMerged(Event):
    """Two records became one: `member_id` is the survivor, `absorbed_id` points to it from now on."""

    member_id: int
    absorbed_id: int
    merge_id: int


@dataclass(frozen=True, kw_only=True)
class MergeUndone(Event):
    """A merge was taken back; published for each of the two records."""

    member_id: int
    survivor_id: int
    absorbed_id: int
    merge_id: int


@dataclass(frozen=True, kw_only=True)
class MemberErased(Event):
    """A person's data was erased; only the number of the record is left."""

    member_id: int


@dataclass(frozen=True, kw_only=True)
class RightsRequested(Event):
    """Somebody asked for what is kept of them, or to be erased; `wish` is one of `RightsWish`."""

    member_id: int
    wish: str
