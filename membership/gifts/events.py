"""What happens to members' gifts, as other rooms hear of it."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class GiftOffered(Event):
    """A gift waits for a member; `benefit` says why they get it."""

    member_id: int
    gift_id: int
    claim_id: int
    benefit: str = ""


@dataclass(frozen=True, kw_only=True)
class GiftClaimed(Event):
    """The member has taken the gift up (and, for one that is sent, said where to)."""

    member_id: int
    gift_id: int
    claim_id: int


@dataclass(frozen=True, kw_only=True)
class GiftShipped(Event):
    """The gift is on its way."""

    member_id: int
    gift_id: int
    claim_id: int
    carrier: str = ""
    tracking_number: str = ""


@dataclass(frozen=True, kw_only=True)
class GiftDelivered(Event):
    """The gift is with its member: the parcel arrived, the code was handed over, the red packet was paid.

    `at_once`: it came with the claim itself, before the member's eyes.
    """

    member_id: int
    gift_id: int
    claim_id: int
    at_once: bool = False


@dataclass(frozen=True, kw_only=True)
class GiftForfeited(Event):
    """The member let the deadline pass."""

    member_id: int
    gift_id: int
    claim_id: int
