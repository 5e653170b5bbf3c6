"""The books: accounts under their locks, balanced transactions, and what the clock has decided already.

Everything that changes points goes through `held` (it locks the member's accounts in the order of their ids and writes down
what time has decided), `post` and `take`. A transaction's entries are one statement, whose sum the database checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from kernel import clock
from kernel.db import changed, db
from kernel.errors import NotFound
from kernel.events import publish_all
from membership.members import queries as members
from membership.members.models import Member

from .. import rules
from ..events import PointsExpired
from ..models import (
    AccountKind,
    Bucket,
    Kind,
    LotState,
    PointsAccount,
    PointsEntry,
    PointsLot,
    PointsLotUse,
    PointsTransaction,
)

Leg = tuple[int, Bucket, int]


class LotChanged(RuntimeError):
    """A lot held fewer points than were read under its lock: the lock is missing."""


def contra(kind: AccountKind) -> int:
    """The id of the shop's own account of a kind, opened when there is none."""
    statement = select(PointsAccount.id).where(PointsAccount.kind == kind, PointsAccount.member_id.is_(None))
    found = db.session.scalar(statement)
    if found is None:
        values = {"kind": kind, "shortfall": 0, "overdrawn": 0, "opened_at": clock.now()}
        db.session.execute(upsert(PointsAccount).values(**values).on_conflict_do_nothing())
        found = db.session.scalars(statement).one()
    return found


def hold_owners(member_ids: Sequence[int]) -> None:
    """Keep members from being merged or erased until the transaction ends; others may do so beside."""
    db.session.execute(
        select(Member.id)
        .where(Member.id.in_(member_ids))
        .order_by(Member.id)
        .with_for_update(read=True, key_share=True)
    )


def held_owner(member_id: int) -> Member:
    """The living record of a member, kept from being merged or erased until the transaction ends. Refuses with `NotFound`."""
    for _try in range(3):
        member = members.get_member(member_id)
        hold_owners([member.id])
        db.session.refresh(member)
        if member.merged_into_id is None:
            return member
    raise NotFound


def locked(member_ids: Iterable[int]) -> list[PointsAccount]:
    """The accounts of members with their rows locked, read anew. Always in the order of their ids, so that no two callers wait
    for each other; and the members before the accounts, as a merge takes them."""
    owners = sorted(set(member_ids))
    hold_owners(owners)
    return list(
        db.session.scalars(
            select(PointsAccount)
            .where(PointsAccount.member_id.in_(owners))
            .order_by(PointsAccount.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    )


_OPEN = text(
    """
    INSERT INTO points_account (kind, member_id, origin_id, shortfall, overdrawn, opened_at)
    SELECT 'member', m.id, m.id, 0, 0, :now FROM member m
    WHERE m.id = ANY(CAST(:members AS bigint[])) AND m.merged_into_id IS NULL AND m.erased_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM points_account a WHERE a.member_id = m.id)
    ORDER BY m.id ON CONFLICT DO NOTHING
    """
).bindparams(bindparam("now", type_=DateTime(timezone=True)))


def open_for(member_ids: Sequence[int], now: datetime) -> None:
    """Open an account for each of these members who has none; two callers at once open one."""
    db.session.execute(_OPEN, {"members": sorted(member_ids), "now": now})


def held(member_id: int, now: datetime | None = None) -> list[PointsAccount]:
    """A member's accounts, locked and settled by the clock; one is opened for somebody who has none.

    A merged record leads to the one it was merged into. Refuses with `NotFound` when there is nobody any more.
    """
    now = now or clock.now()
    for _try in range(3):
        member = members.get_member(member_id)
        if member.erased_at is not None:
            break
        accounts = locked([member.id])
        if not accounts:
            open_for([member.id], now)
            accounts = locked([member.id])
        if accounts:
            settle(accounts, now)
            return accounts
        # They were merged into somebody between the two statements: look again.
        db.session.expire(member)
    raise NotFound


def booked(accounts: Sequence[PointsAccount], kind: Kind, source_type: str, source_id: str) -> PointsTransaction | None:
    """The transaction of a kind and source that a member has already, in whichever of their accounts; marked as `replayed`."""
    found = db.session.scalar(
        select(PointsTransaction)
        .where(
            PointsTransaction.account_id.in_([account.id for account in accounts]),
            PointsTransaction.type == kind,
            PointsTransaction.source_type == source_type,
            PointsTransaction.source_id == source_id,
        )
        .order_by(PointsTransaction.id)
        .limit(1)
    )
    if found is not None:
        found.replayed = True
    return found


def post(account_id: int, kind: Kind, points: int, legs: Sequence[Leg], **columns: Any) -> PointsTransaction:
    """Write one transaction with its entries; legs of the same account and bucket are summed, empty ones left out.

    `columns` are those of the transaction (`source_type`, `source_id` and what is known beside). The legs sum to zero.
    """
    transaction = PointsTransaction(
        account_id=account_id, type=kind, points=points, at=columns.pop("at", None) or clock.now(), **columns
    )
    db.session.add(transaction)
    db.session.flush()
    sums: dict[tuple[int, Bucket], int] = {}
    for leg_account, bucket, amount in legs:
        sums[leg_account, bucket] = sums.get((leg_account, bucket), 0) + amount
    rows = [
        {"transaction_id": transaction.id, "account_id": leg_account, "bucket": bucket, "amount": amount}
        for (leg_account, bucket), amount in sums.items()
        if amount
    ]
    if rows:
        db.session.execute(insert(PointsEntry).values(rows))
    return transaction


def lots_in(accounts: Sequence[PointsAccount]) -> list[rules.Lot]:
    """The lots of locked accounts that still hold points, as rules take them."""
    rows = db.session.execute(
        select(
            PointsLot.id,
            PointsLot.account_id,
            PointsLot.remaining,
            PointsLot.state,
            PointsLot.expires_at,
            PointsLot.order_id,
        ).where(
            PointsLot.account_id.in_([account.id for account in accounts]),
            PointsLot.remaining > 0,
            PointsLot.state.in_((LotState.PENDING, LotState.ACTIVE)),
        )
    )
    return [rules.Lot(*row) for row in rows]


def take(takes: Sequence[rules.Take], transaction: PointsTransaction) -> None:
    """Take points out of their lots, for a transaction. A pending lot of which nothing is left is cancelled."""
    for lot, amount in takes:
        values: dict[str, Any] = {"remaining": PointsLot.remaining - amount}
        if lot.state is LotState.PENDING and amount == lot.remaining:
            values["state"] = LotState.CANCELLED
        result = db.session.execute(
            update(PointsLot)
            .where(PointsLot.id == lot.id, PointsLot.remaining >= amount)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
        if changed(result) != 1:
            raise LotChanged(lot.id)
        db.session.add(PointsLotUse(lot_id=lot.id, transaction_id=transaction.id, amount=amount, returned=0))
    db.session.flush()


def legs_of(takes: Sequence[rules.Take]) -> list[Leg]:
    """What takes do to their accounts."""
    return [(lot.account_id, rules.bucket_of(lot.state), -amount) for lot, amount in takes]


def credit(
    account: PointsAccount,
    kind: Kind,
    points: int,
    against: AccountKind,
    *,
    state: LotState = LotState.ACTIVE,
    activates_at: datetime | None = None,
    expires_at: datetime | None = None,
    days: int | None = None,
    **columns: Any,
) -> PointsTransaction:
    """Give an account points as a lot of their own, against one of the shop's accounts."""
    legs = [(account.id, rules.bucket_of(state), points), (contra(against), Bucket.ACTIVE, -points)]
    transaction = post(account.id, kind, points, legs, **columns)
    db.session.add(
        PointsLot(
            account_id=account.id,
            transaction_id=transaction.id,
            order_id=columns.get("order_id"),
            original=points,
            remaining=points,
            state=state,
            days=days,
            activates_at=activates_at,
            expires_at=expires_at,
        )
    )
    db.session.flush()
    return transaction


_ACTIVATE = text(
    """
    WITH moved AS (
        UPDATE points_lot SET state = 'active'
        WHERE account_id = ANY(CAST(:accounts AS bigint[])) AND state = 'pending' AND activates_at <= :now AND remaining > 0
        RETURNING id, account_id, order_id, remaining
    ), booked AS (
        INSERT INTO points_transaction (type, account_id, points, source_type, source_id, order_id, at)
        SELECT 'activate', account_id, remaining, 'lot', CAST(id AS text), order_id, :now FROM moved ORDER BY id
        RETURNING id, account_id, points
    ), legs AS (
        INSERT INTO points_entry (transaction_id, account_id, bucket, amount)
        SELECT b.id, b.account_id, leg.bucket, leg.sign * b.points
        FROM booked b CROSS JOIN (VALUES ('pending', -1), ('active', 1)) AS leg (bucket, sign)
    )
    SELECT count(*) FROM booked
    """
).bindparams(bindparam("now", type_=DateTime(timezone=True)))

_EXPIRE = text(
    """
    WITH due AS (
        SELECT id, account_id, remaining, expires_at FROM points_lot
        WHERE account_id = ANY(CAST(:accounts AS bigint[])) AND state = 'active' AND expires_at <= :now AND remaining > 0
    ), moved AS (
        UPDATE points_lot l SET state = 'expired', remaining = 0 FROM due WHERE l.id = due.id AND l.remaining = due.remaining
        RETURNING l.id, due.account_id, due.remaining, due.expires_at
    ), booked AS (
        INSERT INTO points_transaction (type, account_id, points, source_type, source_id, at)
        SELECT 'expire', account_id, -remaining, 'lot', id || ':' || CAST(extract(epoch FROM expires_at) AS bigint), :now
        FROM moved ORDER BY id
        RETURNING id, account_id, points, source_id
    ), used AS (
        INSERT INTO points_lot_use (lot_id, transaction_id, amount, returned)
        SELECT CAST(split_part(source_id, ':', 1) AS bigint), id, -points, 0 FROM booked
    ), legs AS (
        INSERT INTO points_entry (transaction_id, account_id, bucket, amount)
        SELECT b.id, CASE WHEN leg.sign = 1 THEN b.account_id ELSE CAST(:breakage AS bigint) END, 'active', leg.sign * b.points
        FROM booked b CROSS JOIN (VALUES (1), (-1)) AS leg (sign)
    )
    SELECT a.member_id, -sum(b.points) AS points FROM booked b JOIN points_account a ON a.id = b.account_id
    GROUP BY a.member_id ORDER BY a.member_id
    """
).bindparams(bindparam("now", type_=DateTime(timezone=True)))


def settle(accounts: Sequence[PointsAccount], now: datetime) -> int:
    """Write down what the clock has decided of locked accounts: pending points become usable, lapsed ones expire.

    Returns how many members lost points. What becomes usable first makes up for a balance below zero.
    """
    ids = [account.id for account in accounts]
    if not ids:
        return 0
    db.session.flush()
    begun = db.session.execute(_ACTIVATE, {"accounts": ids, "now": now}).scalar()
    ended = db.session.execute(_EXPIRE, {"accounts": ids, "now": now, "breakage": contra(AccountKind.BREAKAGE)}).all()
    if begun or ended:
        forget_lots()
    publish_all(PointsExpired(member_id=row.member_id, points=int(row.points)) for row in ended)
    pay_off(accounts, now)
    return len(ended)


def forget_lots() -> None:
    """Have lots that the session holds read anew: a statement has changed them beneath it."""
    for row in db.session.identity_map.values():
        if isinstance(row, PointsLot):
            db.session.expire(row)


def pay_off(accounts: Sequence[PointsAccount], now: datetime) -> None:
    """Let active points make up for what the owner's accounts are overdrawn by."""
    for account in accounts:
        if not account.overdrawn:
            continue
        mine = [one for one in accounts if one.member_id == account.member_id]
        lots = rules.spending_order(lot for lot in lots_in(mine) if lot.state is LotState.ACTIVE)
        takes = rules.taken_from(lots, account.overdrawn)
        paid = sum(amount for _lot, amount in takes)
        if not paid:
            continue
        number = db.session.scalar(select(func.count()).where(PointsLotUse.lot_id == takes[0].lot.id))
        transaction = post(
            account.id,
            Kind.RECOVER,
            0,
            [*legs_of(takes), (account.id, Bucket.ACTIVE, paid)],
            source_type="lot",
            source_id=f"{takes[0].lot.id}:{number}",
            at=now,
        )
        take(takes, transaction)
        account.overdrawn -= paid
    db.session.flush()
