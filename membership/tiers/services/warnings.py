"""Telling members that their tier is about to fall, and marking them for an audience."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from kernel import clock, notices
from kernel.db import db
from kernel.events import publish
from kernel.i18n import day, forced_locale
from kernel.i18n import gettext as _
from membership.members import services as members
from membership.members.models import Member

from .. import labels, queries, rules
from ..events import TierFallAnnounced
from ..models import MemberTier, TierWarning

SLICE = 500
# So many can be tagged at once from the list.
MOST_TAGGED = 20_000


def warn_slice(after: int) -> int | None:
    """Tell up to `SLICE` members after an id, 30, 7 and 1 days ahead and once each, that their tier falls.

    Only members who have enrolled are told. Returns the last id looked at, or None when nobody is left.
    """
    now = clock.now()
    rows = db.session.execute(
        queries.falling(within_days=max(rules.WARNED_DAYS))
        .where(Member.id > after, Member.enrolled_at.is_not(None))
        .order_by(None)
        .order_by(Member.id)
        .limit(SLICE)
    ).all()
    for member, standing in rows:
        _warn(member, standing, now)
    return rows[-1][0].id if rows else None


def _warn(member: Member, standing: MemberTier, moment: datetime) -> None:
    step = rules.warning_step(standing.falls_at, moment) if standing.falls_at is not None else None
    if step is None or standing.valid_until is None or standing.falls_at is None:
        return
    known = db.session.execute(
        insert(TierWarning)
        .values(member_id=member.id, valid_until=standing.valid_until, days=step, told_at=moment)
        .on_conflict_do_nothing()
        .returning(TierWarning.days)
    ).scalar()
    if known is None:
        return
    to_rank = standing.falls_to or 0
    with forced_locale(member.locale):
        title = str(
            _("Your %(tier)s holds until %(day)s", tier=labels.rank_word(member.rank), day=day(standing.falls_at))
        )
        body = labels.keep_sentence(queries.missing_of(standing), member.rank, to_rank)
    notices.tell(member.id, "tier.falling", title, body, "/me/tier")
    publish(
        TierFallAnnounced(
            member_id=member.id,
            from_rank=member.rank,
            to_rank=to_rank,
            falls_at=standing.falls_at,
            days=step,
        )
    )


def tag_falling(wanted: queries.FallFilter, name: str) -> int:
    """Put a tag on everybody whom a filter of the upcoming falls finds, up to `MOST_TAGGED`; returns how many are new to it.

    Refuses with `TagInvalid`.
    """
    ids = db.session.scalars(
        select(queries.falls(wanted).order_by(None).with_only_columns(Member.id).limit(MOST_TAGGED).subquery().c.id)
    ).all()
    return members.tag(ids, name)
