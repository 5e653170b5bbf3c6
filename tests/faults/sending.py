"""What faults of pushes need: a sink with its own ledger, a crew of workers that can be killed, a push, and its books."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from flask import Flask
from redis import Redis, RedisError
from sqlalchemy import insert, select

from campaigns.channels import services as channels
from campaigns.channels.models import Account, ChannelKind
from campaigns.pushes import drain, jobs, rules, services
from campaigns.pushes.models import Delivery, DeliveryState, Run
from kernel import clock, config, shop
from kernel.db import db, transaction
from kernel.worker import work
from membership.members.models import Consent, Contact, Member, Purpose
from tests.committed import clear

FORK = multiprocessing.get_context("fork")
S = DeliveryState


class Sink(ThreadingHTTPServer):
    """Takes every message once more each time it is offered, and remembers how often."""

    daemon_threads = True

    def __init__(self, seconds: float, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Taking)
        self.seconds = seconds
        # Called with the number of messages taken so far, after a request's were taken and before it is answered.
        self.before_answer: Callable[[int], object] | None = None
        self.taken: Counter[str] = Counter()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]}:{self.server_address[1]}/"  # type: ignore[str-bytes-safe]

    def count(self) -> int:
        with self.lock:
            return sum(self.taken.values())


class Taking(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Sink

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.taken.update(m["key"] for m in said["messages"])
            taken = sum(self.server.taken.values())
        if self.server.before_answer is not None:
            self.server.before_answer(taken)
        # It has taken the messages; its answer may come too late for whoever asked.
        time.sleep(self.server.seconds)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *words: Any) -> None:
        return None

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink(seconds=0.02)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def shop_floor(app: Flask, queue_server: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Committed rows, which every table is rid of afterwards; this very machine may be called."""
    monkeypatch.setitem(app.extensions, "settings", replace(app.extensions["settings"], outbound_local=True))
    yield
    clear(app)


@pytest.fixture
def workers(app: Flask, settings: config.Settings, shop_floor: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    """Two workers for slices, one for upkeep, and a ticker that ticks faster than in life."""
    # A lease of a dead worker is taken back after some seconds instead of half a minute.
    monkeypatch.setattr(drain, "MARGIN", timedelta(seconds=0.5))
    monkeypatch.setattr(jobs, "SILENT", timedelta(seconds=0.5))
    # Small slices, so that there is always one to take while others wait for their lease to run out.
    monkeypatch.setattr(rules, "SLICE", 200)
    with app.app_context():
        db.engine.dispose()
    crew = Crew(app, settings)
    yield crew
    crew.stop()


class Crew:
    def __init__(self, app: Flask, settings: config.Settings) -> None:
        self.app, self.settings = app, settings
        self.members: list[Any] = []
        self.ended = threading.Event()
        self.kills = 0
        # Ticks that the queue server did not take.
        self.missed = 0

    def start(self) -> None:
        self.members = [self.hire(queue) for queue in ("bulk", "bulk", "default")]
        threading.Thread(target=self.tick, daemon=True).start()

    def hire(self, queue: str) -> Any:
        process = FORK.Process(target=work, args=(self.settings, queue, self.app), name=queue, daemon=True)
        process.start()
        return process

    def tick(self) -> None:
        while not self.ended.wait(0.5):
            try:
                for job in (jobs.wake, jobs.reap):
                    job.later_now(self.settings)
            except RedisError:
                self.missed += 1

    def replace_dead(self) -> None:
        """What the launcher does: start anew whoever has ended."""
        for place, process in enumerate(self.members):
            if not process.is_alive():
                self.members[place] = self.hire(process.name)

    def kill_one(self) -> None:
        """Kill a worker outright, and hire another."""
        place = random.randrange(2) if random.random() < 0.9 else 2
        unlucky = self.members[place]
        os.kill(unlucky.pid, signal.SIGKILL)
        unlucky.join()
        self.members[place] = self.hire(unlucky.name)
        self.kills += 1

    def stop(self) -> None:
        self.ended.set()
        for process in self.members:
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
            process.join()


def people(how_many: int) -> None:
    """Members who agreed to hear from the gateway."""
    now = clock.now()
    ids = db.session.scalars(
        insert(Member).returning(Member.id),
        [
            {"nickname": f"Lime {i}", "phone": f"+861000{i:07}", "created_at": now, "stage_since": now}
            for i in range(how_many)
        ],
    ).all()
    agreed = {
        "channel": Contact.SMS,
        "purpose": Purpose.MARKETING,
        "granted": True,
        "source": "test",
        "text_version": "1",
    }
    db.session.execute(insert(Consent), [{"member_id": i, "at": now, **agreed} for i in ids])


def make_push(app: Flask, sink: Sink, how_many: int, idempotent: bool = False) -> int:
    """A push of so many messages to the sink, about to start; returns its run."""
    with app.app_context(), transaction():
        people(how_many)
        shop.put("holdout.percent", 0)
        shop.put("quiet.from", "00:00")
        shop.put("quiet.until", "00:00")
        account = Account(
            name="Sink",
            kind=ChannelKind.WEBHOOK,
            settings={
                "url": sink.url,
                "contact": "sms",
                "idempotent": idempotent,
                "timeout_seconds": 1.0,
                "batch_size": 10,
            },
            created_at=clock.now(),
        )
        db.session.add(account)
        channels.inbox_account()
        db.session.flush()
        _push, run = services.draft(
            None,
            name="Crash",
            account_id=account.id,
            audience={"rules": []},
            subject="Hello",
            body="{nickname}, your tea",
        )
        services.schedule(run)
        return run.id


def wait_for(app: Flask, run_id: int, seconds: float, until: Callable[[Run], bool]) -> Run:
    deadline = time.monotonic() + seconds
    while True:
        with app.app_context():
            run = db.session.get_one(Run, run_id)
            db.session.expunge(run)
            db.session.remove()
        if until(run):
            return run
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds} s the run is {run.state}, finished at {run.finished_at}")
        time.sleep(0.1)


def books(app: Flask, run_id: int) -> tuple[dict[str, DeliveryState], Run]:
    with app.app_context():
        rows = db.session.execute(select(Delivery.id, Delivery.state).where(Delivery.run_id == run_id))
        states = {f"delivery:{row.id}": row.state for row in rows}
        run = db.session.get_one(Run, run_id)
        db.session.expunge(run)
        db.session.remove()
    return states, run


def finished(run: Run) -> bool:
    return run.finished_at is not None


def taken_once(sink: Sink, states: dict[str, DeliveryState]) -> None:
    """Nothing was taken twice; whatever is called sent was taken; whatever was taken is called sent or in doubt."""
    assert {key: n for key, n in sink.taken.items() if n > 1} == {}
    assert set(states.values()) <= {S.ACCEPTED, S.UNKNOWN}
    accepted = {key for key, state in states.items() if state is S.ACCEPTED}
    unknown = {key for key, state in states.items() if state is S.UNKNOWN}
    assert accepted <= set(sink.taken) <= accepted | unknown
