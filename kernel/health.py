"""Whether every part works: heartbeats of workers and ticker, the `/healthz` page, and the check of outside servers."""

from __future__ import annotations

import logging
import threading
from typing import Any

import psycopg
from apiflask import APIBlueprint
from flask import Flask, current_app, jsonify
from redis import Redis, RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from .auth import public
from .config import ConfigInvalid, Settings
from .db import db, rollback
from .jobs import QUEUES

log = logging.getLogger(__name__)
BEAT_SECONDS, BEAT_LIFE_SECONDS = 2, 10
OLDEST_POSTGRES, OLDEST_REDIS = 150_000, (6, 2)
PARTS = (*(f"worker:{queue}" for queue in QUEUES), "ticker")

bp = APIBlueprint("health", __name__, enable_openapi=False)


def beat_key(part: str) -> str:
    return f"siyu:alive:{part}"


def beat(queue_server: Redis, part: str) -> None:
    """Say that a part (`worker:<queue>`, `ticker`) works; it counts for ten seconds."""
    queue_server.set(beat_key(part), 1, ex=BEAT_LIFE_SECONDS)


def keep_beating(settings: Settings, part: str) -> threading.Event:
    """Beat for a part from a thread of its own, every two seconds, until the returned event is set."""
    stopped = threading.Event()

    def run() -> None:
        queue_server = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        while True:
            try:
                beat(queue_server, part)
            except RedisError as error:
                log.warning("no heartbeat for %s: %s", part, error)
            if stopped.wait(BEAT_SECONDS):
                return

    threading.Thread(target=run, name=f"beat {part}", daemon=True).start()
    return stopped


def report(settings: Settings) -> dict[str, bool]:
    """Which parts work at this moment, by name."""
    found = {"database": False, "queue": False, **dict.fromkeys(PARTS, False)}
    try:
        found["database"] = db.session.scalar(text("SELECT 1")) == 1
    except SQLAlchemyError:
        rollback()
    try:
        queue_server = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        with queue_server:
            beats = queue_server.mget([beat_key(part) for part in PARTS])
        found["queue"] = True
        found |= {part: bool(value) for part, value in zip(PARTS, beats, strict=True)}
    except RedisError as error:
        log.warning("the queue server does not answer: %s", error)
    return found


@bp.get("/healthz")
@public("load balancers and the launcher ask it; it says only which parts work")
def healthz() -> Any:
    found = report(current_app.extensions["settings"])
    well = all(found.values())
    answer = jsonify(status="ok" if well else "unwell", parts={k: "ok" if v else "missing" for k, v in found.items()})
    answer.status_code = 200 if well else 503
    return answer


def init_app(app: Flask) -> None:
    app.register_blueprint(bp)


def check_servers(settings: Settings) -> list[str]:
    """Check versions and settings of the database and the queue server; returns warnings for the operator.

    Raises `ConfigInvalid` when one cannot be reached, is too old, or would not keep the counts exact: with an isolation
    above READ COMMITTED a locked count still reads an old snapshot, and limits are overrun.
    """
    return [*check_database(settings), *check_queue(settings)]


def check_database(settings: Settings) -> list[str]:
    """The database's half of `check_servers`."""
    warnings = []
    address = settings.database_url.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        with psycopg.connect(address, connect_timeout=10, autocommit=True) as connection:
            row = connection.execute(
                "SELECT current_setting('server_version_num')::int, current_setting('server_version'),"
                " current_setting('default_transaction_isolation'), current_setting('fsync'),"
                " current_setting('synchronous_commit'), current_setting('server_encoding'),"
                " current_setting('max_connections')::int, pg_is_in_recovery()"
            ).fetchone()
    except psycopg.Error as error:
        raise ConfigInvalid(f"DATABASE_URL: the database does not answer: {first_line(error)}") from None
    assert row is not None  # noqa: S101  A SELECT without FROM gives one row.
    number, version, isolation, fsync, synchronous, encoding, connections, standby = row
    if number < OLDEST_POSTGRES:
        raise ConfigInvalid(f"DATABASE_URL: PostgreSQL {version} is too old, 15 is the oldest that will do.")
    if encoding != "UTF8":
        raise ConfigInvalid(f"DATABASE_URL: the database stores {encoding}; make one with ENCODING 'UTF8'.")
    if standby:
        raise ConfigInvalid("DATABASE_URL: this server is a standby and takes no writes.")
    if isolation != "read committed":
        raise ConfigInvalid(
            f"DATABASE_URL: default_transaction_isolation is '{isolation}' and must be 'read committed', or limits could be overrun."
        )
    if fsync != "on" or synchronous == "off":
        warnings.append(
            f"The database runs with fsync={fsync} and synchronous_commit={synchronous}: a power cut can lose confirmed orders and claims."
        )
    if connections < 50:
        warnings.append(f"The database takes {connections} connections; each machine of Siyu can use about 40.")
    return warnings


def check_queue(settings: Settings) -> list[str]:
    """The queue server's half of `check_servers`."""
    warnings = []
    try:
        with Redis.from_url(settings.redis_url, socket_timeout=5, socket_connect_timeout=5) as queue_server:
            facts: dict[str, Any] = queue_server.info()  # type: ignore[assignment]
    except (RedisError, ValueError) as error:
        raise ConfigInvalid(f"REDIS_URL: the queue server does not answer: {first_line(error)}") from None
    version = str(facts.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        raise ConfigInvalid(f"REDIS_URL: Redis {version} is too old, 6.2 (or Valkey) is the oldest that will do.")
    if str(facts.get("maxmemory_policy", "noeviction")) != "noeviction":
        warnings.append(
            f"The queue server's maxmemory-policy is {facts['maxmemory_policy']}: set noeviction, or jobs are thrown away."
        )
    return warnings


def first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".") + "."
