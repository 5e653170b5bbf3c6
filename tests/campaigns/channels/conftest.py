"""The other sides of channels for tests: an HTTP server that keeps a ledger of its own and answers as it is told."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import pytest
from flask import Flask, has_app_context

from campaigns.channels import pace, services
from campaigns.channels.models import Account, ChannelKind
from community.groups.models import Group, GroupKind, GroupState
from kernel import clock


@dataclass
class Asked:
    """A request as the other side saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Say:
    """An answer: the status and the body, after a while; status 0 hangs up without one."""

    status: int = 200
    body: Any = field(default_factory=dict)
    wait: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


class Side(ThreadingHTTPServer):
    """The other side. What it took stands in `taken`, whatever it then answered; `answers` are used up one by one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.taken: list[Asked] = []
        self.connections = 0
        self.answers: list[Say] = []
        self.usual = Say()
        self.by_path: Callable[[Asked], Say] | None = None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Side

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def _answer(self) -> None:
        asked = Asked(
            self.command, self.path, dict(self.headers), self.rfile.read(int(self.headers.get("Content-Length") or 0))
        )
        self.server.taken.append(asked)
        if self.server.by_path is not None:
            say = self.server.by_path(asked)
        else:
            say = self.server.answers.pop(0) if self.server.answers else self.server.usual
        time.sleep(say.wait)
        if say.status == 0:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = say.body if isinstance(say.body, bytes) else json.dumps(say.body).encode()
        self.send_response(say.status)
        for name, value in say.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET = _answer

    def log_message(self, *words: Any) -> None:
        return None


@pytest.fixture
def local(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this very machine be called, as a trial on one machine does."""
    monkeypatch.setitem(app.extensions, "settings", replace(app.extensions["settings"], outbound_local=True))
    with nullcontext() if has_app_context() else app.app_context():
        yield


@pytest.fixture
def side(local: None) -> Iterator[Side]:
    server = Side()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def make_account(db: Any) -> Callable[..., Account]:
    """`make_account(kind, secret=…, **settings)` sets an account up."""

    def make(
        kind: ChannelKind,
        secret: Any = None,
        name: str = "Test",
        rates: Any = None,
        **settings: Any,
    ) -> Account:
        return services.save_account(kind, name, settings, rates or pace.Rates(), secret)

    return make


SMS_GATEWAY = {
    "provider": "gateway",
    "signature": "青荷茶铺",
    "opt_out": "拒收请回复R",
    "form": "json",
    "template": '{"mobile": "{phone}", "content": "{text}", "id": "{key}", "token": "{secret}"}',
    "headers": "",
    "ok_path": "code",
    "ok_value": "0",
    "id_path": "data.id",
    "reason_path": "msg",
}


@pytest.fixture
def sms_account(make_account: Callable[..., Account], side: Side) -> Account:
    """A gateway for text messages that takes everything with `{"code": 0}`."""
    side.usual = Say(body={"code": 0, "data": {"id": "g-1"}})
    return make_account(ChannelKind.SMS, url=f"{side.url}/sms", timeout_seconds=0.5, **SMS_GATEWAY)


@pytest.fixture
def make_group(db: Any) -> Callable[..., Group]:
    """`make_group(name)` opens a group of the shop's own."""
    numbers = count(1)

    def make(name: str = "Tea friends") -> Group:
        number, now = next(numbers), clock.now()
        group = Group(
            public_id=f"channels{number}",
            name=name,
            kind=GroupKind.REGULAR,
            state=GroupState.OPEN,
            created_at=now,
            join_rule={},
        )
        db.session.add(group)
        db.session.flush()
        return group

    return make
