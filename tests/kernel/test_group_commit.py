"""Group commit on the real database: what gathers is one transaction, and one bad item refuses no neighbour."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from kernel import group_commit
from kernel.db import db as database
from kernel.group_commit import GroupCommit, GrowingCommit, More, WriterBusy
from tests.live import eventually

PEOPLE = 40


class Probe:
    """A writer over a table of its own that can be held at the gate, so that items gather behind it."""

    def __init__(self, app, largest=512):
        self.app = app
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()
        self.break_once = False
        self.writer: GroupCommit[int, str] = GroupCommit("probe", self.run, largest)

    def run(self, connection: Connection, items: Sequence[int]) -> list[str]:
        self.batches.append(list(items))
        self.arrived.set()
        self.gate.wait(20)
        if self.break_once:
            self.break_once = False
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        for item in items:
            connection.execute(text("INSERT INTO writer_probe VALUES (:item, txid_current())"), {"item": item})
        return [f"did {item}" for item in items]

    def submit(self, item: int, timeout: float = 20.0) -> object:
        with self.app.app_context():
            try:
                return self.writer.submit(item, timeout)
            except Exception as error:
                return error
            finally:
                database.session.remove()

    def crowd(self, items: Sequence[int]) -> dict[int, object]:
        """The items' outcomes, all of them gathered behind item 0, which is held at the gate."""
        said: dict[int, object] = {}
        self.gate.clear()
        self.arrived.clear()
        threads = [threading.Thread(target=lambda i=i: said.__setitem__(i, self.submit(i))) for i in [0, *items]]
        threads[0].start()
        assert self.arrived.wait(20)
        for thread in threads[1:]:
            thread.start()
        while self.writer._queue.qsize() < len(items):
            threading.Event().wait(0.01)
        self.gate.set()
        for thread in threads:
            thread.join(30)
        return said

    def rows(self) -> dict[int, int]:
        with self.app.app_context(), database.engine.connect() as connection:
            return dict(connection.execute(text("SELECT item, tx FROM writer_probe")).all())


@pytest.fixture
def probe(app):
    """Committed for real: the table is made and dropped around the test."""
    with app.app_context(), database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE writer_probe (item bigint PRIMARY KEY CHECK (item <> 1300), tx bigint)"))
        connection.execute(text("CREATE SEQUENCE writer_probe_tries OWNED BY writer_probe.item"))
    app.config["GROUP_COMMIT_INLINE"] = False
    made = Probe(app)
    yield made
    app.config["GROUP_COMMIT_INLINE"] = True
    made.gate.set()
    with app.app_context(), database.engine.begin() as connection:
        connection.execute(text("DROP TABLE writer_probe"))


@pytest.mark.race
def test_what_gathers_behind_a_commit_is_one_transaction(probe):
    said = probe.crowd(range(1, PEOPLE))
    assert said == {i: f"did {i}" for i in range(PEOPLE)}
    assert [len(batch) for batch in probe.batches] == [1, PEOPLE - 1]
    assert sorted(probe.rows()) == list(range(PEOPLE))
    assert len(set(probe.rows().values())) == 2


@pytest.mark.race
def test_a_batch_has_a_largest_size(probe):
    probe.writer.largest = 10
    probe.crowd(range(1, PEOPLE))
    assert [len(batch) for batch in probe.batches] == [1, 10, 10, 10, 9]


@pytest.mark.race
def test_one_bad_item_refuses_no_neighbour(probe):
    said = probe.crowd([*range(1, 10), 1300, *range(10, 20)])
    assert isinstance(said.pop(1300), IntegrityError)
    assert said == {i: f"did {i}" for i in range(20)}
    assert sorted(probe.rows()) == list(range(20))
    # The writer goes on.
    assert probe.submit(99) == "did 99"


@pytest.mark.race
def test_a_bad_item_alone_is_told_its_own_fault(probe):
    assert isinstance(probe.submit(1300), IntegrityError)
    assert probe.submit(1) == "did 1"
    assert list(probe.rows()) == [1]


@pytest.mark.race
def test_a_lost_connection_loses_no_item(probe):
    probe.submit(50)
    probe.break_once = True
    assert probe.submit(51) == "did 51"
    probe.batches.clear()
    said = probe.crowd(range(1, 6))
    assert set(said.values()) == {f"did {i}" for i in range(6)}
    assert sorted(probe.rows()) == [0, 1, 2, 3, 4, 5, 50, 51]


@pytest.mark.race
def test_who_waits_too_long_is_told_and_a_repeat_shows_what_became_of_it(probe):
    probe.gate.clear()
    assert isinstance(probe.submit(1, timeout=0.2), WriterBusy)
    probe.gate.set()
    assert probe.submit(2) == "did 2"
    assert sorted(probe.rows()) == [1, 2]


@pytest.mark.race
def test_an_outcome_too_few_refuses_the_batch_and_commits_nothing(probe):
    run = probe.writer.run_batch
    probe.writer.run_batch = lambda connection, items: run(connection, items)[:-1]
    assert isinstance(probe.submit(1), Exception)
    assert probe.rows() == {}


def test_inside_a_test_the_item_is_run_in_the_tests_own_transaction(app, db):
    writer: GroupCommit[int, int] = GroupCommit("inline", lambda connection, items: [i * 2 for i in items])
    assert writer.submit(21) == 42


@pytest.mark.race
def test_a_growing_batch_takes_what_fits_and_leaves_the_rest_for_the_next(probe):
    def run(connection: Connection, items: Sequence[int], more: More[int]) -> list[str]:
        said = probe.run(connection, items)
        # Behind the gate the others have gathered: the even ones fit.
        late = more(lambda item: item % 2 == 0)
        return said + (probe.run(connection, late) if late else [])

    probe.writer = GrowingCommit("probe", probe.run, run)
    said = probe.crowd(range(1, 10))
    assert said == {i: f"did {i}" for i in range(10)}
    assert [sorted(batch) for batch in probe.batches] == [[0], [2, 4, 6, 8], [1, 3, 5, 7, 9]]
    transactions = probe.rows()
    assert {i for i in transactions if transactions[i] == transactions[0]} == {0, 2, 4, 6, 8}


@pytest.mark.race
def test_nobody_is_answered_before_the_disk_has_their_batch(probe, monkeypatch):
    """What is committed is seen by others at once; its answer waits for the flush, which is held here."""
    monkeypatch.setattr(group_commit, "_FLUSHED", "SELECT pg_advisory_xact_lock(4711)")
    said: list[object] = []
    with probe.app.app_context(), database.engine.begin() as holder:
        holder.execute(text("SELECT pg_advisory_xact_lock(4711)"))
        thread = threading.Thread(target=lambda: said.append(probe.submit(1)))
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"
        eventually(lambda: holder.execute(text(waiting)).scalar())
        assert list(probe.rows()) == [1]
        assert said == []
    thread.join(30)
    assert said == ["did 1"]


class Adding:
    """Work that tells whether an item was new, and notes which were run, and over which sessions."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.sessions: set[int] = set()

    def __call__(self, connection: Connection, items: Sequence[int]) -> list[str]:
        self.seen += items
        self.sessions.add(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        add = text("INSERT INTO writer_probe VALUES (:item, 1) ON CONFLICT DO NOTHING")
        return ["fresh" if connection.execute(add, {"item": item}).rowcount else "again" for item in items]


@pytest.mark.race
def test_what_the_disk_may_not_have_is_run_again(probe, monkeypatch):
    run = Adding()
    monkeypatch.setattr(group_commit, "_FLUSHED", "SELECT pg_terminate_backend(pg_backend_pid())")
    probe.writer = GroupCommit("probe", run)
    assert probe.submit(1) == "again"
    assert run.seen == [1, 1]
    monkeypatch.undo()
    assert probe.submit(2) == "fresh"


@pytest.mark.race
def test_a_flush_whose_own_connection_had_died_is_tried_again_and_no_item_is(probe, monkeypatch):
    """As after an hour in which nobody claimed anything: a repeat would be told that it had the thing already."""
    run = Adding()
    probe.writer = GroupCommit("probe", run)
    once = "SELECT pg_terminate_backend(pg_backend_pid()) WHERE nextval('writer_probe_tries') = 1"
    monkeypatch.setattr(group_commit, "_FLUSHED", once)
    assert probe.submit(1) == "fresh"
    assert run.seen == [1]
    with probe.app.app_context(), database.engine.connect() as connection:
        assert connection.execute(text("SELECT last_value FROM writer_probe_tries")).scalar() == 2


@pytest.mark.race
def test_a_bad_item_behind_a_batch_that_waits_for_its_flush_does_that_no_harm(probe, monkeypatch):
    """The writer gives its connection up before the session was seen by the one that flushes."""
    run = Adding()

    def or_fail(connection: Connection, items: Sequence[int]) -> list[str]:
        return run(connection, items) if 1300 not in items else connection.execute(text("SELECT 1 / 0")).all()

    probe.writer = GroupCommit("probe", or_fail)
    landing, held = group_commit._landing(probe.app), threading.Event()
    flush = landing._flush
    monkeypatch.setattr(landing, "_flush", lambda sessions: (held.wait(20), flush(sessions))[1])
    said: dict[int, object] = {}
    threads = [threading.Thread(target=lambda i=i: said.__setitem__(i, probe.submit(i))) for i in (1, 1300)]
    threads[0].start()
    eventually(lambda: list(probe.rows()) == [1])
    threads[1].start()
    threads[1].join(30)
    assert isinstance(said[1300], DBAPIError)
    held.set()
    threads[0].join(30)
    assert said[1] == "fresh"
    assert run.seen == [1]
    # The connection that was given up is closed.
    with probe.app.app_context(), database.engine.connect() as connection:
        there = text("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY (:pids)")
        eventually(lambda: connection.execute(there, {"pids": list(run.sessions)}).scalar() == 0)


@pytest.mark.race
def test_what_waits_for_its_flush_when_the_server_falls_is_run_again(probe, monkeypatch):
    """The first batch's flush is under way, and the second has been committed behind it: the server loses both."""
    run = Adding()
    probe.writer = GroupCommit("probe", run)
    lock = "SELECT pg_advisory_xact_lock(4711)"
    monkeypatch.setattr(group_commit, "_FLUSHED", lock)
    said: dict[int, object] = {}
    threads = [threading.Thread(target=lambda i=i: said.__setitem__(i, probe.submit(i))) for i in (1, 2)]
    with probe.app.app_context(), database.engine.begin() as holder:
        holder.execute(text(lock))
        threads[0].start()
        waiting = text("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted")
        eventually(lambda: holder.execute(waiting).scalar())
        threads[1].start()
        eventually(lambda: sorted(probe.rows()) == [1, 2])
        assert said == {}
        # What a fall leaves: no session, and nothing of what was not flushed.
        fallen = [*run.sessions, *holder.execute(waiting).scalars()]
        gone = text("SELECT pg_terminate_backend(pid, 60000) FROM unnest(CAST(:pids AS int[])) AS pid")
        holder.execute(gone, {"pids": fallen})
        with database.engine.begin() as other:
            other.execute(text("DELETE FROM writer_probe"))
    for thread in threads:
        thread.join(30)
    assert said == {1: "fresh", 2: "fresh"}
    assert run.seen == [1, 2, 1, 2]
    assert sorted(probe.rows()) == [1, 2]
