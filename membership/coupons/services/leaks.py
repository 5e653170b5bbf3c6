"""Finding coupons that were farmed or have leaked: each finding says what is odd about which coupons, nobody is accused.

Nothing here blocks a claim. Staff look, and freeze, give free, or mark as fine what was found; what is marked as fine is
left out from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, Text, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kernel import audit, clock
from kernel.auth import current_staff
from kernel.db import db
from membership.members.models import Member

from ..models import Coupon, CouponClearance, CouponState, Offer, OfferVersion
from ..signs import Sign
from .claims import in_group

SHOWN = 100
WEEK = timedelta(days=7)
# From how many different people on a sign counts: households share an address, families a network.
PEOPLE = {"device": 3, "network": 6, "address": 4, "phones": 5, "burst": 10}


@dataclass(frozen=True)
class Finding:
    """Coupons that share a sign. `key` names the cluster among those of its sign, `people` how many own them."""

    sign: Sign
    key: str
    people: int
    coupon_ids: list[int]
    frozen: int

    @property
    def open(self) -> int:
        return len(self.coupon_ids) - self.frozen


# Coupons of an offer with their owners, but those that were found to be fine or can do no harm any more.
_SUSPECTS = """
    suspects AS (
        SELECT c.id, c.member_id, c.state, c.network, c.device, c.issued_at, m.phone, m.address, m.rank, m.created_at,
               m.orders_count, v.min_rank
        FROM coupon c JOIN member m ON m.id = c.member_id JOIN offer_version v ON v.id = c.version_id
        LEFT JOIN coupon_clearance f ON f.coupon_id = c.id
        WHERE c.offer_id = :offer AND c.state IN ('issued', 'reserved', 'frozen', 'redeemed') AND f.coupon_id IS NULL
    )
"""

_KEYS = {
    Sign.DEVICE: "device",
    Sign.NETWORK: "network",
    Sign.ADDRESS: "nullif(lower(regexp_replace(address, '\\s', '', 'g')), '')",
    # All but the last three digits: numbers that were bought in a row.
    Sign.PHONES: "left(phone, length(phone) - 3)",
}


def _clusters(offer_id: int, sign: Sign) -> list[Finding]:
    key = _KEYS[sign]
    rows = db.session.execute(
        text(
            f"""
            WITH {_SUSPECTS}
            SELECT {key} AS key, count(DISTINCT member_id) AS people, array_agg(id ORDER BY id) AS ids,
                   count(*) FILTER (WHERE state = 'frozen') AS frozen
            FROM suspects WHERE {key} IS NOT NULL GROUP BY 1 HAVING count(DISTINCT member_id) >= :people
            ORDER BY 2 DESC, 1 LIMIT 50
            """  # noqa: S608
        ).bindparams(bindparam("offer", type_=BigInteger)),
        {"offer": offer_id, "people": PEOPLE[sign.value]},
    )
    return [Finding(sign, row.key, row.people, list(row.ids), row.frozen) for row in rows]


def _bursts(offer_id: int) -> list[Finding]:
    """Minutes in which many people claimed whom the shop knew for less than an hour and who never bought anything."""
    rows = db.session.execute(
        text(
            f"""
            WITH {_SUSPECTS}
            SELECT to_char(date_trunc('minute', issued_at AT TIME ZONE 'Asia/Shanghai'), 'YYYY-MM-DD HH24:MI') AS key,
                   count(DISTINCT member_id) AS people, array_agg(id ORDER BY id) AS ids,
                   count(*) FILTER (WHERE state = 'frozen') AS frozen
            FROM suspects WHERE orders_count = 0 AND created_at > issued_at - interval '1 hour'
            GROUP BY 1 HAVING count(DISTINCT member_id) >= :people ORDER BY 2 DESC, 1 LIMIT 20
            """  # noqa: S608
        ).bindparams(bindparam("offer", type_=BigInteger)),
        {"offer": offer_id, "people": PEOPLE["burst"]},
    )
    return [Finding(Sign.BURST, row.key, row.people, list(row.ids), row.frozen) for row in rows]


def _outside(offer_id: int) -> list[Finding]:
    """Coupons whose owners do not meet the offer's condition now: below its tier, or not in its group."""
    cleared = select(CouponClearance.coupon_id)
    live = (
        select(Coupon.id, Coupon.member_id, Coupon.state)
        .join(Member, Member.id == Coupon.member_id)
        .join(OfferVersion, OfferVersion.id == Coupon.version_id)
        .where(
            Coupon.offer_id == offer_id,
            Coupon.state.in_([CouponState.ISSUED, CouponState.RESERVED, CouponState.FROZEN]),
            Coupon.id.not_in(cleared),
        )
        .order_by(Coupon.id)
    )
    found = [_finding(Sign.TIER, "", db.session.execute(live.where(Member.rank < OfferVersion.min_rank)).all())]
    groups = db.session.scalars(
        select(OfferVersion.group_id)
        .where(OfferVersion.offer_id == offer_id, OfferVersion.group_id.is_not(None))
        .distinct()
    )
    for group_id in groups:
        if group_id is None or not in_group.filled:
            continue
        inside = in_group.call(group_id)[0]
        rows = db.session.execute(live.where(OfferVersion.group_id == group_id, ~inside)).all()
        found.append(_finding(Sign.GROUP, str(group_id), rows))
    return [one for one in found if one.coupon_ids]


def _finding(sign: Sign, key: str, rows: Sequence[Any]) -> Finding:
    people = len({row.member_id for row in rows})
    frozen = sum(row.state == CouponState.FROZEN for row in rows)
    return Finding(sign, key, people, [row.id for row in rows], frozen)


def findings(offer_id: int) -> list[Finding]:
    """Everything odd about an offer's coupons, the largest cluster of each sign first."""
    found = _outside(offer_id)
    for sign in _KEYS:
        found += _clusters(offer_id, sign)
    return found + _bursts(offer_id)


def finding(offer_id: int, sign: str, key: str) -> Finding | None:
    """One finding as it is now, or None when there is nothing odd any more."""
    return next((one for one in findings(offer_id) if one.sign == sign and one.key == key), None)


def suspicious_offers() -> list[tuple[Offer, int]]:
    """Offers of which one browser or one network claimed for many people in the last week: (offer, clusters), most first."""
    rows = db.session.execute(
        text(
            """
            SELECT offer_id, count(*) AS clusters FROM (
                SELECT c.offer_id, c.device FROM coupon c LEFT JOIN coupon_clearance f ON f.coupon_id = c.id
                WHERE c.issued_at > :since AND c.device IS NOT NULL AND c.state = 'issued' AND f.coupon_id IS NULL
                GROUP BY c.offer_id, c.device HAVING count(DISTINCT c.member_id) >= :people
            ) AS q GROUP BY offer_id ORDER BY 2 DESC LIMIT 5
            """
        ),
        {"since": clock.now() - WEEK, "people": PEOPLE["device"]},
    ).all()
    offers = {offer.id: offer for offer in db.session.scalars(select(Offer).where(Offer.id.in_([r[0] for r in rows])))}
    return [(offers[row[0]], row[1]) for row in rows]


_MOVE = text(
    """
    WITH moved AS (
        UPDATE coupon SET state = :after WHERE id = ANY(:ids) AND state = :before
            AND (:after <> 'frozen' OR usable_until > :now)
        RETURNING id
    ), history AS (
        INSERT INTO coupon_event (coupon_id, from_state, to_state, at, reason, detail)
        SELECT id, :before, :after, :now, :reason, '{}' FROM moved
    )
    SELECT count(*) FROM moved
    """
).bindparams(
    bindparam("ids", type_=ARRAY(BigInteger)), bindparam("before", type_=Text), bindparam("after", type_=Text),
    bindparam("reason", type_=Text),
)  # fmt: skip


def _move(coupon_ids: Sequence[int], before: CouponState, after: CouponState, reason: str) -> int:
    values = {"ids": sorted(coupon_ids), "before": before, "after": after, "now": clock.now(), "reason": reason}
    return db.session.execute(_MOVE, values).scalar() or 0


def freeze_many(offer_id: int, coupon_ids: Sequence[int], reason: str) -> int:
    """Hold coupons that may have been farmed; those that are used, held by an order or over stay as they are."""
    moved = _move(coupon_ids, CouponState.ISSUED, CouponState.FROZEN, reason)
    if moved:
        audit.record("offer.coupons_frozen", "offer", offer_id, after={"coupons": moved, "reason": reason})
    return moved


def unfreeze_many(offer_id: int, coupon_ids: Sequence[int]) -> int:
    """Give frozen coupons free again; the sweep lets those expire whose time is over meanwhile."""
    moved = _move(coupon_ids, CouponState.FROZEN, CouponState.ISSUED, "unfrozen")
    if moved:
        audit.record("offer.coupons_unfrozen", "offer", offer_id, after={"coupons": moved})
    return moved


def clear(offer_id: int, coupon_ids: Sequence[int]) -> int:
    """Mark coupons as fine, and give those free that were frozen: the report leaves them out from now on."""
    unfreeze_many(offer_id, coupon_ids)
    staff = current_staff()
    rows = [{"coupon_id": i, "staff_id": staff.id if staff else None, "at": clock.now()} for i in sorted(coupon_ids)]
    if not rows:
        return 0
    cleared = insert(CouponClearance).on_conflict_do_nothing().returning(CouponClearance.coupon_id)
    done = len(db.session.scalars(cleared, rows).all())
    audit.record("offer.coupons_cleared", "offer", offer_id, after={"coupons": done})
    return done
