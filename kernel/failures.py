"""Jobs that fail: counted by what they were to do, and put aside with the reason once they have had their tries.

A count in the queue server says how often a job has begun without coming to its end; it also counts those whose worker died.
After three such tries the job is put aside in the table `failed_job` and begins no more, whoever queues it again, until
somebody lets it. Recurring and `endless` jobs are only noted: their tables say what is left, and somebody else's fault must
not stop the shop.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from redis import Redis, RedisError
from sqlalchemy import Index, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, mapped_column

from . import clock
from .db import db, pk, transaction

log = logging.getLogger(__name__)
TRIES = 3
# So long a job's tries are remembered.
MEMORY_SECONDS = 86_400
DIED = "its worker died each time"


class FailedJob(db.Model):
    """A job that has failed and has not come to its end since; `arguments` are ids and plain values."""

    __tablename__ = "failed_job"
    id: Mapped[pk]
    # What it was to do: a hash of its name and arguments.
    key: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    error: Mapped[str]
    tries: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    # Since when it begins no more.
    put_aside_at: Mapped[datetime | None]
    # It is not to be done any more, and nobody wants to be told of it.
    dropped_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_failed_job_shown", text("last_at DESC"), postgresql_where=text("dropped_at IS NULL")),)


def key_of(name: str, arguments: dict[str, Any]) -> str:
    """What tells one piece of work from another: a hash of a job's name and arguments."""
    said = json.dumps([name, arguments], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def tries_key(key: str) -> str:
    return f"siyu:tries:{key}"


def attempt(
    queue_server: Redis, name: str, arguments: dict[str, Any], endless: bool, work: Callable[[], object]
) -> bool:
    """Do a piece of work in a worker and keep count of it; an exception is noted and raised again.

    Returns False for one that has been put aside: it is not begun.
    """
    key = key_of(name, arguments)
    # What is put aside is not counted any more: whoever gives it its tries back gives it all of them.
    if not endless and _is_put_aside(key):
        return False
    tries = _begin(queue_server, key)
    if not endless and tries > TRIES:
        _note(key, name, arguments, DIED, TRIES, True)
        return False
    try:
        work()
    except Exception as error:
        _note(key, name, arguments, said(error), tries, not endless and tries >= TRIES)
        raise
    _end(queue_server, key)
    return True


def said(error: Exception) -> str:
    """What an exception says in one line; what follows it may be values of rows."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _begin(queue_server: Redis, key: str) -> int:
    try:
        with queue_server.pipeline() as pipe:
            pipe.incr(tries_key(key))
            pipe.expire(tries_key(key), MEMORY_SECONDS)
            return int(pipe.execute()[0])
    except RedisError as error:
        log.warning("the tries of a job are not counted (%s)", error)
        return 1


def _end(queue_server: Redis, key: str) -> None:
    """Forget the tries, and what had been noted."""
    try:
        queue_server.delete(tries_key(key))
    except RedisError as error:
        log.warning("the tries of a job stay until they expire (%s)", error)
    with transaction():
        db.session.execute(delete(FailedJob).where(FailedJob.key == key, FailedJob.dropped_at.is_(None)))


def _is_put_aside(key: str) -> bool:
    with transaction():
        aside = select(FailedJob.id).where(FailedJob.key == key, FailedJob.put_aside_at.is_not(None))
        return db.session.scalar(aside) is not None


def _note(key: str, name: str, arguments: dict[str, Any], error: str, tries: int, aside: bool) -> None:
    """Write down that a job has failed; a database that does not answer is the failure's cause and hears of the next one."""
    now = clock.now()
    row = insert(FailedJob).values(
        key=key,
        name=name,
        arguments=arguments,
        error=error[:500],
        tries=tries,
        first_at=now,
        last_at=now,
        put_aside_at=now if aside else None,
    )
    try:
        with transaction():
            db.session.execute(
                row.on_conflict_do_update(
                    index_elements=[FailedJob.key],
                    set_={
                        "error": row.excluded.error,
                        "tries": row.excluded.tries,
                        "last_at": now,
                        "put_aside_at": func.coalesce(FailedJob.put_aside_at, row.excluded.put_aside_at),
                    },
                )
            )
    except SQLAlchemyError as fault:
        log.warning("the failure of %s could not be written down (%s)", name, fault)


def shown(limit: int = 200) -> Sequence[FailedJob]:
    """Failed jobs that nobody has dropped, the latest first."""
    return db.session.scalars(
        select(FailedJob)
        .where(FailedJob.dropped_at.is_(None))
        .order_by(FailedJob.last_at.desc(), FailedJob.id.desc())
        .limit(limit)
    ).all()


def counts() -> tuple[int, int]:
    """How many jobs have failed and are tried again, and how many have been put aside."""
    aside = func.count().filter(FailedJob.put_aside_at.is_not(None))
    row = db.session.execute(select(func.count(), aside).where(FailedJob.dropped_at.is_(None))).one()
    return row[0] - row[1], row[1]


def forget(found: FailedJob, queue_server: Redis) -> None:
    """Give a failed job its tries back."""
    db.session.delete(found)
    db.session.flush()
    queue_server.delete(tries_key(found.key))


def drop(found: FailedJob) -> None:
    """Let a failed job be: it is never begun again under these arguments, and no list shows it."""
    db.session.execute(
        update(FailedJob)
        .where(FailedJob.id == found.id)
        .values(dropped_at=clock.now(), put_aside_at=func.coalesce(FailedJob.put_aside_at, clock.now()))
    )
