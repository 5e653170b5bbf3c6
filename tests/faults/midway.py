"""Dying between any two statements: what a process does in one transaction, cut off before its nth statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from sqlalchemy import event, text

from kernel.db import db, transaction
from tests.live import eventually


class Killed(BaseException):
    """The process has died here."""


def killed_before(app: Flask, number: int, work: Callable[[], Any]) -> bool:
    """Do something in a transaction and die before its nth statement; returns whether it died, else it came to its end."""
    seen = 0
    hands: list[int] = []

    def count(connection: Any, *_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            hands.append(connection.connection.driver_connection.info.backend_pid)
            raise Killed

    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", count)
        try:
            with transaction():
                work()
        except Killed:
            dead = True
        else:
            dead = False
        finally:
            event.remove(db.engine, "before_cursor_execute", count)
        if dead:
            # The server lets go of a dead client's locks a moment later, and whoever comes after it would pass over them.
            eventually(lambda: _let_go(hands[0]), 60, every=0.01)
    return dead


def _let_go(hand: int) -> bool:
    held = text(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = :hand AND pid <> pg_backend_pid() AND state <> 'idle'"
    )
    with db.engine.connect() as connection:
        return not connection.scalar(held, {"hand": hand})
