"""How a merge brings two standings together: the person keeps the better one, and the orders of both count from then on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from kernel import clock
from kernel.db import db
from kernel.events import publish
from kernel.i18n import gettext as _
from membership.members.models import Member
from membership.members.services import merge

from . import services
from .events import TierChanged
from .models import MemberTier, TierChange, TierDraftMember, TierWarning
from .rules import Why

FAR = datetime.max.replace(tzinfo=UTC)
UNIT = "tier"


@merge.guards.fill
def have_a_policy(pair: Sequence[int]) -> None:
    """A preview is rolled back; the first version of the policy must not be."""
    services.ensure_policy()


merge.stays(
    TierChange.member_id, "Each record's way through the tiers stays one chain; the survivor's goes on from here."
)
merge.stays(TierDraftMember.member_id, "What a draft would do is worked out anew with every simulation.")


@merge.follower(TierWarning.member_id)
def follow_warnings(merging: merge.Merging) -> None:
    merging.join(TierWarning.member_id, TierWarning.valid_until, TierWarning.days)


@merge.follower(MemberTier.member_id)
def follow_standing(merging: merge.Merging) -> None:
    own, other = (db.session.get(MemberTier, member_id) for member_id in merging.pair)
    merging.watch(MemberTier, MemberTier.member_id.in_(merging.pair), unit=UNIT)
    merging.watch(TierChange, TierChange.member_id == merging.survivor, unit=UNIT)
    if other is None:
        return
    if own is None:
        own = MemberTier(
            member_id=merging.survivor, rank=0, since=other.since, own_rank=0, spend=0, orders=0,
            policy_id=other.policy_id, reviewed_at=other.reviewed_at,
        )  # fmt: skip
        db.session.add(own)
        db.session.flush()
    before = own.rank
    if (other.own_rank, other.valid_until or FAR) > (own.own_rank, own.valid_until or FAR):
        own.own_rank, own.valid_until, own.backed_at = other.own_rank, other.valid_until, other.backed_at
        own.policy_id = other.policy_id
    if (other.manual_rank or 0, other.manual_until or FAR) > (own.manual_rank or 0, own.manual_until or FAR):
        for name in ("manual_rank", "manual_reason", "manual_until", "manual_staff_id", "manual_at"):
            setattr(own, name, getattr(other, name))
    own.rank = max(own.rank, other.rank)
    if own.rank != before:
        now = clock.now()
        own.since = now
        db.session.get_one(Member, merging.survivor).rank = own.rank
        db.session.add(
            TierChange(
                member_id=merging.survivor,
                from_rank=before,
                to_rank=own.rank,
                reason=Why.MERGED.value,
                spend=own.spend,
                orders=own.orders,
                policy_id=own.policy_id,
                at=now,
            )
        )
        publish(TierChanged(member_id=merging.survivor, from_rank=before, to_rank=own.rank, reason=Why.MERGED.value))
    db.session.delete(other)
    db.session.flush()


@merge.settlers.fill
def settle_tiers(pair: Sequence[int]) -> None:
    services.reassess(list(pair))


@merge.before_undoing.fill
def look_at_standing(undoing: merge.Undoing) -> None:
    """A tier that has changed since the merge is not written over: both records are judged anew instead."""
    written = {move.key["id"] for move in undoing.moves(TierChange, "insert")}
    last = db.session.scalar(
        TierChange.__table__.select()
        .with_only_columns(TierChange.id)
        .where(TierChange.member_id == undoing.survivor)
        .order_by(TierChange.id.desc())
        .limit(1)
    )
    if last is not None and last not in written and any(last > one for one in written):
        undoing.keep(UNIT, _("The tier has changed since the merge; both records were judged anew."))
