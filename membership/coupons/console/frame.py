"""What every tab of an offer shows around itself, and the words that several pages need."""

from __future__ import annotations

from typing import Any

from kernel.auth import may
from membership.members.queries import group_names

from .. import labels, listing, queries
from ..models import CouponState, Offer, OfferState, OfferVersion
from ..services import guard

# What staff may do with an offer in each state.
ACTS: dict[OfferState, tuple[OfferState, ...]] = {
    OfferState.DRAFT: (OfferState.ACTIVE, OfferState.ENDED),
    OfferState.ACTIVE: (OfferState.PAUSED, OfferState.ENDED),
    OfferState.PAUSED: (OfferState.ACTIVE, OfferState.ENDED),
    OfferState.ENDED: (),
}


def sentence_of(offer: Offer, version: OfferVersion, groups: dict[int, str]) -> str:
    """An offer as one sentence, its group by name."""
    group = groups.get(version.group_id, "") if version.group_id is not None else ""
    return labels.sentence(version, offer.stock, offer.per_member, offer.per_day, group)


def frame(offer: Offer, version: OfferVersion, tab: str) -> dict[str, Any]:
    """What every tab of an offer shows around itself."""
    states = queries.states_of(offer.id)
    startable = offer.state in (OfferState.DRAFT, OfferState.PAUSED) and may("coupons.edit")
    cases, below = guard.weigh(version, offer.id) if startable or tab == "overview" else ([], 0)
    groups = group_names()
    return {
        "offer": offer,
        "version": version,
        "tab": tab,
        "acts": ACTS[offer.state],
        "states": states,
        "usable": listing.usable(states),
        "groups": groups,
        "sentence": sentence_of(offer, version, groups),
        "cases": cases,
        "below": below,
        "labels": labels,
        "OfferState": OfferState,
        "CouponState": CouponState,
    }


__all__ = ["ACTS", "frame", "sentence_of"]
