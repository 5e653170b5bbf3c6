"""A tier set by hand."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.dialects.postgresql import insert as upsert

from kernel import audit, clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from membership.members import queries as members

from .. import queries
from ..models import MemberTier
from .policies import ensure_policy
from .reviews import reassess


class RankUnknown(Refusal):
    status = 422
    label = _l("There is no such tier, or it is switched off.")


class ManualEndPast(Refusal):
    status = 422
    label = _l("The end lies in the past.")


def set_manually(
    member_id: int, rank: int, reason: str, until: datetime | None = None, staff_id: int | None = None
) -> None:
    """Lift a member to a rank by hand until `until` (None: for good); orders can raise them further, and it lowers nobody.

    Rank 0 ends a tier set by hand before. Refuses with `RankUnknown` and `ManualEndPast`.
    """
    policy = ensure_policy()
    now = clock.now()
    if rank != 0 and policy.level(rank) is None:
        raise RankUnknown
    if until is not None and until <= now:
        raise ManualEndPast
    member = members.get_member(member_id)
    row = queries.standing_of(member.id)
    before = (
        {"rank": row.manual_rank, "until": row.manual_until.isoformat() if row.manual_until else None} if row else None
    )
    chosen = {
        "manual_rank": rank or None,
        "manual_reason": reason.strip()[:300] or None if rank else None,
        "manual_until": until if rank else None,
        "manual_staff_id": staff_id if rank else None,
        "manual_at": now if rank else None,
    }
    statement = upsert(MemberTier).values(
        member_id=member.id,
        rank=0,
        since=now,
        own_rank=0,
        spend=0,
        orders=0,
        policy_id=policy.id,
        reviewed_at=now,
        **chosen,
    )
    db.session.execute(statement.on_conflict_do_update(index_elements=[MemberTier.member_id], set_=chosen))
    if row is not None:
        db.session.expire(row)
    audit.record(
        "tier.set_manually",
        "member",
        member.id,
        before=before,
        after={"rank": rank or None, "until": until.isoformat() if until else None, "reason": reason.strip()[:300]},
    )
    reassess([member.id], staff_id)
