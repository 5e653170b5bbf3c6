"""A push against the sink alone, and its fan-out against one plain INSERT … SELECT, side by side in one run.

    .venv/bin/python -m benchmarks.pushes [--rounds 5] [--messages 40000] [--rows 200000] [--sink-ms 20] [--smtp-ms 5]
        [--only fan-out http smtp workers growth] [--many 1000000] [--data FOLDER]

Both sides of a pair use the same two processes, connections and batch size, and follow each other directly, so that a slow
moment of the machine meets both; what is printed are medians of the rounds' ratios. Only ratios are to be compared between
machines. "Sink alone" hands the same messages, rendered beforehand, over the same adapter and touches no database; the push
commits every intent before its call and every outcome after it, with the contact budget and consents asked for.
`growth` compares a push of `--many` with pushes of 10,000, over a sink in the worker itself that takes everything at once, so that
what is measured is the ledger: the rate, the memory of a worker and the processor time of the database for a message. A
million takes about five minutes; `--data` keeps the shop for the next run.
Goals: docs/decisions/0005-delivery-ledger.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from flask import Flask
from sqlalchemy import text

from benchmarks.floor import shop_floor
from campaigns.channels import registry
from campaigns.channels.adapters import Abilities, Adapter, Message, Outcome, Status
from campaigns.channels.models import Account, ChannelKind
from campaigns.pushes import drain, rules, services
from kernel import clock, shop
from kernel.db import db, transaction
from membership.members.models import Contact

WORKERS = 2
FORK = multiprocessing.get_context("fork")


# ── Sinks: one process, which answers after some milliseconds and counts ────────────────────────────────────────────


class HttpSink(asyncio.Protocol):
    wait = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport, self.held = transport, b""

    def data_received(self, data: bytes) -> None:
        self.held += data
        while (head := self.held.find(b"\r\n\r\n")) >= 0:
            lower = self.held[:head].lower()
            at = lower.index(b"content-length:") + 15
            length = int(lower[at : end if (end := lower.find(b"\r\n", at)) > 0 else None])
            if len(self.held) < head + 4 + length:
                return
            self.held = self.held[head + 4 + length :]
            asyncio.get_running_loop().call_later(self.wait, self.answer)

    def answer(self) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


class SmtpSink(asyncio.Protocol):
    """As little of RFC 5321 as a client needs; the text is answered after the wait."""

    wait = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport, self.held, self.text = transport, b"", False
        transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self.held += data
        while True:
            end = self.held.find(b"\r\n.\r\n" if self.text else b"\r\n")
            if end < 0:
                return
            line, self.held = self.held[:end], self.held[end + (5 if self.text else 2) :]
            if self.text:
                self.text = False
                asyncio.get_running_loop().call_later(self.wait, self.transport.write, b"250 taken\r\n")
            elif line[:4].upper() == b"DATA":
                self.text = True
                self.transport.write(b"354 go on\r\n")
            else:
                self.transport.write(b"250 sink\r\n")


def _serve(protocol: type[asyncio.Protocol], seconds: float, ready: Any) -> None:
    protocol.wait = seconds  # type: ignore[attr-defined]

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=256)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def sink(protocol: type[asyncio.Protocol], seconds: float) -> Iterator[int]:
    """A sink in a process of its own; gives its port."""
    ready = FORK.Queue()
    process = FORK.Process(target=_serve, args=(protocol, seconds, ready), daemon=True)
    process.start()
    try:
        yield ready.get(timeout=10)
    finally:
        process.kill()
        process.join()


# ── The shop ────────────────────────────────────────────────────────────────────────────────────────────────────────


def people(app: Flask, how_many: int) -> None:
    """So many members with a number and consents, if they are not there yet."""
    with app.app_context():
        there, last = db.session.execute(text("SELECT count(*), coalesce(max(id), 0) FROM member")).one()
        db.session.rollback()
    if there >= how_many:
        return
    with app.app_context(), transaction():
        shop.put("holdout.percent", 5)
        shop.put("quiet.from", "00:00")
        shop.put("quiet.until", "00:00")
        shop.put("contact.per_day", None)
        shop.put("contact.per_month", 1_000_000)
        db.session.execute(
            text(
                "INSERT INTO member (name, nickname, phone, email, hobbies, city, address, locale, source, stage, stage_since,"
                " rank, orders_count, spend, created_at) SELECT '', 'Lime ' || i, '+861000' || lpad(i::text, 9, '0'),"
                " 'm' || i || '@example.com', '', '', '', 'zh_Hans', '', 'lead', now(), i % 5, 0, 0, now()"
                " FROM generate_series(CAST(:first AS int), CAST(:n AS int)) i"
            ),
            {"first": there + 1, "n": how_many},
        )
        for channel in ("sms", "email"):
            db.session.execute(
                text(
                    "INSERT INTO consent (member_id, channel, purpose, granted, source, text_version, author, at)"
                    " SELECT id, :channel, 'marketing', true, '', '1', '', now() FROM member WHERE id > :last"
                ),
                {"channel": channel, "last": last},
            )
    analyse(app)


def analyse(app: Flask) -> None:
    with app.app_context(), db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def make_run(app: Flask, account_id: int, through: int, name: str = "Bench") -> int:
    """A run over the first `through` members, ready to be planned."""
    with app.app_context(), transaction():
        _push, run = services.draft(
            None,
            name=name,
            account_id=account_id,
            audience={"rules": []},
            subject="{nickname}, hello",
            body="Dear {tier} {nickname}, time for tea at {shop}. " * 3,
        )
        services.schedule(run)
        services.start(run)
        run.through_id = through
        return run.id


def plan(app: Flask, run_id: int) -> None:
    with app.app_context():
        while True:
            with transaction():
                if services.fan_out(run_id).done:
                    return


# ── Fan-out ─────────────────────────────────────────────────────────────────────────────────────────────────────────

PLAIN = text(
    "INSERT INTO delivery (run_id, member_id, slice_number, state)"
    " SELECT :run_id, id, 1 + id / 1000, 'ready' FROM member WHERE id <= :n ORDER BY id"
)


def fan_out(app: Flask, account_id: int, rows: int, rounds: int) -> None:
    """Chunks of 20,000 that resume, with hold-out and consent, against the same rows by one plain statement."""
    ratios = []
    for number in range(rounds):
        run_id = make_run(app, account_id, rows)
        sides: dict[str, float] = {}

        def plain() -> None:
            with app.app_context(), transaction():
                db.session.execute(PLAIN, {"run_id": -1 - number, "n": rows})  # noqa: B023

        def chunks() -> None:
            plan(app, run_id)  # noqa: B023

        for name, side in order(number, {"plain": plain, "chunks": chunks}):
            started = time.perf_counter()
            side()
            sides[name] = rows / (time.perf_counter() - started)
            # Whoever came second would write into the middle of an index that the first has filled with the same members.
            with app.app_context(), transaction():
                db.session.execute(text("TRUNCATE delivery, push_slice, click CASCADE"))
        ratios.append(sides["chunks"] / sides["plain"])
        report("fan-out", number, sides, ratios[-1])
    verdict("fan-out in restartable chunks ÷ one plain INSERT … SELECT", ratios, 0.5)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"fan-out: {rows:,} rows, memory of the process that plans at most {most:.0f} MB")


# ── The drain ───────────────────────────────────────────────────────────────────────────────────────────────────────


def at_once(work: Callable[[int], None], workers: int = WORKERS) -> tuple[float, float, float]:
    """Run `work(number)` in so many processes; returns seconds, the processor seconds they used, and the most memory in MB."""
    start, done = FORK.Barrier(workers + 1), FORK.Queue()

    def run(number: int) -> None:
        start.wait()
        work(number)
        used = resource.getrusage(resource.RUSAGE_SELF)
        done.put((used.ru_utime + used.ru_stime, used.ru_maxrss / 1024))
        os._exit(0) if done.close() else done.join_thread()

    processes = [FORK.Process(target=run, args=(number,)) for number in range(workers)]
    for process in processes:
        process.start()
    start.wait()
    started = time.perf_counter()
    found = [done.get(timeout=900) for _ in processes]
    seconds = time.perf_counter() - started
    for process in processes:
        process.join()
    return seconds, sum(cpu for cpu, _ in found), max(memory for _, memory in found)


def database_seconds(app: Flask) -> float:
    """The processor seconds that the database server and its processes have used so far."""
    with app.app_context():
        backend = db.session.scalar(text("SELECT pg_backend_pid()"))
        db.session.rollback()
    postmaster = psutil.Process(backend).parent()
    assert postmaster is not None
    total = 0.0
    for process in [postmaster, *postmaster.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def by_push(app: Flask, run_id: int, adapter: Adapter | None = None) -> Callable[[int], None]:
    """Drain a run, over its account or over another adapter; in a process of its own, which it is left to."""

    def work(number: int) -> None:
        if adapter is not None:
            given: Adapter = adapter
            registry.adapter_of = lambda _account: given
        with app.app_context():
            db.engine.dispose(close=False)
        registry._kept.clear()
        with app.app_context():
            while drain.drain(run_id, budget_seconds=600, lanes=drain.lanes_for(run_id)):
                pass
            db.engine.dispose()

    return work


def by_sink_alone(app: Flask, account_id: int, messages: int) -> Callable[[int], None]:
    with app.app_context():
        account = db.session.get_one(Account, account_id)
        hook_or_server = (
            registry.hook_of(account) if account.kind is ChannelKind.WEBHOOK else registry.server_of(account)
        )
        make = type(registry.adapter_of(account))
    body = "Dear VIP3 Lime 12345, time for tea at the shop. " * 3
    share = messages // WORKERS
    by_mail = account.kind is ChannelKind.EMAIL
    addresses = [f"m{i}@example.com" if by_mail else f"+861000{i:09}" for i in range(share)]
    rendered = [Message(f"delivery:{i}", i, i, to, f"Lime {i}, hello", body) for i, to in enumerate(addresses)]

    def work(number: int) -> None:
        with app.app_context():
            adapter = make(hook_or_server)
            size = adapter.abilities.batch_size
            for start in range(0, share, size):
                outcomes = adapter.submit(rendered[start : start + size])
                assert all(o.status is Status.ACCEPTED for o in outcomes)

    return work


def warm_up(app: Flask, account_id: int) -> None:
    """Let this process, of which the workers are copies, compile its statements, as a worker has after its first push."""
    run_id = make_run(app, account_id, 200)
    plan(app, run_id)
    with app.app_context():
        drain.drain(run_id, budget_seconds=60)
        db.engine.dispose()
    registry._kept.clear()


def drained(app: Flask, name: str, account_id: int, messages: int, rounds: int, goal: float) -> None:
    ratios, database, memory = [], [], []
    warm_up(app, account_id)
    for number in range(rounds):
        run_id = make_run(app, account_id, messages)
        plan(app, run_id)
        sides: dict[str, float] = {}
        with app.app_context():
            planned = sum(services.tally(run_id).get(state, 0) for state in ("ready",))
            db.session.rollback()

        def push() -> None:
            before = database_seconds(app)
            seconds, _cpu, most = at_once(by_push(app, run_id))  # noqa: B023
            sides["push"] = planned / seconds  # noqa: B023
            database.append((database_seconds(app) - before) / planned * 1e6)  # noqa: B023
            memory.append(most)

        def alone() -> None:
            seconds, _cpu, _most = at_once(by_sink_alone(app, account_id, messages))
            sides["sink alone"] = messages // WORKERS * WORKERS / seconds  # noqa: B023

        for _name, side in order(number, {"push": push, "alone": alone}):
            side()
        with app.app_context():
            counted = services.tally(run_id)
            db.session.rollback()
        assert counted.get("accepted") == planned, counted
        ratios.append(sides["push"] / sides["sink alone"])
        report(name, number, sides, ratios[-1])
    verdict(f"push over {name} ÷ the sink alone", ratios, goal)
    print(
        f"{name}: database {statistics.median(database):.0f} µs of processor a message (goal ≤ 15), worker memory {max(memory):.0f} MB"
    )


class Swallow:
    """A channel in the worker itself, which takes every batch at once."""

    def __init__(self, batch_size: int) -> None:
        self.abilities = Abilities(ChannelKind.WEBHOOK, Contact.SMS, batch_size=batch_size)

    def submit(self, batch: Sequence[Message]) -> list[Outcome]:
        return [Outcome(Status.ACCEPTED)] * len(batch)

    def probe(self) -> str | None:
        return None

    def close(self) -> None:
        """Nothing was opened."""


def growth(app: Flask, account_id: int, few: int, many: int, batch_size: int, rounds: int) -> None:
    """Whether a long ledger is slower than a short one: the rate over many messages against that over few, before and after."""

    def sent(messages: int) -> tuple[float, float, float]:
        run_id = make_run(app, account_id, messages)
        started = time.perf_counter()
        plan(app, run_id)
        planned_in = time.perf_counter() - started
        before = database_seconds(app)
        seconds, cpu, memory = at_once(by_push(app, run_id, Swallow(batch_size)))
        database = database_seconds(app) - before
        with app.app_context():
            counted = services.tally(run_id)
            db.session.rollback()
        accepted = counted.get("accepted", 0)
        assert not counted.get("ready"), counted
        assert accepted > messages * 0.9, counted
        print(
            f"{messages:>9,} messages: {accepted / seconds:,.0f}/s, worker memory {memory:.1f} MB, processor a message: database"
            f" {database / accepted * 1e6:.1f} µs, workers {cpu / accepted * 1e6:.1f} µs; planned with {messages / planned_in:,.0f}/s",
            flush=True,
        )
        return accepted / seconds, memory, database / accepted * 1e6

    warm_up(app, account_id)
    small = [sent(few) for _ in range(rounds)]
    rate, memory, database = sent(many)
    small += [sent(few) for _ in range(rounds)]
    verdict(f"rate at {many:,} ÷ rate at {few:,}", [rate / statistics.median(one[0] for one in small)], 0.9)
    most = statistics.median(one[1] for one in small)
    print(
        f"memory of a worker at {many:,} ÷ at {few:,}: {memory / most:.3f} (goal ≤ 1.05);"
        f" database {database:.1f} µs of processor a message (goal ≤ 15)"
    )


def scaling(app: Flask, account_id: int, messages: int, rounds: int) -> None:
    """Two worker processes against one, over a sink that takes its time: who only waits can be joined by a second."""
    ratios, memory = [], []
    warm_up(app, account_id)
    for number in range(rounds):
        sides: dict[str, float] = {}

        def sent_by(workers: int) -> Callable[[], None]:
            def side() -> None:
                run_id = make_run(app, account_id, messages * workers)
                plan(app, run_id)
                seconds, _cpu, most = at_once(by_push(app, run_id), workers)
                with app.app_context():
                    counted = services.tally(run_id)
                    db.session.rollback()
                assert not counted.get("ready"), counted
                sides[str(workers)] = counted["accepted"] / seconds  # noqa: B023
                memory.append(most)

            return side  # noqa: B023

        for _name, side in order(number, {"one": sent_by(1), "two": sent_by(2)}):
            side()
        ratios.append(sides["2"] / sides["1"])
        report("workers", number, {"one worker": sides["1"], "two workers": sides["2"]}, ratios[-1])
    verdict("two worker processes ÷ one", ratios, 1.6)
    print(f"workers: the most memory of one {max(memory):.0f} MB")


# ── Output ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def order(number: int, sides: dict[str, Callable[[], None]]) -> Iterator[tuple[str, Callable[[], None]]]:
    """The sides of a round, in turn beginning with the other one."""
    names = list(sides)
    for name in names if number % 2 == 0 else reversed(names):
        yield name, sides[name]


def report(name: str, number: int, sides: dict[str, float], ratio: float) -> None:
    print(
        f"{name} {number + 1}: "
        + ", ".join(f"{side} {rate:,.0f}/s" for side, rate in sides.items())
        + f" → {ratio:.2f}",
        flush=True,
    )


def verdict(what: str, ratios: list[float], goal: float) -> None:
    middle = statistics.median(ratios)
    print(f"== {what}: {middle:.2f} (goal ≥ {goal:g}: {'met' if middle >= goal else 'missed'})", flush=True)


def account(app: Flask, kind: ChannelKind, settings: dict[str, Any]) -> int:
    with app.app_context(), transaction():
        made = Account(name=kind.value, kind=kind, settings=settings, created_at=clock.now())
        db.session.add(made)
        db.session.flush()
        return made.id


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--sink-ms", type=float, default=20.0)
    parser.add_argument(
        "--smtp-ms", type=float, default=5.0, help="how long the mail server takes over a text; a near relay's pace"
    )
    parser.add_argument("--batch", type=int, default=50, help="messages in a request of the webhook")
    parser.add_argument(
        "--many", type=int, default=1_000_000, help="the large push of `growth`, compared with pushes of 10,000"
    )
    parser.add_argument("--data", type=Path, help="keep the shop here, and use it again")
    parser.add_argument("--only", nargs="+", default=["fan-out", "http", "smtp", "workers"])
    chosen = parser.parse_args()
    print(
        json.dumps(vars(chosen), default=str),
        f"slices of {rules.SLICE:,}, chunks of {rules.CHUNK:,}",
        flush=True,
    )
    with shop_floor(chosen.data) as (app, _folder):
        many = chosen.many if "growth" in chosen.only else 0
        people(app, max(chosen.rows if "fan-out" in chosen.only else 0, chosen.messages, many))
        if "fan-out" in chosen.only:
            planning = account(app, ChannelKind.WEBHOOK, {"url": "http://127.0.0.1/", "contact": "sms"})
            fan_out(app, planning, chosen.rows, chosen.rounds)
        if "http" in chosen.only:
            with sink(HttpSink, chosen.sink_ms / 1000) as port:
                settings = {"url": f"http://127.0.0.1:{port}/", "contact": "sms", "batch_size": chosen.batch}
                drained(app, "http", account(app, ChannelKind.WEBHOOK, settings), chosen.messages, chosen.rounds, 0.85)
        if "workers" in chosen.only:
            with sink(HttpSink, chosen.sink_ms / 1000) as port:
                settings = {"url": f"http://127.0.0.1:{port}/", "contact": "sms", "batch_size": chosen.batch}
                scaling(app, account(app, ChannelKind.WEBHOOK, settings), chosen.messages // 2, chosen.rounds)
        if "smtp" in chosen.only:
            with sink(SmtpSink, chosen.smtp_ms / 1000) as port:
                settings = {
                    "host": "127.0.0.1",
                    "port": port,
                    "security": "none",
                    "sender": "shop@shop.example",
                    "username": "",
                }
                drained(
                    app, "smtp", account(app, ChannelKind.EMAIL, settings), chosen.messages // 2, chosen.rounds, 0.95
                )
        if "growth" in chosen.only:
            with sink(HttpSink, 0.0) as port:  # To warm up with.
                settings = {"url": f"http://127.0.0.1:{port}/", "contact": "sms", "batch_size": chosen.batch}
                own = account(app, ChannelKind.WEBHOOK, settings)
                growth(app, own, 10_000, chosen.many, chosen.batch, chosen.rounds)


if __name__ == "__main__":
    main()
