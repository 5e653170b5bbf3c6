"""Many rows at once: new ones written by COPY, the quickest way into the database, with ids drawn beforehand; and looking many
up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from sqlalchemy import BigInteger, ColumnElement, Text, cast, func, literal, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from .db import db

NULL = r"\N"
_UNSAFE = re.compile(r"[\\\t\n\r]")
_ESCAPES = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}


def copied(value: Any) -> str:
    """A value as COPY's text format has it (PostgreSQL manual, COPY, "Text Format")."""
    if value.__class__ is str:
        # What has to be escaped is not printable, the backslash apart.
        if value.isprintable() and "\\" not in value:
            return value  # type: ignore[no-any-return]
        return _UNSAFE.sub(lambda found: _ESCAPES[found[0]], value)
    return NULL if value is None else str(value)


_HOURS = [f" {minute // 60:02}:{minute % 60:02}:" for minute in range(1440)]
_SECONDS = [f"{second:02}+00:00" for second in range(60)]
# Orders of ten years lie on few days.
_DAYS: dict[date, str] = {}
_MOST_DAYS = 10_000


def copied_instant(at: datetime | None) -> str:
    """An instant (aware) as COPY's text format has it: what `str` says of it, in a ninth of the time where it is UTC and
    without parts of a second."""
    if at is None:
        return NULL
    if at.microsecond or at.tzinfo is not UTC:
        return str(at)
    day = at.date()
    text_of_day = _DAYS.get(day)
    if text_of_day is None:
        if len(_DAYS) >= _MOST_DAYS:
            _DAYS.clear()
        text_of_day = _DAYS[day] = str(day)
    return text_of_day + _HOURS[at.hour * 60 + at.minute] + _SECONDS[at.second]


def copy_text(table: str, columns: Sequence[str], lines: Iterable[str]) -> None:
    """Write many rows by COPY, in the session's transaction: lines in its text format, ended. Names come from code.

    What the database refuses is raised as statements of the session raise it.
    """
    names = ", ".join(columns)
    statement = f'COPY "{table}" ({names}) FROM STDIN'
    cursor = db.session.connection().connection.cursor()
    try:
        with cursor.copy(statement) as copy:  # type: ignore[attr-defined]
            copy.write("".join(lines))
    except psycopg.Error as error:
        kind: type[DBAPIError] = DBAPIError
        if isinstance(error, psycopg.IntegrityError):
            kind = IntegrityError
        elif isinstance(error, psycopg.OperationalError):
            kind = OperationalError
        raise kind(statement, None, error) from error
    finally:
        cursor.close()


def array_of(values: Iterable[str | int]) -> str:
    """Many texts or numbers as PostgreSQL writes an array (manual, "Arrays", "Array Input and Output Syntax"): a value for
    `CAST(… AS text[])` or `CAST(… AS bigint[])` that costs a tenth of a list, which the driver takes to pieces."""
    parts = [value if value.__class__ is str else str(value) for value in values]
    if not parts:
        return "{}"
    joined = '","'.join(parts)  # type: ignore[arg-type]
    if "\\" in joined or joined.count('"') != 2 * (len(parts) - 1):
        joined = '","'.join(str(part).replace("\\", "\\\\").replace('"', '\\"') for part in parts)
    return f'{{"{joined}"}}'


def among(column: Any, values: Iterable[str | int], numbers: bool = False) -> ColumnElement[bool]:
    """Whether a column of text, or of whole numbers, is one of many values."""
    return column == func.any(cast(literal(array_of(values), Text), ARRAY(BigInteger if numbers else Text)))  # type: ignore[no-any-return]


_DRAW = text(
    """
    SELECT min(n) AS first, CASE WHEN max(n) - min(n) + 1 = count(*) THEN NULL ELSE array_agg(n) END AS scattered
    FROM (SELECT nextval((SELECT CAST(pg_get_serial_sequence(:name, 'id') AS regclass))) AS n FROM generate_series(1, :n)) t
    """
)


def draw_ids(table: str, n: int) -> Sequence[int]:
    """So many ids that a table has not given out, rising. They are its own from now on, whatever becomes of the transaction."""
    if n == 0:
        return ()
    row = db.session.execute(_DRAW, {"name": f'"{table}"', "n": n}).one()
    # Usually nobody else draws meanwhile, and two numbers say it all.
    return range(row.first, row.first + n) if row.scattered is None else sorted(row.scattered)


__all__ = ["NULL", "among", "array_of", "copied", "copied_instant", "copy_text", "draw_ids"]
