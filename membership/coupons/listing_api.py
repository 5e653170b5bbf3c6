"""REST for reading offers and coupons, and for granting one; the checkout's calls are in `api.py`.

A code is as good as the coupon, so that lists show it masked; a key that holds `coupons:reveal` may ask for it.
"""

from __future__ import annotations

from typing import Annotated, Any

from flask import g
from pydantic import Field

from kernel import api_keys, audit
from kernel.auth import api_scope
from kernel.errors import about
from kernel.http import (
    Instant,
    Listed,
    Name,
    PageQuery,
    RowId,
    Strict,
    api_blueprint,
    cursor_page,
    idempotent,
    operation,
)
from kernel.i18n import lazy_gettext as _l
from membership.members.services.programs import MemberGone, get_present

from . import codes, queries, services
from .models import Coupon, CouponKind, CouponState, Offer, OfferState, OfferVersion
from .services.grants import NothingToGrant

bp = api_blueprint("offers_api", __name__)

REVEAL = "coupons:reveal"
api_keys.declare(REVEAL, _l("See coupon codes in full; each look is noted in the audit trail"))
_COUPON = {"coupon": ("offers.coupon", {"coupon_id": "$response.body#/id"})}


class OfferOut(Strict):
    """`value` is 分 for an amount and a fixed price, per mille paid for a percentage (850 = 15 % off)."""

    id: int
    name: str
    state: OfferState
    kind: CouponKind
    value: int
    discount_cap: int | None
    min_spend: int
    skus: list[str]
    min_rank: int
    group_id: int | None
    stock: int | None
    claimed: int
    per_member: int | None
    claim_from: Instant | None
    claim_until: Instant | None
    usable_from: Instant | None
    usable_until: Instant | None
    valid_days: int | None
    terms: str
    created_at: Instant


class OffersQuery(PageQuery):
    state: OfferState | None = None
    kind: CouponKind | None = None


class CouponOut(Strict):
    """One member's coupon and what it is at this instant. `masked` says whether its code is cut."""

    id: int
    offer_id: int
    offer: str
    member_id: int
    code: str
    state: CouponState
    source: str
    usable_from: Instant
    usable_until: Instant
    issued_at: Instant
    reserved_until: Instant | None
    redeemed_at: Instant | None
    masked: bool


class CouponsQuery(PageQuery):
    member_id: RowId | None = None
    offer_id: RowId | None = None
    state: CouponState | None = None
    reveal: Annotated[bool, Field(description="Codes in full; the key needs coupons:reveal.")] = False


class CouponQuery(Strict):
    reveal: Annotated[bool, Field(description="The code in full; the key needs coupons:reveal.")] = False


class GrantIn(Strict):
    """`key` says for what: the same key gives the same coupon again, whoever asks."""

    member_id: RowId
    key: Annotated[Name, Field(max_length=60)]


def _offer(row: Any) -> OfferOut:
    offer: Offer = row[0]
    version: OfferVersion = row[1]
    return OfferOut(
        id=offer.id,
        name=offer.name,
        state=offer.state,
        kind=version.kind,
        value=version.value,
        discount_cap=version.discount_cap,
        min_spend=version.min_spend,
        skus=list(version.skus),
        min_rank=version.min_rank,
        group_id=version.group_id,
        stock=offer.stock,
        claimed=offer.claimed,
        per_member=offer.per_member,
        claim_from=offer.claim_from,
        claim_until=offer.claim_until,
        usable_from=version.usable_from,
        usable_until=version.usable_until,
        valid_days=version.valid_days,
        terms=version.terms,
        created_at=offer.created_at,
    )


def _coupon(row: queries.CouponRow, reveal: bool) -> CouponOut:
    coupon = row.coupon
    return CouponOut(
        id=coupon.id,
        offer_id=coupon.offer_id,
        offer=row.offer.name,
        member_id=coupon.member_id,
        code=codes.spelt(coupon.code) if reveal else codes.masked(coupon.code),
        state=row.state,
        source=coupon.source,
        usable_from=coupon.usable_from,
        usable_until=coupon.usable_until,
        issued_at=coupon.issued_at,
        reserved_until=coupon.reserved_until,
        redeemed_at=coupon.redeemed_at,
        masked=not reveal,
    )


def _note_revealed(coupon_ids: list[int]) -> None:
    if coupon_ids:
        audit.record("coupons.revealed", "api_key", g.api_key.id, after={"coupons": coupon_ids})


@bp.get("/offers")
@api_scope("coupons:read")
@operation(_l("List offers"), tag="Coupons", query=OffersQuery, answers=Listed[OfferOut])
def index(query: OffersQuery) -> Any:
    return cursor_page(queries.offers_listed(query.state, query.kind), [Offer.id.desc()], query, _offer)


@bp.get("/offers/<int:offer_id>")
@api_scope("coupons:read")
@operation(_l("Read one offer"), tag="Coupons", answers=OfferOut)
def show(offer_id: int) -> OfferOut:
    return _offer(queries.offer_with_version(offer_id))


@bp.post("/offers/<int:offer_id>/grants")
@api_scope("coupons:write")
@idempotent()
@operation(
    _l("Grant a member a coupon of an offer"),
    tag="Coupons",
    takes=GrantIn,
    answers={201: CouponOut, 200: CouponOut},
    refusals=[NothingToGrant, MemberGone],
    description=_l("Stock and caps hold; tier, group and claim window do not, for the shop itself decides."),
    example={"member_id": 12, "key": "survey-2026-11"},
    links=_COUPON,
)
def grant(offer_id: int, body: GrantIn) -> Any:
    offer, _version = queries.offer_with_version(offer_id)
    with about("member_id"):
        member = get_present(body.member_id)
    key = f"api:{offer.id}:{member.id}:{body.key}"
    granted = services.grant(offer.id, member.id, key, "api")
    # Whoever grants it hands it over.
    return _coupon(queries.coupon_row(granted.coupon_id), True), 201 if granted.fresh else 200


@bp.get("/coupons")
@api_scope("coupons:read")
@operation(_l("List coupons"), tag="Coupons", query=CouponsQuery, answers=Listed[CouponOut])
def coupons(query: CouponsQuery) -> Any:
    api_keys.need(REVEAL, query.reveal)
    statement = queries.coupons_listed(query.member_id, query.offer_id, query.state)
    page = cursor_page(statement, [Coupon.id.desc()], query, lambda row: _coupon(queries.as_row(row), query.reveal))
    if query.reveal:
        _note_revealed([one.id for one in page.items])
    return page


@bp.get("/coupons/<int:coupon_id>")
@api_scope("coupons:read")
@operation(_l("Read one coupon"), tag="Coupons", query=CouponQuery, answers=CouponOut)
def coupon(coupon_id: int, query: CouponQuery) -> CouponOut:
    api_keys.need(REVEAL, query.reveal)
    row = queries.coupon_row(coupon_id)
    if query.reveal:
        _note_revealed([row.coupon.id])
    return _coupon(row, query.reveal)
