"""Three tickers: one leads, a killed or frozen leader is followed by another, and each time of a push comes once (check G6)."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import select, text

from campaigns.channels import services as channels
from campaigns.pushes import services
from campaigns.pushes.models import Run, RunState
from kernel import clock, config, ticker
from kernel.db import db, transaction
from tests.committed import at_once, clear
from tests.live import eventually

pytestmark = pytest.mark.fault
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def tickers(
    app: Flask, settings: config.Settings, queue_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Starts tickers, quicker than in life; ends them all."""
    monkeypatch.setattr(ticker, "TICK_SECONDS", 0.1)
    monkeypatch.setattr(ticker, "FROZEN_SECONDS", 1.0)
    with app.app_context():
        db.engine.dispose()
    started: list[Any] = []

    def start() -> Any:
        process = FORK.Process(target=ticker.run, args=(settings, app), daemon=True)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()


def leaders(app: Flask) -> list[int]:
    """The database's processes that hold the lead for somebody."""
    with app.app_context():
        found = db.session.scalars(
            text("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = :number"),
            {"number": ticker.LEADER_LOCK},
        ).all()
        db.session.remove()
        return list(found)


def new_leader(app: Flask, former: list[int]) -> list[int]:
    return [pid for pid in leaders(app) if pid not in former]


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_check_g6_a_lost_leader_is_followed_by_another(
    app: Flask, tickers: Any, queue_server: Redis, fault: signal.Signals
) -> None:
    first = tickers()
    before = eventually(lambda: leaders(app), 20)
    for _ in range(2):
        tickers()
    os.kill(first.pid, fault)
    after = eventually(lambda: new_leader(app, before), 20)
    # It beats for the ticker from now on.
    queue_server.delete("siyu:alive:ticker")
    eventually(lambda: queue_server.exists("siyu:alive:ticker"), 10)
    if fault is signal.SIGSTOP:
        os.kill(first.pid, signal.SIGCONT)
        queue_server.delete("siyu:alive:ticker")
        eventually(lambda: queue_server.exists("siyu:alive:ticker"), 10)
    assert leaders(app) == after


# ── Each time of a push ─────────────────────────────────────────────────────────────────────────────────────────────

FIRST = datetime(2026, 3, 3, 1, 0, tzinfo=UTC)  # 09:00 in the shop.
JUMPS = [
    timedelta(hours=1), timedelta(hours=-1), timedelta(hours=2), timedelta(days=1), timedelta(hours=-1),
    timedelta(days=1), timedelta(minutes=1), timedelta(days=1), timedelta(days=3), timedelta(days=-2), timedelta(days=3),
]  # fmt: skip


def series(app: Flask) -> int:
    with app.app_context(), transaction():
        push, run = services.draft(
            None,
            name="Every morning",
            account_id=channels.inbox_account().id,
            audience={"rules": []},
            subject="Good morning",
            body="Tea",
            rrule="FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
        )
        services.schedule(run)
        return push.id


def one_tick(app: Flask) -> list[int]:
    """What the ticker's job does about what is due; the runs that this very call has begun."""
    with app.app_context():
        with transaction():
            services.expire_overdue()
            services.plan_series()
            begun = [run.id for run in services.due() if services.start(run)]
        db.session.remove()
        return begun


def test_check_g6_each_time_comes_once_however_the_clock_jumps(app: Flask) -> None:
    begun: Counter[int] = Counter()
    early: list[int] = []

    def tick() -> None:
        now = clock.now()
        for run_id in one_tick(app):
            begun[run_id] += 1
            with app.app_context():
                run = db.session.get_one(Run, run_id)
                if run.scheduled_at is None or run.scheduled_at > now + timedelta(seconds=60):
                    early.append(run_id)
                db.session.remove()

    try:
        with clock.frozen(FIRST - timedelta(hours=2)) as step:
            push_id = series(app)
            for jump in [*JUMPS, datetime(2038, 1, 20, tzinfo=UTC) - FIRST]:
                step(jump)
                for _ in range(2):
                    assert at_once(app, [tick] * 3) == []
            with app.app_context():
                runs = db.session.scalars(select(Run).where(Run.push_id == push_id).order_by(Run.id)).all()
                occurrences = [run.occurrence for run in runs]
                started = [run for run in runs if run.started_at is not None]
                missed = [run for run in runs if run.failure == services.MISSED]
                db.session.remove()
        assert len(set(occurrences)) == len(occurrences)
        assert begun
        assert set(begun.values()) == {1}
        assert {run.id for run in started} == set(begun)
        assert early == []
        # What nobody began within the hour was missed, is written down, and is never begun.
        assert missed
        assert all(run.state is RunState.EXPIRED and run.started_at is None for run in missed)
    finally:
        clear(app)
