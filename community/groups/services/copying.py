"""A group made after another one: "copy last 618". Its settings, links, sessions and coupons, moved to the new time."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select

from kernel import audit, clock
from kernel.db import db
from kernel.events import publish
from membership.coupons.models import Offer, OfferState
from membership.coupons.services import offers

from .. import queries, results
from ..events import GroupCopied
from ..models import Group, LiveDrop, LiveSession
from . import editing


@dataclass(frozen=True)
class Plan:
    """How a group is copied. `opens_at` (aware UTC) is when the new one opens; None: see `shift_of`."""

    name: str
    opens_at: datetime | None = None
    links: bool = True
    sessions: bool = True
    coupons: bool = False


def begun_at(group: Group) -> datetime:
    """From when the times of a group are counted: its planned opening, else when it opened, else when it was made."""
    return group.opens_at or group.opened_at or group.created_at


def shift_of(group: Group, opens_at: datetime | None) -> timedelta:
    """By how much the times of a copy lie later than those of the group.

    Without a new time to open, what lies ahead stays where it is; of a group whose time is over, everything counts from now.
    """
    over = group.closes_at is not None and group.closes_at <= clock.now()
    begins = opens_at or (clock.now() if over else None)
    return begins - begun_at(group) if begins is not None else timedelta()


def copy(group: Group, plan: Plan, staff_id: int | None = None) -> Group:
    """Make a draft after a group: settings, and as the plan says links, sessions with their drops, coupons as drafts.

    Every time is moved by as much as the opening. People, posts and numbers stay where they are; rooms above hear of it by
    `GroupCopied`. Refuses as `editing.create` does.
    """
    shift = shift_of(group, plan.opens_at)
    names = [name for name in editing.GroupDraft.__dataclass_fields__ if name not in ("opens_at", "closes_at")]
    draft = editing.GroupDraft(
        **{name: getattr(group, name) for name in names}
        | {"name": plan.name.strip(), "owner_id": staff_id or group.owner_id},
        opens_at=plan.opens_at,
        closes_at=group.closes_at + shift if group.closes_at is not None else None,
    )
    made = editing.create(group.kind, draft)
    made.copied_from_id = group.id
    made.reward = dict(group.reward)
    db.session.flush()
    if plan.links:
        _copy_links(group, made)
    offer_ids = _copy_offers(group, made, shift) if plan.coupons else {}
    if made.reward.get("offer_id") in offer_ids:
        made.reward = {**made.reward, "offer_id": offer_ids[made.reward["offer_id"]]}
    if plan.sessions:
        _copy_sessions(group, made, shift, offer_ids)
    audit.record("group.copied", "group", made.id, after={"from": group.name})
    publish(GroupCopied(group_id=made.id, from_group_id=group.id, shift_seconds=round(shift.total_seconds())))
    return made


def _copy_links(group: Group, made: Group) -> None:
    """The ways in that are in use; the nameless first one a new group has by itself."""
    for link in queries.links_of(group.id):
        if link.revoked_at is None and link.name:
            editing.add_link(made, link.name, link.source, link.staff_id)


def _copy_sessions(group: Group, made: Group, shift: timedelta, offer_ids: dict[int, int]) -> None:
    for session in reversed(queries.sessions_of(group.id)):
        copied = LiveSession(
            group_id=made.id,
            title=session.title,
            starts_at=session.starts_at + shift,
            ends_at=session.ends_at + shift,
            watch_url=session.watch_url,
        )
        db.session.add(copied)
        db.session.flush()
        for drop in db.session.scalars(select(LiveDrop).where(LiveDrop.session_id == session.id).order_by(LiveDrop.id)):
            db.session.add(
                LiveDrop(
                    session_id=copied.id,
                    token=secrets.token_urlsafe(9),
                    title=drop.title,
                    note=drop.note,
                    url=drop.url,
                    offer_id=offer_ids.get(drop.offer_id, drop.offer_id) if drop.offer_id else None,
                    minute=drop.minute,
                    created_at=clock.now(),
                )
            )
    db.session.flush()


def _copy_offers(group: Group, made: Group, shift: timedelta) -> dict[int, int]:
    """The group's own coupons, scoped to the new group and not running yet: {offer: its copy}."""
    copies: dict[int, int] = {}
    for offer in reversed(results.offers_of(group.id)):
        if offer.state is OfferState.DRAFT and offer.claimed == 0:
            continue
        copies[offer.id] = _copy_offer(offer, made, shift).id
    return copies


def _copy_offer(offer: Offer, made: Group, shift: timedelta) -> Offer:
    _offer, version = offers.get_offer(offer.id)
    draft = offers.draft_of(offer, version)
    moved = {
        name: getattr(draft, name) + shift
        for name in ("claim_from", "claim_until", "usable_from", "usable_until")
        if getattr(draft, name) is not None
    }
    return offers.create(replace(draft, group_id=made.id, **moved))


def set_template(group: Group, template: bool) -> None:
    """Offer a group first, or no longer, when somebody makes a new one."""
    group.template = template
    audit.record("group.template_changed", "group", group.id, after={"template": template})
