"""A killed import goes on exactly where it stood (check I5): every line once, the same report as an undisturbed run.

Real processes are killed with SIGKILL at chosen statements, between any two of them and before any commit. The teeth: with
the place in the file written ahead of its batch, the same kills lose lines.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import event, text

from kernel.db import db, transaction
from membership.orders import services
from membership.orders.models import ImportRun, RunState
from membership.orders.services import runs
from tests.membership.orders.files import line, write
from tests.strays import strays

pytestmark = pytest.mark.fault
FORK = multiprocessing.get_context("fork")
ROWS = 400


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """Orders of one to three lines, some refused, some without a buyer, some twice with another sum."""
    chance = random.Random(5)
    rows = []
    for number in range(ROWS // 2):
        spoilt = chance.random() < 0.1
        for _ in range(chance.randint(1, 3)):
            buyer = "" if number % 7 == 0 else str(number % 40)
            rows.append(line(order_no=f"N{number}", buyer_id=buyer, quantity="x" if spoilt else "1"))
        spoilt = False
    return write(tmp_path / "orders.csv", rows)


def die_at(statement: int) -> None:
    """Kill this very process before its nth statement."""
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(db.engine, "before_cursor_execute", count)
    event.listen(db.engine, "commit", count)


def child(app: Flask, run_id: int, statement: int) -> None:
    with app.app_context():
        # The parent's connections are not ours.
        db.engine.dispose(close=False)
        die_at(statement)
        services.work(run_id)
        db.session.remove()
        db.engine.dispose()
    os._exit(0)


def killed(app: Flask, path: Path, source: str, kills: list[int]) -> int:
    """Take a file in through processes that are killed at these statements, one after the other, and one that is not."""
    with app.app_context(), transaction(), path.open("rb") as stream:
        run_id = services.keep(stream, path.name, source).id
        runs._begin(run_id)
    for statement in [*kills, 1_000_000]:
        with app.app_context(), transaction():
            # Its lease has run out by now, and it has not been tried too often since it last got on.
            db.session.execute(text("UPDATE import_run SET lease_until = now() - interval '1 hour'"))
            db.session.execute(text("UPDATE import_run SET checkpoint = checkpoint || '{\"tries\": 0}'"))
        process = FORK.Process(target=child, args=(app, run_id, statement))
        process.start()
        process.join(120)
        assert process.exitcode in (0, -signal.SIGKILL)
    return run_id


REPORT = "rows_total, rows_in, accepted, duplicate, rejected, orders_new, orders_changed, members_new, state"
BOOKS = """
    SELECT o.external_id, o.paid_amount, o.refunded_amount, o.state, o.version_at,
           (SELECT array_agg((l.sku, l.quantity) ORDER BY l.position) FROM order_line l WHERE l.order_id = o.id) AS lines,
           m.orders_count, m.spend, m.first_order_at, m.last_order_at, m.rank,
           (SELECT array_agg((c.from_rank, c.to_rank, c.reason) ORDER BY c.id) FROM tier_change c
            WHERE c.member_id = m.id) AS tiers
    FROM "order" o LEFT JOIN member m ON m.id = o.member_id WHERE o.source = :source ORDER BY o.external_id
"""
REJECTS = 'SELECT line, "column", reason FROM import_reject WHERE run_id = :run ORDER BY line, id'


def books(app: Flask, source: str, run_id: int) -> list[list[tuple[object, ...]]]:
    """The report, the orders with their members' sums, and the rejects."""
    with app.app_context():
        report = db.session.execute(text(f"SELECT {REPORT} FROM import_run WHERE id = :run"), {"run": run_id})
        found = db.session.execute(text(BOOKS), {"source": source})
        rejects = db.session.execute(text(REJECTS), {"run": run_id})
        return [[tuple(row) for row in rows] for rows in (report, found, rejects)]


def test_check_i5_killed_at_a_hundred_places_every_line_is_taken_once(
    committed: Flask, orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "BATCH_ROWS", 25)
    # Members are settled in parts, two at a time, and die there too.
    monkeypatch.setattr(runs, "MEMBERS_AT_ONCE", 8)
    whole = killed(committed, orders, "whole", [])
    chance = random.Random(11)
    # Most die within a batch or at its commit; some come a few batches further.
    torn = killed(committed, orders, "torn", [chance.choice([*range(2, 45), *range(45, 120, 9)]) for _ in range(100)])
    assert books(committed, "torn", torn) == books(committed, "whole", whole)
    with committed.app_context():
        assert strays(db) == []
        run = db.session.get(ImportRun, torn)
        assert run is not None
        assert run.state is RunState.DONE
        assert run.rows_in == run.rows_total == run.accepted + run.duplicate + run.rejected


def test_check_i5_without_the_guard_lines_are_lost(
    committed: Flask, orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place in the file is committed before its batch."""
    monkeypatch.setattr(runs, "BATCH_ROWS", 25)
    whole = killed(committed, orders, "whole", [])
    take = runs._take_batch

    def careless(run: ImportRun, token: str, batch: runs.Batch, at: int) -> int:
        with transaction():
            runs._renew(run.id, token, checkpoint={**run.checkpoint, "entries": at})
        return take(run, token, batch, at)

    monkeypatch.setattr(runs, "_take_batch", careless)
    chance = random.Random(11)
    torn = killed(committed, orders, "torn", [chance.randint(5, 45) for _ in range(12)])
    assert len(books(committed, "torn", torn)[1]) < len(books(committed, "whole", whole)[1])
