"""The ticker queues the recurring jobs. Many may run; the one that holds the database's advisory lock leads."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from contextlib import suppress

import psycopg
from flask import Flask
from redis import Redis, RedisError

from . import health, jobs
from .config import Settings

log = logging.getLogger(__name__)
# Any number that no other advisory lock of ours uses.
LEADER_LOCK = 730_114_002
TICK_SECONDS = 1.0
# A leader that asks nothing for so long is frozen, or its machine is cut off: the database ends its lead.
FROZEN_SECONDS = 15.0


class Ticker:
    """Leadership over one connection, and when each recurring job is due next (seconds of the monotonic clock)."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.address = settings.database_url.replace("postgresql+psycopg://", "postgresql://", 1)
        self.queue_server = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        self.connection: psycopg.Connection | None = None
        self.due: dict[str, float] = {}

    def leads(self) -> bool:
        """Whether this ticker leads at this moment; tries to take the lead if nobody has it.

        The lock is the connection's, so it is asked over that very connection each time: once it broke, so did the lead.
        """
        try:
            if self.connection is None:
                # Told to the database, so that everybody can read there which machine leads.
                connection = psycopg.connect(
                    self.address, autocommit=True, connect_timeout=5, application_name=f"ticker {socket.gethostname()}"
                )
                scalar(connection, "SELECT set_config('idle_session_timeout', %s, false)", f"{FROZEN_SECONDS:.0f}s")
                if not scalar(connection, "SELECT pg_try_advisory_lock(%s)", LEADER_LOCK):
                    connection.close()
                    return False
                self.connection = connection
                log.warning("leading")
            scalar(self.connection, "SELECT 1")
        except psycopg.Error as error:
            log.warning("not leading: %s", health.first_line(error))
            self.close()
            return False
        return True

    def tick(self, now: float) -> list[str]:
        """Queue what is due at `now` (seconds of the monotonic clock); returns the names of the jobs queued."""
        fired = []
        for recurring in jobs.registered():
            if self.due.get(recurring.name, now) <= now:
                recurring.later_now(self.settings)
                self.due[recurring.name] = now + recurring.seconds
                fired.append(recurring.name)
        return fired

    def close(self) -> None:
        """Give up the lead."""
        if self.connection is not None:
            with suppress(psycopg.Error):
                self.connection.close()
            self.connection = None


def scalar(connection: psycopg.Connection, statement: str, *values: object) -> object:
    row = connection.execute(statement, values or None).fetchone()  # type: ignore[call-overload]
    return row[0] if row else None


def run(settings: Settings, app: Flask | None = None, stopped: threading.Event | None = None) -> None:
    """Tick until SIGTERM or SIGINT (or until `stopped` is set)."""
    if app is None:
        from .app import create_app

        create_app(settings)
    done = stopped or threading.Event()
    if stopped is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: done.set())
    ticker = Ticker(settings)
    try:
        while not done.wait(TICK_SECONDS):
            if not ticker.leads():
                continue
            try:
                ticker.tick(time.monotonic())
                health.beat(ticker.queue_server, "ticker")
            except RedisError as error:
                log.warning("the queue server does not answer: %s", error)
    finally:
        ticker.close()
