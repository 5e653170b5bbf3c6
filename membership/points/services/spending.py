"""Giving points for other things than orders, spending them, giving them back, and changing them by hand."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import NotFound
from kernel.events import publish
from membership.limits import services as limits
from membership.members.models import Member

from .. import queries, rules
from ..events import PointsEarned, PointsReturned, PointsSpent
from ..models import AccountKind, Bucket, Kind, LotState, PointsAccount, PointsLot, PointsLotUse, PointsTransaction
from . import ledger

SPENDING = (Kind.SPEND, Kind.REDEEM)


def award(
    member_id: int,
    points: int,
    *,
    type: Kind | str,
    source_type: str,
    source_id: str,
    reason: str = "",
    expires_at: datetime | None = None,
    staff_id: int | None = None,
) -> PointsTransaction:
    """Give a member points that can be used at once; in the caller's transaction.

    Once a (type, source) and member: again it gives the same transaction. A daily check-in is
    `award(member_id, 5, type="check_in", source_type="check_in", source_id="2026-11-21")`. They expire at `expires_at`, or
    after the program's days. Refuses with `PointsInvalid`, with `SourceUsed` when the source was booked with another number,
    with `NotFound`; `ValueError` for a type that is no award.
    """
    kind = Kind(type)
    if kind not in rules.AWARDS:
        raise ValueError(f"{kind} is no award")
    if not 1 <= points <= rules.MOST_POINTS:
        raise rules.PointsInvalid
    accounts = ledger.held(member_id)
    known = ledger.booked(accounts, kind, source_type, source_id)
    if known is not None:
        if known.points != points:
            raise rules.SourceUsed
        return known
    return _give(accounts, kind, points, AccountKind.PROMOTION, source_type, source_id, reason, expires_at, staff_id)


def _give(
    accounts: list[PointsAccount],
    kind: Kind,
    points: int,
    against: AccountKind,
    source_type: str,
    source_id: str,
    reason: str,
    expires_at: datetime | None,
    staff_id: int | None,
) -> PointsTransaction:
    now = clock.now()
    days = queries.program().lot_days
    transaction = ledger.credit(
        accounts[0],
        kind,
        points,
        against,
        activates_at=now,
        expires_at=expires_at or rules.expires_at(now, days),
        days=days,
        source_type=source_type,
        source_id=source_id,
        reason=reason.strip()[:300],
        staff_id=staff_id,
        at=now,
    )
    ledger.pay_off(accounts, now)
    publish(
        PointsEarned(
            member_id=accounts[0].member_id or 0,
            transaction_id=transaction.id,
            kind=kind.value,
            points=points,
            source_type=source_type,
            source_id=source_id,
            usable_from=now,
            reason=transaction.reason,
        )
    )
    return transaction


def spend(
    member_id: int,
    points: int,
    *,
    source_type: str,
    source_id: str,
    reason: str = "",
    type: Kind | str = Kind.SPEND,
) -> PointsTransaction:
    """Spend a member's points, earliest-expiring first, all or nothing; in the caller's transaction.

    Once a (type, source) and member: again it gives the same transaction. Refuses with `NotEnoughPoints`, `PointsInvalid`,
    `SourceUsed`, `NotFound`.
    """
    kind = Kind(type)
    if kind not in SPENDING:
        raise ValueError(f"{kind} spends nothing")
    accounts = ledger.held(member_id)
    known = ledger.booked(accounts, kind, source_type, source_id)
    if known is not None:
        if known.points != -points:
            raise rules.SourceUsed
        return known
    return _take(accounts, kind, points, AccountKind.LIABILITY, source_type, source_id, reason, None)


def _take(
    accounts: list[PointsAccount],
    kind: Kind,
    points: int,
    against: AccountKind,
    source_type: str,
    source_id: str,
    reason: str,
    staff_id: int | None,
) -> PointsTransaction:
    overdrawn = sum(account.overdrawn for account in accounts)
    takes = rules.spent_from(ledger.lots_in(accounts), points, overdrawn)
    transaction = ledger.post(
        accounts[0].id,
        kind,
        -points,
        [*ledger.legs_of(takes), (ledger.contra(against), Bucket.ACTIVE, points)],
        source_type=source_type,
        source_id=source_id,
        reason=reason.strip()[:300],
        staff_id=staff_id,
    )
    ledger.take(takes, transaction)
    publish(
        PointsSpent(
            member_id=accounts[0].member_id or 0,
            transaction_id=transaction.id,
            kind=kind.value,
            points=points,
            source_type=source_type,
            source_id=source_id,
            reason=transaction.reason,
        )
    )
    return transaction


def left_to_return(transaction_id: int) -> int:
    """How many points of what a transaction spent have not been given back."""
    rows = db.session.execute(
        select(PointsLotUse.amount, PointsLotUse.returned).where(PointsLotUse.transaction_id == transaction_id)
    )
    return sum(row.amount - row.returned for row in rows)


def give_back(
    spent: PointsTransaction,
    points: int | None = None,
    *,
    source_type: str = "transaction",
    source_id: str = "",
    reason: str = "",
    staff_id: int | None = None,
) -> PointsTransaction:
    """Give spent points back to the lots they came from, with the expiry they had; all that is left, or `points` of it.

    A lot that has expired meanwhile is lost or opened again, as the program says. Once a source (without one: once a
    transaction); again it gives the same transaction. Points that a refund could not take before are taken now, unless only
    pending ones may be. Refuses with `NothingToReturn`, `SourceUsed`; `ValueError` for what was no spending.
    """
    if spent.type not in SPENDING:
        raise ValueError(f"transaction {spent.id} spent nothing")
    source_id = source_id or str(spent.id)
    now = clock.now()
    owner, everybody = _parties(spent)
    ledger.settle(everybody, now)
    accounts = [account for account in everybody if account.member_id == owner]
    known = ledger.booked(accounts, Kind.GIVE_BACK, source_type, source_id)
    if known is not None:
        if known.reverses_id != spent.id or (points is not None and known.points != points):
            raise rules.SourceUsed
        return known
    uses = db.session.execute(
        select(
            PointsLotUse.lot_id,
            PointsLotUse.amount - PointsLotUse.returned,
            PointsLot.expires_at,
            PointsLot.account_id,
            Member.erased_at,
        )
        .join(PointsLot, PointsLot.id == PointsLotUse.lot_id)
        .join(PointsAccount, PointsAccount.id == PointsLot.account_id)
        .join(Member, Member.id == PointsAccount.member_id)
        .where(PointsLotUse.transaction_id == spent.id)
        .order_by(PointsLot.expires_at.nulls_last(), PointsLot.id)
    ).all()
    left = sum(row[1] for row in uses)
    amount = left if points is None else points
    if not 1 <= amount <= left:
        raise rules.NothingToReturn(left=f"{left:,}")
    program = queries.program()
    back = rules.returned_to(amount, [(row[0], row[1], row[2]) for row in uses], program.late, program.reopen_days, now)
    # Nobody can spend what comes back to somebody who was erased.
    nobodys = {row[0] for row in uses if row.erased_at is not None}
    back = [one._replace(kept=0, lost=one.kept + one.lost) if one.lot_id in nobodys else one for one in back]
    account_of = {row[0]: row[3] for row in uses}
    lost = sum(one.lost for one in back)
    legs: list[ledger.Leg] = [(ledger.contra(AccountKind.LIABILITY), Bucket.ACTIVE, -amount)]
    legs += [(account_of[one.lot_id], Bucket.ACTIVE, one.kept) for one in back if one.kept]
    if lost:
        legs.append((ledger.contra(AccountKind.BREAKAGE), Bucket.ACTIVE, lost))
    transaction = ledger.post(
        spent.account_id,
        Kind.GIVE_BACK,
        amount,
        legs,
        source_type=source_type,
        source_id=source_id,
        reverses_id=spent.id,
        reason=reason.strip()[:300],
        staff_id=staff_id,
        at=now,
    )
    for one in back:
        _return_to_lot(one, spent.id, transaction.id)
    ledger.forget_lots()
    if rules.collects_on_return(program.clawback):
        collect(accounts, transaction, now)
    ledger.pay_off(accounts, now)
    publish(
        PointsReturned(
            member_id=owner,
            transaction_id=transaction.id,
            points=amount,
            lost=lost,
            source_type=source_type,
            source_id=source_id,
        )
    )
    return transaction


def _parties(spent: PointsTransaction) -> tuple[int, list[PointsAccount]]:
    """Who spent, as it is now, and the locked accounts of all whom giving back concerns. Refuses with `NotFound`."""
    for _try in range(3):
        owner, holders = queries.owner_of(spent), queries.owners_of_lots(spent.id)
        # After a merge was undone, lots that paid may lie with somebody else than the one who spent.
        everybody = ledger.locked({owner, *holders})
        # A merge may have come before the lock: only who owns them now counts.
        if (queries.owner_of(spent), queries.owners_of_lots(spent.id)) == (owner, holders):
            return owner, everybody
    raise NotFound


def _return_to_lot(one: rules.Returned, spent_id: int, transaction_id: int) -> None:
    part = one.kept + one.lost
    result = db.session.execute(
        update(PointsLotUse)
        .where(
            PointsLotUse.lot_id == one.lot_id,
            PointsLotUse.transaction_id == spent_id,
            PointsLotUse.amount - PointsLotUse.returned >= part,
        )
        .values(returned=PointsLotUse.returned + part)
        .execution_options(synchronize_session=False)
    )
    if changed(result) != 1:
        raise ledger.LotChanged(one.lot_id)
    if one.lost:
        # It came back and lapsed in the same instant.
        db.session.add(PointsLotUse(lot_id=one.lot_id, transaction_id=transaction_id, amount=one.lost, returned=0))
    if one.kept:
        db.session.execute(
            update(PointsLot)
            .where(PointsLot.id == one.lot_id)
            .values(remaining=PointsLot.remaining + one.kept, state=LotState.ACTIVE, expires_at=one.expires_at)
            .execution_options(synchronize_session=False)
        )
    db.session.flush()


def collect(accounts: list[PointsAccount], because: PointsTransaction, now: datetime) -> int:
    """Take what refunds could not take before out of the points that a transaction has just brought; returns how many.

    Only out of the lots that `because` made or filled: other points were there when the refund came and were spared.
    """
    owed = sum(account.shortfall for account in accounts)
    if not owed:
        return 0
    touched = set(db.session.scalars(select(PointsLot.id).where(PointsLot.transaction_id == because.id)))
    if because.reverses_id is not None:
        touched |= set(
            db.session.scalars(select(PointsLotUse.lot_id).where(PointsLotUse.transaction_id == because.reverses_id))
        )
    most = min(owed, because.points)
    lots = [lot for lot in ledger.lots_in(accounts) if lot.id in touched]
    takes = rules.taken_from(rules.spending_order(lots), most)
    paid = sum(amount for _lot, amount in takes)
    if not paid:
        return 0
    transaction = ledger.post(
        because.account_id,
        Kind.RECOVER,
        -paid,
        [*ledger.legs_of(takes), (ledger.contra(AccountKind.PROMOTION), Bucket.ACTIVE, paid)],
        source_type="transaction",
        source_id=str(because.id),
        order_id=because.order_id,
        at=now,
    )
    ledger.take(takes, transaction)
    for account in accounts:
        part = min(account.shortfall, paid)
        account.shortfall -= part
        paid -= part
    db.session.flush()
    return -transaction.points


def adjust(
    member_id: int,
    points: int,
    reason: str,
    *,
    key: str,
    staff_id: int | None = None,
    cap: int | None = None,
) -> PointsTransaction:
    """Give (or, below zero, take) points by hand, with a reason that stays; written to the audit trail.

    `key` is the form's token: the same key again changes nothing. `cap` is how many points this colleague may move a day
    (None: no limit). Refuses with `ReasonMissing`, `PointsInvalid`, `NotEnoughPoints`, `AdjustCapReached`, `SourceUsed`.
    """
    if not reason.strip():
        raise rules.ReasonMissing
    if not 1 <= abs(points) <= rules.MOST_POINTS:
        raise rules.PointsInvalid
    accounts = ledger.held(member_id)
    known = ledger.booked(accounts, Kind.ADJUST, "form", key)
    if known is not None:
        if known.points != points:
            raise rules.SourceUsed
        return known
    if cap is not None:
        usage = ("points:adjusted", f"staff:{staff_id or 0}", clock.today().isoformat(), abs(points), cap)
        try:
            limits.take([usage])
        except limits.LimitReached as reached:
            raise rules.AdjustCapReached(cap=f"{cap:,}") from reached
    before = queries.balance_of(accounts[0].member_id or 0).active
    if points > 0:
        transaction = _give(accounts, Kind.ADJUST, points, AccountKind.ADJUSTMENT, "form", key, reason, None, staff_id)
    else:
        transaction = _take(accounts, Kind.ADJUST, -points, AccountKind.ADJUSTMENT, "form", key, reason, staff_id)
    audit.record(
        "points.adjusted",
        "member",
        accounts[0].member_id,
        before={"points": before},
        after={"points": before + points, "change": points, "reason": transaction.reason},
    )
    return transaction
