"""The rows that a checkout call is about, locked in one order everywhere: the order, the offers, the coupons."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, text

from kernel.db import db
from kernel.errors import Refusal
from membership.members.models import Member

from .. import rules
from ..models import Coupon, Offer, OfferVersion
from . import typed
from .checkout import Found, find


def lock_order(source: str, external_id: str) -> None:
    """Let one at a time use or give back coupons on an order, so that two of them never take off more than there is."""
    db.session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 1))"),
        {"name": f"order\x1f{source}\x1f{external_id}"},
    )


def tell(wanted: Sequence[str], refusals: dict[str, Refusal]) -> None:
    """One coupon's refusal is that refusal; of several, all that were refused are named."""
    if not refusals:
        return
    if len(wanted) == 1:
        raise next(iter(refusals.values()))
    raise rules.CouponsRefused(refusals)


def locked_all(wanted: Sequence[str], buyer: Member | None = None, claims: str = "") -> dict[str, Found]:
    """The coupons behind codes, their rows locked, lowest id first. With `claims` (a source) pool codes become coupons.

    Offers are locked before coupons, as everywhere. Refuses with `UnknownCode`, `BuyerNeeded`, `CodeTaken` and the like.
    """
    refusals: dict[str, Refusal] = {}
    ids: dict[str, int] = {}
    buyer_id = buyer.id if buyer is not None else None
    found: list[tuple[str, Found]] = []
    for code in wanted:
        try:
            found.append((code, find(code, member_id=buyer_id)))
        except Refusal as refusal:
            refusals[code] = refusal
    for code, one in sorted(found, key=lambda pair: (pair[1].offer.id, pair[1].key)):
        try:
            if one.coupon is not None:
                coupon_id = one.coupon.id
            elif claims:
                coupon_id = typed.claim_code(code, buyer, claims)
            else:
                raise rules.UnknownCode
            if coupon_id in ids.values():
                raise rules.ListedTwice
            ids[code] = coupon_id
        except Refusal as refusal:
            refusals[code] = refusal
    tell(wanted, refusals)
    rows = db.session.execute(
        select(Coupon, OfferVersion, Offer)
        .join(OfferVersion, OfferVersion.id == Coupon.version_id)
        .join(Offer, Offer.id == Coupon.offer_id)
        .where(Coupon.id.in_(ids.values()))
        .order_by(Coupon.id)
        .with_for_update(of=Coupon)
        .execution_options(populate_existing=True)
    )
    locked = {row[0].id: Found(row[0].id, row[0], row[1], row[2], row[0].usable_until) for row in rows}
    return {code: locked[ids[code]] for code in wanted}


def coupon_of(found: Found) -> Coupon:
    if found.coupon is None:
        raise LookupError("only coupons that are there are locked")
    return found.coupon
