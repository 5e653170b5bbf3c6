"""How a merge brings a person's gifts along: one gift a benefit and period, the one that is further on its way."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from kernel import clock
from kernel.db import db
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.limits import services as limits
from membership.members.services import merge

from . import rules, services
from .models import Gift, GiftClaim, GiftState
from .services import catalogue, codes

G = GiftState
# The further on its way, the rather it is kept.
ADVANCE = {
    state: place
    for place, state in enumerate(
        (G.CANCELLED, G.FORFEITED, G.RETURNED, G.FAILED, G.OFFERED, G.ADDRESS_PENDING, G.CLAIMED, G.QUEUED, G.SHIPPED, G.DELIVERED)
    )
}  # fmt: skip
MERGED = "merge"


def _unit(row: dict[str, Any]) -> str:
    return f"gift:{row['id']}"


@merge.follower(GiftClaim.member_id)
def follow_gifts(merging: merge.Merging) -> None:
    claims = db.session.scalars(
        select(GiftClaim)
        .where(GiftClaim.member_id.in_(merging.pair))
        .order_by(GiftClaim.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    own = {(c.benefit, c.period): c for c in claims if c.member_id == merging.survivor}
    with merging.watching(GiftClaim, GiftClaim.member_id.in_(merging.pair), unit=_unit):
        moved = 0
        for other in [c for c in claims if c.member_id == merging.absorbed]:
            mine = own.get((other.benefit, other.period))
            if mine is not None:
                _settle(merging, mine, other)
            moved += 1
        db.session.flush()
        db.session.execute(
            update(GiftClaim)
            .where(GiftClaim.member_id == merging.absorbed)
            .values(member_id=merging.survivor)
            .execution_options(synchronize_session=False)
        )
    merging.count(_l("Gifts"), moved)


def _settle(merging: merge.Merging, mine: GiftClaim, other: GiftClaim) -> None:
    """Two gifts for one reason: the one that is less far is called off where that is still possible, and stays to be seen."""
    _kept, spare = sorted((mine, other), key=lambda c: (-ADVANCE[c.state], c.id))
    gift = db.session.get_one(Gift, spare.gift_id)
    if (spare.state, G.CANCELLED) in rules.TRANSITIONS:
        services.move(spare, G.CANCELLED, closed_at=clock.now(), reason=_("One person, two records: given once"))
        merging.conflict(_("“%(gift)s” was there for both records: one is called off.", gift=gift.name))
    elif spare.state not in rules.GIVEN_BACK:
        merging.conflict(_("“%(gift)s” has gone out to both records already.", gift=gift.name))
    # Both rows lie with one member now: the key tells them apart, and the benefit itself stays taken.
    spare.period = f"{spare.period}#{MERGED}:{spare.id}"
    db.session.flush()


@merge.before_undoing.fill
def take_stock_again(undoing: merge.Undoing) -> None:
    """A gift that was called off goes on its way again only if there is still a piece of it."""
    for move in undoing.moves(GiftClaim, "change"):
        was = move.before.get("state")
        if was is None or GiftState(move.after["state"]) is not G.CANCELLED:
            continue
        claim = services.get_claim(move.key["id"], lock=True)
        if claim.state is not G.CANCELLED:
            continue
        gift = (
            catalogue.locked(claim.gift_id)
            if codes.has_pool(claim.gift_id)
            else db.session.get_one(Gift, claim.gift_id)
        )
        try:
            limits.take([(services.stock_limit(gift.id), "", "", 1, gift.stock)])
        except limits.LimitReached:
            said = _("Nothing of “%(gift)s” is left: the gift that was called off stays so.", gift=gift.name)
            undoing.keep(move.unit, said)


@merge.after_undoing.fill
def count_pools(undoing: merge.Undoing) -> None:
    """The stock of a gift that consists of codes follows what is on its way."""
    ids = {move.key["id"] for move in undoing.moves(GiftClaim, "change") if "state" in move.before}
    gifts = db.session.scalars(select(GiftClaim.gift_id).where(GiftClaim.id.in_(ids)).distinct()).all()
    for gift_id in sorted(gifts):
        if codes.has_pool(gift_id):
            codes.restock(catalogue.locked(gift_id))
