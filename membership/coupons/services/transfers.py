"""Giving a coupon to a friend: its owner makes a link, whoever accepts gets a coupon of their own with the same terms."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import func, select, update

from kernel import clock, links
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l
from membership.limits import services as limits
from membership.members import queries as members

from .. import rules
from ..events import CouponTransferred
from ..models import Coupon, CouponState, CouponTransfer, Offer, OfferVersion, TransferState
from . import caps, shelves
from .claims import claimant, group_membership
from .states import locked, settle, transfer

LINK = "coupon-gift"
OPEN_FOR = timedelta(days=7)
# How often a coupon may go from hand to hand, and how many gifts one member may have under way in a day.
MOST_HANDS = 5
A_DAY = 10
STEP = ("/me/coupons", _l("My coupons"))


class TransferRefused(Refusal):
    icon = "gift"

    def __init__(self, **values: object) -> None:
        super().__init__(next_step=STEP, **values)


class NotTransferable(TransferRefused):
    title = _l("This coupon stays with you")
    label = _l("The shop has made it for its owner alone, or it can no longer be used.")


class TransferOver(TransferRefused):
    status = 410
    title = _l("This gift is no longer there")
    label = _l("It was accepted, called back or used, its time is over, or the shop has put it on hold.")


class OwnGift(TransferRefused):
    title = _l("That is your own gift")
    label = _l("Send the link to a friend. You can call it back for as long as nobody has accepted.")


class HadItBefore(TransferRefused):
    title = _l("You have given this one away")
    label = _l("A coupon does not come back to somebody who has had it before.")


class FriendHasTheirs(TransferRefused):
    title = _l("You have yours already")
    label = _l("This offer gives each member only so many, and you have had yours. The gift stays with your friend.")


class TooManyGifts(TransferRefused):
    status = 429
    title = _l("Enough for today")
    label = _l("So many coupons in one day are a trade and no gifts. Try again tomorrow.")


def _terms(coupon: Coupon) -> OfferVersion:
    return db.session.get_one(OfferVersion, coupon.version_id)


def open_of(coupon_id: int) -> CouponTransfer | None:
    """The gift that a coupon is under way as, if any."""
    found = db.session.scalar(
        select(CouponTransfer).where(CouponTransfer.coupon_id == coupon_id, CouponTransfer.state == TransferState.OPEN)
    )
    return found if found is not None and found.expires_at > clock.now() else None


def hands_of(coupon: Coupon) -> list[int]:
    """Everybody who has had a coupon, its present owner first."""
    owners, current = [coupon.member_id], coupon
    while current.parent_id is not None and len(owners) <= MOST_HANDS:
        current = db.session.get_one(Coupon, current.parent_id)
        owners.append(current.member_id)
    return owners


def transferable(coupon: Coupon, version: OfferVersion) -> bool:
    """Whether its owner may give a coupon away now."""
    state = rules.state_at(coupon.state, coupon.usable_until, coupon.reserved_until, clock.now())
    return version.transferable and state == CouponState.ISSUED and len(hands_of(coupon)) <= MOST_HANDS


def offer_transfer(coupon_id: int, owner_id: int) -> CouponTransfer:
    """Put a coupon into a link for a friend; again gives the link that is open. The coupon stays usable until accepted.

    Refuses with `NotFound` for somebody else's coupon, `NotTransferable`, `TooManyGifts`.
    """
    coupon = locked(coupon_id)
    if coupon.member_id != owner_id:
        raise NotFound
    settle(coupon, clock.now())
    known = open_of(coupon.id)
    if known is not None:
        return known
    if not transferable(coupon, _terms(coupon)):
        raise NotTransferable
    try:
        limits.take([("coupon.gifts", limits.subject_of(owner_id), clock.today().isoformat(), 1, A_DAY)])
    except limits.LimitReached:
        raise TooManyGifts from None
    now = clock.now()
    _close(coupon.id, TransferState.CANCELLED)
    made = CouponTransfer(
        coupon_id=coupon.id,
        from_member_id=owner_id,
        created_at=now,
        expires_at=min(now + OPEN_FOR, coupon.usable_until),
    )
    db.session.add(made)
    db.session.flush()
    return made


def _close(coupon_id: int, state: TransferState) -> int:
    return changed(
        db.session.execute(
            update(CouponTransfer)
            .where(CouponTransfer.coupon_id == coupon_id, CouponTransfer.state == TransferState.OPEN)
            .values(state=state, ended_at=clock.now())
        )
    )


def path_of(gift: CouponTransfer) -> str:
    """The path of a gift's link: a signed bearer token that ends with the gift."""
    return "/coupon-gifts/" + links.make(LINK, gift.id, expires_at=gift.expires_at)


def read(token: str) -> CouponTransfer:
    """The gift of a link. Refuses with `LinkInvalid`, `LinkExpired` and `TransferOver`."""
    (gift_id,) = links.read(LINK, token)
    found = db.session.get(CouponTransfer, int(gift_id), populate_existing=True)
    if found is None:
        raise links.LinkInvalid
    return found


def cancel(coupon_id: int, owner_id: int) -> None:
    """Call a gift back before anybody has accepted it. Refuses with `NotFound` and `TransferOver`."""
    coupon = locked(coupon_id)
    if coupon.member_id != owner_id and coupon.state != CouponState.TRANSFERRED:
        raise NotFound
    if _close(coupon.id, TransferState.CANCELLED) != 1:
        raise TransferOver


def cancel_all_of(member_ids: Collection[int]) -> int:
    """Call back every gift of a person that nobody has accepted; returns how many."""
    return changed(
        db.session.execute(
            update(CouponTransfer)
            .where(CouponTransfer.from_member_id.in_(member_ids), CouponTransfer.state == TransferState.OPEN)
            .values(state=TransferState.CANCELLED, ended_at=clock.now())
            .execution_options(synchronize_session=False)
        )
    )


def refuse(gift: CouponTransfer, friend_id: int | None) -> Coupon:
    """Refuse what accepting would refuse; the coupon otherwise. `friend_id` is None while nobody has said who they are."""
    coupon = db.session.get_one(Coupon, gift.coupon_id, populate_existing=True)
    version = _terms(coupon)
    over = gift.state != TransferState.OPEN or gift.expires_at <= clock.now()
    if over or coupon.member_id != gift.from_member_id or not transferable(coupon, version):
        raise TransferOver
    if friend_id is None:
        return coupon
    hands = hands_of(coupon)
    if friend_id == hands[0]:
        raise OwnGift
    if friend_id in hands:
        raise HadItBefore
    offer = db.session.get_one(Offer, coupon.offer_id)
    held = db.session.scalar(select(func.count()).where(Coupon.offer_id == offer.id, Coupon.member_id == friend_id))
    if offer.per_member is not None and (held or 0) >= offer.per_member:
        raise FriendHasTheirs
    friend = members.get_member(friend_id)
    if friend.rank < version.min_rank:
        raise rules.TierTooLow(tier=f"VIP{version.min_rank}")
    if version.group_id is not None and not any(group_membership.call(friend_id, version.group_id)):
        raise rules.NotInGroup
    return coupon


def _receiver(member_id: int) -> int:
    """The living record that one stands for, its row locked so that it is neither merged nor erased before the commit:
    `Coupon.member_id` is no foreign key that would see to it. Refuses with `ClaimantUnknown`."""
    while not shelves.living(db.session.connection(), [found := claimant(member_id).id]):
        # Merged or erased since it was looked up, and waited for.
        continue
    return int(found)


def accept(gift_id: int, friend_id: int) -> Coupon:
    """Take a gift: the friend's coupon ends, this person's begins with the same terms and time. Again gives the same one.

    The offer is locked first, then the coupon, then the gift's row decides: of two who accept at once one gets it. Refuses
    with `TransferOver`, `OwnGift`, `HadItBefore`, `FriendHasTheirs`, `TierTooLow`, `NotInGroup`, `ClaimantUnknown`.
    """
    gift = db.session.get(CouponTransfer, gift_id)
    if gift is None:
        raise NotFound
    offer_id = db.session.scalar(select(Coupon.offer_id).where(Coupon.id == gift.coupon_id))
    offer = db.session.scalars(
        select(Offer)
        .where(Offer.id == offer_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()
    old = locked(gift.coupon_id)
    friend_id = _receiver(friend_id)
    db.session.refresh(gift)
    if gift.state == TransferState.ACCEPTED and gift.to_member_id == friend_id and gift.new_coupon_id is not None:
        return db.session.get_one(Coupon, gift.new_coupon_id)
    refuse(gift, friend_id)
    if offer.per_person is not None:
        who = caps.person_keys([friend_id])[friend_id]
        try:
            limits.take([limits.Usage(caps.person_name(offer.id), who, "", 1, offer.per_person)])
        except limits.LimitReached:
            raise FriendHasTheirs from None
    fresh = transfer(old.id, friend_id)
    result = db.session.execute(
        update(CouponTransfer)
        .where(CouponTransfer.id == gift.id, CouponTransfer.state == TransferState.OPEN)
        .values(state=TransferState.ACCEPTED, ended_at=clock.now(), to_member_id=friend_id, new_coupon_id=fresh.id)
    )
    if changed(result) != 1:
        raise TransferOver
    publish(
        CouponTransferred(
            member_id=gift.from_member_id, to_member_id=friend_id, coupon_id=fresh.id, offer_id=fresh.offer_id
        )
    )
    return fresh
