"""A full disk under the deliveries' table and under the queue: work waits with the reason, and goes on once there is room (check G7)."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import select, text

from campaigns.pushes.models import RunState
from kernel import config
from kernel.db import db
from kernel.failures import FailedJob
from tests.faults.sending import Crew, S, Sink, books, finished, make_push, wait_for
from tests.faults.test_push_faults import Queue
from tests.live import eventually


class Disk:
    """A disk of a few megabytes that can be filled up and emptied."""

    def __init__(self, megabytes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="siyu-disk-"))
        self.folder.chmod(0o755)
        words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(self.folder)]
        subprocess.run(words, check=True, capture_output=True)

    def fill(self) -> None:
        with (self.folder / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def empty(self) -> None:
        (self.folder / "filler").unlink()

    def remove(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def missing() -> str | None:
    if os.geteuid() != 0:
        return "NOT ROOT: a disk of one's own needs it"
    try:
        Disk(1).remove()
    except (OSError, subprocess.CalledProcessError):
        return "NO MOUNTS: this container does not allow them"
    return None


REASON = missing()
pytestmark = [pytest.mark.fault, pytest.mark.skipif(REASON is not None, reason=str(REASON))]


@pytest.fixture
def disk() -> Iterator[Disk]:
    found = Disk(8)
    yield found
    found.remove()


def order(app: Flask, *statements: str) -> None:
    """Statements of the database's owner, each on its own."""
    with app.app_context(), db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for one in statements:
            connection.execute(text(one))


@pytest.fixture
def small_table(app: Flask, settings: config.Settings, disk: Disk, shop_floor: None) -> Iterator[None]:
    """The table of deliveries on the small disk."""
    owner = (settings.data_dir / "postgresql" / "cluster").stat()
    place = disk.folder / "table"
    place.mkdir(mode=0o700)
    os.chown(place, owner.st_uid, owner.st_gid)
    order(app, f"CREATE TABLESPACE small LOCATION '{place}'", "ALTER TABLE delivery SET TABLESPACE small")
    yield
    order(app, "TRUNCATE delivery CASCADE", "ALTER TABLE delivery SET TABLESPACE pg_default", "DROP TABLESPACE small")


def test_inv_d4_a_full_disk_under_the_deliveries(
    app: Flask, sink: Sink, disk: Disk, small_table: None, workers: Crew, queue_server: Redis
) -> None:
    run_id = make_push(app, sink, 1_000)
    disk.fill()
    workers.start()

    def said() -> str | None:
        with app.app_context():
            found = db.session.scalar(select(FailedJob.error).where(FailedJob.name == "campaigns.pushes.jobs.fan_out"))
            db.session.remove()
        return found

    # The console says why; nothing is half planned, nothing is sent.
    assert "No space left" in eventually(said, 30)
    states, run = books(app, run_id)
    assert (states, run.state, sink.count()) == ({}, RunState.MATERIALISING, 0)
    disk.empty()
    run = wait_for(app, run_id, 60, finished)
    states, _run = books(app, run_id)
    assert run.state is RunState.COMPLETED
    assert len(states) == 1_000
    assert set(states.values()) == {S.ACCEPTED}
    assert sink.taken == Counter(states.keys())
    # What had failed has been done since, and is not shown any more.
    eventually(lambda: said() is None, 30)


def test_inv_d5_a_full_disk_under_the_queue(
    app: Flask, sink: Sink, disk: Disk, workers: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(disk.folder)
    monkeypatch.setitem(app.extensions, "settings", replace(app.extensions["settings"], redis_url=queue.url))
    workers.settings = app.extensions["settings"]
    try:
        run_id = make_push(app, sink, 1_000)
        workers.start()
        eventually(lambda: sink.count() >= 200, 30, every=0.01)
        disk.fill()
        busy = threading.Event()
        with queue.connection() as connection:
            # Its file is filled to the last byte of the last page, until it says that it cannot write.
            def refuses() -> bool:
                try:
                    connection.set("probe", "x" * 65_536)
                except Exception:
                    busy.set()
                return busy.is_set() or queue.process.poll() is not None

            eventually(refuses, 30)
            disk.empty()
        if queue.process.poll() is not None:
            queue.start()

        def ended(run: object) -> bool:
            workers.replace_dead()
            return finished(run)  # type: ignore[arg-type]

        run = wait_for(app, run_id, 60, ended)
        states, _run = books(app, run_id)
        assert run.state is RunState.COMPLETED
        assert set(states.values()) == {S.ACCEPTED}
        assert sink.taken == Counter(states.keys())
    finally:
        workers.stop()
        queue.process.kill()
        queue.process.wait()
