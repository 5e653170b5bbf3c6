"""`GET /metrics`: the shop's numbers in Prometheus' text format 0.0.4, for a program with the scope `metrics:read`.

Everything is read at the scrape from PostgreSQL and the queue server, so that it is the same whichever process answers; what
only a process knows (its requests) it adds up in the queue server. An emptied queue server begins those counters anew, which
Prometheus understands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from apiflask import APIBlueprint
from flask import Flask, Response, current_app
from redis import RedisError

from .. import api_keys, clock, events, failures, health, journal
from ..auth import api_scope
from ..db import db
from ..i18n import lazy_gettext as _l
from . import Family, families, queries, requests

bp = APIBlueprint("metrics", __name__, enable_openapi=False)
SCOPE = "metrics:read"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def rendered(found: Iterable[Family]) -> str:
    """Families in the text format: `# HELP`, `# TYPE`, a line a sample, labels escaped."""
    lines: list[str] = []
    for family in found:
        lines.append(f"# HELP {family.name} {_escaped(family.about)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value in family.samples:
            inner = ",".join(f'{name}="{_escaped(said, quotes=True)}"' for name, said in labels.items())
            lines.append(f"{family.name}{{{inner}}} {_number(value)}" if inner else f"{family.name} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(words: str, quotes: bool = False) -> str:
    words = words.replace("\\", "\\\\").replace("\n", "\\n")
    return words.replace('"', '\\"') if quotes else words


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def kernel_families() -> list[Family]:
    """What the kernel itself knows: parts, queues, events, failures, connections, requests."""
    settings = current_app.extensions["settings"]
    well = health.report(settings)
    found = queries.parts(settings)
    behind = events.backlog()
    failing, aside = failures.counts()
    leader, backup, servers = queries.leader(), queries.last_backup(), queries.connections()
    most = servers.pop("most")
    pool = db.engine.pool
    oldest = (clock.now() - behind.oldest).total_seconds() if behind.oldest is not None else 0.0
    return [
        Family(
            "siyu_part_up",
            "gauge",
            "1 for each part that works: database, queue, a worker of each queue, a leading ticker.",
            [({"part": part}, float(up)) for part, up in well.items()],
        ),
        Family(
            "siyu_queue_jobs",
            "gauge",
            "Jobs that wait in a queue.",
            [({"queue": q.name}, q.depth) for q in found.queues],
        ),
        Family(
            "siyu_queue_ready_seconds",
            "gauge",
            "Seconds for which the first job of a queue has been ready.",
            [({"queue": q.name}, q.ready_seconds) for q in found.queues],
        ),
        Family("siyu_workers", "gauge", "Workers of a queue.", [({"queue": q.name}, q.workers) for q in found.queues]),
        Family(
            "siyu_worker_silent_seconds",
            "gauge",
            "Seconds since a worker last said that it lives; one that is at work says so between jobs.",
            [({"worker": w.name, "host": w.host, "queue": w.queue}, w.silent_seconds) for w in found.workers],
        ),
        Family(
            "siyu_ticker_leader",
            "gauge",
            "1 with the host of the ticker that leads, 0 when none does.",
            [({"host": leader.host}, 1.0)] if leader is not None else [({"host": ""}, 0.0)],
        ),
        Family("siyu_events_waiting", "gauge", "Deliveries of events that are due.", [({}, behind.due)]),
        Family("siyu_events_lag_seconds", "gauge", "Seconds for which the oldest due delivery waits.", [({}, oldest)]),
        Family(
            "siyu_events_failing",
            "gauge",
            "Deliveries of events that failed and are tried again.",
            [({}, behind.failing)],
        ),
        Family("siyu_events_dead", "gauge", "Deliveries of events that were given up.", [({}, behind.dead)]),
        Family("siyu_jobs_failing", "gauge", "Jobs that failed and have tries left.", [({}, failing)]),
        Family("siyu_jobs_put_aside", "gauge", "Jobs that failed three times and are begun no more.", [({}, aside)]),
        Family(
            "siyu_database_connections",
            "gauge",
            "Connections to the database by what they do.",
            [({"state": state}, n) for state, n in servers.items()],
        ),
        Family("siyu_database_connections_most", "gauge", "How many connections the database takes.", [({}, most)]),
        Family(
            "siyu_database_pool",
            "gauge",
            "Connections of the web process that answers: taken out, and how many it may have.",
            [({"what": "taken"}, pool.checkedout()), ({"what": "most"}, pool.size())],  # type: ignore[attr-defined]
        ),
        Family(
            "siyu_backup_timestamp_seconds",
            "gauge",
            "When script/siyu backup last wrote one.",
            [({}, backup.at.timestamp())] if backup is not None else [],
        ),
        Family(
            "siyu_journal_waiting_seconds",
            "gauge",
            "For how long the first line that is not in the journal of refusals yet has waited.",
            [({}, _journal_waits())],
        ),
        *_of_requests(),
    ]


def _journal_waits() -> float:
    since = journal.waiting()[1]
    return max((clock.now() - since).total_seconds(), 0.0) if since is not None else 0.0


def _of_requests() -> list[Family]:
    answered = Family("siyu_http_requests_total", "counter", "Requests answered, by kind of page and status.")
    seconds = Family("siyu_http_request_seconds_total", "counter", "Seconds spent answering, by kind of page.")
    try:
        found = requests.sums(current_app.extensions["settings"])
    except RedisError:
        return [answered, seconds]
    for name, n in sorted(found.items()):
        what, kind, *status = name.split("|")
        if what == "n" and status:
            answered.samples.append(({"class": kind, "status": status[0]}, n))
        elif what == "us":
            seconds.samples.append(({"class": kind}, n * requests.MICROSECOND))
    return [answered, seconds]


@bp.get("/metrics")
@api_scope(SCOPE)
def metrics() -> Response:
    found = [*kernel_families(), *(family for answer in families.call() for family in answer)]
    return Response(rendered(found), content_type=CONTENT_TYPE)


def init_app(app: Flask) -> None:
    api_keys.declare(SCOPE, _l("Read the numbers of operations (Prometheus)"))
    app.register_blueprint(bp)
