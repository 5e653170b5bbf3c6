"""Several prepared statements in one round trip, and what becomes of them when one fails or the server is lost."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import text

from kernel import wire
from kernel.db import db as database

SUM = (
    "SELECT n, n + %(more)s::bigint, %(word)s::text FROM unnest(%(numbers)s::bigint[]) AS n WHERE n <> %(more)s::bigint"
)


@pytest.fixture
def connection(app):
    with app.app_context(), database.engine.connect() as found:
        found.detach()
        yield found
        found.invalidate()


def test_each_statement_has_its_rows_and_is_prepared_once(connection):
    line = wire.lay(connection)
    assert wire.lay(connection) is line is wire.of(connection)
    values = {"numbers": "{1,2,7}", "more": "7", "word": "多 %(x)s"}
    for _ in range(2):
        assert line.idle
        begun, rows, none = line.ask(wire.BEGIN, (SUM, values), (SUM, {**values, "numbers": "{}", "word": None}))
        assert (begun, rows, none) == ([], [["1", "8", "多 %(x)s"], ["2", "9", "多 %(x)s"]], [])
        assert not line.idle
        assert line.ask((SUM, {**values, "numbers": "{1}", "word": None}), wire.COMMIT) == [[["1", "8", None]], []]
    prepared = connection.execute(text("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'siyu%'"))
    assert prepared.scalar() == 3


def test_more_than_the_socket_holds_goes_and_comes(connection):
    word = "长" * 1_000_000
    ask = ("SELECT %(word)s::text", {"word": word})
    assert wire.lay(connection).ask(ask, ask, ask) == [[[word]]] * 3


@pytest.mark.parametrize("values", [{"n": "1", "word": "\ud800"}, {"n": "1"}])
def test_what_cannot_be_sent_leaves_the_connection_as_it_was(connection, values):
    line = wire.lay(connection)
    first = ("SELECT %(n)s::int", {"n": "1"})
    with pytest.raises((UnicodeEncodeError, KeyError)):
        line.ask(wire.BEGIN, first, ("SELECT %(n)s::int, %(word)s::text", values))
    assert line.idle
    assert line.ask(first) == [[["1"]]]
    assert connection.execute(text("SELECT 2")).scalar() == 2


def test_after_a_mistake_nothing_more_is_run(connection):
    line = wire.lay(connection)
    line.ask(("CREATE TEMP TABLE kept (n int)", {}))
    add = ("INSERT INTO kept VALUES (%(n)s::int)", {"n": "1"})
    with pytest.raises(psycopg.errors.DivisionByZero):
        line.ask(wire.BEGIN, add, ("SELECT 1 / %(n)s::int", {"n": "0"}), wire.COMMIT)
    assert not line.idle
    line.ask(("ROLLBACK", {}))
    assert line.ask(("SELECT count(*) FROM kept", {})) == [[["0"]]]


def test_a_server_that_is_lost_is_told(connection):
    line = wire.lay(connection)
    with pytest.raises(psycopg.OperationalError):
        line.ask(("SELECT pg_terminate_backend(pg_backend_pid())", {}), wire.BEGIN)
    with pytest.raises(psycopg.OperationalError):
        line.ask(wire.BEGIN)
