"""Letting a gift wait for a member, and the link that leads them to it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from kernel import clock, links
from kernel.db import db
from kernel.errors import NotFound
from kernel.events import publish
from membership.limits import services as limits

from ..events import GiftOffered
from ..models import Gift, GiftClaim, GiftKind, GiftState
from .catalogue import get_gift, stock_limit

PURPOSE = "gift"


def offer_gift(
    gift_id: int, member_id: int, benefit: str, period: str = "", group_id: int | None = None
) -> GiftClaim | None:
    """Let a gift wait for a member, with one piece of the stock set aside for it; in the caller's transaction.

    The same (member, benefit, period) gives the same gift again, whatever became of it. Returns None when nothing is
    left in stock, or the gift is no longer given. `benefit` says why, e.g. `welcome:12`.
    """
    known = _of_benefit(member_id, benefit, period)
    if known is not None:
        return known
    gift = get_gift(gift_id)
    if not gift.active:
        return None
    now = clock.now()
    try:
        with db.session.begin_nested():
            # The row first: its unique key makes a second caller wait here and not at the stock, which all share.
            claim_id = db.session.scalar(
                insert(GiftClaim)
                .values(
                    gift_id=gift_id,
                    member_id=member_id,
                    state=GiftState.OFFERED,
                    benefit=benefit,
                    period=period,
                    group_id=group_id,
                    offered_at=now,
                    claim_until=now + timedelta(days=gift.claim_days),
                )
                .on_conflict_do_nothing()
                .returning(GiftClaim.id)
            )
            if claim_id is None:
                return _of_benefit(member_id, benefit, period)
            if gift.kind == GiftKind.DIGITAL:
                # The stock of codes may shrink meanwhile; what is offered must be covered by the stock in force.
                gift = db.session.scalars(
                    select(Gift)
                    .where(Gift.id == gift_id)
                    .with_for_update(read=True)
                    .execution_options(populate_existing=True)
                ).one()
            limits.take([(stock_limit(gift_id), "", "", 1, gift.stock)])
    except limits.LimitReached:
        return None
    publish(GiftOffered(member_id=member_id, gift_id=gift_id, claim_id=claim_id, benefit=benefit))
    return get_claim(claim_id)


def _of_benefit(member_id: int, benefit: str, period: str) -> GiftClaim | None:
    return db.session.scalar(
        select(GiftClaim).where(
            GiftClaim.member_id == member_id, GiftClaim.benefit == benefit, GiftClaim.period == period
        )
    )


def get_claim(claim_id: int, lock: bool = False) -> GiftClaim:
    """A member's gift. Refuses with `NotFound`."""
    statement = select(GiftClaim).where(GiftClaim.id == claim_id)
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    found = db.session.scalar(statement)
    if found is None:
        raise NotFound
    return found


def path_of(claim: GiftClaim) -> str:
    """The path of a member's own link to their gift: a signed bearer token."""
    return "/gift/" + links.make(PURPOSE, claim.member_id, claim.id)


def read_path(token: str) -> tuple[int, int]:
    """(member_id, claim_id) of such a link. Refuses with `LinkInvalid`, `LinkExpired`."""
    member_id, claim_id = links.read(PURPOSE, token)
    return int(member_id), int(claim_id)
