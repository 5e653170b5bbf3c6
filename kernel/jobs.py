"""Jobs: functions with plain arguments that an RQ worker runs in a transaction of their own.

PostgreSQL decides and RQ only wakes a worker: whatever a job does must be findable again from the tables, so that an
emptied queue loses nothing. Jobs are queued only after the commit of whoever asked for them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Generic, ParamSpec

from flask import Flask, current_app, has_app_context
from redis import Redis, RedisError
from rq import Queue, get_current_job
from rq.serializers import JSONSerializer

from . import config, failures
from .db import on_commit, transaction

log = logging.getLogger(__name__)
P = ParamSpec("P")

# One queue a worker: RQ loses jobs silently when a worker listens to several.
QUEUES = ("default", "bulk")
# A slice ends well before this; a job that does not is stopped and found again by its sweep.
TIMEOUT = 900
# A recurring job whose worker was killed comes again after so long; one that runs longer may run twice.
MARK_SECONDS = 30
# A job is told which rows it is about, not what is in them.
LARGEST_ARGUMENTS = 64 * 1024


@cache
def redis_at(url: str) -> Redis:
    return Redis.from_url(url, socket_connect_timeout=2, socket_timeout=70, health_check_interval=30)


def connection(settings: config.Settings) -> Redis:
    """The connection to the queue server of the given settings (one a process)."""
    return redis_at(settings.redis_url)


def queue(name: str, settings: config.Settings) -> Queue:
    return Queue(name, connection=connection(settings), serializer=JSONSerializer, default_timeout=TIMEOUT)


class Job(Generic[P]):
    """A function that can run later, in a worker."""

    def __init__(
        self, function: Callable[P, object], queue_name: str, own_transactions: bool, endless: bool = False
    ) -> None:
        if queue_name not in QUEUES:
            raise ValueError(f"no queue {queue_name}")
        self.direct = function
        self.queue_name = queue_name
        self.own_transactions = own_transactions
        self.endless = endless
        self.name = f"{function.__module__}.{function.__name__}"
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__module__ = function.__module__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run in a fresh application context, as a worker does."""
        app = current_app._get_current_object() if has_app_context() else _worker_app()  # type: ignore[attr-defined]
        try:
            with app.app_context():
                if get_current_job() is None:
                    self._run(*args, **kwargs)
                else:
                    self._attempt(app, kwargs)
        finally:
            if self.name in _recurring and "collected_jobs" not in app.extensions:
                self._unmark(app)

    def _run(self, *args: P.args, **kwargs: P.kwargs) -> None:
        if self.own_transactions:
            self.direct(*args, **kwargs)
        else:
            with transaction():
                self.direct(*args, **kwargs)

    def _attempt(self, app: Flask, kwargs: dict[str, Any]) -> None:
        queue_server = connection(app.extensions["settings"])
        if not failures.attempt(queue_server, self.name, kwargs, self.goes_on, lambda: self._run(**kwargs)):  # type: ignore[call-arg]
            log.warning("%s is put aside and was not begun", self.name)

    def _unmark(self, app: Flask) -> None:
        try:
            connection(app.extensions["settings"]).delete(self.mark)
        except RedisError as error:
            log.warning("the mark of %s stays until it expires (%s)", self.name, error)

    @property
    def goes_on(self) -> bool:
        """Whether it is begun again however often it fails."""
        return self.endless or self.name in _recurring

    @property
    def mark(self) -> str:
        """The key that says that the ticker has queued this job and it has not come to its end yet."""
        return f"siyu:every:{self.name}"

    def later(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Queue after the present transaction has been committed."""
        if args:
            raise TypeError("a job takes keyword arguments only")
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        on_commit(lambda: self._enqueue(app, kwargs))

    def later_now(self, settings: config.Settings, unique: bool = True) -> None:
        """Queue at once, without a transaction (the ticker). `unique` drops it while an equal one still waits or runs.

        A mark of ours decides, not RQ's own `unique`: that one counts a failed job, and one whose worker was killed, as
        still there, and a recurring job would not come again for a long time.
        """
        if unique and not connection(settings).set(self.mark, 1, nx=True, ex=MARK_SECONDS):
            log.debug("%s is queued already", self.name)
            return
        _queue(self, settings, {}, failure_seconds=600)

    def _enqueue(self, app: Flask, kwargs: dict[str, Any]) -> None:
        collected = app.extensions.get("collected_jobs")
        if collected is not None:
            collected.append((self, kwargs))
            return
        try:
            _queue(self, app.extensions["settings"], kwargs)
        except Exception as error:
            log.warning("could not wake a worker for %s (%s); the ticker will", self.name, error)


def _queue(job: Job[Any], settings: config.Settings, kwargs: dict[str, Any], failure_seconds: int = 86_400) -> None:
    if len(json.dumps(kwargs, default=str)) > LARGEST_ARGUMENTS:
        raise ValueError(f"{job.name} was given more than {LARGEST_ARGUMENTS:,} bytes to do; give it ids")
    queue(job.queue_name, settings).enqueue(job.name, kwargs=kwargs, result_ttl=0, failure_ttl=failure_seconds)


@dataclass(frozen=True)
class Recurring:
    """A job that the ticker queues every so many seconds."""

    job: Job[Any]
    seconds: float

    @property
    def name(self) -> str:
        return self.job.name

    def later_now(self, settings: config.Settings) -> None:
        self.job.later_now(settings)


def find(name: str) -> Job[Any] | None:
    """The job of a name (`module.function`), or None when this version has none of that name."""
    module, _dot, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError:
        return None
    return found if isinstance(found, Job) else None


_recurring: dict[str, Recurring] = {}
_app: Flask | None = None


def job(
    queue: str = "default", own_transactions: bool = False, endless: bool = False
) -> Callable[[Callable[P, object]], Job[P]]:
    """Make a function a job.

    `queue` is `default` (short work) or `bulk` (slices of long work). With `own_transactions` the body opens
    `with transaction():` itself, as often as it likes; otherwise the whole body is one. A job that
    fails three times, or whose worker dies three times over it, is put aside; not so an `endless` one, which gets further each time
    or counts its tries itself, and is found again from its tables as long as something is left.
    """

    def decorate(function: Callable[P, object]) -> Job[P]:
        return Job(function, queue, own_transactions, endless)

    return decorate


def every(seconds: float) -> Callable[[Job[P]], Job[P]]:
    """Let the ticker queue a job every so many seconds. The job takes no arguments and may run twice harmlessly."""

    def register(recurring: Job[P]) -> Job[P]:
        _recurring[recurring.name] = Recurring(recurring, seconds)
        return recurring

    return register


def registered() -> list[Recurring]:
    """The recurring jobs of every package that has been loaded."""
    return list(_recurring.values())


def _worker_app() -> Flask:
    if _app is None:
        raise RuntimeError("no application has been created in this process")
    return _app


def init_app(app: Flask) -> None:
    global _app
    _app = app
