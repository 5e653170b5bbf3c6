"""What the clock brings: points that become usable, points that lapse, and the word to their members before they do."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update

from kernel import clock, notices
from kernel.db import db
from kernel.events import publish
from kernel.i18n import day, forced_locale, ngettext
from kernel.i18n import gettext as _
from membership.members.models import Member

from .. import queries
from ..events import PointsExpiring
from ..models import LotState, PointsAccount, PointsLot
from . import ledger

SLICE = 2_000


def settle_due(size: int = SLICE, now: datetime | None = None) -> int:
    """Write down what the clock has decided of up to `size` lots; returns how many were due. Nothing depends on it but
    lists: whoever spends settles their own points first."""
    now = now or clock.now()
    due = (
        select(PointsLot.account_id)
        .where(
            or_(
                (PointsLot.state == LotState.PENDING) & (PointsLot.activates_at <= now),
                (PointsLot.state == LotState.ACTIVE) & (PointsLot.remaining > 0) & (PointsLot.expires_at <= now),
            )
        )
        .limit(size)
        .subquery()
    )
    rows = db.session.execute(
        select(PointsAccount.id, PointsAccount.member_id).join(due, due.c.account_id == PointsAccount.id)
    ).all()
    if rows:
        owners = sorted({row.member_id for row in rows if row.member_id is not None})
        ledger.hold_owners(owners)
        accounts = db.session.scalars(
            select(PointsAccount)
            # An account that a merge has brought to somebody else meanwhile comes with the next slice.
            .where(PointsAccount.id.in_(sorted({row.id for row in rows})), PointsAccount.member_id.in_(owners))
            .order_by(PointsAccount.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).all()
        ledger.settle(accounts, now)
    return len(rows)


def tell_expiring(size: int = SLICE) -> int:
    """Tell members of points that lapse within the program's days of notice, once a lot and expiry; returns how many were told.

    Lots that lapse on the same day are told in one notice.
    """
    now = clock.now()
    program = queries.program()
    if not program.notice_days:
        return 0
    until = now + timedelta(days=program.notice_days)
    fresh = or_(
        PointsLot.noticed_at.is_(None),
        PointsLot.noticed_at < PointsLot.expires_at - timedelta(days=program.notice_days),
    )
    owners = db.session.scalars(
        select(PointsAccount.member_id)
        .join(PointsLot, PointsLot.account_id == PointsAccount.id)
        .where(queries.usable(now), PointsLot.expires_at <= until, fresh)
        .group_by(PointsAccount.member_id)
        .order_by(PointsAccount.member_id)
        .limit(size)
    ).all()
    for member_id in owners:
        if member_id is not None:
            _tell(member_id, now, until, fresh)
    return len(owners)


def _tell(member_id: int, now: datetime, until: datetime, fresh: object) -> None:
    accounts = ledger.locked([member_id])
    ledger.settle(accounts, now)
    lots = db.session.scalars(
        select(PointsLot)
        .where(
            PointsLot.account_id.in_([account.id for account in accounts]),
            queries.usable(now),
            PointsLot.expires_at <= until,
            fresh,  # type: ignore[arg-type]
        )
        .execution_options(populate_existing=True)
    ).all()
    by_day: dict[datetime, int] = {}
    for lot in lots:
        if lot.expires_at is not None:
            by_day[lot.expires_at] = by_day.get(lot.expires_at, 0) + lot.remaining
    member = db.session.get(Member, member_id)
    for expires_at, points in sorted(by_day.items()):
        with forced_locale(member.locale if member is not None else "zh_Hans"):
            last = day(expires_at - timedelta(seconds=1))
            notices.tell(
                member_id,
                "points_expiring",
                ngettext("%(num)s point lapses on %(day)s", "%(num)s points lapse on %(day)s", points, day=last),
                _("Use them before the end of that day: see what they bring."),
                "/me/points",
            )
        publish(PointsExpiring(member_id=member_id, points=points, expires_at=expires_at))
    if lots:
        db.session.execute(
            update(PointsLot)
            .where(PointsLot.id.in_([lot.id for lot in lots]))
            .values(noticed_at=now)
            .execution_options(synchronize_session=False)
        )
        ledger.forget_lots()


def due_count() -> int:
    """How many lots wait for the sweep."""
    now = clock.now()
    return (
        db.session.scalar(
            select(func.count()).where(
                or_(
                    (PointsLot.state == LotState.PENDING) & (PointsLot.activates_at <= now),
                    (PointsLot.state == LotState.ACTIVE) & (PointsLot.remaining > 0) & (PointsLot.expires_at <= now),
                )
            )
        )
        or 0
    )


__all__ = ["due_count", "settle_due", "tell_expiring"]
