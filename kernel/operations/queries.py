"""What can be seen of the running parts at this moment, read from PostgreSQL and the queue server."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis import RedisError
from rq import Worker
from rq.exceptions import NoSuchJobError
from rq.job import Job as QueuedJob
from rq.serializers import JSONSerializer
from sqlalchemy import select, text

from .. import clock, failures, jobs, shop
from ..config import Settings
from ..db import db
from ..events import EventDelivery, EventRecord
from ..failures import FailedJob
from ..pages import Page, keyset
from ..ticker import LEADER_LOCK

log = logging.getLogger(__name__)
# A worker says at least so often that it lives.
SILENT_SECONDS = 90


@dataclass(frozen=True)
class QueueRow:
    """A queue: how many jobs wait, for how many seconds the first of them has been ready, how many workers it has."""

    name: str
    depth: int
    ready_seconds: float
    workers: int


@dataclass(frozen=True)
class WorkerRow:
    """A worker process: what it does now (a job's name, or empty), and the seconds since it last said that it lives."""

    name: str
    queue: str
    host: str
    job: str
    busy_seconds: float
    silent_seconds: float

    @property
    def silent(self) -> bool:
        return self.silent_seconds > SILENT_SECONDS and not self.job


@dataclass(frozen=True)
class Leader:
    """The ticker that leads, as the database knows it."""

    host: str
    since: datetime


@dataclass(frozen=True)
class Backup:
    at: datetime
    size: int


@dataclass(frozen=True)
class Parts:
    """The queue server's side; `reached` is false when it does not answer, and then there is nothing else to say."""

    reached: bool
    queues: list[QueueRow]
    workers: list[WorkerRow]


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _seconds_since(moment: datetime | None, now: datetime) -> float:
    aware = _aware(moment)
    return max((now - aware).total_seconds(), 0.0) if aware is not None else 0.0


def parts(settings: Settings) -> Parts:
    """Every queue and every worker of every machine."""
    try:
        return _parts(settings)
    except RedisError as error:
        log.warning("the queue server does not answer: %s", error)
        return Parts(False, [], [])


def _parts(settings: Settings) -> Parts:
    connection = jobs.connection(settings)
    now = clock.now()
    workers = [
        row for one in Worker.all(connection=connection, serializer=JSONSerializer) if (row := _worker(one, now))
    ]
    workers.sort(key=lambda row: (jobs.QUEUES.index(row.queue) if row.queue in jobs.QUEUES else 9, row.name))
    queues = []
    for name in jobs.QUEUES:
        queue = jobs.queue(name, settings)
        first = queue.get_job_ids(0, 1)
        ready = 0.0
        if first:
            try:
                waiting = QueuedJob.fetch(first[0], connection=connection, serializer=JSONSerializer)
                ready = _seconds_since(waiting.enqueued_at, now)
            except NoSuchJobError:
                ready = 0.0  # A worker has just done it.
        queues.append(QueueRow(name, queue.count, ready, sum(row.queue == name for row in workers)))
    return Parts(True, queues, workers)


def _worker(one: Any, now: datetime) -> WorkerRow | None:
    queue, _dot, rest = str(one.name).partition(".")
    host = rest.rsplit(".", 2)[0]
    job = one.get_current_job()
    return WorkerRow(
        name=one.name,
        queue=queue,
        host=host,
        job=job.func_name if job is not None else "",
        busy_seconds=_seconds_since(job.started_at, now) if job is not None else 0.0,
        silent_seconds=_seconds_since(one.last_heartbeat, now),
    )


def leader() -> Leader | None:
    """Which ticker holds the lead; None when none does."""
    row = db.session.execute(
        text(
            "SELECT a.application_name AS name, a.backend_start AS since, host(a.client_addr) AS address"
            " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'advisory' AND l.granted AND l.objid = :number AND l.objsubid = 1"
            " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1"
        ),
        {"number": LEADER_LOCK},
    ).one_or_none()
    if row is None:
        return None
    return Leader(str(row.name).removeprefix("ticker ").strip() or row.address or "", row.since.astimezone(UTC))


def connections() -> dict[str, int]:
    """The database server's connections to this database by what they do, and how many it takes in all (`most`)."""
    rows = db.session.execute(
        text(
            "SELECT coalesce(state, 'other'), count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() GROUP BY 1"
        )
    )
    found = {str(row[0]).replace(" ", "_"): int(row[1]) for row in rows}
    return {**found, "most": int(db.session.scalar(text("SELECT current_setting('max_connections')::int")) or 0)}


def last_backup() -> Backup | None:
    """The last backup that `script/siyu backup` has written."""
    said = shop.get("backup.last")
    return Backup(datetime.fromisoformat(said["at"]), int(said["bytes"])) if said else None


def failed_jobs() -> Sequence[FailedJob]:
    return failures.shown()


def dead_deliveries(cursor: str | None) -> Page:
    """Deliveries of events that were given up, the latest event first, each with its event."""
    statement = (
        select(EventDelivery, EventRecord)
        .join(EventRecord, EventRecord.id == EventDelivery.event_id)
        .where(EventDelivery.dead_at.is_not(None))
    )
    return keyset(statement, [EventDelivery.event_id.desc(), EventDelivery.subscriber.desc()], cursor)
