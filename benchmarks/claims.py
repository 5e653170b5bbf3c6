"""Claims over HTTP, side by side in one run: against the same route answering a constant, and against a naive hot row.

    .venv/bin/python -m benchmarks.claims [--rounds 5] [--seconds 3] [--clients 32 128] [--only claim constant driver]

`driver` leaves HTTP out: so many threads of two processes hand claims of one offer to their writers, against pgbench
committing one INSERT a transaction from as many clients over the same database.

Every window uses a new offer and distinct members, whose browsers are bound. The windows of a round follow each other
directly, so that a slow moment of the machine meets them all; what is printed are medians of the rounds' ratios. Only
ratios are to be compared between machines; on one that is busy with other things the ratio of the CPU that a request
costs web and database together says more than that of the rates, for a claim also waits. Goals: docs/decisions/0003-group-commit.md.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

from apiflask import APIBlueprint
from flask import Flask, redirect
from sqlalchemy import text

from benchmarks.load import Result, run
from kernel import clock, embedded, visitors
from kernel.auth import public
from kernel.db import db, transaction
from membership.coupons import codes, services
from membership.coupons.models import CouponKind, OfferState
from membership.coupons.services.claims import claimant, writer
from membership.coupons.services.shelves import Claim, Claimed
from tests.webshop import WebShop, serve

MEMBERS = 60_000
PLENTY = 100_000_000

bp = APIBlueprint("benchmark", __name__, enable_openapi=False)


@bp.post("/benchmark/constant/<token>")
@public("a constant behind the same policy, form token and member look-up")
def constant(token: str) -> Any:
    claimant(visitors.member_id() or 0)
    return redirect("/coupon/constant?fresh=1", 303)


@bp.post("/benchmark/naive/<token>")
@public("the claim as one would first write it")
def naive(token: str) -> Any:
    """One row counts for all, and each request changes it in its own transaction."""
    person = claimant(visitors.member_id() or 0)
    link = services.find_link(token)
    now, code = clock.now(), codes.fresh()
    taken = db.session.execute(
        text(
            "UPDATE offer SET claimed = claimed + 1 WHERE id = :id AND state = 'active' AND (stock IS NULL OR claimed < stock)"
            " RETURNING version_id"
        ),
        {"id": link.offer_id},
    ).scalar()
    if taken is None:
        return "", 409
    coupon_id = db.session.execute(
        text(
            "INSERT INTO coupon (offer_id, version_id, member_id, code, state, ordinal, source, usable_from, usable_until, issued_at)"
            " VALUES (:offer, :version, :member, :code, 'issued', 1, '', :now, :now, :now) RETURNING id"
        ),
        {"offer": link.offer_id, "version": taken, "member": person.id, "code": code, "now": now},
    ).scalar()
    db.session.execute(
        text(
            "INSERT INTO coupon_event (coupon_id, to_state, at, reason, detail) VALUES (:id, 'issued', :now, 'claimed', '{}')"
        ),
        {"id": coupon_id, "now": now},
    )
    db.session.execute(
        text("INSERT INTO event (name, member_id, payload, occurred_at) VALUES ('CouponClaimed', :member, '{}', :now)"),
        {"member": person.id, "now": now},
    )
    return redirect(f"/coupon/{coupon_id}?fresh=1", 303)


def serve_with_extras() -> None:
    def change(app: Flask) -> None:
        app.register_blueprint(bp)
        if folder := os.environ.get("BENCHMARK_PROFILE"):
            profile(app, folder)

    serve(change)


def profile(app: Flask, folder: str) -> None:
    """Sample every thread of each web process and write what was on top, when asked for."""
    import collections
    import threading
    import traceback

    def sample() -> None:
        seen: collections.Counter[str] = collections.Counter()
        while True:
            time.sleep(0.005)
            for thread_id, frame in sys._current_frames().items():
                if thread_id != threading.get_ident():
                    stack = traceback.extract_stack(frame)[-25:]
                    seen[
                        " < ".join(f"{f.name}:{f.filename.rsplit('/', 2)[-1]}:{f.lineno}" for f in reversed(stack[-6:]))
                    ] += 1
            if sum(seen.values()) % 500 < 20:
                with open(f"{folder}/{os.getpid()}.txt", "w") as file:
                    file.writelines(f"{n}\t{where}\n" for where, n in seen.most_common(60))

    original = app.wsgi_app
    started: list[int] = []

    def starting(environ: Any, start_response: Any) -> Any:
        if os.getpid() not in started:
            started.append(os.getpid())
            threading.Thread(target=sample, daemon=True).start()
        return original(environ, start_response)

    app.wsgi_app = starting  # type: ignore[method-assign]


# ── The windows ─────────────────────────────────────────────────────────────────────────────────────────────────────


def draft(stock: int = PLENTY) -> services.Draft:
    return services.Draft(name="Bench", kind=CouponKind.AMOUNT, value=2000, valid_days=14, stock=stock)


class Bench:
    def __init__(self, shop: WebShop) -> None:
        self.shop = shop
        assert shop.app is not None
        self.app = shop.app
        self.session, self.form_token = shop.form_token()
        with self.app.app_context(), transaction():
            db.session.execute(
                text(
                    "INSERT INTO member (name, nickname, hobbies, city, address, locale, source, stage, stage_since, rank,"
                    " orders_count, spend, created_at)"
                    " SELECT '', 'm' || g, '', '', '', 'zh_Hans', '', 'member', now(), 1, 0, 0, now() FROM generate_series(1, :n) g"
                ),
                {"n": MEMBERS},
            )
            db.session.execute(
                text(
                    "INSERT INTO visitor_session (token_hash, member_id, created_at, expires_at)"
                    " SELECT encode(sha256(('bench-' || id)::bytea), 'hex'), id, now(), now() + interval '1 day' FROM member"
                )
            )
            old = services.create(draft(), OfferState.ENDED)
            # A shop that has been open for a while: without rows the database would plan for empty tables.
            db.session.execute(
                text(
                    "INSERT INTO coupon (offer_id, version_id, member_id, code, state, ordinal, source, usable_from,"
                    " usable_until, issued_at)"
                    " SELECT :offer, :version, m.id, upper(substr(md5(m.id || '-' || g), 1, 13)), 'redeemed', g, 'link:0',"
                    " now(), now(), now() FROM member m, generate_series(1, 4) g"
                ),
                {"offer": old.id, "version": old.version_id},
            )
            db.session.execute(
                text(
                    "INSERT INTO coupon_event (coupon_id, to_state, at, reason, detail)"
                    " SELECT id, 'issued', now(), 'claimed', '{}' FROM coupon"
                )
            )
            db.session.execute(
                text(
                    "INSERT INTO event (name, member_id, payload, occurred_at) SELECT 'CouponClaimed', member_id, '{}', now() FROM coupon"
                )
            )
            db.session.execute(text("UPDATE offer SET claimed = (SELECT count(*) FROM coupon)"))
            for _ in range(100):
                services.make_link(services.create(draft(), OfferState.ENDED).id, "old")
        with self.app.app_context():
            self.ids = list(db.session.execute(text("SELECT id FROM member ORDER BY id")).scalars())
            db.session.remove()
            with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM ANALYZE"))

    def offer(self, stock: int = PLENTY) -> tuple[int, str]:
        with self.app.app_context(), transaction():
            made = services.create(draft(stock), OfferState.ACTIVE)
            return made.id, services.make_link(made.id, "bench").token

    def requests(self, paths: list[str]) -> Iterator[bytes]:
        body = urlencode({"csrf_token": self.form_token, "n": "1"}).encode()
        cookie = visitors.cookie_name(self.shop.url)
        for member_id, path in zip(self.ids, itertools.cycle(paths), strict=False):
            yield (
                f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                f"Cookie: {self.session}; {cookie}=bench-{member_id}\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode() + body

    def window(self, paths: list[str], clients: int, seconds: float) -> Result:
        before = self.shop.cpu()
        result = run(self.shop.port, clients, seconds, self.requests(paths), kind_of)
        done = sum(result.kinds.values()) or 1
        result.cpu = {part: 1e6 * (after - before[part]) / done for part, after in self.shop.cpu().items()}
        return result


def kind_of(head: bytes) -> str:
    return head[9:12].decode() + ("+" if b"fresh=1" in head else "")


def windows(bench: Bench) -> dict[str, Callable[[], list[str]]]:
    """How each window's paths are made."""
    return {
        "constant": lambda: [f"/benchmark/constant/{bench.offer()[1]}"],
        "claim": lambda: [f"/o/{bench.offer()[1]}"],
        "eight offers": lambda: [f"/o/{bench.offer()[1]}" for _ in range(8)],
        "sold out": lambda: [f"/o/{bench.offer(stock=1)[1]}"],
        "naive": lambda: [f"/benchmark/naive/{bench.offer()[1]}"],
    }


# ── Without HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────

DRIVER_GOALS = {32: 0.6, 128: 1.3}
# The second row is for flushes that take two milliseconds longer (`--sync-ms 2`).
SLOW_DRIVER_GOALS = {32: 0.4, 128: 0.7}
PLAIN = "INSERT INTO plain_insert (member_id, code) VALUES (:client_id, md5(random()::text));\n"
# What `naive` above sends, without the web around it.
NAIVE = """\\set n random(1, 2000000000)
BEGIN;
UPDATE offer SET claimed = claimed + 1 WHERE id = {offer} AND state = 'active' AND (stock IS NULL OR claimed < stock);
WITH fresh AS (
    INSERT INTO coupon (offer_id, version_id, member_id, code, state, ordinal, source, usable_from, usable_until, issued_at)
    VALUES ({offer}, {version}, {member} + :client_id, md5(random()::text), 'issued', :n, '', now(), now(), now()) RETURNING id
)
INSERT INTO coupon_event (coupon_id, to_state, at, reason, detail) SELECT id, 'issued', now(), 'claimed', '{{}}' FROM fresh;
INSERT INTO event (name, member_id, payload, occurred_at) VALUES ('CouponClaimed', {member} + :client_id, '{{}}', now());
COMMIT;
"""


def claims_by(app: Flask, offer_id: int, ids: list[int], clients: int, seconds: float, done: Any) -> None:
    """One process: `clients` threads, each claiming for the next of these members until the time is over."""
    waiting = iter(ids)
    lock, counts = threading.Lock(), [0] * clients
    end = time.monotonic() + seconds

    def claim_on(place: int) -> None:
        with app.app_context():
            while time.monotonic() < end:
                with lock:
                    member_id = next(waiting, None)
                if member_id is None:
                    return
                counts[place] += isinstance(
                    writer.submit(Claim(offer_id, member_id, 1, None, False, "link:0", 1)), Claimed
                )

    threads = [threading.Thread(target=claim_on, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.put(sum(counts))


def driver_rate(bench: Bench, clients: int, seconds: float) -> float:
    """Claims a second over two processes with a writer each."""
    offer_id, _token = bench.offer()
    with bench.app.app_context():
        db.session.remove()
        db.engine.dispose()
    fork = multiprocessing.get_context("fork")
    done = fork.Queue()
    halves = [bench.ids[i::2] for i in range(2)]
    crew = [
        fork.Process(target=claims_by, args=(bench.app, offer_id, half, clients // 2, seconds, done)) for half in halves
    ]
    for process in crew:
        process.start()
    found = sum(done.get() for _ in crew)
    for process in crew:
        process.join()
    return found / seconds


def plain_rate(bench: Bench, clients: int, seconds: float) -> float:
    """Transactions a second of pgbench, each one INSERT."""
    with bench.app.app_context():
        with transaction():
            db.session.execute(
                text("CREATE TABLE IF NOT EXISTS plain_insert (id bigserial primary key, member_id int, code text)")
            )
        db.session.remove()
    return pgbench(bench, PLAIN, clients, seconds)


def naive_rate(bench: Bench, clients: int, seconds: float) -> float:
    """Claims a second of pgbench, each changing the one hot row in a transaction of its own."""
    offer_id, _token = bench.offer()
    with bench.app.app_context():
        version_id = db.session.scalar(text("SELECT version_id FROM offer WHERE id = :id"), {"id": offer_id})
        db.session.remove()
    return pgbench(bench, NAIVE.format(offer=offer_id, version=version_id, member=bench.ids[0]), clients, seconds)


def pgbench(bench: Bench, script: str, clients: int, seconds: float) -> float:
    """Transactions a second of a script, from as many clients as the database lets in."""
    with bench.app.app_context():
        # The web processes' connections stay as long as they have been used; a few more are the server's own.
        taken = db.session.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"))
        room = int(db.session.scalar(text("SHOW max_connections")) or 0) - int(taken or 0) - 10
        url = db.engine.url
        db.session.remove()
    (bench.shop.folder / "script.sql").write_text(script)
    program = next(str(f / "pgbench") for f in embedded.postgres_candidates() if (f / "pgbench").exists())
    whom = ["-h", str(url.query["host"]), "-U", str(url.username), str(url.database)]
    how = ["-n", "-M", "prepared", "-c", str(min(clients, room)), "-j", "2", "-T", str(max(1, round(seconds)))]
    file = ["-f", str(bench.shop.folder / "script.sql")]
    said = subprocess.run([program, *how, *file, *whom], capture_output=True, text=True, check=True)
    return float(re.search(r"tps = ([0-9.]+)", said.stdout)[1])  # type: ignore[index]


def measure_driver(bench: Bench, clients: int, options: argparse.Namespace) -> None:
    rates = (driver_rate, plain_rate, naive_rate)
    found = [[rate(bench, clients, options.seconds) for rate in rates] for _ in range(options.rounds)]
    ratio = middle(ours / plain for ours, plain, _naive in found)
    goal = (SLOW_DRIVER_GOALS if options.sync_ms else DRIVER_GOALS).get(clients)
    verdict = "" if goal is None else f" (goal {goal:g}: {'reached' if ratio >= goal else 'missed'})"
    print(
        f"  driver / pgbench INSERT at {clients}: {ratio:.2f}{verdict};"
        f" claims {middle(one[0] for one in found):.0f}/s, plain {middle(one[1] for one in found):.0f}/s"
    )
    print(f"  driver / naive hot row at {clients}: {middle(ours / naive for ours, _plain, naive in found):.1f}")


def slow_syncs(bench: Bench, milliseconds: float) -> None:
    """Let every flush of the log wait so much longer, as a slower disk would: the one who flushes for a whole group of commits
    waits, which is what `commit_delay` does, and `commit_siblings` of none lets it do so always."""
    with bench.app.app_context():
        autocommit = db.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with autocommit:
            for name, value in (("commit_delay", round(milliseconds * 1_000)), ("commit_siblings", 0)):
                autocommit.execute(text(f"ALTER SYSTEM SET {name} = {value}"))
            autocommit.execute(text("SELECT pg_reload_conf()"))


GOALS = [
    ("claim", "constant", 0.5),
    ("claim", "naive", 6.0),
    ("sold out", "constant", 0.75),
    ("eight offers", "claim", 0.8),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--only", nargs="+", help="some windows alone")
    parser.add_argument("--sync-ms", type=float, default=0, help="milliseconds that each flush of the log takes longer")
    options = parser.parse_args()
    with WebShop("benchmarks.claims_server", durable=True) as shop:
        bench = Bench(shop)
        if options.sync_ms:
            slow_syncs(bench, options.sync_ms)
        for clients in options.clients:
            measure(bench, clients, options)
            if not options.only or "driver" in options.only:
                measure_driver(bench, clients, options)
        print(f"issued exactly what was answered: {checked(bench)}")


def measure(bench: Bench, clients: int, options: argparse.Namespace) -> None:
    made = {name: make for name, make in windows(bench).items() if not options.only or name in options.only}
    results: dict[str, list[Result]] = {name: [] for name in made}
    for make in made.values():
        bench.window(make(), clients, 0.5)
    for _ in range(options.rounds):
        for name, make in made.items():
            results[name].append(bench.window(make(), clients, options.seconds))
    print(f"\n{clients} clients, {options.rounds} rounds of {options.seconds:g} s")
    for name, found in results.items():
        print(
            f"  {name:14s} {middle(r.rate for r in found):8.0f}/s"
            f"   half in {middle(r.wait(0.5) for r in found):6.1f} ms   99 % in {middle(r.wait(0.99) for r in found):6.1f} ms"
            f"   CPU µs a request: web {middle(r.cpu['web'] for r in found):.0f}, database {middle(r.cpu['database'] for r in found):.0f}"
            f"   {dict(sum((r.kinds for r in found), start=Counter()))}"
        )
    for name, against, goal in GOALS:
        if name in made and against in made:
            pairs = list(zip(results[name], results[against], strict=True))
            ratio = middle(a.rate / b.rate for a, b in pairs)
            by_cpu = middle(b.server_cpu / a.server_cpu for a, b in pairs)
            verdict = "reached" if ratio >= goal else "missed"
            print(f"  {name} / {against}: {ratio:.2f} (goal {goal:g}: {verdict}); by CPU alone {by_cpu:.2f}")


def middle(values: Iterable[float]) -> float:
    return statistics.median(values)


def checked(bench: Bench) -> bool:
    """Whether every offer's count is the number of its coupons, and no stock was passed."""
    with bench.app.app_context():
        wrong = db.session.execute(
            text(
                "SELECT count(*) FROM offer o WHERE claimed <> (SELECT count(*) FROM coupon c WHERE c.offer_id = o.id)"
                " OR claimed > stock"
            )
        ).scalar()
        return wrong == 0


if __name__ == "__main__":
    main()
