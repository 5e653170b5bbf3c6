"""Columns that point at a row of another table without a foreign key, and what keeps that row from being deleted.

A foreign key looks its row up, and locks it, for each row that is written. Where thousands are written a second and the
statement that writes them has the other row in its hands anyway, a model says `info=points_at(…)` instead: nothing is looked at
when a row is written, but a row that is pointed at cannot be deleted, for a trigger of its own table looks then. That nothing
points at a row that never was is for the writer to see to, and for tests to look after (`tests/strays.py`).

The triggers' function, `refuse_if_pointed_at`, is made by migration 0008. It looks after the row has gone, at the end of the
statement, as a foreign key does: whoever deletes both in one statement may. It sees what has been committed by then, and whoever
writes a pointer under a lock on the row has been waited for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from .db import db

_KEY = "points_at"


@dataclass(frozen=True, order=True)
class Pointer:
    """A column that points at the `id` of a table's row; `kept` if nothing is ever deleted there, pointed at or not."""

    parent: str
    table: str
    column: str
    kept: bool = False

    @property
    def name(self) -> str:
        """The trigger's."""
        return f"kept_for_{self.table}_{self.column}"

    @property
    def create(self) -> str:
        said = [self.table, self.column, *(["always"] if self.kept else [])]
        words = ", ".join(f"'{word}'" for word in said)
        return (
            f'CREATE TRIGGER {self.name} AFTER DELETE ON "{self.parent}" '
            f"FOR EACH ROW EXECUTE FUNCTION refuse_if_pointed_at({words})"
        )

    @property
    def drop(self) -> str:
        return f'DROP TRIGGER {self.name} ON "{self.parent}"'


def points_at(table: str, kept: bool = False) -> dict[str, Any]:
    """What a column's `info` says that points at a row of a table without a foreign key.

    Deleting looks by the column, so that an index has to begin with it. Where none does, `kept` has every deletion from the
    table refused without a look: for tables from which nothing is deleted.
    """
    return {_KEY: (table, kept)}


def target(column: Any) -> str | None:
    """The table that a column points at without a foreign key, if it does."""
    found: str | None = column.info.get(_KEY, (None,))[0]
    return found


def pointers() -> list[Pointer]:
    """Every pointer that the models declare."""
    return sorted(
        Pointer(parent, table.name, column.name, kept)
        for table in db.metadata.tables.values()
        for column in table.columns
        if _KEY in column.info
        for parent, kept in [column.info[_KEY]]
    )


def standing(connection: Connection) -> list[Pointer]:
    """Every pointer whose trigger stands in the database and is switched on."""
    rows = connection.execute(
        text(
            "SELECT c.relname, encode(t.tgargs, 'escape') FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " JOIN pg_proc p ON p.oid = t.tgfoid WHERE p.proname = 'refuse_if_pointed_at' AND t.tgenabled = 'O'"
        )
    )
    said = [(parent, words.split("\\000")[:-1]) for parent, words in rows]
    return sorted(Pointer(parent, words[0], words[1], len(words) == 3) for parent, words in said)


def drift(connection: Connection) -> list[tuple[str, str]]:
    """What makes the triggers in the database those of the models, as pairs of statements: what to do, and what undoes it."""
    wanted, found = set(pointers()), set(standing(connection))
    return [(p.drop, p.create) for p in sorted(found - wanted)] + [(p.create, p.drop) for p in sorted(wanted - found)]
