"""What tests on rows that are really committed need: many at once, and every table empty again afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from flask import Flask
from sqlalchemy import text

from kernel.db import db, transaction
from membership.coupons.services import shelves


def clear(app: Flask) -> None:
    """Rid every table of its rows."""
    names = ", ".join(f'"{table.name}"' for table in db.metadata.sorted_tables)
    with app.app_context(), transaction():
        db.session.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
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
