"""One coupon's way through its states: each step is an UPDATE from a known state, with its event beside it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Text, bindparam, select, text, update

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l

from .. import codes, rules
from ..events import CouponRevoked
from ..labels import coupon_state
from ..models import Coupon, CouponEvent, CouponState, Offer

SWEEP_SIZE = 1_000


class CouponChanged(Refusal):
    title = _l("Somebody else was faster")
    label = _l("The coupon has changed in the meantime and is %(state)s now. Look at it again.")


class StepNotListed(Refusal):
    title = _l("Not possible in this state")
    label = _l("A coupon that is %(state)s cannot be changed in this way.")


def locked(coupon_id: int) -> Coupon:
    """A coupon with its row locked, read anew. Refuses with `NotFound`."""
    found = db.session.scalar(
        select(Coupon).where(Coupon.id == coupon_id).with_for_update().execution_options(populate_existing=True)
    )
    if found is None:
        raise NotFound
    return found


def move(coupon: Coupon, after: CouponState, reason: str, detail: dict[str, Any] | None = None, **columns: Any) -> None:
    """Change a coupon's state and write its event.

    Refuses with `StepNotListed` for a change that the states do not allow, with `CouponChanged` when the row's state is
    no longer the one that was read.
    """
    before = coupon.state
    if (before, after) not in rules.TRANSITIONS:
        raise StepNotListed(state=coupon_state(before))
    result = db.session.execute(
        update(Coupon).where(Coupon.id == coupon.id, Coupon.state == before).values(state=after, **columns)
    )
    if changed(result) != 1:
        db.session.refresh(coupon)
        raise CouponChanged(state=coupon_state(coupon.state))
    db.session.add(
        CouponEvent(
            coupon_id=coupon.id, from_state=before, to_state=after, at=clock.now(), reason=reason, detail=detail or {}
        )
    )
    db.session.flush()


def settle(coupon: Coupon, now: datetime) -> None:
    """Write down what the clock has decided already: a reservation that ran out, a coupon that expired.

    The coupon's row must be locked.
    """
    if coupon.state == CouponState.RESERVED and coupon.reserved_until is not None and coupon.reserved_until <= now:
        after = CouponState.EXPIRED if coupon.usable_until <= now else CouponState.ISSUED
        move(coupon, after, "reservation ran out", reserved_source=None, reserved_order=None, reserved_until=None)
    if coupon.state == CouponState.ISSUED and coupon.usable_until <= now:
        move(coupon, CouponState.EXPIRED, "time")


def revoke(coupon_id: int, reason: str) -> None:
    """Take a coupon back; it stays counted as given out. Refuses with `StepNotListed` when it is used, expired or gone."""
    coupon = locked(coupon_id)
    settle(coupon, clock.now())
    if coupon.state == CouponState.REVOKED:
        return
    move(coupon, CouponState.REVOKED, reason)
    audit.record("coupon.revoked", "coupon", coupon.id, {"state": "issued"}, {"state": "revoked", "reason": reason})
    publish(CouponRevoked(member_id=coupon.member_id, coupon_id=coupon.id, offer_id=coupon.offer_id, reason=reason))


def revoke_all_of(member_ids: Collection[int], reason: str) -> int:
    """Take back every coupon of a person that could still be used, held and frozen ones too; returns how many.

    In the caller's transaction; what was used, has expired or was given away stays as it is.
    """
    usable = (CouponState.ISSUED, CouponState.RESERVED, CouponState.FROZEN)
    coupons = db.session.scalars(
        select(Coupon)
        .where(Coupon.member_id.in_(member_ids), Coupon.state.in_(usable))
        .order_by(Coupon.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    now, count = clock.now(), 0
    for coupon in coupons:
        if coupon.state == CouponState.RESERVED:
            move(coupon, CouponState.ISSUED, reason, reserved_source=None, reserved_order=None, reserved_until=None)
        elif coupon.state == CouponState.FROZEN:
            move(coupon, CouponState.ISSUED, reason)
        settle(coupon, now)
        if coupon.state == CouponState.ISSUED:
            revoke(coupon.id, reason)
            count += 1
    return count


def freeze(coupon_id: int, reason: str) -> None:
    """Hold a coupon that may have been abused. Refuses with `StepNotListed` unless it can still be used."""
    coupon = locked(coupon_id)
    settle(coupon, clock.now())
    move(coupon, CouponState.FROZEN, reason)
    audit.record("coupon.frozen", "coupon", coupon.id, after={"reason": reason})


def unfreeze(coupon_id: int, reason: str) -> None:
    """Give a frozen coupon free again; when its time is over meanwhile, it expires at once."""
    coupon = locked(coupon_id)
    move(coupon, CouponState.ISSUED, reason)
    settle(coupon, clock.now())
    audit.record("coupon.unfrozen", "coupon", coupon.id, after={"reason": reason})


def transfer(coupon_id: int, to_member_id: int) -> Coupon:
    """Give a coupon to another member: the old one ends, a new one with a new code and the same terms begins.

    The number of usable coupons stays the same, and so does the offer's count. What members may give away is judged by
    `transfers.accept`, which holds the receiver's row. Refuses with `StepNotListed`.
    """
    offer_id = db.session.scalar(select(Coupon.offer_id).where(Coupon.id == coupon_id))
    # The offer's lock is not needed for its stock, but for the next ordinal of the one who receives.
    db.session.execute(select(Offer.id).where(Offer.id == offer_id).with_for_update(key_share=True))
    coupon = locked(coupon_id)
    now = clock.now()
    settle(coupon, now)
    move(coupon, CouponState.TRANSFERRED, "transferred", {"to": to_member_id})
    held = db.session.scalars(
        select(Coupon.ordinal)
        .where(Coupon.offer_id == coupon.offer_id, Coupon.member_id == to_member_id)
        .order_by(Coupon.ordinal.desc())
        .limit(1)
    ).first()
    friend = Coupon(
        offer_id=coupon.offer_id,
        version_id=coupon.version_id,
        member_id=to_member_id,
        code=codes.fresh(),
        ordinal=(held or 0) + 1,
        source=f"transfer:{coupon.id}",
        parent_id=coupon.id,
        usable_from=coupon.usable_from,
        usable_until=coupon.usable_until,
        issued_at=now,
    )
    db.session.add(friend)
    db.session.flush()
    db.session.add(
        CouponEvent(
            coupon_id=friend.id, to_state=CouponState.ISSUED, at=now, reason="transferred", detail={"from": coupon.id}
        )
    )
    db.session.flush()
    return friend


_SWEEP = text(
    """
    WITH due AS (
        SELECT id, state AS before FROM coupon
        WHERE state = :state AND CASE WHEN :state = 'issued' THEN usable_until ELSE reserved_until END <= :now
        ORDER BY id LIMIT :size FOR UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE coupon SET state = CASE WHEN usable_until <= :now THEN 'expired' ELSE 'issued' END,
            reserved_source = NULL, reserved_order = NULL, reserved_until = NULL
        FROM due WHERE coupon.id = due.id
        RETURNING coupon.id, due.before, coupon.state AS after
    ), history AS (
        INSERT INTO coupon_event (coupon_id, from_state, to_state, at, reason, detail)
        SELECT id, before, after, :now, CASE WHEN before = 'issued' THEN 'time' ELSE 'reservation ran out' END, '{}' FROM moved
    )
    SELECT count(*) FROM moved
    """
).bindparams(bindparam("now", type_=DateTime(timezone=True)), bindparam("state", type_=Text))


def sweep(size: int = SWEEP_SIZE) -> int:
    """Write down up to `size` expiries and as many ended reservations; returns how many. Nothing depends on it but lists."""
    now = clock.now()
    return sum(
        db.session.execute(_SWEEP, {"now": now, "state": state, "size": size}).scalar() or 0
        for state in (CouponState.RESERVED.value, CouponState.ISSUED.value)
    )
