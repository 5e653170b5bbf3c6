"""What orders earn, and what their refunds take back: by one rule, for one order and for a file of them.

An order's points are a function of what is left of it (`rules.points_for`), by the terms of its earning. Settling an order
brings what it has brought so far (`points_order`) to that number: whatever was reported, in whatever order and however often,
ends alike. Files go through the set-wise statements; only orders that need another's lots or meet a shortfall take the way
for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import DateTime, bindparam, func, select, text

from kernel import clock
from kernel.db import db
from kernel.events import publish
from membership.members.models import Member
from membership.orders import queries as orders
from membership.orders import rules as order_rules
from membership.orders.models import Order
from membership.tiers.rules import RANKS

from .. import queries, rules
from ..events import PointsClawedBack, PointsEarned
from ..models import (
    AccountKind,
    Bucket,
    Clawback,
    Kind,
    LotState,
    PointsAccount,
    PointsLot,
    PointsOrder,
)
from . import ledger, spending

# So many orders are booked in one transaction.
SLICE = 20_000


@dataclass(frozen=True)
class _Facts:
    """What an order says that matters for points; `at` is from when they can be used."""

    id: int
    member_id: int | None
    counts: bool
    spend: int
    paid_at: datetime | None
    at: datetime | None


def _facts(order_id: int, after_sale: timedelta) -> _Facts | None:
    row = db.session.execute(
        select(
            Order.id,
            Order.member_id,
            orders.counts().label("counts"),
            orders.spend().label("spend"),
            Order.paid_at,
            orders.qualifies_at(after_sale).label("at"),
        ).where(Order.id == order_id)
    ).one_or_none()
    return _Facts(*row) if row is not None else None


def _source(order_id: int, step: int) -> dict[str, Any]:
    return {"source_type": "order", "source_id": f"{order_id}:{step}" if step else str(order_id), "order_id": order_id}


def settle_order(order_id: int, now: datetime | None = None) -> None:
    """Bring the points of one order to what is left of it; again it changes nothing.

    Points that an order brought somebody whom it has left are taken back there and earned where it is now.
    """
    now = now or clock.now()
    program = queries.program()
    after_sale = timedelta(days=program.pending_days)
    for _try in range(3):
        facts = _facts(order_id, after_sale)
        if facts is None:
            return
        holders = db.session.execute(
            select(PointsAccount.member_id)
            .join(PointsOrder, PointsOrder.account_id == PointsAccount.id)
            .where(PointsOrder.order_id == order_id)
        ).scalars()
        owners = {owner for owner in (*holders, facts.member_id) if owner is not None}
        wanted = _owes_points(facts, program)
        if facts.member_id is not None and wanted and not queries.account_ids(facts.member_id):
            ledger.open_for([facts.member_id], now)
        accounts = ledger.locked(owners)
        # What was read before the lock may have changed meanwhile: only what is read now counts.
        facts = _facts(order_id, after_sale)
        if facts is None or facts.member_id is None or facts.member_id in owners:
            break
    if facts is None:
        return
    ledger.settle(accounts, now)
    by_id = {account.id: account for account in accounts}
    rows = list(
        db.session.scalars(
            select(PointsOrder)
            .where(PointsOrder.order_id == order_id)
            .order_by(PointsOrder.account_id)
            .execution_options(populate_existing=True)
        )
    )
    mine = [account for account in accounts if account.member_id == facts.member_id]
    for row in rows:
        if row.points and by_id[row.account_id].member_id != facts.member_id:
            _claw_back(row, row.points, [a for a in accounts if a.member_id == by_id[row.account_id].member_id], now)
    if not mine:
        return
    ours = [row for row in rows if by_id[row.account_id].member_id == facts.member_id]
    found = next((one for one in ours if one.points), ours[0] if ours else None)
    if found is None:
        if not _owes_points(facts, program) or facts.member_id is None:
            return
        rank = _rank_of(facts.member_id)
        if rank is None:
            return
        multiplier = queries.multiplier_of(rank)
        points = rules.points_for(facts.spend, program.rate, multiplier, program.rounding)
        if not points:
            return
        fresh = PointsOrder(
            order_id=order_id, account_id=mine[0].id, points=0, step=0, program_id=program.id, multiplier=multiplier
        )
        db.session.add(fresh)
        db.session.flush()
        _earn(fresh, points, facts, mine, now, program.lot_days)
        return
    terms = queries.version(found.program_id)
    target = rules.points_for(facts.spend, terms.rate, found.multiplier, terms.rounding) if facts.counts else 0
    _reschedule(facts, mine, now)
    if target > found.points:
        _earn(found, target - found.points, facts, mine, now, terms.lot_days)
    elif target < found.points:
        _claw_back(found, found.points - target, mine, now)


def _owes_points(facts: _Facts, program: rules.Program) -> bool:
    return (
        program.enabled
        and program.id is not None
        and facts.counts
        and facts.member_id is not None
        and facts.paid_at is not None
        and facts.paid_at >= program.effective_from
    )


def _rank_of(member_id: int) -> int | None:
    """The tier of a member; None once they are erased: nobody earns any more."""
    return db.session.scalar(select(Member.rank).where(Member.id == member_id, Member.erased_at.is_(None)))


def _usable_from(at: datetime | None, now: datetime) -> datetime | None:
    """Points that could be used already are usable from now: whoever is booked late loses no day of them."""
    return max(at, now) if at is not None else None


def _earn(
    row: PointsOrder, points: int, facts: _Facts, accounts: Sequence[PointsAccount], now: datetime, days: int | None
) -> None:
    usable_from = _usable_from(facts.at, now)
    pending = usable_from is None or usable_from > now
    account = next(one for one in accounts if one.id == row.account_id)
    transaction = ledger.credit(
        account,
        Kind.EARN,
        points,
        AccountKind.PROMOTION,
        state=LotState.PENDING if pending else LotState.ACTIVE,
        activates_at=usable_from,
        expires_at=rules.expires_at(usable_from, days),
        days=days,
        at=now,
        **_source(facts.id, row.step),
    )
    row.points += points
    row.step += 1
    db.session.flush()
    spending.collect(list(accounts), transaction, now)
    if not pending:
        ledger.pay_off(accounts, now)
    publish(
        PointsEarned(
            member_id=account.member_id or 0,
            transaction_id=transaction.id,
            kind=Kind.EARN.value,
            points=points,
            source_type="order",
            source_id=str(facts.id),
            pending=pending,
            usable_from=usable_from,
        )
    )


def _claw_back(row: PointsOrder, points: int, accounts: Sequence[PointsAccount], now: datetime) -> None:
    plan = rules.clawed_back(points, ledger.lots_in(accounts), row.order_id, queries.program().clawback)
    taken = points - plan.shortfall
    legs = [*ledger.legs_of(plan.takes), (ledger.contra(AccountKind.PROMOTION), Bucket.ACTIVE, taken)]
    if plan.overdraw:
        legs.append((row.account_id, Bucket.ACTIVE, -plan.overdraw))
    transaction = ledger.post(
        row.account_id, Kind.CLAW_BACK, -taken, legs, missing=plan.shortfall, at=now, **_source(row.order_id, row.step)
    )
    ledger.take(plan.takes, transaction)
    account = next(one for one in accounts if one.id == row.account_id)
    account.shortfall += plan.shortfall
    account.overdrawn += plan.overdraw
    row.points -= points
    row.step += 1
    db.session.flush()
    publish(
        PointsClawedBack(
            member_id=account.member_id or 0,
            transaction_id=transaction.id,
            order_id=row.order_id,
            points=taken,
            shortfall=plan.shortfall,
        )
    )


def _reschedule(facts: _Facts, accounts: Sequence[PointsAccount], now: datetime) -> None:
    """The moment from which an order's pending points can be used may have become known, or have moved."""
    lots = db.session.scalars(
        select(PointsLot).where(
            PointsLot.order_id == facts.id,
            PointsLot.account_id.in_([account.id for account in accounts]),
            PointsLot.state == LotState.PENDING,
        )
    ).all()
    moved = [lot for lot in lots if lot.activates_at != facts.at]
    for lot in moved:
        lot.activates_at = _usable_from(facts.at, now)
        lot.expires_at = rules.expires_at(lot.activates_at, lot.days)
    if moved:
        db.session.flush()
        ledger.settle(accounts, now)


# ── Files: the same over sets ───────────────────────────────────────────────────────────────────────────────────────


# `rules.points_for` in SQL; numeric, for the product of the largest order, rate and multiplier passes a bigint.
POINTS = """
    CAST(CASE {rounding}
        WHEN 'up' THEN ceil(CAST({spend} AS numeric) * {rate} * {multiplier} / 100000000)
        WHEN 'nearest' THEN floor(CAST({spend} AS numeric) * {rate} * {multiplier} / 100000000 + 0.5)
        ELSE floor(CAST({spend} AS numeric) * {rate} * {multiplier} / 100000000)
    END AS bigint)
"""

_PRICED = POINTS.format(
    rounding="CAST(:rounding AS text)", spend="w.spend", rate="CAST(:rate AS bigint)", multiplier="w.multiplier"
)

# `_facts` in SQL.
_FACTS = """
    facts AS MATERIALIZED (
        SELECT o.id, o.member_id, o.paid_at,
               o.state = ANY(CAST(:paid AS text[])) AND o.paid_at IS NOT NULL
                   AND NOT (o.refunded_amount > 0 AND o.refunded_amount >= o.paid_amount - o.postage) AS counts,
               GREATEST(o.paid_amount - o.postage - o.refunded_amount, 0) AS spend,
               CASE WHEN o.state = ANY(CAST(:arrived AS text[])) AND o.paid_at IS NOT NULL THEN
                   LEAST(o.delivered_at + CAST(:after_sale AS interval),
                         CASE WHEN o.state = 'completed' THEN o.completed_at END) END AS at
        FROM "order" o WHERE o.id = ANY(CAST(:orders AS bigint[]))
    )
"""

EXPIRES = """
    (date_trunc('day', ({at} + make_interval(days => CAST({days} AS int))) AT TIME ZONE 'Asia/Shanghai')
        + interval '1 day') AT TIME ZONE 'Asia/Shanghai'
"""

_EARN = text(
    f"""
    WITH {_FACTS}, home AS (
        SELECT member_id, min(id) AS account_id FROM points_account WHERE id = ANY(CAST(:accounts AS bigint[]))
        GROUP BY member_id HAVING sum(shortfall + overdrawn) = 0
    ), wanted AS (
        SELECT f.id AS order_id, home.account_id,
               CASE WHEN f.at IS NOT NULL THEN GREATEST(f.at, CAST(:now AS timestamptz)) END AS usable_from,
               COALESCE((CAST(:multipliers AS bigint[]))[m.rank + 1], 1000) AS multiplier, f.spend
        FROM facts f JOIN home ON home.member_id = f.member_id JOIN member m ON m.id = f.member_id
        WHERE m.erased_at IS NULL AND f.counts AND f.paid_at >= CAST(:effective AS timestamptz)
          AND NOT EXISTS (SELECT 1 FROM points_order p WHERE p.order_id = f.id)
        ORDER BY f.id
    ), priced AS MATERIALIZED (
        SELECT w.order_id, w.account_id, w.usable_from, w.multiplier,
               COALESCE(w.usable_from <= CAST(:now AS timestamptz), false) AS begun, {_PRICED} AS points
        FROM wanted w
    ), drawn AS MATERIALIZED (
        -- The numbers are drawn before the rows are written, so that nothing has to be joined to what was inserted.
        SELECT p.*, nextval(pg_get_serial_sequence('points_transaction', 'id')) AS id FROM priced p WHERE p.points > 0
    ), booked AS (
        INSERT INTO points_transaction (id, type, account_id, points, source_type, source_id, order_id, at)
        SELECT id, 'earn', account_id, points, 'order', CAST(d.order_id AS text), d.order_id, CAST(:now AS timestamptz)
        FROM drawn d
    ), legs AS (
        INSERT INTO points_entry (transaction_id, account_id, bucket, amount)
        SELECT d.id, CASE WHEN leg.sign = 1 THEN d.account_id ELSE CAST(:promotion AS bigint) END,
               CASE WHEN leg.sign = 1 AND NOT d.begun THEN 'pending' ELSE 'active' END, leg.sign * d.points
        FROM drawn d CROSS JOIN (VALUES (1), (-1)) AS leg (sign)
    ), lots AS (
        INSERT INTO points_lot (
            account_id, transaction_id, order_id, original, remaining, state, days, activates_at, expires_at)
        SELECT d.account_id, d.id, d.order_id, d.points, d.points,
               CASE WHEN d.begun THEN 'active' ELSE 'pending' END, CAST(:days AS bigint), d.usable_from,
               CASE WHEN CAST(:days AS bigint) IS NOT NULL THEN {EXPIRES.format(at="d.usable_from", days=":days")} END
        FROM drawn d
    ), kept AS (
        INSERT INTO points_order (order_id, account_id, points, step, program_id, multiplier)
        SELECT d.order_id, d.account_id, d.points, 1, CAST(:program AS bigint), d.multiplier FROM drawn d
    )
    SELECT count(*) AS orders, COALESCE(sum(points), 0) AS points FROM drawn
    """  # noqa: S608 - all parts are constants
).bindparams(bindparam("now", type_=DateTime(timezone=True)), bindparam("effective", type_=DateTime(timezone=True)))

_RESCHEDULE = text(
    f"""
    WITH {_FACTS}
    UPDATE points_lot l
    SET activates_at = CASE WHEN f.at IS NOT NULL THEN GREATEST(f.at, CAST(:now AS timestamptz)) END,
        expires_at = CASE WHEN f.at IS NULL OR l.days IS NULL THEN NULL
                     ELSE {EXPIRES.format(at="GREATEST(f.at, CAST(:now AS timestamptz))", days="l.days")} END
    FROM facts f JOIN points_account a ON a.member_id = f.member_id
    WHERE l.order_id = f.id AND l.account_id = a.id AND l.state = 'pending' AND l.activates_at IS DISTINCT FROM f.at
    """  # noqa: S608
).bindparams(bindparam("now", type_=DateTime(timezone=True)))

# What orders have brought against what is left of them.
_TARGETS = f"""
    targets AS (
        SELECT f.id AS order_id, f.member_id, p.account_id, p.points, p.step, a.member_id AS owner,
               CASE WHEN f.counts AND a.member_id = f.member_id
                    THEN {POINTS.format(rounding="t.rounding", spend="f.spend", rate="t.rate", multiplier="p.multiplier")}
                    ELSE 0 END AS target
        FROM facts f JOIN points_order p ON p.order_id = f.id JOIN points_account a ON a.id = p.account_id
        JOIN points_program t ON t.id = p.program_id
    )
"""  # noqa: S608

# The common claw-back: the order made one lot, and that lot still holds what is to be taken.
_CLAW_BACK = text(
    f"""
    WITH {_FACTS}, {_TARGETS}, single AS (
        SELECT order_id, account_id, min(id) AS lot_id FROM points_lot WHERE order_id = ANY(CAST(:orders AS bigint[]))
        GROUP BY order_id, account_id HAVING count(*) = 1
    ), moved AS (
        UPDATE points_lot l SET remaining = l.remaining - (t.points - t.target),
            state = CASE WHEN l.state = 'pending' AND l.remaining = t.points - t.target THEN 'cancelled' ELSE l.state END
        FROM targets t JOIN single s ON s.order_id = t.order_id AND s.account_id = t.account_id
        WHERE l.id = s.lot_id AND t.target < t.points AND t.owner = t.member_id AND l.remaining >= t.points - t.target
          AND (l.state = 'pending' OR (l.state = 'active' AND NOT CAST(:only_pending AS boolean)))
        RETURNING l.id AS lot_id, t.order_id, t.account_id, t.step, t.points - t.target AS amount,
                  CASE WHEN l.state = 'active' THEN 'active' ELSE 'pending' END AS bucket,
                  nextval(pg_get_serial_sequence('points_transaction', 'id')) AS id
    ), booked AS (
        INSERT INTO points_transaction (id, type, account_id, points, source_type, source_id, order_id, at)
        SELECT id, 'claw_back', account_id, -amount, 'order', m.order_id || ':' || step, m.order_id,
               CAST(:now AS timestamptz)
        FROM moved m
    ), legs AS (
        INSERT INTO points_entry (transaction_id, account_id, bucket, amount)
        SELECT m.id, CASE WHEN leg.sign = 1 THEN CAST(:promotion AS bigint) ELSE m.account_id END,
               CASE WHEN leg.sign = 1 THEN 'active' ELSE m.bucket END, leg.sign * m.amount
        FROM moved m CROSS JOIN (VALUES (1), (-1)) AS leg (sign)
    ), used AS (
        INSERT INTO points_lot_use (lot_id, transaction_id, amount, returned)
        SELECT lot_id, id, amount, 0 FROM moved
    ), lowered AS (
        UPDATE points_order p SET points = p.points - m.amount, step = p.step + 1
        FROM moved m WHERE p.order_id = m.order_id AND p.account_id = m.account_id
    )
    SELECT count(*) FROM moved
    """  # noqa: S608
).bindparams(bindparam("now", type_=DateTime(timezone=True)))

_LEFT = text(
    f"""
    WITH {_FACTS}, {_TARGETS}
    SELECT order_id FROM targets WHERE target <> points AND (points > 0 OR owner = member_id)
    UNION
    SELECT f.id FROM facts f
    WHERE CAST(:enabled AS boolean) AND f.counts AND f.paid_at >= CAST(:effective AS timestamptz)
      AND f.member_id IN (SELECT member_id FROM points_account WHERE id = ANY(CAST(:accounts AS bigint[])) AND shortfall + overdrawn > 0)
      AND NOT EXISTS (SELECT 1 FROM points_order p WHERE p.order_id = f.id AND p.points > 0)
    UNION
    SELECT f.id FROM facts f JOIN points_order p ON p.order_id = f.id JOIN points_account a ON a.id = p.account_id
    WHERE CAST(:enabled AS boolean) AND f.counts AND a.member_id <> f.member_id AND f.paid_at >= CAST(:effective AS timestamptz)
    ORDER BY 1
    """  # noqa: S608
).bindparams(bindparam("effective", type_=DateTime(timezone=True)))


def settle_orders(order_ids: Sequence[int], now: datetime | None = None) -> int:
    """`settle_order` for many orders at once, in the caller's transaction; returns how many earned for the first time.

    Publishes nothing order by order: the timeline reads orders from their own table. Call it with at most `SLICE` orders.
    """
    if not order_ids:
        return 0
    now = now or clock.now()
    program = queries.program()
    db.session.flush()
    owners = db.session.execute(
        select(Order.member_id)
        .join(Member, Member.id == Order.member_id)
        .where(Order.id == func.any(sorted(order_ids)), Member.merged_into_id.is_(None), Member.erased_at.is_(None))
        .distinct()
    ).scalars()
    members = {owner for owner in owners if owner is not None}
    holders = db.session.execute(
        select(PointsAccount.member_id)
        .join(PointsOrder, PointsOrder.account_id == PointsAccount.id)
        .where(PointsOrder.order_id == func.any(sorted(order_ids)))
        .distinct()
    ).scalars()
    everybody = members | {owner for owner in holders if owner is not None}
    earning = program.enabled and program.id is not None
    if earning:
        ledger.open_for(sorted(members), now)
    accounts = ledger.locked(everybody)
    if not accounts:
        return 0
    ledger.settle(accounts, now)
    multipliers = queries.multipliers_of((0, *RANKS))
    values = {
        "orders": sorted(order_ids),
        "accounts": [account.id for account in accounts],
        "now": now,
        "paid": [state.value for state in order_rules.PAID_STATES],
        "arrived": [state.value for state in order_rules.ARRIVED_STATES],
        "after_sale": timedelta(days=program.pending_days),
    }
    shop = {"promotion": ledger.contra(AccountKind.PROMOTION)}
    fresh = 0
    if earning:
        fresh = db.session.execute(
            _EARN,
            values
            | shop
            | {
                "multipliers": multipliers,
                "effective": program.effective_from,
                "rounding": program.rounding.value,
                "rate": program.rate,
                "days": program.lot_days,
                "program": program.id,
            },
        ).scalar_one()
    db.session.execute(_RESCHEDULE, values)
    ledger.settle(accounts, now)
    db.session.execute(_CLAW_BACK, values | shop | {"only_pending": program.clawback is Clawback.ONLY_PENDING})
    ledger.forget_lots()
    left = db.session.scalars(_LEFT, values | {"enabled": earning, "effective": program.effective_from}).all()
    for order_id in left:
        settle_order(order_id, now)
    return int(fresh)


def settle_orders_of(member_id: int) -> None:
    """`settle_orders` for everything that a member ever ordered, and for what earned in their accounts and has left them."""
    mine = select(Order.id).where(Order.member_id == member_id)
    earned = select(PointsOrder.order_id).join(PointsAccount, PointsAccount.id == PointsOrder.account_id)
    ids = list(db.session.scalars(mine.union(earned.where(PointsAccount.member_id == member_id)).order_by("id")))
    for start in range(0, len(ids), SLICE):
        settle_orders(ids[start : start + SLICE])


def orders_of_run(run_id: int, first_id: int, last_id: int) -> list[int]:
    """The orders that an import wrote or refunded, from one id to another."""
    return list(
        db.session.scalars(
            select(Order.id).where(Order.run_id == run_id, Order.id.between(first_id, last_id)).order_by(Order.id)
        )
    )


def slices_of_run(run_id: int) -> list[tuple[int, int]]:
    """An import's orders as stretches of ids, each of at most `SLICE` orders."""
    return orders.slices_of_run(run_id, SLICE)


__all__ = ["SLICE", "orders_of_run", "settle_order", "settle_orders", "settle_orders_of", "slices_of_run"]
