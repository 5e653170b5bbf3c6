"""REST for gifts: the catalogue, members' gifts, and what the warehouse does with them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from kernel import api_keys
from kernel.auth import api_scope
from kernel.errors import Refusal
from kernel.http import (
    Instant,
    Listed,
    Name,
    PageQuery,
    RowId,
    Strict,
    Text,
    api_blueprint,
    cursor_page,
    idempotent,
    operation,
)
from kernel.i18n import lazy_gettext as _l
from kernel.openapi import describe_tag
from membership.members.rules import masked_address, masked_phone
from membership.members.services.programs import note_revealed

from . import queries, rules, services
from .models import Gift, GiftClaim, GiftKind, GiftState

bp = api_blueprint("gifts_api", __name__)
describe_tag("Gifts", _l("The catalogue of gifts, members' gifts, and their parcels."))

REVEAL = "members:reveal"
Carrier = Annotated[Name, Field(max_length=60)]
Reveal = Annotated[bool, Field(description="Recipient, phone and address in full; the key needs members:reveal.")]
_CLAIM = {"claim": ("gifts.claim", {"claim_id": "$response.body#/id"})}


class ContentMissing(Refusal):
    label = _l("A digital gift is delivered with its content: send the code, the link or the sentence as content.")


class GiftOut(Strict):
    """`stock` is null where there is no limit; `given` are offered, on their way or with their members. `value` in 分."""

    id: int
    name: str
    kind: GiftKind
    description: str
    stock: int | None
    given: int
    value: int
    claim_days: int
    active: bool
    created_at: Instant


class GiftsQuery(PageQuery):
    kind: GiftKind | None = None
    active: bool | None = None


class GiftClaimOut(Strict):
    """One member's gift. Recipient, phone and address are masked unless a key with members:reveal asks for them."""

    id: int
    gift_id: int
    gift: str
    kind: GiftKind
    member_id: int
    state: GiftState
    benefit: str
    recipient: str
    phone: str
    address: str
    carrier: str
    tracking_number: str
    reason: str
    offered_at: Instant
    claim_until: Instant
    claimed_at: Instant | None
    queued_at: Instant | None
    shipped_at: Instant | None
    delivered_at: Instant | None
    masked: bool


class GiftClaimsQuery(PageQuery):
    state: GiftState | None = None
    gift_id: RowId | None = None
    member_id: RowId | None = None
    reveal: Reveal = False


class GiftClaimQuery(Strict):
    reveal: Reveal = False


class ShipIn(Strict):
    carrier: Carrier
    tracking_number: Carrier


class DeliverIn(Strict):
    """`content` is what a digital gift consists of, or the number under which a red packet was paid."""

    content: Annotated[Text, Field(max_length=500)] = ""


def _gift(row: Any) -> GiftOut:
    gift: Gift = row[0]
    return GiftOut(
        id=gift.id,
        name=gift.name,
        kind=gift.kind,
        description=gift.description,
        stock=gift.stock,
        given=row[1],
        value=gift.value,
        claim_days=gift.claim_days,
        active=gift.active,
        created_at=gift.created_at,
    )


def _claim(row: queries.ClaimRow, reveal: bool = False) -> GiftClaimOut:
    claim = row.claim
    return GiftClaimOut(
        id=claim.id,
        gift_id=claim.gift_id,
        gift=row.gift.name,
        kind=row.gift.kind,
        member_id=claim.member_id,
        state=row.state,
        benefit=claim.benefit,
        recipient=claim.recipient if reveal else f"{claim.recipient[:1]}**" if claim.recipient else "",
        phone=claim.phone if reveal else masked_phone(claim.phone),
        address=claim.address if reveal else masked_address(claim.address),
        carrier=claim.carrier,
        tracking_number=claim.tracking_number,
        reason=claim.reason,
        offered_at=claim.offered_at,
        claim_until=claim.claim_until,
        claimed_at=claim.claimed_at,
        queued_at=claim.queued_at,
        shipped_at=claim.shipped_at,
        delivered_at=claim.delivered_at,
        masked=not reveal,
    )


@bp.get("/gifts")
@api_scope("gifts:read")
@operation(_l("List the catalogue of gifts"), tag="Gifts", query=GiftsQuery, answers=Listed[GiftOut])
def index(query: GiftsQuery) -> Any:
    wanted = queries.GiftFilter(kind=query.kind, active=query.active)
    return cursor_page(queries.catalogue(wanted), [Gift.id.desc()], query, _gift)


@bp.get("/gifts/<int:gift_id>")
@api_scope("gifts:read")
@operation(_l("Read one gift of the catalogue"), tag="Gifts", answers=GiftOut)
def show(gift_id: int) -> GiftOut:
    return _gift((services.get_gift(gift_id), services.given(gift_id)))


@bp.get("/gift-claims")
@api_scope("gifts:read")
@operation(_l("List members' gifts"), tag="Gifts", query=GiftClaimsQuery, answers=Listed[GiftClaimOut])
def claims(query: GiftClaimsQuery) -> Any:
    api_keys.need(REVEAL, query.reveal)
    statement = queries.claims_listed(query.state, query.gift_id, query.member_id)
    page = cursor_page(statement, [GiftClaim.id.desc()], query, lambda row: _claim(queries.as_row(*row), query.reveal))
    if query.reveal:
        note_revealed([one.member_id for one in page.items])
    return page


@bp.get("/gift-claims/<int:claim_id>")
@api_scope("gifts:read")
@operation(_l("Read one member's gift"), tag="Gifts", query=GiftClaimQuery, answers=GiftClaimOut)
def claim(claim_id: int, query: GiftClaimQuery) -> GiftClaimOut:
    api_keys.need(REVEAL, query.reveal)
    row = queries.claim_row(claim_id)
    if query.reveal:
        note_revealed([row.claim.member_id])
    return _claim(row, query.reveal)


@bp.post("/gift-claims/<int:claim_id>/ship")
@api_scope("gifts:write")
@idempotent()
@operation(
    _l("Say that a gift is on its way"),
    tag="Gifts",
    takes=ShipIn,
    answers=GiftClaimOut,
    refusals=[rules.GiftStepNotListed, services.GiftChanged],
    example={"carrier": "SF Express", "tracking_number": "SF1234567890"},
    links=_CLAIM,
)
def ship(claim_id: int, body: ShipIn) -> GiftClaimOut:
    services.ship(claim_id, body.carrier, body.tracking_number)
    return _claim(queries.claim_row(claim_id))


@bp.post("/gift-claims/<int:claim_id>/deliver")
@api_scope("gifts:write")
@idempotent()
@operation(
    _l("Say that a gift has arrived"),
    tag="Gifts",
    takes=DeliverIn,
    answers=GiftClaimOut,
    refusals=[rules.GiftStepNotListed, services.GiftChanged, ContentMissing],
    links=_CLAIM,
)
def deliver(claim_id: int, body: DeliverIn) -> GiftClaimOut:
    row = queries.claim_row(claim_id)
    if row.gift.kind is GiftKind.DIGITAL and not (row.claim.content or body.content.strip()):
        raise ContentMissing
    services.deliver(claim_id, body.content)
    return _claim(queries.claim_row(claim_id))
