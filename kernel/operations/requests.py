"""Requests counted by class and status: in the process first, every few seconds added to the queue server's sums."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter

from flask import Flask, Response, g, request
from redis import RedisError

from .. import jobs
from ..config import Settings

log = logging.getLogger(__name__)
KEY = "siyu:requests"
FLUSH_SECONDS = 5.0
MICROSECOND = 1e-6

_lock = threading.Lock()
_counted: Counter[str] = Counter()
_flusher: int | None = None


def route_class() -> str:
    """To which kind of page the present request goes: `console`, `api`, `portal`, `static` or `health`."""
    endpoint, path = request.endpoint or "", request.path
    if endpoint in ("static", "picture"):
        return "static"
    if path.startswith("/api/"):
        return "api"
    if path == "/console" or path.startswith("/console/"):
        return "console"
    return "health" if path in ("/healthz", "/metrics") else "portal"


def count(kind: str, status: int, seconds: float) -> None:
    """Note one answered request."""
    with _lock:
        _counted[f"n|{kind}|{status // 100}xx"] += 1
        _counted[f"us|{kind}"] += round(seconds / MICROSECOND)


def flush(settings: Settings) -> None:
    """Add what this process has counted to the sums; what the queue server does not take is kept for the next time."""
    global _counted
    with _lock:
        taken, _counted = _counted, Counter()
    if not taken:
        return
    try:
        with jobs.connection(settings).pipeline() as pipe:
            for name, n in taken.items():
                pipe.hincrby(KEY, name, n)
            pipe.execute()
    except RedisError as error:
        log.debug("requests stay uncounted for now (%s)", error)
        with _lock:
            _counted.update(taken)


def sums(settings: Settings) -> dict[str, int]:
    """What all processes have counted, by `n|class|status` and `us|class` (microseconds)."""
    flush(settings)
    found = jobs.connection(settings).hgetall(KEY)
    return {name.decode(): int(n) for name, n in found.items()}  # type: ignore[union-attr]


def _keep_flushing(settings: Settings) -> None:
    """Flush from a thread of this very process; a fork has to begin its own."""
    global _flusher
    with _lock:
        if _flusher == os.getpid():
            return
        _flusher = os.getpid()

    def run() -> None:
        while True:
            time.sleep(FLUSH_SECONDS)
            flush(settings)

    threading.Thread(target=run, name="request counts", daemon=True).start()


def init_app(app: Flask) -> None:
    @app.before_request
    def begin() -> None:
        g.began_at = time.perf_counter()

    @app.after_request
    def note(response: Response) -> Response:
        began = g.get("began_at")
        if began is not None:
            count(route_class(), response.status_code, time.perf_counter() - began)
            if not app.testing and _flusher != os.getpid():
                _keep_flushing(app.extensions["settings"])
        return response
