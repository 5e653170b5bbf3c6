"""The webhook adapter against an HTTP server in this process."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from campaigns.channels.adapters import Message, Status
from campaigns.channels.adapters.webhook import Hook, Webhook


def message(n: int) -> Message:
    return Message(f"delivery:{n}", n, n, f"+86100{n:08}", "Hello", "Tea", None, None)


class Gateway(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.connections = 0
        self.status, self.answer, self.headers = 200, b"{}", {}
        self.wait = 0.0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/in?x=1"


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((dict(self.headers), body))
        time.sleep(self.server.wait)
        if self.server.status == 0:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *words: Any) -> None:
        return None


@pytest.fixture
def gateway(local: None) -> Iterator[Gateway]:
    server = Gateway()
    yield server
    server.shutdown()
    server.server_close()


def test_a_batch_is_one_signed_request(app: Any, gateway: Gateway) -> None:
    adapter = Webhook(Hook(gateway.url, secret="salt"))
    for _ in range(2):
        outcomes = adapter.submit([message(1), message(2)])
    adapter.close()
    assert [o.status for o in outcomes] == [Status.ACCEPTED] * 2
    assert (len(gateway.seen), gateway.connections) == (2, 1)
    headers, body = gateway.seen[0]
    at, signature = (part.partition("=")[2] for part in headers["Siyu-Signature"].split(","))
    assert hmac.compare_digest(signature, hmac.new(b"salt", f"{at}.".encode() + body, hashlib.sha256).hexdigest())
    assert [m["key"] for m in json.loads(body)["messages"]] == ["delivery:1", "delivery:2"]
    assert headers["Idempotency-Key"] == gateway.seen[1][0]["Idempotency-Key"]


def test_it_may_judge_single_messages(app: Any, gateway: Gateway) -> None:
    gateway.answer = json.dumps(
        {
            "results": [
                {"key": "delivery:1", "status": "accepted", "id": "a-1"},
                {"key": "delivery:2", "status": "rejected", "reason": "no such number"},
                {"key": "delivery:3", "status": "retry"},
            ]
        }
    ).encode()
    outcomes = Webhook(Hook(gateway.url)).submit([message(n) for n in (1, 2, 3, 4)])
    assert [o.status for o in outcomes] == [Status.ACCEPTED, Status.REJECTED, Status.RETRY, Status.ACCEPTED]
    assert (outcomes[0].provider_id, outcomes[1].reason) == ("a-1", "no such number")


@pytest.mark.parametrize("answer", [b"", b"null", b"[]", b'{"results": 7}', b"<html>", b"\xff\xfe"])
def test_any_2xx_takes_the_batch(app: Any, gateway: Gateway, answer: bytes) -> None:
    gateway.answer = answer
    assert Webhook(Hook(gateway.url)).submit([message(1)])[0].status is Status.ACCEPTED


@pytest.mark.parametrize(
    ("status", "outcome", "down"),
    [
        (400, Status.REJECTED, False),
        (422, Status.REJECTED, False),
        (401, Status.RETRY, True),
        (404, Status.RETRY, True),
        (302, Status.RETRY, True),
        (429, Status.RETRY, True),
        (503, Status.RETRY, True),
        (500, Status.UNKNOWN, False),
        (502, Status.UNKNOWN, False),
        (504, Status.UNKNOWN, False),
    ],
)
def test_what_a_status_says(app: Any, gateway: Gateway, status: int, outcome: Status, down: bool) -> None:
    gateway.status, gateway.headers = status, {"Retry-After": "120"}
    found = Webhook(Hook(gateway.url)).submit([message(1)])[0]
    assert (found.status, found.down) == (outcome, down)
    if status in (429, 503):
        assert found.after is not None
        assert found.after.total_seconds() == 120


def test_no_answer_leaves_doubt(app: Any, gateway: Gateway) -> None:
    gateway.status = 0
    assert Webhook(Hook(gateway.url)).submit([message(1)])[0].status is Status.UNKNOWN
    gateway.status, gateway.wait = 200, 1.0
    assert Webhook(Hook(gateway.url, timeout_seconds=0.2)).submit([message(1)])[0].status is Status.UNKNOWN


def test_a_kept_connection_that_was_closed_is_opened_anew(app: Any, gateway: Gateway) -> None:
    gateway.headers = {"Connection": "close"}
    adapter = Webhook(Hook(gateway.url))
    assert [adapter.submit([message(n)])[0].status for n in (1, 2)] == [Status.ACCEPTED] * 2
    assert gateway.connections == 2


def test_a_gateway_that_is_down_loses_nothing(app: Any, local: None) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    outcomes = Webhook(Hook(f"http://127.0.0.1:{port}/", timeout_seconds=1)).submit([message(1), message(2)])
    assert [(o.status, o.down) for o in outcomes] == [(Status.RETRY, True)] * 2
