"""What becomes of the points of somebody who is erased: nobody is owed them any more."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import update

from kernel import clock
from kernel.db import db

from .. import rules
from ..models import AccountKind, Bucket, Kind, PointsOrder
from . import ledger


def write_off(member_ids: Collection[int]) -> int:
    """Book all that a person's accounts hold, usable and pending, to the breakage; returns how many points that were.

    One transaction that sums to zero; what was owed (a shortfall, a balance below zero) is let go of with it, and later
    refunds of their orders take nothing from an account that nobody owns. In the caller's transaction, with the members
    locked; again it changes nothing.
    """
    accounts = ledger.locked(member_ids)
    if not accounts:
        return 0
    now = clock.now()
    ledger.settle(accounts, now)
    takes = [rules.Take(lot, lot.remaining) for lot in rules.spending_order(ledger.lots_in(accounts))]
    held = sum(amount for _lot, amount in takes)
    owed = sum(account.overdrawn for account in accounts)
    if takes or owed:
        transaction = ledger.post(
            accounts[0].id,
            Kind.ERASE,
            owed - held,
            [
                *ledger.legs_of(takes),
                *((account.id, Bucket.ACTIVE, account.overdrawn) for account in accounts),
                (ledger.contra(AccountKind.BREAKAGE), Bucket.ACTIVE, held - owed),
            ],
            source_type="member",
            source_id="erased",
            at=now,
        )
        ledger.take(takes, transaction)
        ledger.forget_lots()
    for account in accounts:
        account.shortfall = account.overdrawn = 0
    db.session.execute(
        update(PointsOrder)
        .where(PointsOrder.account_id.in_([account.id for account in accounts]), PointsOrder.points > 0)
        .values(points=0)
        .execution_options(synchronize_session=False)
    )
    db.session.flush()
    return held


__all__ = ["write_off"]
