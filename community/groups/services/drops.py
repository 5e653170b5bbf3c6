"""Coupons of a group on its page, and what shows there only while a live session runs."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select

from kernel import audit, clock
from kernel.db import db
from kernel.errors import NotFound
from kernel.ports import Port
from membership.coupons import rules as coupon_rules
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, Offer, OfferState, OfferVersion

from .. import rules
from ..models import Group, LiveDrop, LiveSession

# Asked with a group's id: its offers that higher rooms show in a place of their own, and not among its coupons.
shown_apart: Port[[int], Collection[int]] = Port("groups.shown_apart")


@dataclass(frozen=True)
class Shown:
    """A coupon of the group as one member finds it: theirs already, to be claimed, or why it cannot be."""

    offer: Offer
    version: OfferVersion
    mine: Coupon | None
    refusal: type[coupon_rules.ClaimRefused] | None
    drop: LiveDrop | None = None


def _rows(group: Group) -> list[tuple[Offer, OfferVersion]]:
    """The newest offers of a group that stand among its coupons: none of a live session, none that is shown apart."""
    live = (
        select(LiveDrop.offer_id)
        .join(LiveSession, LiveSession.id == LiveDrop.session_id)
        .where(LiveSession.group_id == group.id, LiveDrop.offer_id.is_not(None))
    )
    apart = {offer_id for answer in shown_apart.call(group.id) for offer_id in answer}
    rows = db.session.execute(
        select(Offer, OfferVersion)
        .join(OfferVersion, OfferVersion.id == Offer.version_id)
        .where(
            OfferVersion.group_id == group.id,
            Offer.archived_at.is_(None),
            Offer.state.in_([OfferState.ACTIVE, OfferState.PAUSED]),
            Offer.id.not_in(live),
            Offer.id.not_in(apart),
        )
        .order_by(Offer.id.desc())
        .limit(20)
    )
    return [(offer, version) for offer, version in rows]


def _held(member_id: int, offer_ids: Sequence[int]) -> dict[int, Coupon]:
    rows = db.session.scalars(
        select(Coupon).where(Coupon.member_id == member_id, Coupon.offer_id.in_(offer_ids)).order_by(Coupon.id)
    )
    return {coupon.offer_id: coupon for coupon in rows}


def _refusal(offer: Offer) -> type[coupon_rules.ClaimRefused] | None:
    if offer.stock is not None and offer.claimed >= offer.stock:
        return coupon_rules.SoldOut
    return coupon_rules.refusal_of(offer, clock.now())


def shown_coupons(group: Group, member_id: int) -> list[Shown]:
    """The coupons of a group for one of its people. Those of a live session (`running_drops`) are not among them, nor
    those that higher rooms show."""
    rows = _rows(group)
    if not rows:
        return []
    held = _held(member_id, [offer.id for offer, _version in rows])
    found = [Shown(offer, version, held.get(offer.id), _refusal(offer)) for offer, version in rows]
    return [one for one in found if one.mine is not None or one.refusal is not coupon_rules.TooLate]


def claim_coupon(group: Group, offer_id: int, member_id: int) -> coupons.Claimed:
    """Claim a coupon of a group on its page. Refuses with `NotFound` when it is none of the group's, and as `claim` does."""
    if offer_id not in {one.offer.id for one in shown_coupons(group, member_id)}:
        raise NotFound
    # The page offers it to whoever has none, so that a second tap means the same one.
    return coupons.claim(offer_id, member_id, f"group:{group.id}", ordinal=1)


# ── Live ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def drops_of(session_ids: Sequence[int]) -> dict[int, list[tuple[LiveDrop, Offer | None, int]]]:
    """What is planned for each session, in its order, with the coupon and how many came by it."""
    rows = db.session.execute(
        select(LiveDrop, Offer, LiveSession.group_id)
        .join(LiveSession, LiveSession.id == LiveDrop.session_id)
        .outerjoin(Offer, Offer.id == LiveDrop.offer_id)
        .where(LiveDrop.session_id.in_(session_ids))
        .order_by(LiveDrop.minute, LiveDrop.id)
    ).all()
    sources = {_source(group_id, drop): drop.id for drop, _offer, group_id in rows}
    counts: dict[int, int] = {}
    if sources:
        claimed = db.session.execute(
            select(Coupon.source, func.count()).where(Coupon.source.in_(sources)).group_by(Coupon.source)
        )
        counts = {sources[source]: count for source, count in claimed}
    found: dict[int, list[tuple[LiveDrop, Offer | None, int]]] = {}
    for drop, offer, _group_id in rows:
        found.setdefault(drop.session_id, []).append((drop, offer, counts.get(drop.id, 0)))
    return found


def _source(group_id: int, drop: LiveDrop) -> str:
    """Where a coupon of a drop says that it comes from; the group leads, for caps a group."""
    return f"group:{group_id}/drop:{drop.id}"


def running_drops(group: Group, member_id: int) -> list[Shown | LiveDrop]:
    """What shows in a group now because its session runs: coupons as the member finds them, and words with a link."""
    now = clock.now()
    rows = db.session.execute(
        select(LiveDrop, LiveSession.starts_at)
        .join(LiveSession, LiveSession.id == LiveDrop.session_id)
        .where(LiveSession.group_id == group.id, LiveSession.starts_at <= now, LiveSession.ends_at > now)
        .order_by(LiveDrop.minute.desc(), LiveDrop.id.desc())
    ).all()
    drops = [drop for drop, starts_at in rows if starts_at + timedelta(minutes=drop.minute) <= now]
    offers = {offer.id: (offer, version) for offer, version in _offers([d.offer_id for d in drops if d.offer_id])}
    held = _held(member_id, list(offers)) if offers else {}
    found: list[Shown | LiveDrop] = []
    for drop in drops:
        if drop.offer_id is None:
            found.append(drop)
        elif drop.offer_id in offers:
            offer, version = offers[drop.offer_id]
            found.append(Shown(offer, version, held.get(offer.id), _refusal(offer), drop))
    return found


def _offers(offer_ids: Sequence[int]) -> list[tuple[Offer, OfferVersion]]:
    if not offer_ids:
        return []
    rows = db.session.execute(
        select(Offer, OfferVersion)
        .join(OfferVersion, OfferVersion.id == Offer.version_id)
        .where(Offer.id.in_(offer_ids))
    )
    return [(offer, version) for offer, version in rows]


def claim_drop(group: Group, token: str, member_id: int) -> coupons.Claimed:
    """Claim the coupon of a drop, while its session runs. Refuses with `DropOver`, and as `coupons.claim` does."""
    for one in running_drops(group, member_id):
        if (
            isinstance(one, Shown)
            and one.drop is not None
            and secrets.compare_digest(one.drop.token.encode(), token.encode())
        ):
            return coupons.claim(one.offer.id, member_id, _source(group.id, one.drop), ordinal=1)
    raise rules.DropOver


def add_drop(session: LiveSession, title: str, note: str, url: str, offer_id: int | None, minute: int) -> LiveDrop:
    """Plan something for a session, so many minutes after its beginning."""
    drop = LiveDrop(
        session_id=session.id,
        token=secrets.token_urlsafe(9),
        title=title.strip(),
        note=note.strip(),
        url=url.strip(),
        offer_id=offer_id,
        minute=minute,
        created_at=clock.now(),
    )
    db.session.add(drop)
    db.session.flush()
    audit.record("live_drop.added", "group", session.group_id, after={"title": drop.title})
    return drop


def delete_drop(session: LiveSession, drop_id: int) -> None:
    """Take something off a session; coupons that were claimed stay."""
    drop = db.session.get(LiveDrop, drop_id)
    if drop is None or drop.session_id != session.id:
        raise NotFound
    audit.record("live_drop.deleted", "group", session.group_id, before={"title": drop.title})
    db.session.delete(drop)


def drop_choices(group: Group) -> list[tuple[int, str]]:
    """Coupons that a session of this group may bring: its own, and those for everybody, that run."""
    rows = db.session.execute(
        select(Offer.id, Offer.name)
        .join(OfferVersion, OfferVersion.id == Offer.version_id)
        .where(
            Offer.archived_at.is_(None),
            Offer.state != OfferState.ENDED,
            func.coalesce(OfferVersion.group_id, group.id) == group.id,
        )
        .order_by(Offer.id.desc())
        .limit(100)
    )
    return [(offer_id, name) for offer_id, name in rows]
