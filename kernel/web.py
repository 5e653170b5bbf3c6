"""The web server: granian with two processes over the WSGI application."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from flask import Flask
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import MPServer as Server

from . import embedded
from .config import ROOT, Settings
from .db import db

THREADS = 16
# Connections that a process takes at once. Idle ones of browsers count too, so that it is far above the threads.
BACKPRESSURE = 1024
# How long a connection may be silent before its next request.
IDLE_MILLISECONDS = 15_000
KILL_SECONDS = 20


def serve(settings: Settings, host: str, port: int, app: Flask | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    With `app` (Linux) the processes share the parent's loaded application; otherwise each loads `wsgi.py`.
    """
    raise_file_limit()
    server = Server(
        target="wsgi:app",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=settings.web_processes,
        blocking_threads=THREADS,
        backpressure=BACKPRESSURE,
        backlog=1024,
        websockets=False,
        # Only so does the limit hold for a connection that never says anything: waiting for either version has none.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=IDLE_MILLISECONDS),
        respawn_failed_workers=True,
        workers_kill_timeout=KILL_SECONDS,
        working_dir=ROOT,
        log_level=LogLevels.warning,
    )
    if app is None or sys.platform != "linux":
        server.serve()
    else:
        server.serve(target_loader=loader(app, server), wrap_loader=False)


def raise_file_limit() -> None:
    """Let this process open as many connections as it may take; many systems give 1,024 at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * BACKPRESSURE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def loader(app: Flask, server: Server) -> Callable[[], Any]:
    """What a forked process of the web server runs first."""

    def load() -> Flask:
        # Until it sets its own, a new process has its parent's signal handlers, which only note the signal in its copy of
        # the server: being asked to stop that early must not be forgotten.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        if server.interrupt_signal:
            os._exit(0)
        # One whose parent was killed would hold the port and serve on, out of everybody's sight.
        parent = multiprocessing.parent_process()
        embedded.die_with_parent(signal.SIGKILL, parent.pid if parent else None)
        with app.app_context():
            db.engine.dispose(close=False)
        return app

    return load
