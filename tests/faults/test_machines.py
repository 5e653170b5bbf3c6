"""Senders and the queue on machines of their own: one sender is killed, then the queue, and the push comes to its end."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis, RedisError

from campaigns.pushes.models import RunState
from kernel import config, embedded, jobs, outbound
from kernel.db import db
from kernel.worker import work
from tests.faults import machines
from tests.faults.sending import Crew, S, Sink, books, finished, make_push, taken_once, wait_for
from tests.live import eventually

REASON = machines.missing()
pytestmark = [pytest.mark.fault, pytest.mark.skipif(REASON is not None, reason=str(REASON))]
FORK = multiprocessing.get_context("fork")
PASSWORD = "of-the-queue-machine"
PEOPLE = 1_500
QUEUE, FIRST, SECOND = 10, 11, 12


@pytest.fixture
def network() -> Iterator[machines.Network]:
    found = machines.Network()
    yield found
    found.close()


class QueueMachine:
    """A machine on which nothing but the queue server runs, without persistence."""

    def __init__(self, network: machines.Network) -> None:
        self.name, self.address = network.plug_in(QUEUE), network.address(QUEUE)
        self.folder = Path(tempfile.mkdtemp(prefix="siyu-queue-machine-"))
        self.url = f"redis://:{PASSWORD}@{self.address}:6379/0"
        self.start()

    def start(self) -> None:
        words = ["--bind", self.address, "--requirepass", PASSWORD, "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [str(machines.IP), "netns", "exec", self.name, embedded.find_valkey(), *words],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )
        eventually(self.answers, 20)

    def answers(self) -> bool:
        try:
            with Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1) as connection:
                return bool(connection.ping())
        except RedisError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def queue_machine(network: machines.Network) -> Iterator[QueueMachine]:
    found = QueueMachine(network)
    yield found
    found.remove()


class Machines(Crew):
    """The crew of `workers`, each worker on a machine of its own; PostgreSQL, the ticker and the gateway are on this one."""

    def __init__(self, app: Flask, settings: config.Settings, network: machines.Network) -> None:
        super().__init__(app, settings)
        self.names = {host: network.plug_in(host) for host in (FIRST, SECOND)}

    def start(self) -> None:
        self.members = [self.hire_on(FIRST, "bulk"), self.hire_on(SECOND, "bulk"), self.hire_on(SECOND, "default")]
        threading.Thread(target=self.tick, daemon=True).start()

    def hire_on(self, host: int, queue: str) -> Any:
        target = machines.on(self.names[host], work)
        process = FORK.Process(
            target=target, args=(self.settings, queue, self.app), name=f"{host}:{queue}", daemon=True
        )
        process.start()
        return process

    def hire(self, queue: str) -> Any:
        host, _colon, queue = queue.partition(":")
        return self.hire_on(int(host), queue)


@pytest.fixture
def crew(
    app: Flask,
    settings: config.Settings,
    workers: Crew,
    network: machines.Network,
    queue_machine: QueueMachine,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Machines]:
    """As `workers`, with the database reached over the network too."""
    door = machines.Door(network.address(1), f"{config.short_path(settings.data_dir)}/postgresql/.s.PGSQL.5432")
    abroad = f"postgresql+psycopg://siyu@{network.address(1)}:{door.port}/siyu"
    monkeypatch.setitem(
        app.extensions,
        "settings",
        replace(app.extensions["settings"], redis_url=queue_machine.url, database_url=abroad),
    )
    with app.app_context():
        here = db.engine
        here.dispose()
        engines = db._app_engines[app]
        url = here.url.set(host=network.address(1), port=door.port, query={})
        abroad_engine = db._make_engine(None, {"url": url, **app.config["SQLALCHEMY_ENGINE_OPTIONS"]}, app)
        engines[None] = abroad_engine
    # The gateway is on this network, whose addresses are not otherwise called.
    monkeypatch.setattr(outbound, "public", lambda *_: True)
    found = Machines(app, app.extensions["settings"], network)
    yield found
    found.stop()
    with app.app_context():
        db.session.remove()
    engines[None] = here
    abroad_engine.dispose()
    door.close()
    jobs.redis_at.cache_clear()


def test_a_push_survives_its_machines(
    app: Flask, network: machines.Network, queue_machine: QueueMachine, crew: Machines
) -> None:
    sink = Sink(seconds=0.02, host=network.address(1))
    try:
        run_id = make_push(app, sink, PEOPLE)
        crew.start()
        # The first machine goes down with its sender in the middle of its work.
        eventually(lambda: sink.count() >= 200, 60, every=0.01)
        os.kill(crew.members[0].pid, signal.SIGKILL)
        crew.members[0].join()
        # The queue's machine goes down, and comes back with nothing.
        eventually(lambda: sink.count() >= 500, 60, every=0.01)
        queue_machine.kill()
        missed = crew.missed
        eventually(lambda: crew.missed > missed, 30)
        queue_machine.start()

        def ended(run: Any) -> bool:
            # What the launcher of each machine does.
            crew.replace_dead()
            return finished(run)

        run = wait_for(app, run_id, 60, ended)
        states, _run = books(app, run_id)
        assert run.state is RunState.COMPLETED
        assert len(states) == run.planned == PEOPLE
        taken_once(sink, states)
        assert Counter(states.values())[S.UNKNOWN] <= 10
    finally:
        sink.shutdown()
        sink.server_close()
