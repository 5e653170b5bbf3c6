"""What the events of coupons say on a member's timeline."""

from __future__ import annotations

from typing import Any

from flask import url_for
from markupsafe import Markup, escape

from kernel.db import db
from kernel.events import describes
from kernel.i18n import gettext as _
from kernel.money import short_yuan
from kernel.pages import once_a_request

from .events import CouponClaimed, CouponRedeemed, CouponRevoked, CouponRolledBack, CouponTransferred
from .labels import source_words
from .models import Offer


@once_a_request
def _offer(offer_id: int) -> Any:
    offer = db.session.get(Offer, offer_id)
    if offer is None:
        return _("a coupon")
    return Markup('<a href="{}">{}</a>').format(url_for("coupons_console.show", offer_id=offer.id), offer.name)


def _said(sentence: str, **values: Any) -> Markup:
    return escape(sentence) % values


@describes(CouponClaimed)
def claimed(event: CouponClaimed) -> Markup:
    return _said(
        _("Has a coupon of %(offer)s (%(source)s)"), offer=_offer(event.offer_id), source=source_words(event.source)
    )


@describes(CouponRedeemed)
def redeemed(event: CouponRedeemed) -> Markup:
    if not event.discount:
        # What comes with the parcel takes nothing off.
        return _said(
            _("Used a coupon of %(offer)s on order %(order)s"),
            offer=_offer(event.offer_id),
            order=event.order_external_id,
        )
    return _said(
        _("Used a coupon of %(offer)s on order %(order)s: %(discount)s off"),
        offer=_offer(event.offer_id), order=event.order_external_id, discount=short_yuan(event.discount),
    )  # fmt: skip


@describes(CouponRolledBack)
def rolled_back(event: CouponRolledBack) -> Markup:
    return _said(
        _("The coupon of %(offer)s on order %(order)s was given back"),
        offer=_offer(event.offer_id), order=event.order_external_id,
    )  # fmt: skip


@describes(CouponRevoked)
def revoked(event: CouponRevoked) -> Markup:
    return _said(
        _("A coupon of %(offer)s was taken back: %(reason)s"), offer=_offer(event.offer_id), reason=event.reason
    )


@describes(CouponTransferred)
def transferred(event: CouponTransferred) -> Markup:
    return _said(_("Gave a coupon of %(offer)s to a friend"), offer=_offer(event.offer_id))
