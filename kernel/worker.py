"""A worker: one process, one queue, jobs one after another without forking."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from types import FrameType

from flask import Flask
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from . import health, jobs
from .config import Settings
from .db import db

log = logging.getLogger(__name__)
# RQ's own sign of life and its search for jobs of dead workers; with the defaults a lost job waits for 13 minutes.
LIFE_SECONDS, MAINTENANCE_SECONDS = 60, 30
# After SIGTERM a running job may finish for so long; its transaction is then rolled back and its rows found again.
GRACE_SECONDS = 20


class Worker(SimpleWorker):
    """RQ's simple worker that never outlives its grace."""

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        # Between two jobs RQ stops by raising out of this handler, which code that guards itself against every exception
        # can swallow. With the note the loop ends at its next turn all the same.
        self._stop_requested = True
        super().request_stop(signum, frame)

    def handle_warm_shutdown_request(self) -> None:
        super().handle_warm_shutdown_request()
        timer = threading.Timer(GRACE_SECONDS, os._exit, (1,))
        timer.daemon = True
        timer.start()


def work(settings: Settings, queue_name: str, app: Flask | None = None) -> None:
    """Run the jobs of one queue (`default` or `bulk`) until SIGTERM or SIGINT, in this process.

    With `app` a forked child uses the application of its parent, over connections of its own.
    """
    if app is None:
        from .app import create_app

        app = create_app(settings)
    with app.app_context():
        db.engine.dispose(close=False)
    queue = jobs.queue(queue_name, settings)
    name = f"{queue_name}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(3)}"
    worker = Worker(
        [queue],
        name=name,
        connection=queue.connection,
        serializer=JSONSerializer,
        worker_ttl=LIFE_SECONDS,
        maintenance_interval=MAINTENANCE_SECONDS,
        log_job_description=False,
    )
    stopped = health.keep_beating(settings, f"worker:{queue_name}")
    try:
        worker.work(logging_level="WARNING")
    finally:
        stopped.set()
