"""The web server alone, with two processes over a database of its own, for races and benchmarks; and a volley of requests.

`WebShop(program)` runs `python -m program FOLDER PORT`, whose `main` may change the application before it serves.
"""

from __future__ import annotations

import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

from flask import Flask

from kernel import clock, config, embedded, visitors, web
from kernel.app import create_app
from kernel.cli import upgrade
from kernel.db import db
from membership.members.models import Member
from tests.live import ROOT, children, free_port
from tests.loaded import Program, lay_tables, start

HOST = "127.0.0.1"


class WebShop:
    """A database, a queue and granian; `app` is an application of this process over the same database."""

    def __init__(self, program: str = "tests.webshop", durable: bool = False, processes: int = 2) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="siyu-web-"))
        lay_tables(self.folder)
        self.program = program
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        clean = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL", "SITE_URL")}
        self.environ = {
            **clean, "PYTHONPATH": str(ROOT), "SIYU_DATA": str(self.folder), "SITE_URL": self.url,
            "WEB_PROCESSES": str(processes),
        }  # fmt: skip
        self.settings = config.load(self.environ)
        self.running = embedded.Running(embedded.servers(self.settings, durable))
        self.process: Program | subprocess.Popen[bytes] | None = None
        self.app: Flask | None = None

    def __enter__(self) -> WebShop:
        try:
            self.running.start()
            self.app = create_app(self.settings, WTF_CSRF_ENABLED=False)
            if any((ROOT / "migrations" / "versions").glob("*.py")):
                upgrade(self.app)
            else:
                with self.app.app_context():
                    db.create_all()
            self.serve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def serve(self) -> None:
        """Start the web processes and wait until they answer."""
        log = (self.folder / "web.log").open("ab")
        self.process = start(self.program, str(self.folder), str(self.port), env=self.environ, stdout=log)
        log.close()
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            try:
                urllib.request.urlopen(f"{self.url}/me/sign-in", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)

    def said(self) -> str:
        return (self.folder / "web.log").read_text(errors="replace")

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        if self.app is not None:
            with self.app.app_context():
                db.engine.dispose()
        self.running.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU that the web, the database and this process have used."""
        assert self.process is not None
        tree = children()
        database = [child.pid for server, child in self.running.children if isinstance(server, embedded.Postgres)]
        return {
            "web": cpu_of(tree, [self.process.pid]),
            "database": cpu_of(tree, database),
            "client": time.process_time(),
        }

    def members(self, number: int, rank: int = 0) -> list[Visitor]:
        """So many people, each with a browser that is bound to them, and one form token for all."""
        assert self.app is not None
        session, token = self.form_token()
        now = clock.now()
        with self.app.app_context():
            people = [Member(rank=rank, stage_since=now, created_at=now) for _ in range(number)]
            db.session.add_all(people)
            db.session.flush()
            visitors_of = []
            for person in people:
                secret = secrets.token_urlsafe(16)
                row = visitors.VisitorSession(
                    token_hash=visitors._hash(secret),
                    member_id=person.id,
                    created_at=now,
                    expires_at=now + visitors.LIFETIME,
                )
                db.session.add(row)
                cookies = f"{session}; {visitors.cookie_name(self.url)}={secret}"
                visitors_of.append(Visitor(person.id, cookies, token))
            db.session.commit()
        return visitors_of

    def form_token(self, path: str = "/me/sign-in") -> tuple[str, str]:
        """A new browser's cookie and the form token that goes with it."""
        jar = CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        with opener.open(self.url + path, timeout=10) as answer:
            found = re.search(r'name="csrf_token" value="([^"]+)"', answer.read().decode())
        assert found
        return "; ".join(f"{c.name}={c.value}" for c in jar), found[1]

    def volley(self, requests: Sequence[bytes]) -> list[Answer]:
        """Send requests over as many connections, the last byte of each at the same moment, and collect the answers."""
        return volley(self.port, requests)


def cpu_of(tree: dict[int, list[int]], pids: list[int]) -> float:
    """Seconds of CPU of processes and all below them, those that live."""
    ticks, todo = 0, list(pids)
    while todo:
        pid = todo.pop()
        todo += tree.get(pid, [])
        with suppress(OSError):
            numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(n) for n in numbers[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Visitor:
    """A bound browser."""

    member_id: int
    cookies: str
    token: str

    def post(self, path: str, **fields: str) -> bytes:
        return post(path, self.cookies, {"csrf_token": self.token, **fields})


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str


def post(path: str, cookies: str, fields: dict[str, str]) -> bytes:
    """A form's POST as it goes over the wire."""
    return raw(path, urlencode(fields).encode(), "application/x-www-form-urlencoded", {"Cookie": cookies})


def raw(path: str, body: bytes, kind: str, headers: dict[str, str]) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: close",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def volley(port: int, requests: Sequence[bytes], seconds: float = 60) -> list[Answer]:
    sockets = []
    for request in requests:
        connection = socket.create_connection((HOST, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request[:-1])
        sockets.append(connection)
    time.sleep(0.03)
    for connection, request in zip(sockets, requests, strict=True):
        connection.sendall(request[-1:])
    parts: dict[socket.socket, list[bytes]] = {connection: [] for connection in sockets}
    open_ones, deadline = set(sockets), time.monotonic() + seconds
    while open_ones:
        assert time.monotonic() < deadline, f"{len(open_ones)} requests were not answered"
        for connection in select.select(list(open_ones), [], [], 1)[0]:
            if piece := connection.recv(65536):
                parts[connection].append(piece)
            else:
                open_ones.discard(connection)
                connection.close()
    return [parsed(b"".join(parts[connection])) for connection in sockets]


def ask(shop: WebShop, request: bytes) -> Answer | None:
    """One request on a connection of its own; None when the server went away before it answered."""
    try:
        with socket.create_connection((HOST, shop.port), timeout=20) as connection:
            connection.sendall(request)
            parts = []
            while piece := connection.recv(65536):
                parts.append(piece)
    except OSError:
        return None
    return parsed(b"".join(parts)) if b"\r\n\r\n" in b"".join(parts) else None


def outcome(answer: Answer) -> str:
    """What a claim came to: a `fresh` coupon, theirs `again`, another place, or the status of a refusal."""
    place = answer.headers.get("location", "")
    if answer.status == 303:
        return "fresh" if "fresh=1" in place else "again" if "again=1" in place else place
    return str(answer.status)


def parsed(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return Answer(int(lines[0].split()[1]) if lines[0] else 0, headers, body.decode(errors="replace"))


def serve(change: Callable[[Flask], object] | None = None) -> None:
    """What a program for `WebShop` does: build the application, let `change` have its way, serve."""
    folder, port = sys.argv[1:3]
    settings = config.load({**os.environ, "SIYU_DATA": folder})
    app = create_app(settings)
    if change is not None:
        change(app)
    web.serve(settings, HOST, int(port), app)


if __name__ == "__main__":
    serve()
