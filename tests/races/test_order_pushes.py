"""One delivery of a shop system, fifty times at the same moment: it acts once (check B7), and the proof that it could act more often."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from kernel.db import db, transaction
from membership.orders.feeds.signatures import Kind
from membership.orders.jobs import take_in_delivery
from membership.orders.services import connections
from tests.membership.orders import payloads
from tests.membership.orders.payloads import base64_hmac
from tests.races.test_imports import clear

pytestmark = pytest.mark.race
SECRET = "a-secret-of-the-shop"
TIMES = 50


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    with app.app_context(), transaction():
        connection, _secret = connections.set_up("Shop", Kind.SHOPIFY, "shop", SECRET)
        token = connection.token
    # Jobs are collected, not queued: the test is the worker.
    app.extensions["collected_jobs"] = []
    yield f"/hooks/orders/{token}"
    del app.extensions["collected_jobs"]
    clear(app)


def push_at_once(app: Flask, address: str, body: bytes, number: str) -> list[int]:
    headers = {
        "X-Shopify-Hmac-Sha256": base64_hmac(SECRET, body),
        "X-Shopify-Webhook-Id": number,
        "X-Shopify-Topic": "orders/updated",
    }
    answers: list[int] = []
    start = threading.Barrier(10)

    def send() -> None:
        client = FlaskClient(app, app.response_class)
        start.wait()
        for _ in range(TIMES // 10):
            answers.append(client.post(address, data=body, headers=headers).status_code)

    threads = [threading.Thread(target=send) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


COUNTS = """
    SELECT (SELECT count(*) FROM hook_receipt), (SELECT sum(repeats) FROM hook_receipt), (SELECT count(*) FROM "order"),
           (SELECT count(*) FROM member), (SELECT sum(attempts) FROM hook_receipt)
"""


def counts(app: Flask) -> tuple[int, ...]:
    with app.app_context():
        return tuple(db.session.execute(text(COUNTS)).one())


def work_at_once(app: Flask) -> None:
    """Several workers are handed the same delivery."""
    with app.app_context():
        receipt = db.session.scalar(text("SELECT id FROM hook_receipt"))
    start = threading.Barrier(5)

    def work() -> None:
        with app.app_context():
            start.wait()
            take_in_delivery.direct(receipt_id=receipt)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def test_check_b7_one_delivery_fifty_times_at_once_acts_once(app: Flask, address: str) -> None:
    assert push_at_once(app, address, payloads.text(payloads.SHOPIFY), "w-1") == [200] * TIMES
    work_at_once(app)
    assert counts(app) == (1, TIMES - 1, 1, 1, 1)


def test_check_b7_without_the_guard_it_is_kept_more_than_once(
    app: Flask, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number made up for each request in the place of the sender's."""
    numbers = iter(range(10_000))
    real = connections._keep
    monkeypatch.setattr(
        connections, "_keep", lambda connection, number, *rest: real(connection, f"{number}-{next(numbers)}", *rest)
    )
    push_at_once(app, address, payloads.text(payloads.SHOPIFY), "w-1")
    assert counts(app)[0] > 1
