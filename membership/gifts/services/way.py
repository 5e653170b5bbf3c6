"""The way of a gift to its member: claimed, packed, sent, arrived, and what may come between."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.events import publish, publish_all
from kernel.i18n import date_time
from kernel.i18n import lazy_gettext as _l
from membership.limits import services as limits

from .. import rules
from ..events import GiftClaimed, GiftDelivered, GiftForfeited, GiftShipped
from ..labels import state_words
from ..models import GiftClaim, GiftKind, GiftState
from . import codes
from .catalogue import get_gift, locked, stock_limit
from .offering import get_claim


class GiftChanged(Refusal):
    title = _l("Somebody else was faster")
    label = _l("The gift has changed in the meantime and is %(state)s now. Look at it again.")


def move(claim: GiftClaim, after: GiftState, **columns: Any) -> None:
    """Change a gift's state; the piece of stock it held comes back when it is forfeited or cancelled, once.

    Refuses with `GiftStepNotListed`, and with `GiftChanged` when the row is no longer what was read.
    """
    before = claim.state
    if (before, after) not in rules.TRANSITIONS:
        raise rules.GiftStepNotListed(state=state_words(before))
    result = db.session.execute(
        update(GiftClaim).where(GiftClaim.id == claim.id, GiftClaim.state == before).values(state=after, **columns)
    )
    if changed(result) != 1:
        db.session.refresh(claim)
        raise GiftChanged(state=state_words(claim.state))
    if after in rules.GIVEN_BACK:
        pooled = locked(claim.gift_id) if codes.has_pool(claim.gift_id) else None
        limits.give_back(stock_limit(claim.gift_id))
        if pooled is not None:
            codes.restock(pooled)


def _refuse_over(claim: GiftClaim) -> None:
    match rules.state_at(claim.state, claim.claim_until, clock.now()):
        case GiftState.FORFEITED:
            raise rules.GiftGone(until=date_time(claim.claim_until))
        case GiftState.CANCELLED:
            raise rules.GiftCancelled


def claim(
    claim_id: int, member_id: int, recipient: str | None = None, phone: str | None = None, address: str | None = None
) -> GiftClaim:
    """Take a gift up; with a recipient, phone and address it goes straight into the queue. Again it changes nothing.

    Refuses with `NotFound` when it is not this member's, with `GiftGone`, `GiftCancelled`, `AddressInvalid`.
    """
    found = get_claim(claim_id, lock=True)
    if found.member_id != member_id:
        raise NotFound
    _refuse_over(found)
    if found.state == GiftState.OFFERED:
        kind = get_gift(found.gift_id).kind
        move(found, rules.after_claim(kind), claimed_at=clock.now())
        publish(GiftClaimed(member_id=member_id, gift_id=found.gift_id, claim_id=found.id))
        if kind == GiftKind.DIGITAL:
            serve(found.id, at_once=True)
    if recipient is not None and found.state == GiftState.ADDRESS_PENDING:
        give_address(found, recipient, phone or "", address or "")
    return found


def serve(claim_id: int, at_once: bool = False) -> bool:
    """Hand a claimed digital gift over from its pool of codes; whether there was one. Again it changes nothing.

    `at_once`: the member is looking at the page that shows the code, and need not be told.
    """
    found = get_claim(claim_id, lock=True)
    if found.state != GiftState.CLAIMED or (code := codes.hand_out(found)) is None:
        return False
    move(found, GiftState.DELIVERED, delivered_at=clock.now(), content=code)
    publish(GiftDelivered(member_id=found.member_id, gift_id=found.gift_id, claim_id=found.id, at_once=at_once))
    return True


def give_address(found: GiftClaim, recipient: str, phone: str, address: str) -> None:
    """Say where a gift goes; until it is shipped the address may still be changed. Refuses with `AddressInvalid`."""
    _refuse_over(found)
    recipient, phone, address = rules.checked_address(recipient, phone, address)
    values = {"recipient": recipient, "phone": phone, "address": address}
    if found.state == GiftState.ADDRESS_PENDING:
        move(found, GiftState.QUEUED, queued_at=clock.now(), **values)
        return
    result = db.session.execute(
        update(GiftClaim).where(GiftClaim.id == found.id, GiftClaim.state == GiftState.QUEUED).values(**values)
    )
    if changed(result) != 1:
        db.session.refresh(found)
        raise rules.GiftStepNotListed(state=state_words(found.state))


def kept_address(member_id: int) -> GiftClaim | None:
    """The member's last gift with an address, so that the next one need not ask again."""
    return db.session.scalar(
        select(GiftClaim)
        .where(GiftClaim.member_id == member_id, GiftClaim.address != "")
        .order_by(GiftClaim.id.desc())
        .limit(1)
    )


def ship(claim_id: int, carrier: str, tracking_number: str) -> GiftClaim:
    """Note that a gift is on its way. The same numbers again change nothing. Refuses with `GiftStepNotListed`."""
    found = get_claim(claim_id, lock=True)
    carrier, tracking_number = carrier.strip()[:60], tracking_number.strip()[:60]
    if found.state == GiftState.SHIPPED:
        if (found.carrier, found.tracking_number) != (carrier, tracking_number):
            before = {"carrier": found.carrier, "tracking_number": found.tracking_number}
            found.carrier, found.tracking_number = carrier, tracking_number
            db.session.flush()
            after = {"carrier": carrier, "tracking_number": tracking_number}
            audit.record("gift.tracking_changed", "gift_claim", found.id, before, after)
        return found
    move(found, GiftState.SHIPPED, shipped_at=clock.now(), carrier=carrier, tracking_number=tracking_number)
    audit.record("gift.shipped", "gift_claim", found.id, after={"carrier": carrier, "tracking_number": tracking_number})
    publish(
        GiftShipped(
            member_id=found.member_id,
            gift_id=found.gift_id,
            claim_id=found.id,
            carrier=carrier,
            tracking_number=tracking_number,
        )
    )
    return found


def deliver(claim_id: int, content: str = "") -> GiftClaim:
    """Note that a gift has arrived; again it changes nothing.

    `content` is what a digital gift consists of, or the number under which a red packet was paid out.
    """
    found = get_claim(claim_id, lock=True)
    if found.state == GiftState.DELIVERED:
        return found
    values = {"content": content.strip()[:500]} if content.strip() else {}
    move(found, GiftState.DELIVERED, delivered_at=clock.now(), **values)
    audit.record("gift.delivered", "gift_claim", found.id)
    publish(GiftDelivered(member_id=found.member_id, gift_id=found.gift_id, claim_id=found.id))
    return found


def fail(claim_id: int, reason: str) -> GiftClaim:
    """Note that sending did not work; it can be queued again or cancelled."""
    return _aside(claim_id, GiftState.FAILED, "gift.failed", reason)


def come_back(claim_id: int, reason: str) -> GiftClaim:
    """Note that the parcel came back; it can be queued again or cancelled."""
    return _aside(claim_id, GiftState.RETURNED, "gift.returned", reason)


def cancel(claim_id: int, reason: str) -> GiftClaim:
    """Call a gift off; its piece goes back into stock, once."""
    return _aside(claim_id, GiftState.CANCELLED, "gift.cancelled", reason, closed_at=clock.now())


def _aside(claim_id: int, after: GiftState, action: str, reason: str, **columns: Any) -> GiftClaim:
    found = get_claim(claim_id, lock=True)
    if found.state == after:
        return found
    before = found.state
    move(found, after, reason=reason.strip()[:300], **columns)
    audit.record(action, "gift_claim", found.id, {"state": before.value}, {"state": after.value, "reason": reason})
    return found


def queue_again(claim_id: int) -> GiftClaim:
    """Send a failed or returned gift once more. Refuses with `GiftStepNotListed` one that its member has not taken up yet:
    nobody else claims it for them, or says where it goes."""
    found = get_claim(claim_id, lock=True)
    after = GiftState.QUEUED if get_gift(found.gift_id).kind == GiftKind.PHYSICAL else GiftState.CLAIMED
    before = found.state
    if before not in (GiftState.FAILED, GiftState.RETURNED):
        raise rules.GiftStepNotListed(state=state_words(before))
    move(found, after, queued_at=clock.now(), carrier="", tracking_number="", shipped_at=None)
    audit.record("gift.queued_again", "gift_claim", found.id, {"state": before.value}, {"state": after.value})
    return found


def forfeit_due(size: int = 500) -> int:
    """Forfeit up to `size` gifts whose deadline has passed, their pieces back into stock; returns how many."""
    now = clock.now()
    due = db.session.scalars(
        select(GiftClaim)
        .where(GiftClaim.state.in_(rules.WAITING), GiftClaim.claim_until <= now)
        .order_by(GiftClaim.gift_id, GiftClaim.id)
        .limit(size)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for found in due:
        move(found, GiftState.FORFEITED, closed_at=now)
    publish_all(GiftForfeited(member_id=f.member_id, gift_id=f.gift_id, claim_id=f.id) for f in due)
    return len(due)
