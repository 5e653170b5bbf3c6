"""Group commit: concurrent small writes to one hot thing, gathered into one transaction by one writer thread a process.

Requests wait on a future; the writer takes whatever has gathered while the former batch was committing (no waiting
window), runs one function over the batch in one transaction, commits, and answers each. This is the one place outside
the edge that commits. Why this design: docs/decisions and the measurements in benchmarks/.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Generic, TypeVar

from flask import Flask, current_app
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from .db import commit, db
from .errors import Refusal
from .i18n import lazy_gettext as _l

log = logging.getLogger(__name__)
I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741


class WriterBusy(Refusal):
    status = 503
    label = _l("Very many people are here at once. Nothing is lost: please tap again in a moment.")


class GroupCommit(Generic[I, O]):
    """A writer for one kind of item.

    `run_batch(connection, items)` does all the work of a batch in the transaction it is given and returns one outcome an
    item, in order. It must be right when run again after a rollback. Items of one batch may concern different things.
    """

    def __init__(
        self, name: str, run_batch: Callable[[Connection, Sequence[I]], Sequence[O]], largest: int = 512
    ) -> None:
        self.name = name
        self.run_batch = run_batch
        self.largest = largest
        self._queue: queue.SimpleQueue[tuple[I, Future[O]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._owner: int | None = None

    def submit(self, item: I, timeout: float = 15.0) -> O:
        """Hand an item to the writer and wait for its outcome, committed.

        What the caller's own transaction holds is committed first: the writer must see it, and a crowd that waits here
        with a connection each would leave none for others. Only requests call this.

        Refuses with `WriterBusy` after `timeout` seconds; the item may still be committed then, and a repeat shows it.
        """
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        if app.config.get("GROUP_COMMIT_INLINE"):
            return self.run_batch(db.session.connection(), [item])[0]
        commit()
        self._ensure_writer(app)
        future: Future[O] = Future()
        self._queue.put((item, future))
        try:
            return future.result(timeout)
        except FutureTimeout:
            raise WriterBusy from None

    def _ensure_writer(self, app: Flask) -> None:
        # Keyed by process: a forked web process starts a writer of its own.
        if self._owner == os.getpid():
            return
        with self._lock:
            if self._owner != os.getpid():
                self._queue = queue.SimpleQueue()
                threading.Thread(target=self._write, args=(app,), name=f"writer-{self.name}", daemon=True).start()
                self._owner = os.getpid()

    def _gather(self) -> list[tuple[I, Future[O]]]:
        batch = [self._queue.get()]
        while len(batch) < self.largest:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return batch

    def _write(self, app: Flask) -> None:
        with app.app_context():
            # One connection for the writer's whole life: it never stands in the line of the requests that wait for it.
            connection: Connection | None = None
            while True:
                batch = self._gather()
                try:
                    if connection is None or connection.invalidated:
                        connection = db.engine.connect()
                    with connection.begin():
                        outcomes = self.run_batch(connection, [item for item, _ in batch])
                    for (_, future), outcome in zip(batch, outcomes, strict=True):
                        future.set_result(outcome)
                except Exception as error:
                    if connection is not None:
                        connection.close()
                        connection = None
                    self._retry_singly(batch, error)

    def _retry_singly(self, batch: list[tuple[I, Future[O]]], error: Exception) -> None:
        """One bad item must not refuse its neighbours: run each alone, and give each its own outcome.

        After a lost connection nobody knows whether the batch was committed; `run_batch` finds its own work then.
        """
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        if not lost:
            log.error("the writer %s failed on a batch of %s", self.name, len(batch), exc_info=error)
        for item, future in batch:
            if future.done():
                continue
            try:
                if len(batch) == 1 and not lost:
                    raise error
                with db.engine.begin() as connection:
                    outcome = self.run_batch(connection, [item])[0]
                future.set_result(outcome)
            except Exception as own:
                future.set_exception(own)
