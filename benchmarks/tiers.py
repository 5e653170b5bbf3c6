"""A review of everybody against one of the members whom something touched, and a simulation of a draft.

    .venv/bin/python -m benchmarks.tiers [--rows 100000] [--touched 5000] [--rounds 3] [--data FOLDER]

Makes N members and 10 N orders by set-wise SQL in a database of its own (kept and used again with `--data`, which may be that of
`benchmarks.members` too), and reviews everybody a first time, which writes every standing. Then each round refunds the orders
of other members before it judges them, so that a review has something to write; whole and touched follow each other directly.
Goal (performance.md): touched ≤ 5 % of whole. Only ratios are to be compared between machines.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from flask import Flask, g
from sqlalchemy import text

from benchmarks.floor import shop_floor
from kernel.db import db, transaction
from membership.tiers import jobs, services
from membership.tiers.rules import STANDARD

MEMBERS = """
INSERT INTO member (name, nickname, hobbies, city, address, locale, source, stage, stage_since, rank, enrolled_at,
                    orders_count, spend, created_at)
SELECT '', 'n' || i, '', '', '', 'zh_Hans', 'bench', 'customer', now(), 0, CASE WHEN i % 2 = 0 THEN now() END, 0, 0, now()
FROM generate_series(1, :rows) i
"""
# Some buy often and much, most seldom and little; nine in ten orders are complete, a few were refunded in part.
ORDERS = """
INSERT INTO "order" (source, external_id, member_id, state, payment, placed_at, paid_at, completed_at, paid_amount, postage,
                     discount, reported_refund, refunded_amount, version_at, version_mark, created_at)
SELECT 'bench', o.n::text, o.member_id, CASE WHEN o.n % 10 = 0 THEN 'paid' ELSE 'completed' END, 'online', o.at, o.at,
       CASE WHEN o.n % 10 = 0 THEN NULL ELSE o.at END, o.amount, 0, 0, 0, CASE WHEN o.n % 40 = 0 THEN o.amount / 2 ELSE 0 END,
       o.at, '', o.at
FROM (SELECT n, first.id + floor(power(random(), 2) * :rows)::bigint AS member_id,
             now() - random() * interval '700 days' AS at, (500 + power(random(), 4) * 60000)::bigint AS amount
      FROM generate_series(1, :orders) n, (SELECT min(id) AS id FROM member) first) o
"""
REFUND = """
UPDATE "order" SET refunded_amount = paid_amount, version_at = now()
WHERE member_id = ANY(:ids) AND id % 3 = :third
"""


@contextmanager
def shop(folder: Path | None) -> Iterator[Flask]:
    """The application, its jobs kept from running."""
    with shop_floor(folder) as (app, _folder):
        app.extensions["collected_jobs"] = []
        yield app


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def whole() -> None:
    """Everybody in slices, as after a new version of the rules."""
    jobs.review_everybody.direct()


def touched(ids: list[int]) -> None:
    """The members of an import, from all over the table."""
    with transaction():
        services.reassess(ids)


def simulate() -> None:
    """A draft that halves the thresholds, on everybody."""
    levels = tuple(replace(level, spend=level.spend // 2 + level.rank) for level in STANDARD.levels)
    with transaction():
        draft = services.create_draft("bench", replace(STANDARD, levels=levels))
        services.start_simulation(draft.id)
        draft_id, run = draft.id, draft.run
    jobs.simulate.direct(draft_id, run)


def fill(rows: int) -> None:
    """Members and orders, unless they are there, and everybody's first standing."""
    with transaction():
        made = db.session.scalar(text("SELECT count(*) FROM member"))
        judged = db.session.scalar(text("SELECT count(*) FROM member_tier"))
        if not made:
            db.session.execute(text(MEMBERS), {"rows": rows})
            db.session.execute(text(ORDERS), {"rows": rows, "orders": rows * 10})
    vacuum('"order", member')
    if not judged:
        print(f"first review, every standing written      {timed(whole):7.2f} s", flush=True)


def vacuum(tables: str) -> None:
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"VACUUM ANALYZE {tables}"))


def main() -> None:
    """Fill a shop and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--touched", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3, help="0 only makes the shop")
    parser.add_argument("--data", type=Path)
    said = parser.parse_args()
    with shop(said.data) as app, app.app_context():
        fill(said.rows)
        vacuum("member_tier, member, event")
        if said.rounds:
            measure(said.touched, said.rounds)


def measure(touched_at_once: int, rounds: int) -> None:
    """Whole and touched in turn, and a simulation."""
    everyone = list(db.session.scalars(text("SELECT id FROM member ORDER BY id")))
    count = min(touched_at_once, len(everyone))
    step = max(1, len(everyone) // count)
    print(f"{len(everyone):,} members, 10 orders each")
    wholes, parts = [], []
    for number in range(rounds):
        # Others each time: whose orders were refunded in a former run would have nothing to be written.
        ids = everyone[random.randrange(step) :: step][:count]
        db.session.rollback()
        g.pop("tier_policy", None)
        with transaction():
            db.session.execute(text(REFUND), {"ids": ids, "third": number % 3})
        parts.append(timed(lambda ids=ids: touched(ids)))  # type: ignore[misc]
        wholes.append(timed(whole))
    part, everybody = statistics.median(parts), statistics.median(wholes)
    print(f"review of everybody                       {everybody:7.2f} s  {len(everyone) / everybody:10,.0f} members/s")
    print(f"review of {count:,} touched               {part:10.2f} s  {count / part:10,.0f} members/s")
    print(f"touched / whole                           {part / everybody:7.3f}    goal at 1,000,000: ≤ 0.05")
    tried = timed(simulate)
    print(f"simulation of a draft on everybody        {tried:7.2f} s  {len(everyone) / tried:10,.0f} members/s")


if __name__ == "__main__":
    main()
