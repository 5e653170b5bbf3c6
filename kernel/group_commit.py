"""Group commit: concurrent small writes to one hot thing, gathered into one transaction by one writer thread a process.

Requests wait for their ticket; the writer takes whatever has gathered while the former batch was committing (no waiting
window), runs one function over the batch in one transaction, commits, and answers each. This is the one place outside
the edge that commits.

The writer's commits do not wait for the disk, so that the next batch need not wait for it either with the locks that it
wants. Nobody is answered before the disk has it: another connection (`_Landing`) has the log flushed as far as the batches
that wait for it, several at once when the disk is slow. Why this design: docs/decisions and the measurements in benchmarks/.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import psycopg
from flask import Flask, current_app
from psycopg import pq
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from . import wire
from .db import commit, db
from .errors import Refusal
from .i18n import lazy_gettext as _l

log = logging.getLogger(__name__)
I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741


class WriterBusy(Refusal):
    status = 503
    label = _l("Very many people are here at once. Nothing is lost: please tap again in a moment.")


class _Ticket(Generic[I, O]):
    """An item and the place for its outcome. One bare lock: a Future costs a crowd twice as many wakings."""

    __slots__ = ("done", "error", "item", "outcome")

    def __init__(self, item: I) -> None:
        self.item = item
        self.outcome: O | None = None
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def wait(self, seconds: float) -> O:
        if not self.done.acquire(timeout=seconds):
            raise WriterBusy
        if self.error is not None:
            raise self.error
        return self.outcome  # type: ignore[return-value]


class _Landing:
    """One thread a process that answers committed batches once the log is on the disk as far as they reach.

    A server that went down between a commit and its flush has lost the commit, and its successor flushes as willingly. So a
    flush counts only for batches whose writer's session is seen on the same server: a session survives no such fall.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._arrived: queue.SimpleQueue[_Committed | Connection] = queue.SimpleQueue()
        self._connection: Connection | None = None
        # The sessions that were seen on the server since this connection to it was made.
        self._seen: set[str] = set()
        threading.Thread(target=self._work, name="writer-landing", daemon=True).start()

    def put(self, writer: GroupCommit[Any, Any], batch: list[_Ticket[Any, Any]], session: str) -> None:
        """Take over a batch whose outcomes are known and committed by the writer's session of that name."""
        self._arrived.put((writer, batch, session))

    def close(self, connection: Connection) -> None:
        """Close a connection that its writer has given up, as soon as what it committed before has landed: until then its
        session must be there to be seen. One that may hold a lock is closed at once."""
        if _is_idle(connection):
            self._arrived.put(connection)
        else:
            connection.close()

    def _work(self) -> None:
        with self._app.app_context():
            while True:
                arrived = [self._arrived.get()]
                while not self._arrived.empty():
                    arrived.append(self._arrived.get())
                landed = [one for one in arrived if not isinstance(one, Connection)]
                sessions = {session for _writer, _batch, session in landed}
                # A connection may have died of itself while nobody wanted anything: the second try is over a new one.
                on_disk = (self._flush(sessions) or self._flush(sessions)) if landed else set()
                for one in arrived:
                    if isinstance(one, Connection):
                        one.close()
                for writer, batch, session in landed:
                    if session in on_disk:
                        for ticket in batch:
                            ticket.done.release()
                    else:
                        log.warning("a batch of the writer %s may be lost; each item of it is run again", writer.name)
                        writer._retry_singly(batch, None)

    def _flush(self, sessions: set[str]) -> set[str]:
        """Have the log flushed; the sessions whose commits before this call are on the disk now, none if it failed."""
        try:
            if self._connection is None:
                self._connection, self._seen = own_connection(), set()
            line = wire.lay(self._connection)
            if not sessions <= self._seen:
                self._seen = {str(name) for (name,) in line.ask((_SESSIONS, {}))[0]}
            line.ask((_FLUSHED, {}))
            return sessions & self._seen
        except Exception as error:
            log.warning("the log could not be flushed", exc_info=error)
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            return set()


def _is_idle(connection: Connection) -> bool:
    """Whether a connection is there and has no transaction open."""
    if connection.closed or connection.invalidated:
        return False
    driver: psycopg.Connection[Any] | None = connection.connection.dbapi_connection  # type: ignore[assignment]
    return driver is not None and driver.info.transaction_status == pq.TransactionStatus.IDLE


# A transaction of its own that only leaves a word in the log: its commit waits until the log, with all that was committed
# before, is on the disk (and on the standby that the database waits for, if it has one).
_FLUSHED = "SELECT pg_logical_emit_message(true, 'siyu', '')"
# A session by its process on the server and the microsecond of its beginning, as no two ever have them.
_NAME = "pid || ' ' || extract(epoch FROM backend_start)"
_SESSIONS = f"SELECT {_NAME} FROM pg_stat_activity WHERE usename = session_user"  # noqa: S608
_OWN_SESSION = text(f"SELECT {_NAME} FROM pg_stat_activity WHERE pid = pg_backend_pid()")  # noqa: S608
_landings: dict[tuple[int, Flask], _Landing] = {}
_landings_lock = threading.Lock()


def _landing(app: Flask) -> _Landing:
    key = os.getpid(), app
    with _landings_lock:
        if key not in _landings:
            _landings[key] = _Landing(app)
        return _landings[key]


def own_connection() -> Connection:
    """A connection for a thread's whole life, outside the pool: requests wait for the writer, never it for them.

    It runs the same few statements for ever, so that each is planned once.
    """
    connection = db.engine.connect()
    connection.detach()
    connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
    connection.commit()
    return connection


RunBatch = Callable[[Connection, Sequence[I]], Sequence[O]]
_Committed = tuple["GroupCommit[Any, Any]", list[_Ticket[Any, Any]], str]
More = Callable[[Callable[[I], bool]], list[I]]
RunGrowingBatch = Callable[[Connection, Sequence[I], More[I]], Sequence[O]]


def nothing_more(fits: Callable[[Any], bool]) -> list[Any]:
    """A batch that does not grow."""
    return []


class GroupCommit(Generic[I, O]):
    """A writer for one kind of item.

    `run_batch(connection, items)` does all the work of a batch in the transaction it is given and returns one outcome an
    item, in order. It must be right when run again after a rollback. Items of one batch may concern different things.
    """

    def __init__(self, name: str, run_batch: RunBatch[I, O], largest: int = 512) -> None:
        self.name = name
        self.run_batch = run_batch
        self.largest = largest
        self._left: list[_Ticket[I, O]] = []
        self._queue: queue.SimpleQueue[_Ticket[I, O]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._thread: threading.Thread | None = None

    def submit(self, item: I, timeout: float = 15.0) -> O:
        """Hand an item to the writer and wait for its outcome, committed.

        What the caller's own transaction holds is committed first: the writer must see it, and a crowd that waits here
        with a connection each would leave none for others. Only requests call this.

        Refuses with `WriterBusy` after `timeout` seconds; the item may still be committed then, and a repeat shows it.
        """
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        if app.config.get("GROUP_COMMIT_INLINE"):
            return self._run_alone(db.session.connection(), item)
        commit()
        self._ensure_writer(app)
        ticket: _Ticket[I, O] = _Ticket(item)
        self._queue.put(ticket)
        return ticket.wait(timeout)

    def _ensure_writer(self, app: Flask) -> None:
        # Keyed by process: a forked web process starts a writer of its own.
        if self._owner == os.getpid() and self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            if self._owner != os.getpid():
                self._queue = queue.SimpleQueue()
                self._left = []
                self._owner, self._thread = os.getpid(), None
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._write, args=(app,), name=f"writer-{self.name}", daemon=True
                )
                self._thread.start()

    def _gather(self) -> list[_Ticket[I, O]]:
        batch, self._left = self._left, []
        if not batch:
            batch.append(self._queue.get())
        self._gather_more(batch)
        return batch

    def _gather_more(self, batch: list[_Ticket[I, O]]) -> None:
        while len(batch) < self.largest:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                return

    def _write(self, app: Flask) -> None:
        landing = _landing(app)
        with app.app_context():
            connection: Connection | None = None
            session = ""
            while True:
                batch = self._gather()
                try:
                    if connection is None or connection.invalidated:
                        connection, session = self._connect()
                    with connection.begin():
                        outcomes = self._run(connection, batch)
                        for ticket, outcome in zip(batch, outcomes, strict=True):
                            ticket.outcome = outcome
                except Exception as error:
                    lost = _lost(connection, error)
                    if connection is not None:
                        landing.close(connection)
                        connection = None
                    self._retry_singly(batch, None if lost else error)
                else:
                    landing.put(self, batch, session)

    def _connect(self) -> tuple[Connection, str]:
        """The writer's own connection, whose commits do not wait for the disk: what they wrote is answered when it landed.
        And its session's name."""
        connection = own_connection()
        connection.exec_driver_sql("SET synchronous_commit = off")
        session = connection.scalars(_OWN_SESSION).one()
        connection.commit()
        return connection, session

    def _run(self, connection: Connection, batch: list[_Ticket[I, O]]) -> Sequence[O]:
        return self.run_batch(connection, [ticket.item for ticket in batch])

    def _run_alone(self, connection: Connection, item: I) -> O:
        return self.run_batch(connection, [item])[0]

    def _retry_singly(self, batch: list[_Ticket[I, O]], error: Exception | None) -> None:
        """One bad item must not refuse its neighbours: run each alone, and give each its own outcome.

        Without an error the way to the database was lost, and nobody knows whether the batch was committed; `run_batch`
        finds its own work then.
        """
        if error is not None:
            log.error("the writer %s failed on a batch of %s", self.name, len(batch), exc_info=error)
        for ticket in batch:
            if len(batch) == 1 and error is not None:
                ticket.error = error
            else:
                try:
                    with db.engine.begin() as connection:
                        ticket.outcome = self._run_alone(connection, ticket.item)
                except Exception as own:
                    ticket.error = own
            ticket.done.release()


def _lost(connection: Connection | None, error: Exception) -> bool:
    """Whether the way to the database broke, rather than an item."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated
    # What was said past SQLAlchemy, straight to the driver.
    return isinstance(error, psycopg.OperationalError) and (
        connection is None or connection.invalidated or bool(getattr(connection.connection, "closed", False))
    )


class GrowingCommit(GroupCommit[I, O]):
    """A writer whose batch may grow while it runs: `run_growing(connection, items, more)`, with `run_batch` for whatever runs
    elsewhere than on the writer's own connection.

    `run_growing` may commit by itself what it has answered for good. `more(fits)` hands over what has gathered since and fits,
    to be answered after the items. Whoever has just waited for a lock that another process held asks for it; what came
    meanwhile need not wait for the same lock again.
    """

    def __init__(
        self, name: str, run_batch: RunBatch[I, O], run_growing: RunGrowingBatch[I, O], largest: int = 512
    ) -> None:
        super().__init__(name, run_batch, largest)
        self.run_growing = run_growing

    def _run(self, connection: Connection, batch: list[_Ticket[I, O]]) -> Sequence[O]:
        return self.run_growing(connection, [ticket.item for ticket in batch], self._more(batch))

    def _more(self, batch: list[_Ticket[I, O]]) -> Callable[[Callable[[I], bool]], list[I]]:
        def more(fits: Callable[[I], bool]) -> list[I]:
            late: list[_Ticket[I, O]] = []
            self._gather_more(late)
            fitting = [ticket for ticket in late if fits(ticket.item)]
            self._left += [ticket for ticket in late if ticket not in fitting]
            batch.extend(fitting)
            return [ticket.item for ticket in fitting]

        return more
