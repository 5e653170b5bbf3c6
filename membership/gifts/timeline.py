"""What the events of gifts say on a member's timeline."""

from __future__ import annotations

from typing import Any

from flask import url_for
from markupsafe import Markup, escape

from kernel.db import db
from kernel.events import describes
from kernel.i18n import gettext as _
from kernel.pages import once_a_request

from .events import GiftClaimed, GiftDelivered, GiftForfeited, GiftOffered, GiftShipped
from .models import Gift


@once_a_request
def _name(gift_id: int) -> str:
    gift = db.session.get(Gift, gift_id)
    return gift.name if gift is not None else _("a gift")


def _said(sentence: str, gift_id: int, claim_id: int, **values: Any) -> Markup:
    link = Markup('<a href="{}">{}</a>').format(url_for("gifts_console.claim", claim_id=claim_id), _name(gift_id))
    return escape(sentence) % {"gift": link, **values}


@describes(GiftOffered)
def offered(event: GiftOffered) -> Markup:
    return _said(_("%(gift)s waits for them"), event.gift_id, event.claim_id)


@describes(GiftClaimed)
def claimed(event: GiftClaimed) -> Markup:
    return _said(_("Claimed %(gift)s"), event.gift_id, event.claim_id)


@describes(GiftShipped)
def shipped(event: GiftShipped) -> Markup:
    return _said(
        _("%(gift)s is on its way: %(carrier)s %(number)s"),
        event.gift_id, event.claim_id, carrier=event.carrier, number=event.tracking_number,
    )  # fmt: skip


@describes(GiftDelivered)
def delivered(event: GiftDelivered) -> Markup:
    return _said(_("%(gift)s has reached them"), event.gift_id, event.claim_id)


@describes(GiftForfeited)
def forfeited(event: GiftForfeited) -> Markup:
    return _said(_("Did not claim %(gift)s in time"), event.gift_id, event.claim_id)
