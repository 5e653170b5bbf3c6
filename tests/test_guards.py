"""What is pointed at without a foreign key cannot be deleted (`kernel.guards`)."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from kernel import guards
from kernel.db import db as database
from tests.membership.members.whole import row
from tests.strays import strays


@pytest.mark.usefixtures("clock")
def test_whatever_is_pointed_at_stays(db: Any) -> None:
    """For each column that the models declare, with its teeth: without the trigger the row goes, and the look finds what is left."""
    assert len(guards.pointers()) >= 10
    for one in guards.pointers():
        with db.session.begin_nested() as savepoint:
            for other in guards.pointers():
                if other != one and other.kept and other.parent == one.parent:
                    db.session.execute(text(other.drop))
            there, free = row(one.parent), row(one.parent)
            row(one.table, **{one.column: there["id"]})
            gone = text(f'DELETE FROM "{one.parent}" WHERE id = :id')
            refused = f'"{one.table}.{one.column}" points at it'
            for parent in (there, free) if one.kept else (there,):
                with pytest.raises(IntegrityError, match=refused), db.session.begin_nested():
                    db.session.execute(gone, {"id": parent["id"]})
            if not one.kept:
                db.session.execute(gone, {"id": free["id"]})
            db.session.execute(text(one.drop))
            db.session.execute(gone, {"id": there["id"]})
            assert (f"{one.table}.{one.column}", 1) in strays(db)
            savepoint.rollback()


def test_each_is_guarded_and_found_by_an_index(db: Any) -> None:
    connection = db.session.connection()
    assert guards.drift(connection) == []
    first = {
        tuple(found)
        for found in connection.execute(
            text(
                "SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
                " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] WHERE i.indpred IS NULL"
            )
        )
    }
    assert {(one.table, one.column) for one in guards.pointers() if not one.kept} <= first


def test_a_guard_that_is_missing_or_left_over_is_told_with_what_to_do(db: Any) -> None:
    connection = db.session.connection()
    one = guards.pointers()[0]
    connection.execute(text(one.drop))
    assert guards.drift(connection) == [(one.create, one.drop)]
    connection.execute(text(one.create))
    column = database.metadata.tables[one.table].c[one.column]
    declared = column.info.pop("points_at")
    try:
        assert guards.drift(connection) == [(one.drop, one.create)]
    finally:
        column.info["points_at"] = declared
