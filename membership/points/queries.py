"""Reads about points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flask import g
from sqlalchemy import ColumnElement, and_, case, func, or_, select

from kernel import clock
from kernel.db import db
from kernel.errors import NotFound
from membership.tiers import queries as tiers

from . import rules
from .models import (
    Bucket,
    LotState,
    PointsAccount,
    PointsEntry,
    PointsLot,
    PointsLotUse,
    PointsProgram,
    PointsTransaction,
)

FULL_MULTIPLIER = 1000


def as_program(row: PointsProgram) -> rules.Program:
    """A stored version as the value that rules work with."""
    return rules.Program(
        **{name: getattr(row, name) for name in rules.Program.__dataclass_fields__},
    )


def program() -> rules.Program:
    """The settings in force: the newest version, or the standard ones, switched off, before anything was saved."""
    if "points_program" not in g:
        row = db.session.scalar(select(PointsProgram).order_by(PointsProgram.id.desc()).limit(1))
        g.points_program = as_program(row) if row is not None else rules.STANDARD
    return g.points_program


def versions(limit: int = 20) -> Sequence[PointsProgram]:
    """The versions of the settings, newest first."""
    return db.session.scalars(select(PointsProgram).order_by(PointsProgram.id.desc()).limit(limit)).all()


def version(program_id: int) -> rules.Program:
    """One version of the settings."""
    return as_program(db.session.get_one(PointsProgram, program_id))


def multiplier_of(rank: int) -> int:
    """By how much (per mille) a tier multiplies what an order earns; 1000 below VIP1 and for tiers that are off."""
    level = tiers.policy().level(rank)
    return level.multiplier if level is not None else FULL_MULTIPLIER


def usable(now: datetime) -> ColumnElement[bool]:
    """Lots that can be spent by the clock, whatever a sweep has written down: `rules.state_at` as SQL."""
    begun = or_(
        PointsLot.state == LotState.ACTIVE,
        and_(PointsLot.state == LotState.PENDING, PointsLot.activates_at <= now),
    )
    return and_(PointsLot.remaining > 0, begun, or_(PointsLot.expires_at.is_(None), PointsLot.expires_at > now))


def waiting(now: datetime) -> ColumnElement[bool]:
    """Lots that cannot be spent yet, by the clock."""
    return and_(
        PointsLot.remaining > 0,
        PointsLot.state == LotState.PENDING,
        or_(PointsLot.activates_at.is_(None), PointsLot.activates_at > now),
    )


@dataclass(frozen=True)
class Balance:
    """A member's points by the clock. `active` can be spent (below zero where a claw-back may take it there), `pending` waits
    for the after-sale window, `locked` is set aside. `shortfall` is what the next earn will be netted by."""

    active: int = 0
    pending: int = 0
    locked: int = 0
    next_expiry_at: datetime | None = None
    next_expiry_points: int = 0
    shortfall: int = 0


def account_ids(member_id: int) -> list[int]:
    """The accounts that a member owns, oldest first."""
    return list(
        db.session.scalars(
            select(PointsAccount.id).where(PointsAccount.member_id == member_id).order_by(PointsAccount.id)
        )
    )


def balance_of(member_id: int) -> Balance:
    """What a member has: the sum over their accounts. Somebody without an account has nothing."""
    return balances_of([member_id]).get(member_id, Balance())


def balances_of(member_ids: Sequence[int]) -> dict[int, Balance]:
    """`balance_of` for several members, in three statements; whoever has no account is absent."""
    now = clock.now()
    accounts = db.session.execute(
        select(
            PointsAccount.member_id,
            func.sum(PointsAccount.shortfall).label("shortfall"),
            func.sum(PointsAccount.overdrawn).label("overdrawn"),
        )
        .where(PointsAccount.member_id.in_(member_ids))
        .group_by(PointsAccount.member_id)
    ).all()
    if not accounts:
        return {}
    lots = select(
        PointsAccount.member_id,
        PointsLot.remaining,
        case((usable(now), PointsLot.remaining), else_=0).label("active"),
        case((waiting(now), PointsLot.remaining), else_=0).label("pending"),
        case((usable(now), PointsLot.expires_at)).label("expires_at"),
    ).join(PointsLot, PointsLot.account_id == PointsAccount.id)
    lots = lots.where(PointsAccount.member_id.in_(member_ids), PointsLot.remaining > 0)
    inner = lots.subquery()
    first = func.min(inner.c.expires_at).over(partition_by=inner.c.member_id)
    with_first = select(inner, first.label("first")).subquery()
    sums = {
        row.member_id: row
        for row in db.session.execute(
            select(
                with_first.c.member_id,
                func.sum(with_first.c.active).label("active"),
                func.sum(with_first.c.pending).label("pending"),
                func.max(with_first.c.first).label("first"),
                func.coalesce(
                    func.sum(with_first.c.active).filter(with_first.c.expires_at == with_first.c.first), 0
                ).label("lapsing"),
            ).group_by(with_first.c.member_id)
        )
    }
    locked = dict(
        db.session.execute(
            select(PointsAccount.member_id, func.sum(PointsEntry.amount))
            .join(PointsEntry, PointsEntry.account_id == PointsAccount.id)
            .where(PointsAccount.member_id.in_(member_ids), PointsEntry.bucket == Bucket.LOCKED)
            .group_by(PointsAccount.member_id)
        ).all()
    )
    found = {}
    for row in accounts:
        sum_ = sums.get(row.member_id)
        found[row.member_id] = Balance(
            active=int(sum_.active if sum_ else 0) - int(row.overdrawn),
            pending=int(sum_.pending) if sum_ else 0,
            locked=int(locked.get(row.member_id, 0)),
            next_expiry_at=sum_.first if sum_ else None,
            next_expiry_points=int(sum_.lapsing) if sum_ else 0,
            shortfall=int(row.shortfall),
        )
    return found


def get_transaction(transaction_id: int) -> PointsTransaction:
    """One transaction; refuses with `NotFound`."""
    found = db.session.get(PointsTransaction, transaction_id)
    if found is None:
        raise NotFound
    return found


def owner_of(transaction: PointsTransaction) -> int:
    """Whose points a transaction changed: whoever owns its account now."""
    owner = db.session.get_one(PointsAccount, transaction.account_id).member_id
    if owner is None:
        raise NotFound
    return owner


def owners_of_lots(transaction_id: int) -> set[int]:
    """Whose lots a transaction took from."""
    rows = db.session.scalars(
        select(PointsAccount.member_id)
        .join(PointsLot, PointsLot.account_id == PointsAccount.id)
        .join(PointsLotUse, PointsLotUse.lot_id == PointsLot.id)
        .where(PointsLotUse.transaction_id == transaction_id)
        .distinct()
    )
    return {row for row in rows if row is not None}


def lots_of(member_id: int) -> Sequence[PointsLot]:
    """A member's lots that still hold points, earliest-expiring first, pending ones last."""
    return db.session.scalars(
        select(PointsLot)
        .join(PointsAccount, PointsAccount.id == PointsLot.account_id)
        .where(
            PointsAccount.member_id == member_id,
            PointsLot.remaining > 0,
            PointsLot.state.in_((LotState.PENDING, LotState.ACTIVE)),
        )
        .order_by(PointsLot.state, PointsLot.expires_at.nulls_last(), PointsLot.id)
    ).all()
