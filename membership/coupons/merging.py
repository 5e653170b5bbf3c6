"""How a merge brings a person's coupons along: none is lost, none is minted, and what is counted is counted for the person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select, update

from kernel.db import db
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.limits import merging as limits
from membership.limits.services import subject_of
from membership.members.models import Member
from membership.members.services import merge

from .models import Coupon, CouponTransfer, Offer
from .services import caps


@merge.guards.fill
def lock_offers(pair: Sequence[int]) -> None:
    """Offers come before members in the order of locks; under theirs nobody claims for the two meanwhile."""
    held = select(Coupon.offer_id).where(Coupon.member_id.in_(pair)).distinct()
    db.session.execute(
        select(Offer.id).where(Offer.id.in_(held)).order_by(Offer.id).with_for_update(key_share=True)
    ).all()


@merge.follower(Coupon.member_id)
def follow_coupons(merging: merge.Merging) -> None:
    """The absorbed record's coupons are numbered on behind the survivor's: a third of two is refused from now on."""
    rows = db.session.execute(
        select(Coupon.id, Coupon.offer_id, Coupon.member_id, Coupon.ordinal)
        .where(Coupon.member_id.in_(merging.pair))
        .order_by(Coupon.offer_id, Coupon.ordinal)
    ).all()
    last: dict[int, int] = defaultdict(int)
    for row in rows:
        if row.member_id == merging.survivor:
            last[row.offer_id] = max(last[row.offer_id], row.ordinal)
    theirs = [row for row in rows if row.member_id == merging.absorbed]
    both = sorted({row.offer_id for row in theirs if last[row.offer_id]})
    with merging.watching(Coupon, Coupon.member_id.in_(merging.pair)):
        for row in theirs:
            last[row.offer_id] += 1
            db.session.execute(
                update(Coupon)
                .where(Coupon.id == row.id)
                .values(member_id=merging.survivor, ordinal=last[row.offer_id])
                .execution_options(synchronize_session=False)
            )
    merging.count(_l("Coupons"), len(theirs))
    over = db.session.execute(
        select(Offer.id, Offer.name, Offer.per_member).where(Offer.id.in_(both), Offer.per_member.is_not(None))
    )
    for offer in over:
        if last[offer.id] > offer.per_member:
            merging.conflict(
                _(
                    "Together they hold %(n)s coupons of “%(offer)s”, of which a member may have %(most)s: none is taken "
                    "back, no further one is given.",
                    n=last[offer.id],
                    offer=offer.name,
                    most=offer.per_member,
                )
            )


@merge.follower(CouponTransfer.from_member_id, CouponTransfer.to_member_id)
def follow_transfers(merging: merge.Merging) -> None:
    merging.repoint(CouponTransfer.from_member_id)
    merging.repoint(CouponTransfer.to_member_id)


@merge.followers.fill
def follow_persons(merging: merge.Merging) -> None:
    """What a natural person has had of an offer is counted under phone or e-mail: both keys lead to the person's one now."""
    sources = [subject_of(member_id) for member_id in merging.pair]
    sources += [caps.person_key(member_id, *contacts) for member_id, contacts in merging.contacts.items()]
    now = db.session.execute(select(Member.phone, Member.email).where(Member.id == merging.survivor)).one()
    target = caps.person_key(merging.survivor, now.phone, now.email)
    limits.add_up(merging, [s for s in sources if s != target], target, "offer:%:person")


__all__ = ["follow_coupons", "follow_persons", "follow_transfers", "lock_offers"]
