"""What tests on rows that are really committed need: many at once, and every table empty again afterwards."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence

from flask import Flask
from sqlalchemy import text

from kernel.db import db, transaction
from membership.coupons.services import shelves


def clear(app: Flask) -> None:
    """Rid every table of its rows, and begin their numbers again.

    Only those that have any are touched: to truncate all of them costs the database ten times as much. No trigger and no foreign key
    is asked, as in a truncation.
    """
    names = [table.name for table in db.metadata.sorted_tables]
    with app.app_context(), transaction():
        some = ", ".join(f'EXISTS (SELECT FROM "{name}")' for name in names)
        filled = db.session.execute(text(f"SELECT ARRAY[{some}]")).scalar_one()
        db.session.execute(text("SET LOCAL session_replication_role = replica"))
        for name in itertools.compress(names, filled):
            db.session.execute(text(f'DELETE FROM "{name}"'))
        for sequence in db.session.scalars(text(_USED)).all():
            db.session.execute(text(f"ALTER SEQUENCE {sequence} RESTART"))
    # The numbers begin again, which they never do in a shop: what is kept by number is another's from now on.
    shelves._versions.clear()


def at_once(app: Flask, works: Sequence[Callable[[], object]]) -> list[BaseException]:
    """Run works in threads that set off together, each in an application context of its own; what they raised."""
    raised: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        try:
            with app.app_context():
                # Nobody has a connection yet: the pool gives out eight, and there may be more threads.
                start.wait(30)
                work()
        except BaseException as fault:
            raised.append(fault)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return raised


# The sequences that have given out a number.
_USED = """
SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences
WHERE schemaname = current_schema() AND last_value IS NOT NULL
"""
