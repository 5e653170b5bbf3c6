"""Telling owners that a coupon is about to end: once each, so many hours before as its offer says, in slices."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Integer, cast, func, select, update

from kernel import clock, notices
from kernel.db import db
from kernel.i18n import date_time, forced_locale
from kernel.i18n import gettext as _
from membership.members.models import Member

from .. import labels
from ..models import Coupon, CouponState, Offer, OfferVersion

SLICE = 200


def remind(size: int = SLICE) -> int:
    """Tell the owners of up to `size` coupons; returns how many.

    A coupon whose whole life is shorter than the notice is left alone: its owner has just claimed it. The coupon's row is
    marked with the notice, and one that somebody else is at is theirs.
    """
    now = clock.now()
    longest = db.session.scalar(select(func.max(Offer.remind_hours)))
    if longest is None:
        return 0
    notice = func.make_interval(0, 0, 0, 0, cast(Offer.remind_hours, Integer))
    rows = db.session.execute(
        select(Coupon, Offer, OfferVersion, Member.locale)
        .join(Offer, Offer.id == Coupon.offer_id)
        .join(OfferVersion, OfferVersion.id == Coupon.version_id)
        .join(Member, Member.id == Coupon.member_id)
        .where(
            Coupon.state == CouponState.ISSUED,
            Coupon.reminded_at.is_(None),
            Coupon.usable_until > now,
            Coupon.usable_until <= now + timedelta(hours=longest),
            Offer.remind_hours.is_not(None),
            Coupon.usable_until <= now + notice,
            Coupon.issued_at < Coupon.usable_until - notice,
            Member.erased_at.is_(None),
        )
        .order_by(Coupon.usable_until, Coupon.id)
        .limit(size)
        .with_for_update(of=Coupon, skip_locked=True)
    ).all()
    for coupon, offer, version, locale in rows:
        with forced_locale(locale):
            notices.tell(
                coupon.member_id,
                "coupon.ending",
                _("A coupon of yours ends soon"),
                _(
                    "%(what)s (“%(offer)s”) can be used until %(at)s.",
                    what=labels.ticket_terms(version),
                    offer=offer.name,
                    at=date_time(coupon.usable_until),
                ),
                "/me/coupons",
            )
    ids = [row[0].id for row in rows]
    db.session.execute(update(Coupon).where(Coupon.id.in_(ids)).values(reminded_at=now))
    return len(ids)
