"""A group's page, its feed and its news over HTTP, beside a bare endpoint; then many phones that keep asking for news.

    .venv/bin/python -m benchmarks.feed [--rounds 5] [--seconds 3] [--clients 8] [--phones 2000] [--watch 60] [--only pages phones]

The group is a live one with 5,000 members, a session that runs, 10,000 posts, likes and comments. `bare` answers two letters
behind the same policy, with the same look-ups of member and group. Phones hold their connection, ask every ten seconds with
the mark of the newest post that they have, and are told of a new post once a minute; they stay on this machine.
Every window's ratios are taken in one round, and only ratios are to be compared between machines.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import select
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from apiflask import APIBlueprint
from sqlalchemy import text

from benchmarks.load import Result, run
from community.groups import queries, services
from community.groups.models import GroupKind, GroupState
from community.posts import queries as posts
from kernel import clock, visitors
from kernel.auth import member_only
from kernel.db import db, transaction
from kernel.pages import cursor_at
from kernel.web import raise_file_limit
from membership.members import queries as members
from tests.live import children
from tests.webshop import HOST, WebShop, serve

PEOPLE, POSTS = 5_000, 10_000
EVERY, FRESH_EVERY = 10.0, 60.0
# What is asked of a page: its 95th percentile against the bare endpoint's. Of the phones: how much the processes may grow
# from when each has asked once, and how many answers may say more than “nothing new”.
GOALS = {"group page": 5.0, "older posts": 5.0, "news, none": 2.0}
GROWTH = 1.05
MOST_PHONES, LONGEST = 5_000, 300
LIVE_FOR = timedelta(hours=3)

bp = APIBlueprint("benchmark", __name__, enable_openapi=False)


@bp.get("/benchmark/bare/<public_id>")
@member_only()
def bare(public_id: str) -> Any:
    queries.get_by_public_id(public_id)
    members.find_member(visitors.member_id() or 0)
    return "ok"


def serve_with_extras() -> None:
    serve(lambda app: app.register_blueprint(bp))


MEMBERS = text(
    "INSERT INTO member (name, nickname, hobbies, city, address, locale, source, stage, stage_since, rank, orders_count, spend,"
    " created_at, enrolled_at) SELECT '', 'm' || g, '', '', '', 'zh_Hans', '', 'member', now(), 1, 0, 0, now(), now()"
    " FROM generate_series(1, :people) g RETURNING id"
)
BROWSERS = text(
    "INSERT INTO visitor_session (token_hash, member_id, created_at, expires_at)"
    " SELECT encode(sha256(('bench-' || id)::bytea), 'hex'), id, now(), now() + interval '1 day' FROM member"
)
WRITE_POSTS = text(
    "INSERT INTO post (kind, title, body, link_url, link_label, state, published_at, automatic, created_at)"
    " SELECT 'tip', '第 ' || g || ' 条分享', '今天教大家怎么挑选、怎么保存，也说说常见的几个误区。' || g, '', '', 'published',"
    " now() - g * interval '20 minutes', false, now() - g * interval '20 minutes' FROM generate_series(1, :posts) g"
)
SHOW_POSTS = text(
    "INSERT INTO post_group (post_id, group_id, published_at, seen, liked, clicked, commented)"
    " SELECT id, :group, published_at, 50, 5, 0, 3 FROM post"
)
REACT = text(
    "INSERT INTO reaction (post_id, group_id, member_id, kind, at)"
    " SELECT p.id, :group, m.id, k, now() FROM (SELECT id FROM post ORDER BY published_at DESC LIMIT 500) p,"
    " (SELECT id FROM member ORDER BY id LIMIT 50) m, unnest(ARRAY['seen', 'liked']) k"
)
SAY = text(
    "INSERT INTO comment (post_id, group_id, member_id, body, state, at)"
    " SELECT p.id, :group, m.id, '谢谢分享！', 'shown', now() FROM (SELECT id FROM post ORDER BY published_at DESC LIMIT 2000) p,"
    " (SELECT id FROM member ORDER BY id LIMIT 3) m"
)
FRESH = text(
    "WITH fresh AS (INSERT INTO post (kind, title, body, link_url, link_label, state, published_at, automatic, created_at)"
    " VALUES ('tip', '刚刚发布', '新的一条。', '', '', 'published', now(), false, now()) RETURNING id)"
    " INSERT INTO post_group (post_id, group_id, published_at, seen, liked, clicked, commented)"
    " SELECT id, :group, now(), 0, 0, 0, 0 FROM fresh"
)


class Bench:
    """A live group in full swing, and the requests of its people."""

    def __init__(self, shop: WebShop) -> None:
        self.shop = shop
        assert shop.app is not None
        self.app = shop.app
        self.session, _token = shop.form_token()
        with self.app.test_request_context(), transaction():
            self.ids = list(db.session.execute(MEMBERS, {"people": PEOPLE}).scalars())
            db.session.execute(BROWSERS)
            draft = services.GroupDraft(name="直播间的老朋友", capacity=PEOPLE, seats_each=500, intro="每周三次直播。")
            group = services.create(GroupKind.LIVE, draft)
            services.change_state(group, GroupState.OPEN)
            services.join_many(group.id, self.ids)
            now = clock.now()
            services.save_session(group, None, "新品首发", now, now + LIVE_FOR, "https://live.example/room")
            for statement in (WRITE_POSTS, SHOW_POSTS, REACT, SAY):
                db.session.execute(statement, {"group": group.id, "posts": POSTS})
            self.group_id, self.path = group.id, f"/groups/{group.public_id}"
            self.public_id = group.public_id
        with self.app.app_context(), db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))

    def request(self, member_id: int, path: str, mark: str = "") -> bytes:
        known = f'If-None-Match: W/"{mark}"\r\n' if mark else ""
        cookie = visitors.cookie_name(self.shop.url)
        return (
            f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: zh-CN\r\n{known}"
            f"Cookie: {self.session}; {cookie}=bench-{member_id}\r\n\r\n"
        ).encode()

    def requests(self, path: str, mark: str) -> Iterator[bytes]:
        for member_id in itertools.cycle(self.ids):
            yield self.request(member_id, path, mark)

    def window(self, path: str, mark: str, clients: int, seconds: float) -> Result:
        before = self.shop.cpu()
        result = run(self.shop.port, clients, seconds, self.requests(path, mark), lambda head: head[9:12].decode())
        done = sum(result.kinds.values()) or 1
        result.cpu = {part: 1e6 * (after - before[part]) / done for part, after in self.shop.cpu().items()}
        return result

    def mark(self) -> str:
        """The mark of the newest post, as the page gives it to a phone."""
        with self.app.app_context():
            return posts.mark_of(self.group_id, clock.now())

    def publish(self) -> None:
        with self.app.app_context(), transaction():
            db.session.execute(FRESH, {"group": self.group_id})

    def older(self) -> str:
        """The address of the posts in the middle of the feed."""
        with self.app.app_context():
            shown = posts.feed(self.group_id, clock.now()).order_by(*posts.FEED_ORDER).offset(POSTS // 2).limit(1)
            place = db.session.execute(shown).one()[1]
            return f"{self.path}?cursor={cursor_at([place.published_at, place.post_id])}"

    def memory(self) -> list[int]:
        """KiB of memory that each web process has at this moment."""
        assert self.shop.process is not None
        found = []
        for pid in children().get(self.shop.process.pid, []):
            said = Path(f"/proc/{pid}/status").read_text()
            if "VmRSS:" in said:
                found.append(int(said.partition("VmRSS:")[2].split()[0]))
        return sorted(found)


# ── Pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def measure_pages(bench: Bench, rounds: int, seconds: float, clients: int) -> None:
    """Windows of each page in turn, and the ratios of their 95th percentiles to the bare endpoint's."""
    mark = bench.mark()
    made = {
        "bare": (f"/benchmark/bare/{bench.public_id}", ""),
        "group page": (bench.path, ""),
        "older posts": (bench.older(), ""),
        "news, none": (f"{bench.path}/news?after={mark}", mark),
        "news, ten": (f"{bench.path}/news", ""),
    }
    results: dict[str, list[Result]] = {name: [] for name in made}
    for path, known in made.values():
        bench.window(path, known, clients, 1.0)
    for _ in range(rounds):
        for name, (path, known) in made.items():
            results[name].append(bench.window(path, known, clients, seconds))
    print(f"\n{PEOPLE:,} members, {POSTS:,} posts; {clients} clients, {rounds} rounds of {seconds:g} s")
    for name, found in results.items():
        kinds = dict(sum((r.kinds for r in found), start=Counter()))
        print(
            f"  {name:12s} {middle(r.rate for r in found):7.0f}/s   half in {middle(r.wait(0.5) for r in found):6.1f} ms"
            f"   95 % in {middle(r.wait(0.95) for r in found):6.1f} ms   CPU µs a request: web"
            f" {middle(r.cpu['web'] for r in found):.0f}, database {middle(r.cpu['database'] for r in found):.0f}   {kinds}"
        )
    for name, found in results.items():
        if name != "bare":
            pairs = list(zip(found, results["bare"], strict=True))
            ratio = middle(a.wait(0.95) / b.wait(0.95) for a, b in pairs)
            cpu = middle(a.server_cpu / b.server_cpu for a, b in pairs)
            goal = GOALS.get(name)
            verdict = "" if goal is None else f" (goal {goal:g}: {'reached' if ratio <= goal else 'missed'})"
            print(f"  {name} / bare, 95 %: {ratio:.2f}{verdict}; by CPU {cpu:.2f}")


def middle(values: Any) -> float:
    return statistics.median(values)


# ── Phones ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Phone:
    """One open page: its member, the newest post that it has, its connection, and since when it waits for an answer."""

    member_id: int
    mark: str
    connection: socket.socket | None = None
    asked: float | None = None
    half: bytes = b""


@dataclass
class Watch:
    """What came of a crowd that keeps asking."""

    kinds: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    # Asks that were due while the answer to the one before had not come.
    late: int = 0


class Crowd:
    """Phones that ask every ten seconds, each on its own connection, until the time is over."""

    def __init__(self, bench: Bench, phones: int) -> None:
        self.bench = bench
        mark = bench.mark()
        self.phones = [Phone(member_id, mark) for member_id in itertools.islice(itertools.cycle(bench.ids), phones)]
        self.epoll = select.epoll()
        self.by_number: dict[int, Phone] = {}
        self.found = Watch()

    def _connect(self, phone: Phone) -> socket.socket:
        connection = socket.create_connection((HOST, self.bench.shop.port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        phone.connection = connection
        self.by_number[connection.fileno()] = phone
        self.epoll.register(connection.fileno(), select.EPOLLIN)
        self.found.connections += 1
        return connection

    def _drop(self, phone: Phone) -> None:
        assert phone.connection is not None
        self.epoll.unregister(phone.connection.fileno())
        del self.by_number[phone.connection.fileno()]
        phone.connection.close()
        phone.connection, phone.half, phone.asked = None, b"", None

    def _ask(self, phone: Phone) -> None:
        if phone.asked is not None:
            self.found.late += 1
            return
        request = self.bench.request(phone.member_id, f"{self.bench.path}/news?after={phone.mark}", phone.mark)
        connection = phone.connection or self._connect(phone)
        phone.asked = time.perf_counter()
        try:
            connection.sendall(request)
        except OSError:
            self.found.closed += 1
            self._drop(phone)

    def _hear(self, phone: Phone) -> None:
        assert phone.connection is not None
        data = phone.connection.recv(262_144)
        if not data:
            # Quiet connections are closed by either side; a phone opens another when it asks again.
            self.found.closed += phone.asked is not None
            self._drop(phone)
            return
        phone.half += data
        head, end, body = phone.half.partition(b"\r\n\r\n")
        names = head.lower()
        at = names.find(b"content-length:")
        length = int(names[at + 15 :].split(b"\r\n", 1)[0]) if at > 0 else 0
        if not end or len(body) < length:
            return
        if phone.asked is not None:
            self.found.waits.append(time.perf_counter() - phone.asked)
        status = head[9:12].decode()
        self.found.kinds[status] += 1
        tag = names.find(b'etag: w/"')
        if status == "200" and tag > 0:
            phone.mark = head[tag + 9 :].split(b'"', 1)[0].decode()
        phone.asked, phone.half = None, b""

    def watch(self, seconds: float) -> tuple[Watch, list[list[int]]]:
        """Ask for so long; what was answered, and the memory of the web processes after each ten seconds."""
        begun = time.perf_counter()
        due = [(begun + random.random() * EVERY, number) for number in range(len(self.phones))]
        heapq.heapify(due)
        fresh, sampled, memory = begun + FRESH_EVERY / 2, begun + EVERY, []
        while (now := time.perf_counter()) < begun + seconds:
            while due[0][0] <= now:
                at, number = heapq.heappop(due)
                heapq.heappush(due, (at + EVERY, number))
                self._ask(self.phones[number])
            for number, _events in self.epoll.poll(max(0.0, min(due[0][0] - time.perf_counter(), 0.1))):
                self._hear(self.by_number[number])
            if now >= fresh:
                fresh += FRESH_EVERY
                self.bench.publish()
            if now >= sampled:
                sampled += EVERY
                memory.append(self.bench.memory())
        memory.append(self.bench.memory())
        for phone in self.phones:
            if phone.connection is not None:
                self._drop(phone)
        self.epoll.close()
        return self.found, memory


def measure_phones(bench: Bench, phones: int, seconds: float) -> None:
    raise_file_limit()
    before, at_first = bench.shop.cpu(), bench.memory()
    found, memory = Crowd(bench, phones).watch(seconds)
    after = bench.shop.cpu()
    used = ", ".join(f"{part} {(after[part] - before[part]) / seconds:.2f}" for part in after)
    answered = sum(found.kinds.values())
    waits = Result(seconds, waits=found.waits)
    warm, last = memory[0], memory[-1]
    growth = sum(last) / sum(warm)
    print(f"\n{phones:,} phones, one ask in {EVERY:g} s each, {seconds:g} s, a new post every {FRESH_EVERY:g} s")
    print(
        f"  {answered:,} answers ({answered / seconds:.0f}/s): {dict(found.kinds)}; nothing new {found.kinds['304'] / answered:.1%}"
    )
    shares = ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"), (1, "the last"))
    print("  " + ", ".join(f"{name} in {waits.wait(share):.1f} ms" for share, name in shares))
    print(
        f"  {found.connections:,} connections, {found.closed} closed under an ask, {found.late} asks before the last was answered"
    )
    print(f"  processors in use: {used}")
    moments = (("at first", at_first), ("when each had asked", warm), ("at the end", last))
    print("  memory of the web processes, MiB: " + ", ".join(f"{name} {mebibytes(kib)}" for name, kib in moments))
    print(f"  end / when each had asked: {growth:.3f} (goal {GROWTH:g}: {'reached' if growth <= GROWTH else 'missed'})")


def mebibytes(found: list[int]) -> str:
    return " + ".join(f"{kib / 1024:.0f}" for kib in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--phones", type=int, default=2_000)
    parser.add_argument("--watch", type=float, default=60, help="seconds that the phones ask")
    parser.add_argument("--only", nargs="+", choices=["pages", "phones"], default=["pages", "phones"])
    options = parser.parse_args()
    with WebShop("benchmarks.feed_server", durable=True) as shop:
        bench = Bench(shop)
        if "pages" in options.only:
            measure_pages(bench, options.rounds, options.seconds, options.clients)
        if "phones" in options.only:
            measure_phones(bench, min(options.phones, MOST_PHONES), min(options.watch, LONGEST))


if __name__ == "__main__":
    main()
