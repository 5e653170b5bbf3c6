"""What other programs are told of gifts; who packs one reads the address by the REST interface."""

from __future__ import annotations

from kernel.http import Strict
from kernel.i18n import lazy_gettext as _l
from kernel.webhooks import expose

from .events import GiftClaimed, GiftDelivered, GiftForfeited, GiftOffered, GiftShipped


class GiftOfferedMessage(Strict):
    """`benefit` says why they get it."""

    claim_id: int
    gift_id: int
    member_id: int
    benefit: str


class GiftClaimedMessage(Strict):
    claim_id: int
    gift_id: int
    member_id: int


class GiftShippedMessage(Strict):
    claim_id: int
    gift_id: int
    member_id: int
    carrier: str
    tracking_number: str


class GiftDeliveredMessage(Strict):
    claim_id: int
    gift_id: int
    member_id: int


class GiftForfeitedMessage(Strict):
    claim_id: int
    gift_id: int
    member_id: int


def offered(event: GiftOffered) -> GiftOfferedMessage:
    return GiftOfferedMessage(
        claim_id=event.claim_id, gift_id=event.gift_id, member_id=event.member_id, benefit=event.benefit
    )


def claimed(event: GiftClaimed) -> GiftClaimedMessage:
    return GiftClaimedMessage(claim_id=event.claim_id, gift_id=event.gift_id, member_id=event.member_id)


def shipped(event: GiftShipped) -> GiftShippedMessage:
    return GiftShippedMessage(
        claim_id=event.claim_id,
        gift_id=event.gift_id,
        member_id=event.member_id,
        carrier=event.carrier,
        tracking_number=event.tracking_number,
    )


def delivered(event: GiftDelivered) -> GiftDeliveredMessage:
    return GiftDeliveredMessage(claim_id=event.claim_id, gift_id=event.gift_id, member_id=event.member_id)


def forfeited(event: GiftForfeited) -> GiftForfeitedMessage:
    return GiftForfeitedMessage(claim_id=event.claim_id, gift_id=event.gift_id, member_id=event.member_id)


expose(GiftOffered, "gift.offered", offered, _l("A gift waits for a member."))
expose(GiftClaimed, "gift.claimed", claimed, _l("A member has taken a gift up."))
expose(GiftShipped, "gift.shipped", shipped, _l("A gift is on its way."))
expose(GiftDelivered, "gift.delivered", delivered, _l("A gift is with its member."))
expose(GiftForfeited, "gift.forfeited", forfeited, _l("A member let the deadline of a gift pass."))
