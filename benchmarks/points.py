"""Orders earning points set-wise against one by one, a sweep, a refund of many, and what a till waits for.

    .venv/bin/python -m benchmarks.points [--rows 100000] [--single 500]

Makes N orders of N / 10 members by set-wise SQL in a database of its own, then books them as a file's orders are booked. Beside
it stand the same rows written by one plain INSERT … SELECT a table, into tables with the same indexes: no locks, terms, sums,
foreign keys or slices. Goals: set-wise ≥ 20 × one
by one; ≥ 1/3 of the plain statements; a second run that finds nothing to book ≥ 1.5 × the first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text

from benchmarks.tiers import MEMBERS, ORDERS, shop, timed
from kernel import clock
from kernel.db import db, transaction
from membership.points import queries, rules, services
from membership.points.services import earning

# The same rows into tables of the same columns and indexes, by statements that ask nothing.
PLAIN = (
    *(
        f"CREATE TABLE plain_{name} (LIKE points_{name} INCLUDING ALL)"
        for name in ("transaction", "entry", "lot", "order")
    ),
    """
    INSERT INTO plain_transaction (id, type, account_id, points, source_type, source_id, order_id, at)
    SELECT o.id, 'earn', o.member_id, 1 + o.paid_amount / 100, 'order', o.id::text, o.id, now()
    FROM "order" o WHERE o.id = ANY(:ids)
    """,
    """
    INSERT INTO plain_entry (transaction_id, account_id, bucket, amount)
    SELECT t.id, t.account_id, 'active', s * t.points FROM plain_transaction t, (VALUES (1), (-1)) v (s)
    """,
    """
    INSERT INTO plain_lot (account_id, transaction_id, order_id, original, remaining, state, days, activates_at, expires_at)
    SELECT account_id, id, order_id, points, points, 'active', 365, at, at + interval '365 days' FROM plain_transaction
    """,
    """
    INSERT INTO plain_order (order_id, account_id, points, step, program_id, multiplier)
    SELECT order_id, account_id, points, 1, 1, 1000 FROM plain_transaction
    """,
)


def in_slices(ids: list[int]) -> None:
    """As the subscribers of an import do it."""
    for start in range(0, len(ids), earning.SLICE):
        with transaction():
            services.settle_orders(ids[start : start + earning.SLICE])


def plain(ids: list[int]) -> None:
    with transaction():
        for statement in PLAIN:
            db.session.execute(text(statement), {"ids": ids} if ":ids" in statement else {})


def sweep() -> None:
    while True:
        with transaction():
            if not services.settle_due():
                return


def each(ids: list[int], work: Callable[[int], object]) -> float:
    start = time.perf_counter()
    for one in ids:
        with transaction():
            work(one)
    return (time.perf_counter() - start) / len(ids)


def main() -> None:
    """Fill a shop and print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--single", type=int, default=500)
    said = parser.parse_args()
    with shop() as app, app.app_context():
        with transaction():
            db.session.execute(text(MEMBERS), {"rows": said.rows // 10})
            db.session.execute(text(ORDERS), {"rows": said.rows // 10, "orders": said.rows})
            start = clock.now() - timedelta(days=800)
            services.save_program(replace(rules.STANDARD, enabled=True, effective_from=start))
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text('VACUUM ANALYZE "order", member'))
        ids = list(db.session.scalars(text('SELECT id FROM "order" ORDER BY id')))
        few, many = ids[: said.single], ids[said.single :]
        db.session.rollback()
        one = each(few, services.settle_order)
        first = timed(lambda: in_slices(many)) / len(many)
        bare = timed(lambda: plain(many)) / len(many)
        again = timed(lambda: in_slices(many)) / len(many)
        print(f"{said.rows:,} orders of {said.rows // 10:,} members")
        print(f"one by one                       {1 / one:10,.0f} orders/s")
        print(
            f"set-wise                         {1 / first:10,.0f} orders/s   {one / first:6.1f} × one by one   goal ≥ 20"
        )
        print(
            f"plain statements                 {1 / bare:10,.0f} orders/s   set-wise / plain {bare / first:5.2f}   goal ≥ .33"
        )
        print(
            f"again, nothing to book           {1 / again:10,.0f} orders/s   {first / again:6.1f} × the first      goal ≥ 1.5"
        )
        with transaction():
            db.session.execute(text('UPDATE "order" SET refunded_amount = paid_amount WHERE id % 10 = 3'))
        refunded = [one_id for one_id in many if one_id % 10 == 3]
        back = timed(lambda: in_slices(refunded)) / len(refunded)
        print(f"taken back after refunds         {1 / back:10,.0f} orders/s")
        with transaction():
            owners = list(
                db.session.scalars(
                    text(
                        "SELECT a.member_id FROM points_lot l JOIN points_account a ON a.id = l.account_id "
                        "WHERE l.state = 'active' AND l.remaining > 20 GROUP BY 1 ORDER BY 1 LIMIT :most"
                    ),
                    {"most": said.single},
                )
            )
        till = each(owners, lambda member: services.spend(member, 10, source_type="bench", source_id=str(member)))
        read = each(owners, queries.balance_of)
        print(
            f"a till pays with points          {1000 * till:10.1f} ms        a balance is read in {1000 * read:.1f} ms"
        )
        with transaction():
            db.session.execute(text("UPDATE points_lot SET expires_at = now() WHERE state = 'active' AND id % 2 = 0"))
            due = services.due_count()
        swept = timed(sweep)
        print(f"lapsed lots swept                {due / swept:10,.0f} lots/s")
        start_at = time.perf_counter()
        lines, apart = queries.trial_balance(), queries.unreconciled()
        took = time.perf_counter() - start_at
        print(
            f"trial balance                    {took:10.2f} s    sum {sum(line.total for line in lines)}, {len(apart)} apart"
        )


if __name__ == "__main__":
    main()
