"""A push keeps its books right while its workers are killed and its queue is emptied.

Real processes send over HTTP to a sink that keeps its own ledger. Each fault has its teeth: with the intent not committed
before the call, the same kills send messages twice.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace

import pytest
from flask import Flask
from redis import Redis

from campaigns.pushes.models import RunState
from tests.faults.sending import Crew, S, Sink, books, finished, make_push, taken_once, wait_for

pytestmark = pytest.mark.fault


@pytest.mark.parametrize(
    ("kills", "people"), [(30, 5_000), pytest.param(1_000, 100_000, marks=pytest.mark.long)], ids=["30", "1000"]
)
def test_inv_d4_killed_workers_lose_and_repeat_nothing(
    app: Flask, sink: Sink, workers: Crew, kills: int, people: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More may take part in a run than there are workers: the leases of the dead count until they run out, and the living
    # are to be at work meanwhile, for the next kill to strike.
    monkeypatch.setitem(app.extensions, "settings", replace(app.extensions["settings"], bulk_workers=16))
    run_id = make_push(app, sink, people)
    workers.start()
    while workers.kills < kills:
        # Each kill strikes while messages are on their way, and each time work is taken up again within a minute.
        before, deadline = sink.count(), time.monotonic() + 60
        while sink.count() == before:
            assert time.monotonic() < deadline, f"nothing was sent for a minute after {workers.kills} kills"
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.1))
        workers.kill_one()
    # They were killed at work, not at rest.
    assert sink.count() < people
    # What is left after the last kill is begun within a minute, and then takes its time.
    at_the_end = sink.count()
    wait_for(app, run_id, 60, lambda run: finished(run) or sink.count() > at_the_end)
    run = wait_for(app, run_id, 60 + people / 100, finished)
    states, _run = books(app, run_id)
    assert run.state is RunState.COMPLETED
    assert len(states) == run.planned == people
    # Every message came to one end, sent or in doubt, and none was taken twice.
    taken_once(sink, states)
    ends = Counter(states.values())
    assert run.tally == {state.value: people for state, people in ends.items()}
    # So many batches were in doubt: not more than kills, and not so few that they struck idle hands.
    assert workers.kills // 10 <= ends[S.UNKNOWN] <= workers.kills * 10


def test_inv_d4_an_idempotent_channel_leaves_no_doubt(app: Flask, sink: Sink, workers: Crew) -> None:
    run_id = make_push(app, sink, 1_000, idempotent=True)
    workers.start()
    while sink.count() == 0:
        time.sleep(0.05)
    for _ in range(5):
        time.sleep(0.25)
        workers.kill_one()
    wait_for(app, run_id, 120, finished)
    states, _run = books(app, run_id)
    assert set(states.values()) == {S.ACCEPTED}
    assert set(sink.taken) == set(states)


def test_inv_d5_an_emptied_queue_stops_nothing(app: Flask, sink: Sink, workers: Crew, queue_server: Redis) -> None:
    run_id = make_push(app, sink, 2_000)
    workers.start()
    for part in (300, 900):
        while sink.count() < part:
            time.sleep(0.02)
        queue_server.flushall()
    run = wait_for(app, run_id, 120, finished)
    states, _run = books(app, run_id)
    assert run.state is RunState.COMPLETED
    assert set(states.values()) == {S.ACCEPTED}
    assert sink.taken == Counter(states.keys())


def test_teeth_without_the_intent_messages_are_sent_twice(
    app: Flask, sink: Sink, workers: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIYU_TEST_TEETH", "no-intent")
    run_id = make_push(app, sink, 2_000)
    workers.start()
    while sink.count() == 0:
        time.sleep(0.05)
    for _ in range(8):
        time.sleep(0.3)
        workers.kill_one()
    wait_for(app, run_id, 40, finished)
    assert [key for key, n in sink.taken.items() if n > 1] != []
