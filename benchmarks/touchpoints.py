"""The pages of touchpoints and the first page at many members, against one pass over the meetings.

    .venv/bin/python -m benchmarks.touchpoints [--rows 1000000] [--rounds 3] [--data FOLDER]

Makes the shop of `benchmarks.members` (kept and used again with `--data`) and, beside it, a push a week to a quarter of the
members for twelve weeks, coupons, calls with stars, tickets and conversations. Then it asks what the pages ask: the list of 30 days,
the matrix of 90, one touchpoint with its weeks, its funnel and what followed, and of the first page the task about silent groups;
its other tasks are not timed; and the board of staff results. From 100,000 members on the days are counted ahead
(`campaigns/touchpoints/counts.py`): the list and the matrix are timed without and with that. The yardstick is one pass over the
deliveries. Goal: every statement within the 20 seconds after which it is broken off, silent groups within one second, the list
and the matrix as kept within two.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import g
from sqlalchemy import func, select, text

from benchmarks import audiences, members
from benchmarks.floor import shop_floor
from campaigns.channels import services as channels
from campaigns.pushes import services as pushes
from campaigns.pushes.models import Delivery
from campaigns.touchpoints import counts, jobs, queries, rules
from community.groups import brief
from community.staff_results import queries as staff_results
from kernel import clock
from kernel.db import commit, db, transaction
from kernel.pages import instants, patience

WEEKS = 12
MADE = "benchmark of touchpoints"
MORE = (
    "INSERT INTO push_run (push_id, occurrence, state, cursor, slices, planned, tokens, started_at, finished_at)"
    " SELECT :push, 'week ' || n, 'completed', 0, 1, 0, 0, at, at FROM (SELECT n, :now - n * INTERVAL '7 days' AS at"
    " FROM generate_series(1, :weeks) AS n) AS one",
    "INSERT INTO delivery (run_id, member_id, slice_number, state, accepted_at, clicked_at)"
    " SELECT r.id, m.id, 1, 'accepted', r.started_at, CASE WHEN random() < .1 THEN r.started_at END"
    " FROM push_run AS r JOIN member AS m ON m.id % 4 = r.id % 4 WHERE r.push_id = :push",
    "INSERT INTO call_task (member_id, reason, about, state, due_at, tries, called_at, outcome_note, satisfaction, closed_at,"
    " created_at) SELECT id, 'delivered', '', 'reached', at, 1, at, '', 1 + (random() * 4)::int, at, at"
    " FROM (SELECT id, :now - random() * INTERVAL '300 days' AS at FROM member WHERE id % 10 = 0) AS one",
    "INSERT INTO staff (name, email, role, password_hash, signature, created_at)"
    " VALUES ('…', 'benchmark@shop.example', 'service', '', '', :now)",
    "INSERT INTO ticket (public_id, member_id, kind, state, subject, step, source, opened_at, answer_minutes, resolve_minutes,"
    " first_answered_at, first_answered_by_id, answered_minutes, spent_minutes, resolved_at, resolved_by_id, closed_at, reopened,"
    " satisfaction, satisfaction_note, rated_at, last_entry_at)"
    " SELECT 't' || id, id, 'feedback', 'closed', '…', '', 'staff', at, 60, 600, at, s, 5, 0, at, s, at, 0, 1 + id % 5, '', at, at"
    " FROM (SELECT id, :now - random() * INTERVAL '300 days' AS at FROM member WHERE id % 3 = 0) AS one,"
    " (SELECT min(id) AS s FROM staff) AS somebody",
    "INSERT INTO conversation (public_id, member_id, state, tries, opened_at, first_answered_at, first_answered_by_id,"
    " answer_seconds, last_message_id, last_from, last_at, closed_at, assignee_id, satisfaction, satisfaction_note, rated_at)"
    " SELECT 'c' || id, id, 'closed', 0, at, at, s, 60, 0, 'staff', at, at, s, 1 + id % 5, '', at"
    " FROM (SELECT id, :now - random() * INTERVAL '300 days' AS at FROM member WHERE id % 2 = 0) AS one,"
    " (SELECT min(id) AS s FROM staff) AS somebody",
    "UPDATE coupon SET source = 'link:1' WHERE id % 2 = 0",
)


def fill(rows: int) -> None:
    """Members, orders and what members met."""
    with transaction():
        made = db.session.scalar(text("SELECT count(*) FROM member")) or 0
    if made == 0:
        members.fill(rows)
    with transaction():
        if db.session.scalar(text("SELECT count(*) FROM push WHERE name = :name"), {"name": MADE}):
            return
        push, _run = pushes.draft(
            None, name=MADE, account_id=channels.inbox_account().id, audience={"rules": []}, subject="…", body="…"
        )
        values = {"push": push.id, "now": clock.now(), "weeks": WEEKS}
        for statement in (*audiences.MORE[2:], *MORE):
            db.session.execute(text(statement), {key: value for key, value in values.items() if f":{key}" in statement})


def timed(call: Callable[[], Any]) -> float:
    """Seconds of a call in a transaction of its own."""
    began = time.perf_counter()
    # A request's own memory would answer the second time.
    g.pop("kept_reads", None)
    with patience(300):
        call()
    spent = time.perf_counter() - began
    db.session.rollback()
    db.session.expunge_all()
    return spent


def measure(rounds: int) -> None:
    month, until = instants(clock.today() - timedelta(days=29), clock.today())
    quarter = until - timedelta(days=90)
    one_in = rules.one_in(queries.people_of(month, until, ["push_inbox"])["push_inbox"], rules.FOLLOWED)
    db.session.rollback()
    # Where nothing is kept every page counts for itself, as in a shop of fewer members.
    counts.forget(everything=True)
    commit()
    asked: dict[str, Callable[[], Any]] = {
        "one pass over the deliveries": lambda: db.session.execute(
            select(func.count(), func.count(Delivery.clicked_at)).where(Delivery.accepted_at >= quarter)
        ).one(),
        "the list, 30 days": lambda: queries.tallies(month, until),
        "the weeks of all, 90 days": lambda: queries.tallies(quarter, until),
        "who had met it before, 90 days": lambda: queries.shares(quarter, until),
        "the matrix, 90 days": lambda: queries.matrix(quarter, until),
        "one: weeks": lambda: queries.tallies(until - timedelta(days=84), until, ["push_inbox"]),
        "one: members, 30 days": lambda: queries.people_of(month, until, ["push_inbox"]),
        "one: funnel, 30 days": lambda: queries.steps("push_inbox", month, until, one_in),
        "one: what followed, 30 days": lambda: queries.after("push_inbox", month, until, one_in),
        "staff results, 30 days": lambda: staff_results.every_part(staff_results.stretch(month, until)),
        "the first page: silent groups": brief.silent,
    }
    for name, call in asked.items():
        say(name, statistics.median(timed(call) for _round in range(rounds)))
    began = time.perf_counter()
    jobs.count_meetings.direct()
    say(f"counting {rules.KEPT_DAYS} days ahead", time.perf_counter() - began)
    for name in ("the list, 30 days", "the weeks of all, 90 days", "the matrix, 90 days"):
        say(f"{name}, as kept", statistics.median(timed(asked[name]) for _round in range(rounds)))


def say(name: str, seconds: float) -> None:
    print(f"{name:36} {seconds * 1000:10,.0f} ms", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3, help="0 only makes the shop")
    options.add_argument("--data", type=Path)
    chosen = options.parse_args()
    with shop_floor(chosen.data, durable=False) as (app, _folder), app.app_context():
        began = time.perf_counter()
        fill(chosen.rows)
        print(f"made in {time.perf_counter() - began:.0f} s", flush=True)
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
            counts = connection.execute(
                text(
                    'SELECT (SELECT count(*) FROM member), (SELECT count(*) FROM "order"), (SELECT count(*) FROM delivery)'
                )
            ).one()
        print("{:,} members, {:,} orders, {:,} deliveries".format(*counts), flush=True)
        if chosen.rounds:
            with app.test_request_context():
                measure(chosen.rounds)


if __name__ == "__main__":
    main()
