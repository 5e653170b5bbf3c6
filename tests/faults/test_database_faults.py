"""The database stands still for seconds, or takes no more connections, in the middle of a push: it comes to its end by itself,
with nothing lost and nothing sent twice (check G4)."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from flask import Flask
from redis import Redis

from campaigns.pushes.models import RunState
from kernel.db import db
from tests.faults.sending import Crew, S, Sink, books, finished, make_push, taken_once, wait_for
from tests.live import eventually

pytestmark = pytest.mark.fault
PEOPLE = 1_200
# So long the server stands still, as the check asks.
PAUSE_SECONDS = 5


def address_of(app: Flask) -> str:
    return str(app.extensions["settings"].database_url).replace("postgresql+psycopg://", "postgresql://", 1)


def server_processes(app: Flask) -> list[int]:
    """The database server and every process of its."""
    first = int((app.extensions["settings"].data_dir / "postgresql/cluster/postmaster.pid").read_text().split()[0])
    found = [first]
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            # After the name, which may hold anything, stand the state and the parent.
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == first:
                found.append(int(entry.name))
    return found


@pytest.fixture
def pausable(app: Flask) -> Iterator[Flask]:
    yield app
    for process in server_processes(app):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


def same_hands(workers: Crew, before: list[int]) -> None:
    """Nobody had to be started anew: who had begun is still at work."""
    assert [process.pid for process in workers.members] == before
    assert all(process.is_alive() for process in workers.members)


def test_check_g4_a_paused_database_loses_and_repeats_nothing(
    pausable: Flask, sink: Sink, workers: Crew, queue_server: Redis
) -> None:
    run_id = make_push(pausable, sink, PEOPLE)
    workers.start()
    hands = [process.pid for process in workers.members]
    eventually(lambda: sink.count() >= 300, 60, every=0.01)
    frozen = server_processes(pausable)
    for process in frozen:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGSTOP)
    # Whoever asks for a connection waits in vain for as long as the pause lasts.
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(address_of(pausable), connect_timeout=PAUSE_SECONDS)
    held = sink.count()
    assert held < PEOPLE
    for process in frozen:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
    run = wait_for(pausable, run_id, 60, finished)
    states, _run = books(pausable, run_id)
    assert run.state is RunState.COMPLETED
    assert len(states) == run.planned == PEOPLE
    taken_once(sink, states)
    # In doubt is at most what the two senders had handed over when it stood still.
    assert Counter(states.values())[S.UNKNOWN] <= 2 * 10
    same_hands(workers, hands)


class Crowd:
    """Connections that are held open until the database takes no more."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.held: list[psycopg.Connection] = []
        # How many connections of the shop were cut.
        self.cut = 0

    def fill(self) -> None:
        """Take every place, those of the shop's own processes too: whoever wants to go on has to connect anew."""
        while True:
            before = len(self.held)
            with suppress(psycopg.OperationalError):
                while True:
                    self.held.append(psycopg.connect(self.address, autocommit=True))
            found = self.held[0].execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> ALL (%s)",
                [[one.info.backend_pid for one in self.held]],
            )
            # A place that somebody was driven from is free a little later.
            cut = found.fetchone()
            self.cut += cut[0] if cut else 0
            if cut == (0,) and len(self.held) == before:
                return

    def leave(self) -> None:
        for one in self.held:
            one.close()
        self.held = []


@pytest.fixture
def crowd(app: Flask) -> Iterator[Crowd]:
    found = Crowd(address_of(app))
    yield found
    found.leave()


def refusals(app: Flask) -> int:
    """How often the server has sent somebody away for want of a place, as its log says."""
    log = app.extensions["settings"].data_dir / "log" / "postgresql.log"
    return log.read_text(errors="replace").count("too many clients")


def test_check_g4_a_database_without_a_place_loses_and_repeats_nothing(
    app: Flask, sink: Sink, workers: Crew, crowd: Crowd, queue_server: Redis
) -> None:
    run_id = make_push(app, sink, PEOPLE)
    workers.start()
    hands = [process.pid for process in workers.members]
    eventually(lambda: sink.count() >= 300, 60, every=0.01)
    with app.app_context():
        db.engine.dispose()
    # Slow enough that much is left to send while the limit is being met.
    usual, sink.seconds = sink.seconds, 0.2
    crowd.fill()
    turned_away = refusals(app)
    # The shop's processes meet the limit, and more than once each.
    eventually(lambda: refusals(app) >= turned_away + 2 * len(hands), 60)
    stopped_at = sink.count()
    assert stopped_at < PEOPLE
    crowd.leave()
    sink.seconds = usual
    run = wait_for(app, run_id, 60, finished)
    states, _run = books(app, run_id)
    assert run.state is RunState.COMPLETED
    assert len(states) == run.planned == PEOPLE
    taken_once(sink, states)
    # In doubt is at most what was being handed over on each connection that was cut.
    assert Counter(states.values())[S.UNKNOWN] <= crowd.cut * 10
    same_hands(workers, hands)
