"""Orders taken in from a file, against a lean COPY and upsert of the same file, side by side in one run.

    .venv/bin/python -m benchmarks.imports [--rows 1000000] [--rounds 3] [--only first again flat onto review] [--profile]

Ours is the whole way: the file kept and examined, every cell parsed and checked, people matched across identities, products,
orders with their lines and versions, members' sums, and the tiers of everybody touched. What else follows from an import
(stages, values, points, attribution, and what these tell) runs later in other workers; its time is printed beside. The lean
side is what a few statements can do: COPY into an unlogged table, phones by `right(…, 11)`, members and orders upserted,
tiers recomputed; no checks, lines, versions, identities or events. Both read the same file. Only ratios are to be compared
between machines.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import text

from kernel import clock, config, embedded
from kernel.app import create_app
from kernel.cli import upgrade
from kernel.db import db, transaction
from kernel.events import Event, subscribers_of
from membership.orders import services
from membership.orders.events import BuyersChanged, OrdersImported
from membership.tiers import services as tiers
from membership.tiers.subscribers import reassess_members_of_run as follow_tiers

FORK = multiprocessing.get_context("fork")
KEPT = {"tier_policy", "shop_setting", "alembic_version"}
HEADING = [
    "order_no", "placed_at", "state", "paid_amount", "sku", "quantity", "unit_price", "title", "delivered_at", "postage",
    "buyer_phone", "buyer_nickname",
]  # fmt: skip


def made_file(folder: Path, rows: int, seed: int = 1, prefix: str = "T") -> Path:
    """An order file of so many orders, one line each, 3.3 orders a person, phones in every spelling, all a month old and
    more (younger deliveries would each be told of by themselves)."""
    chance = random.Random(seed)
    path = folder / f"{prefix}{rows}.csv"
    people = max(1, rows * 3 // 10)
    now = clock.local(clock.now())
    with path.open("w", newline="") as out:
        write = csv.writer(out).writerow
        write(HEADING)
        for number in range(rows):
            who = chance.randrange(1, people + 1)
            phone = f"{13000000000 + who * 7919 % 1000000000:011d}"
            spelt = chance.choice((f"+86 {phone[:3]}-{phone[3:7]}-{phone[7:]}", phone, f"0086{phone}", f" {phone}"))
            placed = now - timedelta(minutes=chance.randrange(60 * 24 * 30, 60 * 24 * 400))
            arrived = placed + timedelta(days=4)
            price = chance.randrange(500, 90000)
            write(
                (
                    f"{prefix}{number}", f"{placed:%Y-%m-%d %H:%M}", "delivered", f"{price / 100 + 8:.2f}",
                    f"SKU-{chance.randrange(800)}", "1", f"{price / 100:.2f}", "青瓷茶杯", f"{arrived:%Y-%m-%d %H:%M}",
                    "8.00", spelt, f"买家{who}",
                )
            )  # fmt: skip
    return path


@contextmanager
def shop_floor() -> Iterator[tuple[Flask, Path]]:
    """The application over an embedded, durable database in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="siyu-bench-"))
    settings = config.load({"SIYU_DATA": str(folder), "SITE_URL": "http://localhost"})
    running = embedded.Running(embedded.servers(settings))
    running.start()
    try:
        app = create_app(settings)
        upgrade(app)
        with app.app_context(), transaction():
            # A shop has its policy before it has orders.
            tiers.ensure_policy()
        lock = next(folder.rglob("postmaster.pid"))
        _server.append(int(lock.read_text().split()[0]))
        yield app, folder
        with app.app_context():
            db.engine.dispose()
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def clear(app: Flask) -> None:
    with app.app_context(), transaction():
        names = db.session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        tables = ", ".join(f'"{name}"' for name in names if name not in KEPT)
        db.session.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    settle(app)


def settle(app: Flask) -> None:
    with app.app_context(), db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("CHECKPOINT"))


# ── Ours ────────────────────────────────────────────────────────────────────────────────────────────────────────────


# The process id of the database server.
_server: list[int] = []


def _stat(process: int) -> list[int]:
    """The numbers of proc(5), /proc/pid/stat, from the third field on; none when the process has ended."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [0, *map(int, words[1:])]


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _cpu() -> float:
    """Seconds of CPU that this process, its ended children and the database have used so far, the latter's background
    processes (checkpoints, the log) included."""
    server = _server[-1]
    # Children of the server that have ended count with it.
    ticks = sum(_stat(server)[11:15]) + sum(sum(_stat(child)[11:13]) for child in _children(server))
    own = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own + ticks / os.sysconf("SC_CLK_TCK")


def _worker(app: Flask, path: Path, profile: bool, answer: Any) -> None:
    with app.app_context():
        db.engine.dispose(close=False)
        before = _peak_memory()
        own = _cpu()
        started = time.perf_counter()
        with transaction(), path.open("rb") as stream:
            run = services.keep(stream, path.name, "shop")
            run_id, kept = run.id, time.perf_counter()
            services.runs._begin(run_id)  # type: ignore[attr-defined]
        if profile:
            import cProfile

            meter = cProfile.Profile()
            meter.enable()
        services.work(run_id)
        if profile:
            meter.disable()
            meter.dump_stats(str(path.with_suffix(".prof")))
        worked = time.perf_counter()
        with transaction():
            # As the run itself has told it.
            follow_tiers(told(run_id))
        ended = time.perf_counter()
        own = _cpu() - own
        # What follows has workers of its own.
        memory = _peak_memory()
        others = _what_else(run_id)
        with transaction():
            row = db.session.execute(
                text("SELECT rows_in, accepted, duplicate, rejected, members_new FROM import_run WHERE id = :id"),
                {"id": run_id},
            ).one()
        answer.put(
            {
                "kept": kept - started,
                "worked": worked - kept,
                "followed": ended - worked,
                "whole": ended - started,
                "cpu": own,
                "others": others,
                "rss": memory,
                "rss_later": _peak_memory(),
                "rss_before": before,
                "row": tuple(row),
            }
        )
        answer.close()
        answer.join_thread()
    os._exit(0)


def told(run_id: int) -> OrdersImported:
    """What a run has told of its end."""
    payload = db.session.scalar(
        text("SELECT payload FROM event WHERE name = 'OrdersImported' AND payload->>'run_id' = :id"),
        {"id": str(run_id)},
    )
    return OrdersImported(**payload)


def _what_else(run_id: int) -> dict[str, float]:
    """How long each other subscriber of the import's event takes, and of the slices of buyers that it is followed by, in
    seconds. Each slice is a transaction of its own, as it is delivered."""
    spent: dict[str, float] = {}
    with transaction():
        event = told(run_id)
        last = db.session.scalar(text("SELECT coalesce(max(id), 0) FROM event"))
    for key in subscribers_of(OrdersImported):
        if not key.startswith("membership.tiers."):
            _deliver(key, [event], spent)
    with transaction():
        found = text("SELECT payload FROM event WHERE name = 'BuyersChanged' AND id > :last ORDER BY id")
        rows = db.session.scalars(found, {"last": last})
        slices = [BuyersChanged(**payload) for payload in rows]
    for key in subscribers_of(BuyersChanged):
        _deliver(key, slices, spent)
    return spent


def _deliver(key: str, events: Sequence[Event], spent: dict[str, float]) -> None:
    module, _, name = key.rpartition(".")
    handler = getattr(importlib.import_module(module), name)
    started = time.perf_counter()
    for event in events:
        with transaction():
            handler(event)
    spent[f"{module.split('.')[-2]}.{name}"] = round(time.perf_counter() - started, 1)


def _peak_memory() -> float:
    """The most resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(app: Flask, path: Path, profile: bool = False) -> dict[str, Any]:
    """Take a file in, in a worker process of its own; how long each part took, and the worker's memory."""
    answer = FORK.Queue()
    worker = FORK.Process(target=_worker, args=(app, path, profile, answer))
    worker.start()
    found: dict[str, Any] = answer.get(timeout=3600)
    worker.join()
    return found


# ── The lean side ───────────────────────────────────────────────────────────────────────────────────────────────────

LEAN = [
    f"CREATE UNLOGGED TABLE lean_stage ({', '.join(f'{name} text' for name in HEADING)})",
    "CREATE TABLE lean_member (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, phone text NOT NULL UNIQUE, name text,"
    " tier smallint NOT NULL DEFAULT 1, spent bigint NOT NULL DEFAULT 0, orders_n int NOT NULL DEFAULT 0,"
    " last_order_at timestamptz) WITH (fillfactor = 80)",
    "CREATE TABLE lean_order (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, shop_id smallint NOT NULL,"
    " ext_no text NOT NULL, member_id bigint NOT NULL, amount bigint NOT NULL, paid_at timestamptz NOT NULL,"
    " UNIQUE (shop_id, ext_no))",
    "CREATE INDEX ON lean_order (member_id, paid_at DESC)",
]
PHONE = "right(translate(buyer_phone, ' +-()', ''), 11)"
LEAN_MEMBERS = (
    f"INSERT INTO lean_member (phone, name) SELECT {PHONE}, max(buyer_nickname) FROM lean_stage GROUP BY 1"
    " ON CONFLICT (phone) DO NOTHING"
)
LEAN_ORDERS = (
    "INSERT INTO lean_order (shop_id, ext_no, member_id, amount, paid_at)"
    " SELECT 1, s.order_no, m.id, (s.paid_amount::numeric * 100)::bigint, s.placed_at::timestamptz"
    f" FROM lean_stage s JOIN lean_member m ON m.phone = {PHONE.replace('buyer_phone', 's.buyer_phone')}"
    " ON CONFLICT (shop_id, ext_no) DO NOTHING"
)
LEAN_TIERS = """
    WITH a AS (SELECT member_id, sum(amount) s, count(*) n, max(paid_at) l FROM lean_order
               WHERE paid_at >= now() - interval '365 days' GROUP BY 1)
    UPDATE lean_member m SET spent = a.s, orders_n = a.n, last_order_at = a.l,
        tier = CASE WHEN a.s >= 400000 THEN 4 WHEN a.s >= 250000 THEN 3 WHEN a.s >= 100000 THEN 2 ELSE 1 END
    FROM a WHERE a.member_id = m.id AND (m.spent, m.orders_n) IS DISTINCT FROM (a.s, a.n)
"""


def lean(app: Flask, path: Path) -> tuple[float, float]:
    """The same file by COPY and a few statements; seconds by the clock, and of CPU."""
    with app.app_context():
        connection = db.engine.raw_connection()
        try:
            connection.driver_connection.autocommit = True  # type: ignore[union-attr]
            cursor = connection.cursor()
            cursor.execute("SET work_mem = '256MB'; SET timezone = 'Asia/Shanghai'")
            cursor.execute("DROP TABLE IF EXISTS lean_stage, lean_member, lean_order CASCADE")
            for statement in LEAN:
                cursor.execute(statement)
            started, own = time.perf_counter(), _cpu()
            with path.open("rb") as file, cursor.copy("COPY lean_stage FROM STDIN (FORMAT csv, HEADER)") as copy:  # type: ignore[attr-defined]
                while chunk := file.read(1 << 20):
                    copy.write(chunk)
            cursor.execute("ANALYZE lean_stage")
            cursor.execute(LEAN_MEMBERS)
            cursor.execute("ANALYZE lean_member")
            cursor.execute(LEAN_ORDERS)
            cursor.execute(LEAN_TIERS)
            spent, own = time.perf_counter() - started, _cpu() - own
            cursor.execute("DROP TABLE lean_stage, lean_member, lean_order CASCADE")
            cursor.execute("RESET work_mem; RESET timezone")
            connection.driver_connection.autocommit = False  # type: ignore[union-attr]
        finally:
            connection.close()
    return spent, own


# ── What is measured ────────────────────────────────────────────────────────────────────────────────────────────────


def said(name: str, rows: int, found: dict[str, Any]) -> None:
    print(
        f"{name}: {rows / found['whole']:,.0f} rows/s (kept and examined {found['kept']:.1f} s, taken in"
        f" {found['worked']:.1f} s, tiers {found['followed']:.1f} s), {found['cpu'] * 1e6 / rows:.0f} µs of CPU a row, worker"
        f" {found['rss']:.0f} MB (its program alone {found['rss_before']:.0f}), {found['row']}",
        flush=True,
    )
    print(f"   later, elsewhere (up to {found['rss_later']:.0f} MB): {found['others']}", flush=True)


def verdict(what: str, value: float, goal: float, most: bool = False) -> None:
    met = value <= goal if most else value >= goal
    print(f"== {what}: {value:.2f} (goal {'≤' if most else '≥'} {goal:.2f}: {'met' if met else 'missed'})", flush=True)


def first_and_again(app: Flask, folder: Path, rows: int, rounds: int, again: bool, profile: bool) -> None:
    path = made_file(folder, rows)
    ratios, costs, repeats, memory = [], [], [], []
    for number in range(rounds):
        clear(app)
        sides: dict[str, float] = {}
        cpu: dict[str, float] = {}
        for name in ("lean", "ours") if number % 2 == 0 else ("ours", "lean"):
            if name == "lean":
                sides["lean"], cpu["lean"] = lean(app, path)
                continue
            found = ours(app, path, profile)
            said(f"first {number + 1}", rows, found)
            sides["ours"], cpu["ours"] = found["whole"], found["cpu"]
            memory.append(found["rss"])
        ratios.append(sides["lean"] / sides["ours"])
        costs.append(cpu["ours"] / cpu["lean"])
        print(
            f"first {number + 1}: lean {rows / sides['lean']:,.0f} rows/s, {cpu['lean'] * 1e6 / rows:.0f} µs of CPU a row;"
            f" ours ÷ lean {ratios[-1]:.2f}, CPU {costs[-1]:.1f} ×",
            flush=True,
        )
        if again:
            found = ours(app, path)
            said(f"again {number + 1}", rows, found)
            repeats.append(sides["ours"] / found["whole"])
            memory.append(found["rss"])
    verdict("rate of the whole way ÷ lean COPY and upsert", statistics.median(ratios), 1 / 3)
    print(
        f"== CPU of the whole way ÷ lean: {statistics.median(costs):.1f}, half of it in processes side by side",
        flush=True,
    )
    if repeats:
        verdict("the same file again ÷ the first time", statistics.median(repeats), 3)
    verdict("memory of the worker in MB", max(memory), 256, most=True)
    if profile:
        print(f"profile: {shutil.copy(path.with_suffix('.prof'), '/tmp/imports.prof')}", flush=True)


def flat(app: Flask, folder: Path, rows: int) -> None:
    rates: dict[int, float] = {}
    memory: dict[int, float] = {}
    for size in sorted({10_000, min(100_000, rows), rows}):
        clear(app)
        path = made_file(folder, size, seed=size)
        found = ours(app, path)
        said(f"flat {size:,}", size, found)
        rates[size], memory[size] = size / found["whole"], found["rss"]
    sizes = sorted(rates)
    verdict(f"rate at {sizes[-1]:,} ÷ rate at {sizes[-2]:,}", rates[sizes[-1]] / rates[sizes[-2]], 0.9)
    verdict(f"memory at {sizes[-1]:,} ÷ at {sizes[0]:,}", memory[sizes[-1]] / memory[sizes[0]], 1.25, most=True)


EXISTING = [
    "INSERT INTO member (name, nickname, phone, hobbies, city, address, locale, source, stage, stage_since, rank, orders_count,"
    " spend, created_at) SELECT '', 'Old ' || i, '+8617' || lpad(i::text, 9, '0'), '', '', '', 'zh_Hans', 'shop', 'lead',"
    " now(), 0, 0, 0, now() FROM generate_series(1, :people) i",
    "INSERT INTO member_identity (member_id, channel, external_id, created_at) SELECT id, 'phone', phone, now() FROM member",
    'INSERT INTO "order" (source, external_id, member_id, state, payment, placed_at, paid_at, delivered_at, paid_amount,'
    " postage, discount, reported_refund, refunded_amount, version_at, version_mark, created_at)"
    " SELECT 'shop', 'O' || i, 1 + (i::bigint * 2654435761 % :people), 'delivered', 'online', at, at, at + interval '4 days',"
    " 800 + i % 90000, 800, 0, 0, 0, at + interval '4 days', '3' || lpad(i::text, 37, '0'), now()"
    " FROM (SELECT i, now() - (i % 63072000) * interval '0.5 second' - interval '40 days' AS at"
    " FROM generate_series(1, :orders) i) t",
    "INSERT INTO order_line (order_id, position, sku, title, quantity, unit_price, amount, refunded_quantity)"
    " SELECT id, 1, 'SKU-' || id % 800, 'Cup', 1, paid_amount - 800, paid_amount - 800, 0 FROM \"order\"",
]


def onto(app: Flask, folder: Path, rows: int, times: int = 10) -> None:
    """A file onto ten times as many orders as it holds, against the same file onto nothing."""
    path = made_file(folder, rows, seed=3)
    clear(app)
    empty = ours(app, path)
    said("onto nothing", rows, empty)
    clear(app)
    with app.app_context(), transaction():
        for statement in EXISTING:
            db.session.execute(text(statement), {"people": rows * times // 10, "orders": rows * times})
    settle(app)
    full = ours(app, path)
    said(f"onto {rows * times:,}", rows, full)
    verdict(f"rate onto {rows * times:,} orders ÷ onto none", empty["whole"] / full["whole"], 0.5)


def review(app: Flask, touched: int = 5_000) -> None:
    """A tier review of the members that a file touched, against one of everybody (over what is there)."""
    with app.app_context():
        with transaction():
            ids = list(db.session.scalars(text(f"SELECT id FROM member ORDER BY id LIMIT {touched}")))
            everybody = db.session.scalar(text("SELECT count(*) FROM member"))

        def timed(work: Callable[[], object]) -> float:
            started = time.perf_counter()
            with transaction():
                work()
            return time.perf_counter() - started

        whole = timed(tiers.reassess)
        some = statistics.median(timed(lambda: tiers.reassess(ids)) for _ in range(5))
    print(f"review: {everybody:,} members {whole:.2f} s, {len(ids):,} of them {some:.3f} s", flush=True)
    verdict(
        "review of the touched ÷ of everybody", some / whole, max(0.05, 1.5 * len(ids) / (everybody or 1)), most=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=["first", "again", "flat", "onto", "review"])
    parser.add_argument("--profile", action="store_true", help="write where the time goes to /tmp/imports.prof")
    chosen = parser.parse_args()
    print(json.dumps(vars(chosen)), flush=True)
    with shop_floor() as (app, folder):
        if "first" in chosen.only:
            first_and_again(app, folder, chosen.rows, chosen.rounds, "again" in chosen.only, chosen.profile)
        if "flat" in chosen.only:
            flat(app, folder, chosen.rows)
        if "onto" in chosen.only:
            onto(app, folder, chosen.rows)
        if "review" in chosen.only:
            review(app)


if __name__ == "__main__":
    main()
