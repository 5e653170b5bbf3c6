"""A job that kills its worker is begun three times and then put aside; the others go on (check G8)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import select

from kernel import config, failures, jobs
from kernel.db import db, transaction
from kernel.failures import FailedJob
from kernel.jobs import job
from kernel.operations import services
from kernel.worker import work
from tests.committed import clear
from tests.live import eventually

pytestmark = pytest.mark.fault
FORK = multiprocessing.get_context("fork")
BEGUN, DONE = "probe:begun", "probe:done"


def counter(name: str) -> int:
    app = jobs._worker_app()
    return int(jobs.connection(app.extensions["settings"]).incr(name))  # type: ignore[arg-type]


@job()
def poison(number: int) -> None:
    """Takes its worker with it, as one that the kernel kills for its memory does."""
    counter(BEGUN)
    os.kill(os.getpid(), signal.SIGKILL)


@job()
def wholesome(number: int) -> None:
    counter(DONE)


class Keeper:
    """One worker, started anew whenever it has died; and a sweep that finds the same work again and again."""

    def __init__(self, app: Flask, settings: config.Settings) -> None:
        self.app, self.settings = app, settings
        self.ended = threading.Event()
        self.deaths = 0
        self.process: Any = None
        self.thread = threading.Thread(target=self.keep, daemon=True)

    def keep(self) -> None:
        number = 0
        while not self.ended.is_set():
            if self.process is None or not self.process.is_alive():
                self.deaths += self.process is not None
                self.process = FORK.Process(target=work, args=(self.settings, "default", self.app), daemon=True)
                self.process.start()
            number += 1
            for one, arguments in ((poison, {"number": 13}), (wholesome, {"number": number})):
                jobs._queue(one, self.settings, arguments)
            self.ended.wait(0.1)

    def stop(self) -> None:
        self.ended.set()
        self.thread.join()
        self.process.kill()
        self.process.join()


@pytest.fixture
def keeper(app: Flask, settings: config.Settings, queue_server: Redis) -> Iterator[Keeper]:
    with app.app_context():
        db.engine.dispose()
    found = Keeper(app, settings)
    yield found
    found.stop()
    clear(app)


def put_aside(app: Flask) -> FailedJob | None:
    with app.app_context():
        found = db.session.scalar(select(FailedJob).where(FailedJob.put_aside_at.is_not(None)))
        if found is not None:
            db.session.expunge(found)
        db.session.remove()
        return found


def number_of(queue_server: Redis, name: str) -> int:
    return int(queue_server.get(name) or 0)  # type: ignore[arg-type]


def test_check_g8_a_poison_job_is_put_aside_after_three_deaths(app: Flask, queue_server: Redis, keeper: Keeper) -> None:
    keeper.thread.start()
    found: FailedJob = eventually(lambda: put_aside(app), 60)
    assert (found.name, found.arguments, found.error) == (poison.name, {"number": 13}, failures.DIED)
    # The others go on, and the poison is not touched any more.
    done = number_of(queue_server, DONE)
    eventually(lambda: number_of(queue_server, DONE) >= done + 10, 30)
    assert number_of(queue_server, BEGUN) == keeper.deaths == failures.TRIES
    # One click gives it its tries back.
    with app.app_context(), transaction():
        services.redrive(found.id)
    eventually(lambda: number_of(queue_server, BEGUN) == 2 * failures.TRIES and put_aside(app), 60)


def test_teeth_without_the_count_the_poison_kills_for_ever(
    app: Flask, queue_server: Redis, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "TRIES", 1_000)
    keeper.thread.start()
    eventually(lambda: number_of(queue_server, BEGUN) > 5, 60)
