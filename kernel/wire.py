"""Prepared statements over the driver's own libpq, several in one round trip.

For a writer that asks the same few statements for ever: what the driver's cursors do around a statement (adapting, making
rows, a generator for each step) costs more than a small batch itself. Everything goes as text, each value with a cast in
the statement; what comes back is text too.
"""

from __future__ import annotations

import re
import select
from collections.abc import Mapping
from functools import cache
from typing import Any

import psycopg
from psycopg import errors, pq
from sqlalchemy import Connection

Values = Mapping[str, str | None]
Row = list[str | None]
BEGIN: tuple[str, Values] = ("BEGIN", {})
COMMIT: tuple[str, Values] = ("COMMIT", {})

_NAMED = re.compile(r"%\((\w+)\)s")
_KEY = "siyu.wire"
_MEANT_WELL = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.PIPELINE_SYNC)


class Wire:
    """The way to one connection's server, with what it has prepared there.

    For one thread, and for a connection that is closed after any error: with a rollback the driver lets the server forget
    all that is prepared.
    """

    def __init__(self, driver: psycopg.Connection[Any]) -> None:
        self._libpq = driver.pgconn
        self._prepared: dict[str, bytes] = {}
        self._answers = select.poll()
        self._answers.register(self._libpq.socket, select.POLLIN)
        self._both = select.poll()
        self._both.register(self._libpq.socket, select.POLLIN | select.POLLOUT)

    @property
    def idle(self) -> bool:
        """Whether no transaction is open."""
        return self._libpq.transaction_status == pq.TransactionStatus.IDLE

    def ask(self, *questions: tuple[str, Values]) -> list[list[Row]]:
        """Send statements (with `%(name)s` where their values go) in one round trip; the rows of each.

        Raises the driver's error of the first that failed; what comes after that one is not run.
        """
        # What cannot be sent (half a pair of surrogates, a value that is missing) raises before anything is on its way.
        encoded = [
            [None if (value := values[key]) is None else value.encode() for key in _numbered(statement)[1]]
            for statement, values in questions
        ]
        libpq = self._libpq
        libpq.enter_pipeline_mode()
        # For each answer that will come whether it is a statement's own; the others say that one was prepared.
        own: list[bool] = []
        for (statement, _values), sent in zip(questions, encoded, strict=True):
            if statement not in self._prepared:
                self._prepare(statement)
                own.append(False)
            libpq.send_query_prepared(self._prepared[statement], sent)
            own.append(True)
        libpq.pipeline_sync()
        # The server answers while it is still being told: that is taken in, so that neither waits for the other.
        while libpq.flush():
            self._both.poll()
            libpq.consume_input()
        answers = [self._next() for _ in (*own, None)]
        libpq.exit_pipeline_mode()
        for answer in answers:
            if answer.status not in _MEANT_WELL:
                raise errors.error_from_result(answer)
        return [_rows(answer) for answer, its in zip(answers, own, strict=False) if its]

    def _prepare(self, statement: str) -> None:
        name = f"siyu_{len(self._prepared)}".encode()
        self._libpq.send_prepare(name, _numbered(statement)[0])
        self._prepared[statement] = name

    def _next(self) -> pq.abc.PGresult:
        """The next answer. libpq ends each with a None; two of them mean that nothing will come any more."""
        libpq = self._libpq
        for _ in range(2):
            while libpq.is_busy():
                self._answers.poll()
                libpq.consume_input()
            answer = libpq.get_result()
            if answer is not None:
                return answer
        raise psycopg.OperationalError("the server was lost before it had answered")


@cache
def _numbered(statement: str) -> tuple[bytes, list[str]]:
    """A statement as the server knows it, with numbers for the names of its values, and the names in their order."""
    order: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in order:
            order.append(found[1])
        return f"${order.index(found[1]) + 1}"

    return _NAMED.sub(number, statement).encode(), order


def _rows(answer: pq.abc.PGresult) -> list[Row]:
    columns = range(answer.nfields)
    value = answer.get_value
    return [
        [None if (said := value(row, column)) is None else said.decode() for column in columns]
        for row in range(answer.ntuples)
    ]


def lay(connection: Connection) -> Wire:
    """The wire of a connection, laid when it has none."""
    if _KEY not in connection.info:
        connection.info[_KEY] = Wire(connection.connection.dbapi_connection)  # type: ignore[arg-type]
    return of(connection)  # type: ignore[return-value]


def of(connection: Connection) -> Wire | None:
    """The wire that was laid on a connection, if any."""
    found: Wire | None = connection.info.get(_KEY)
    return found
