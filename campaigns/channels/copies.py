"""Letters to colleagues: a copy of one is a row, and is handed over once.

The intent is committed before the mail server is called; what a dead sender left on its way is in doubt, shown as such and
not sent again by itself. A room that sends such letters has a table of copies (`Copied`), and writes its rows and its words.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import SmallInteger, inspect, text, update
from sqlalchemy.orm import Mapped, mapped_column

from kernel import clock
from kernel.db import changed, db, transaction

from . import registry, services
from .adapters import Message, Outcome, Status

log = logging.getLogger(__name__)
TRIES = 6
# Whoever sends gave no sign for so long: what they had in hand is in doubt.
LOST = timedelta(minutes=10)
AT_ONCE = 50
# What an index finds that looks for copies whose end is not known yet.
OPEN = text("state IN ('waiting', 'submitting')")


class CopyState(enum.StrEnum):
    """Where somebody's copy stands. What was handed over when the sender was stopped is in doubt, and stays so."""

    WAITING = "waiting"
    SUBMITTING = "submitting"
    SENT = "sent"
    NOTHING = "nothing"  # Nothing was to be said, and then no letter is wanted.
    FAILED = "failed"
    UNKNOWN = "unknown"


class Copied:
    """The columns of a table of copies; its key lets each exist once, whatever repeats."""

    state: Mapped[CopyState] = mapped_column(default=CopyState.WAITING)
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0, server_default=text("0"))
    retry_at: Mapped[datetime | None]
    failure: Mapped[str | None]
    changed_at: Mapped[datetime]


@dataclass(frozen=True)
class Due:
    """A copy whose intent is written: to be handed over now. `key` is its primary key."""

    table: type[Copied]
    key: tuple[Any, ...]
    account_id: int
    message: Message


def wait_of(attempts: int, asked: timedelta | None = None) -> timedelta:
    """How long a copy waits after so many tries: longer each time, and no less than the mail server asks for."""
    return max(timedelta(minutes=2**attempts), asked or timedelta())


def move(copy: Copied, was: CopyState, to: CopyState, **values: object) -> bool:
    """Change a copy's state if it is still what it was; returns whether it was."""
    table = type(copy)
    keys = inspect(table).primary_key
    moved = db.session.execute(
        update(table)
        .where(*(key == getattr(copy, key.name) for key in keys), table.state == was)
        .values(state=to, changed_at=clock.now(), **values)
        .execution_options(synchronize_session=False)
    )
    return changed(moved) == 1


def begin(copy: Copied, account_id: int, message: Message) -> Due:
    """Write the intent to hand a copy over, in the caller's transaction."""
    move(copy, CopyState.WAITING, CopyState.SUBMITTING, attempts=copy.attempts + 1)
    return Due(type(copy), inspect(copy).identity, account_id, message)


def note(due: Due, outcome: Outcome) -> None:
    """Write down what became of a copy; what was certainly not taken waits for its next try, each time for longer."""
    copy = db.session.get(due.table, due.key, populate_existing=True)
    if copy is None:
        return
    again = outcome.status is Status.RETRY and copy.attempts < TRIES
    to = {Status.ACCEPTED: CopyState.SENT, Status.UNKNOWN: CopyState.UNKNOWN}.get(outcome.status, CopyState.FAILED)
    move(
        copy,
        CopyState.SUBMITTING,
        CopyState.WAITING if again else to,
        failure=outcome.reason or None,
        retry_at=clock.now() + wait_of(copy.attempts, outcome.after) if again else None,
    )


def doubt_lost(table: type[Copied]) -> int:
    """Copies whose sender gave no sign of life any more are in doubt. Returns how many."""
    now = clock.now()
    lost = db.session.execute(
        update(table)
        .where(table.state == CopyState.SUBMITTING, table.changed_at < now - LOST)
        .values(state=CopyState.UNKNOWN, changed_at=now)
        .execution_options(synchronize_session=False)
    )
    return changed(lost)


def doubt_open(table: type[Copied], now: datetime, **values: object) -> int:
    """Bring everything in doubt that is on its way or waits, because it may have gone out. Returns how many."""
    doubtful = db.session.execute(
        update(table)
        .where(table.state.in_([CopyState.WAITING, CopyState.SUBMITTING]))
        .values(state=CopyState.UNKNOWN, changed_at=now, **values)
        .execution_options(synchronize_session=False)
    )
    return changed(doubtful)


def hand_over(take_due: Callable[[], Due | None]) -> None:
    """Hand over what is due, one after the other, each outside of any transaction. `take_due` begins the next."""
    for _turn in range(AT_ONCE):
        with transaction():
            due = take_due()
            adapter = None if due is None else registry.adapter_of(services.get_account(due.account_id))
        if due is None or adapter is None:
            return
        try:
            outcome = adapter.submit([due.message])[0]
        except Exception as error:
            log.exception("a letter to a colleague could not be handed over")
            outcome = Outcome(Status.UNKNOWN, type(error).__name__)
        with transaction():
            note(due, outcome)
