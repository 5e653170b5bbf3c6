"""Undoing the use of coupons on an order; twice is once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l
from kernel.money import yuan
from membership.members.models import Member

from ..events import CouponRolledBack
from ..models import Coupon, CouponState, Redemption
from .caps import give_budget_back
from .checkout import live_on
from .locking import coupon_of, lock_order, locked_all, tell
from .states import move


class RedemptionUnknown(Refusal):
    status = 404
    title = _l("Nothing to undo")
    label = _l("This coupon was never used on that order.")


def roll_back_all(wanted: Sequence[str], source: str, order: str, reason: str = "") -> list[tuple[Redemption, Coupon]]:
    """Undo the use of coupons on an order, all or none; they can be used again, unless their time is over. Twice is once.

    Refuses with `UnknownCode`, and with `RedemptionUnknown` when a coupon was never used on that order.
    """
    lock_order(source, order)
    found = locked_all(wanted)
    latest: dict[int, Redemption] = {}
    for redemption in db.session.scalars(
        select(Redemption)
        .where(
            Redemption.coupon_id.in_([one.key for one in found.values()]),
            Redemption.source == source,
            Redemption.order_external_id == order,
        )
        .order_by(Redemption.id)
        .execution_options(populate_existing=True)
    ):
        latest[redemption.coupon_id] = redemption
    tell(wanted, {code: RedemptionUnknown() for code, one in found.items() if one.key not in latest})
    for one in sorted(found.values(), key=lambda found: found.key):
        if latest[one.key].rolled_back_at is None:
            _undo(latest[one.key], coupon_of(one), reason)
    return [(latest[one.key], coupon_of(one)) for one in found.values()]


def roll_back(code: str, source: str, order: str, reason: str = "") -> tuple[Redemption, Coupon]:
    """`roll_back_all` for one coupon."""
    return roll_back_all([code], source, order, reason)[0]


def roll_back_order(source: str, order: str, reason: str) -> int:
    """Undo every coupon used on an order (a full refund); returns how many were."""
    lock_order(source, order)
    ids = [redemption.coupon_id for redemption, _version, _coupon in live_on(source, order)]
    coupons = db.session.scalars(
        select(Coupon)
        .where(Coupon.id.in_(ids))
        .order_by(Coupon.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    live = {redemption.coupon_id: redemption for redemption, _version, _coupon in live_on(source, order)}
    for coupon in coupons:
        if coupon.id in live:
            _undo(live[coupon.id], coupon, reason)
    return len(live)


def _undo(redemption: Redemption, coupon: Coupon, reason: str) -> None:
    now = clock.now()
    result = db.session.execute(
        update(Redemption)
        .where(Redemption.id == redemption.id, Redemption.rolled_back_at.is_(None))
        .values(rolled_back_at=now, rollback_reason=reason or "rolled back")
    )
    if changed(result) != 1:
        return
    after = CouponState.EXPIRED if coupon.usable_until <= now else CouponState.ISSUED
    detail: dict[str, Any] = {"source": redemption.source, "order": redemption.order_external_id}
    move(coupon, after, reason or "rolled back", detail, redeemed_at=None)
    if after is CouponState.ISSUED and db.session.get_one(Member, coupon.member_id).erased_at is not None:
        # It comes back to nobody: an erased person's coupons are taken back, and so is this one.
        move(coupon, CouponState.REVOKED, "erased")
        after = CouponState.REVOKED
    give_budget_back(coupon.offer_id, redemption.discount)
    audit.record(
        "coupon.rolled_back", "coupon", coupon.id,
        {"order": redemption.order_external_id, "discount": yuan(redemption.discount)}, {"state": after.value},
    )  # fmt: skip
    publish(
        CouponRolledBack(
            member_id=coupon.member_id,
            coupon_id=coupon.id,
            offer_id=coupon.offer_id,
            source=redemption.source,
            order_external_id=redemption.order_external_id,
        )
    )
