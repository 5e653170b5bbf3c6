"""A push comes to its end, with nothing lost and nothing sent twice, through faults of what it stands on.

The queue server killed, emptied and full; every connection to the database cut by a crash of its server; a sender frozen
beyond its lease; a gateway that takes messages and never says so. Faults come at a hook (so many messages taken), not by the clock.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import select, text, update

from campaigns.channels.models import Account
from campaigns.pushes import drain, jobs, rules, services
from campaigns.pushes.models import Run, RunState, Slice
from kernel import config, embedded
from kernel.db import db, transaction
from tests.faults.sending import Crew, S, Sink, books, finished, make_push, taken_once, wait_for
from tests.live import eventually

pytestmark = pytest.mark.fault
PEOPLE = 1_200


# ── The queue server ────────────────────────────────────────────────────────────────────────────────────────────────


class Queue:
    """A queue server of this test alone, which may be killed."""

    def __init__(self, folder: Path) -> None:
        self.server = embedded.Valkey(folder)
        self.url = config.embedded_queue_url(folder)
        self.start()

    def start(self) -> None:
        self.process = self.server.spawn()
        embedded.wait_ready(self.server, lambda: self.process.poll() is None)

    def kill_and_forget(self) -> None:
        """SIGKILL, and whatever it had written is gone."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.server.folder / "appendonlydir", ignore_errors=True)

    def connection(self) -> Redis:
        return Redis.from_url(self.url)


@pytest.fixture
def own_queue(app: Flask, settings: config.Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    folder = Path(tempfile.mkdtemp(prefix="siyu-queue-"))
    queue = Queue(folder)
    monkeypatch.setitem(app.extensions, "settings", replace(settings, redis_url=queue.url))
    yield queue
    queue.process.kill()
    queue.process.wait()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def crew(app: Flask, own_queue: Queue, workers: Crew) -> Crew:
    """The workers of `workers`, over a queue server that may be killed."""
    workers.settings = app.extensions["settings"]
    return workers


def come_to_an_end(app: Flask, crew: Crew, run_id: int, seconds: float = 60) -> Run:
    """Wait for the end of a run, while whoever has died is started anew."""

    def ended(run: Run) -> bool:
        crew.replace_dead()
        return finished(run)

    return wait_for(app, run_id, seconds, ended)


def test_inv_d5_a_killed_queue_server_loses_nothing(app: Flask, sink: Sink, own_queue: Queue, crew: Crew) -> None:
    run_id = make_push(app, sink, PEOPLE)
    crew.start()
    for part in (200, 600):
        eventually(lambda part=part: sink.count() >= part, 30, every=0.01)
        own_queue.kill_and_forget()
        # Work goes on without it until it is back, and somebody has missed it.
        missed = crew.missed
        eventually(lambda missed=missed: crew.missed > missed, 30)
        own_queue.start()
    run = come_to_an_end(app, crew, run_id)
    states, _run = books(app, run_id)
    assert run.state is RunState.COMPLETED
    assert set(states.values()) == {S.ACCEPTED}
    assert sink.taken == Counter(states.keys())


def test_inv_d5_a_full_queue_server_loses_nothing(app: Flask, sink: Sink, own_queue: Queue, crew: Crew) -> None:
    run_id = make_push(app, sink, PEOPLE)
    crew.start()
    eventually(lambda: sink.count() >= 200, 30, every=0.01)
    with own_queue.connection() as connection:
        connection.config_set("maxmemory", "1")
        missed = crew.missed
        eventually(lambda: crew.missed >= missed + 2, 30)
        connection.config_set("maxmemory", "0")
    run = come_to_an_end(app, crew, run_id)
    states, _run = books(app, run_id)
    assert run.state is RunState.COMPLETED
    assert set(states.values()) == {S.ACCEPTED}
    assert sink.taken == Counter(states.keys())


# ── The database ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def keeps_its_word(app: Flask) -> Iterator[None]:
    """Tests' databases confirm commits before they are written; this one is to be crashed, and must not."""
    set_commits(app, "SET synchronous_commit = on")
    yield
    set_commits(app, "RESET synchronous_commit")


def set_commits(app: Flask, how: str) -> None:
    with app.app_context():
        with transaction():
            db.session.execute(text(f"ALTER DATABASE siyu {how}"))
        db.session.remove()
        db.engine.dispose()


def crash_the_database(app: Flask) -> None:
    """Kill one of its processes: the server then drops every connection and recovers from its log, as after a crash."""
    address = app.extensions["settings"].database_url.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(address, autocommit=True) as witness:
        with suppress(psycopg.OperationalError), psycopg.connect(address, autocommit=True) as victim:
            os.kill(victim.info.backend_pid, signal.SIGKILL)
            victim.execute("SELECT 1")

        def gone() -> bool:
            try:
                witness.execute("SELECT 1")
            except psycopg.OperationalError:
                return True
            return False

        # The others are answered until the server has noticed: only then has it crashed.
        eventually(gone, 30)
    with app.app_context():
        db.engine.dispose()

    def back() -> bool:
        try:
            with app.app_context():
                return db.session.scalar(text("SELECT 1")) == 1
        except Exception:
            return False

    eventually(back, 30)


def test_inv_d4_a_crashed_database_loses_and_repeats_nothing(
    app: Flask, sink: Sink, keeps_its_word: None, workers: Crew, queue_server: Redis
) -> None:
    run_id = make_push(app, sink, PEOPLE)
    workers.start()
    for part in (200, 600):
        eventually(lambda part=part: sink.count() >= part, 30, every=0.01)
        crash_the_database(app)
    run = come_to_an_end(app, workers, run_id)
    states, _run = books(app, run_id)
    assert run.state is RunState.COMPLETED
    assert len(states) == run.planned == PEOPLE
    taken_once(sink, states)
    # What was on its way at each crash, by two workers, and no more.
    assert Counter(states.values())[S.UNKNOWN] <= 2 * 2 * 10


# ── A sender ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_check_g2_a_sender_frozen_beyond_its_lease_is_fenced(
    app: Flask, sink: Sink, workers: Crew, queue_server: Redis
) -> None:
    run_id = make_push(app, sink, 600)
    frozen = threading.Event()

    def freeze(taken: int) -> None:
        if taken >= 100 and not frozen.is_set():
            frozen.set()
            os.kill(workers.members[0].pid, signal.SIGSTOP)

    sink.before_answer = freeze
    # Only the first sends until it is frozen in the middle of a call; then another one comes.
    workers.members = [workers.hire("bulk"), workers.hire("default")]
    threading.Thread(target=workers.tick, daemon=True).start()
    assert frozen.wait(30)
    workers.members.append(workers.hire("bulk"))
    wait_for(app, run_id, 60, finished)
    before, run = books(app, run_id)
    assert Counter(before.values()) == {S.ACCEPTED: 590, S.UNKNOWN: 10}
    # Thawed, it wants to write down what it was told long ago: its lease is another's, and nothing changes.
    late = workers.members[0]
    os.kill(late.pid, signal.SIGCONT)
    late.terminate()
    late.join(30)
    assert late.exitcode is not None
    after, run_after = books(app, run_id)
    assert after == before
    assert run_after.tally == run.tally
    taken_once(sink, after)


# ── The gateway ─────────────────────────────────────────────────────────────────────────────────────────────────────


def send_here(app: Flask, run_id: int, seconds: float = 60) -> None:
    """Plan and send a run in this very process."""
    app.extensions["collected_jobs"] = []
    try:
        jobs.wake()
        deadline = time.monotonic() + seconds
        with app.app_context():
            with transaction():
                while not services.fan_out(run_id).done:
                    continue
            while not db.session.get_one(Run, run_id, populate_existing=True).finished_at:
                assert time.monotonic() < deadline
                drain.drain(run_id, budget_seconds=10)
                with transaction():
                    services.finish(run_id)
                    # A channel that rests after a fault is not waited for here.
                    db.session.execute(update(Account).values(retry_at=None))
    finally:
        del app.extensions["collected_jobs"]


@pytest.mark.usefixtures("shop_floor")
def test_check_g9_a_gateway_that_is_silent_after_taking_is_believed_in_nothing(
    app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "SLICE", 200)
    run_id = make_push(app, sink, 500)
    silent: list[int] = []

    def stay_silent(taken: int) -> None:
        # Two batches in fifty are taken and never answered.
        if taken in (130, 370):
            silent.append(taken)
            time.sleep(1.4)

    sink.before_answer = stay_silent
    send_here(app, run_id)
    states, run = books(app, run_id)
    taken_once(sink, states)
    assert len(silent) == 2
    # To the message: what the gateway has is what is called sent and what is in doubt.
    assert Counter(states.values()) == {S.ACCEPTED: 480, S.UNKNOWN: 20}
    assert set(sink.taken) == set(states)
    assert run.tally == {"accepted": 480, "unknown": 20}


@pytest.mark.usefixtures("shop_floor")
def test_check_g9_the_breaker_opens_on_a_dead_gateway_and_nothing_is_lost(app: Flask, sink: Sink) -> None:
    run_id = make_push(app, sink, 200)
    sink.shutdown()
    sink.server_close()
    app.extensions["collected_jobs"] = []
    try:
        jobs.wake()
        with app.app_context():
            with transaction():
                while not services.fan_out(run_id).done:
                    continue
            began = time.monotonic()
            drain.drain(run_id, budget_seconds=10)
            assert time.monotonic() - began < 10
            account = db.session.scalars(select(Account).where(Account.name == "Sink")).one()
            assert account.paused_at is not None or account.retry_at is not None
            assert db.session.scalar(select(Slice.unknown).where(Slice.run_id == run_id, Slice.unknown > 0)) is None
            db.session.remove()
    finally:
        del app.extensions["collected_jobs"]
    states, _run = books(app, run_id)
    assert Counter(states.values()) == {S.READY: 200}


def test_the_span_of_a_lease_is_longer_than_a_call() -> None:
    assert timedelta() < drain.MARGIN
