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


expose(GiftOffered, "gift.offered", GiftOfferedMessage, _l("A gift waits for a member."))
expose(GiftClaimed, "gift.claimed", GiftClaimedMessage, _l("A member has taken a gift up."))
expose(GiftShipped, "gift.shipped", GiftShippedMessage, _l("A gift is on its way."))
expose(GiftDelivered, "gift.delivered", GiftDeliveredMessage, _l("A gift is with its member."))
expose(GiftForfeited, "gift.forfeited", GiftForfeitedMessage, _l("A member let the deadline of a gift pass."))
