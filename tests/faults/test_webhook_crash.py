"""A worker that is killed while it sends webhooks loses none: the message goes out again under the same webhook-id."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from kernel import config
from kernel.db import db, transaction
from kernel.webhooks import jobs as sending
from kernel.webhooks import services
from kernel.webhooks.models import DeliveryState, WebhookDelivery, WebhookEndpoint
from kernel.webhooks.spreading import deliver
from tests.committed import clear
from tests.live import eventually

pytestmark = pytest.mark.fault
FORK = multiprocessing.get_context("fork")
MESSAGES, KILLS = 60, 12


class Sink(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.taken: Counter[str] = Counter()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


class Taking(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.taken[self.headers["webhook-id"]] += 1
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def shop(settings: config.Settings, app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The application on rows that are really committed; this machine may be called, and leases are short."""
    monkeypatch.setitem(app.extensions, "settings", replace(settings, outbound_local=True))
    monkeypatch.setattr(sending, "LEASE", timedelta(seconds=0.5))
    monkeypatch.setattr(sending, "OF_ONE", 4)
    yield app
    clear(app)


def work(app: Flask, dies: str | None) -> None:
    """Send what is due, until killed; `dies` tells whether that is `before` the first call of all or `after` its answer."""
    with app.app_context():
        db.engine.dispose(close=False)
    call = sending._call

    def last(parcel: sending.Parcel) -> sending.Outcome:
        if dies == "after":
            call(parcel)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("nobody outlives a SIGKILL")

    if dies:
        sending._call = last
    while True:
        sending.send_webhooks()
        time.sleep(0.05)


def unsent(app: Flask) -> int:
    with app.app_context():
        left = db.session.scalars(
            select(WebhookDelivery.id).where(WebhookDelivery.state != DeliveryState.DELIVERED)
        ).all()
        db.session.remove()
        return len(left)


def sent_through_kills(shop: Flask, sink: Sink) -> set[str]:
    """Send many messages through workers that are killed one after the other, and one that is not; their webhook-ids."""
    with shop.app_context(), transaction():
        shop.extensions["collected_jobs"] = []
        endpoint = WebhookEndpoint(
            url=f"http://127.0.0.1:{sink.server_port}/in",
            types=[],
            listens=[],
            secret=services.sealing.seal(services.rules.new_secret(), services.PURPOSE),
            created_at=services.clock.now(),
        )
        db.session.add(endpoint)
        db.session.flush()
        names = {deliver("probe", "{}", [endpoint.id], None)[0].message_id for _ in range(MESSAGES)}
    del shop.extensions["collected_jobs"]
    with shop.app_context():
        db.engine.dispose()
    for kill in range(KILLS):
        victim = FORK.Process(target=work, args=(shop, ("before", "after")[kill % 2]), daemon=True)
        victim.start()
        victim.join(60)
        assert victim.exitcode == -signal.SIGKILL
    process = FORK.Process(target=work, args=(shop, None), daemon=True)
    process.start()
    try:
        eventually(lambda: unsent(shop) == 0, 60, every=0.2)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    return names


def test_no_message_is_lost_to_killed_workers(shop: Flask, sink: Sink) -> None:
    names = sent_through_kills(shop, sink)
    assert set(sink.taken) == names, "every message arrived, under its own name alone"
    # What had arrived and was not recorded came a second time: the receiver tells by the webhook-id.
    assert sum(sink.taken.values()) > MESSAGES


def test_with_the_outcome_recorded_before_the_call_the_same_kills_lose_messages(
    shop: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = sending._claim

    def hasty() -> Any:
        parcels = claim()
        numbers = [parcel.delivery_id for parcel in parcels]
        db.session.execute(
            update(WebhookDelivery).where(WebhookDelivery.id.in_(numbers)).values(state=DeliveryState.DELIVERED)
        )
        return parcels

    monkeypatch.setattr(sending, "_claim", hasty)
    names = sent_through_kills(shop, sink)
    assert set(sink.taken) < names
