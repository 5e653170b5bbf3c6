"""Granting without a claim: pushes, welcome gifts and staff give coupons in a transaction of their own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import aliased

from kernel import audit, clock, events
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from membership.members.models import Member

from .. import codes, rules
from ..models import Coupon
from . import batch, caps, shelves


class NothingToGrant(Refusal):
    title = _l("No coupon was granted")
    label = _l("The offer is not running, has nothing left, or this member has as many of it as one may have.")
    icon = "ticket"


def grant_many(offer_id: int, people: Sequence[tuple[int, str]], source: str) -> dict[int, tuple[int, str]]:
    """Grant coupons of an offer to `(member_id, key)` pairs in the caller's transaction: {member_id: (coupon_id, code)}.

    A key grants once: again it gives the same coupon. A member who has as many of the offer as one may have is given
    their last one that can still be used. Stock, the day's number and the caps a person, a group and in money hold; tier,
    group and the claim window do not, for the shop itself decides. A record that has been merged stands for the one it was
    merged into. Members for whom nothing could be granted are absent.

    The offer's row stays locked until the caller's transaction ends: grant in slices.
    """
    found = _granted(offer_id, people, source)
    return {member_id: (one.coupon_id, one.code) for member_id, one in found.items()}


def _granted(offer_id: int, people: Sequence[tuple[int, str]], source: str) -> dict[int, shelves.Claimed]:
    connection = db.session.connection()
    now = clock.now()
    shelf = shelves.locked(connection, [offer_id], now).get(offer_id)
    if shelf is None:
        return {}
    held = shelves.coupons_held(connection, [offer_id], [member_id for member_id, _ in people])
    granted: dict[int, shelves.Claimed] = {}
    keys = [key for _, key in people]
    known = {
        row.grant_key: row
        for row in db.session.execute(
            select(Coupon.grant_key, Coupon.member_id, Coupon.id, Coupon.code).where(Coupon.grant_key.in_(keys))
        )
    }
    usable = _usable(offer_id, [member_id for member_id, _ in people], now)
    fresh: list[shelves.Coupon] = []
    closed = rules.refusal_of(shelf.row, now)
    running = closed is None or (closed is rules.NotYet and shelf.row.state == "active")
    most = shelf.row.per_member
    persons = caps.person_keys([member_id for member_id, _ in people]) if shelf.row.per_person is not None else {}
    for member_id, key in people:
        if key in known:
            granted.setdefault(known[key].member_id, shelves.Claimed(known[key].id, known[key].code, False))
            continue
        mine = held.setdefault((offer_id, member_id), [])
        if most is not None and len(mine) >= most:
            if member_id in usable:
                granted.setdefault(member_id, usable[member_id])
            continue
        if not running or shelf.exhausted() is not None:
            continue
        ordinal = mine[-1].ordinal + 1 if mine else 1
        coupon = shelves.Coupon(offer_id, 0, member_id, ordinal, codes.fresh(), source, key)
        if batch.take_counters(connection, coupon, shelf, persons.get(member_id)) is not None:
            continue
        shelf.take(coupon)
        mine.append(coupon)
        fresh.append(coupon)
    for coupon in shelves.insert_coupons(connection, fresh, now, "granted"):
        granted[coupon.member_id] = shelves.Claimed(coupon.id, coupon.code, True)
    missed = [coupon for coupon in fresh if not coupon.id]
    for coupon in missed:
        batch.give_counters_back(connection, coupon)
    heirs = _heirs(missed)
    if heirs:
        # Merged while this was under way: the coupon is for the record that they are now.
        theirs = _granted(
            offer_id, [(heirs[c.member_id], str(c.grant_key)) for c in missed if c.member_id in heirs], source
        )
        granted |= {member_id: theirs[heir] for member_id, heir in heirs.items() if heir in theirs}
    if fresh:
        events.deliver_events.later()
    return granted


def _heirs(missed: Sequence[shelves.Coupon]) -> dict[int, int]:
    """The living records that those were merged into whose coupons could not be put there: {member_id: survivor}."""
    if not missed:
        return {}
    heir = aliased(Member)
    rows = db.session.execute(
        select(Member.id, heir.id)
        .join(heir, heir.id == Member.merged_into_id)
        .where(Member.id.in_({c.member_id for c in missed}), heir.merged_into_id.is_(None), heir.erased_at.is_(None))
    )
    return {row[0]: row[1] for row in rows}


def _usable(offer_id: int, members: Sequence[int], now: datetime) -> dict[int, shelves.Claimed]:
    rows = db.session.execute(
        select(Coupon.member_id, Coupon.id, Coupon.code)
        .where(
            Coupon.offer_id == offer_id,
            Coupon.member_id.in_(members),
            Coupon.state == rules.S.ISSUED,
            Coupon.usable_until > now,
        )
        .order_by(Coupon.ordinal)
    )
    return {row.member_id: shelves.Claimed(row.id, row.code, False) for row in rows}


def grant(offer_id: int, member_id: int, key: str, source: str) -> shelves.Claimed:
    """Grant one coupon by hand, keyed so that a double click grants once; only a fresh one is written to the audit trail.

    Refuses with `NothingToGrant`.
    """
    found = _granted(offer_id, [(member_id, key)], source).get(member_id)
    if found is None:
        raise NothingToGrant
    if found.fresh:
        after = {"member_id": member_id, "offer_id": offer_id}
        audit.record("coupon.granted", "coupon", found.coupon_id, after=after)
    return found
