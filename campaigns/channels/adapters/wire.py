"""Calls of adapters over HTTP: one connection that is used again, only to addresses of the open internet, and an end to every call.

What may be said afterwards depends on how far a call came: `NotSent` when not a byte of it went out, `NoAnswer` when some did
and nothing certain came back.
"""

from __future__ import annotations

import http.client
import json
import select
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from kernel import outbound

LONGEST_ANSWER = 4 * 2**20
# The address, the key or the method is wrong: nothing is lost, somebody has to look at the account.
OURS_TO_MEND = frozenset({301, 302, 303, 307, 308, 401, 402, 403, 404, 405, 407, 410})


class NotSent(Exception):
    """Nothing went out: the address is refused or unknown, or nobody listens there."""


class NoAnswer(Exception):
    """It went out, and whether it was taken nobody here knows."""


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the headers in lower case, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON, or None when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def after(self) -> timedelta | None:
        """How long the other side asks to wait, at most a day."""
        text = self.headers.get("retry-after", "")
        return timedelta(seconds=min(int(text), 86_400)) if text.isascii() and text.isdigit() else None


class Line:
    """A kept connection to the host of an address. One call at a time."""

    def __init__(self, url: str, seconds: float) -> None:
        self.url = url
        self.seconds = seconds
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connection: http.client.HTTPConnection | None = None

    def _connected(self) -> http.client.HTTPConnection:
        kept = self._connection
        if kept is not None and kept.sock is not None and not select.select([kept.sock], [], [], 0)[0]:
            return kept
        # A kept connection that has something to read was closed by the other side meanwhile.
        self.close()
        target = outbound.read(self.url)
        fresh = http.client.HTTPConnection(target.host, target.port)
        fresh.sock = outbound.connect(target, self.seconds)
        fresh.sock.settimeout(self.seconds)
        self._connection = fresh
        return fresh

    def reach(self) -> None:
        """Connect, and nothing more. Raises `NotSent`."""
        try:
            self._connected()
        except (outbound.AddressRefused, outbound.CallFailed, OSError) as error:
            self.close()
            raise NotSent(f"{self.host}: {words(error)}") from None

    def trouble(self) -> str | None:
        """Whether somebody listens there: None, or what is wrong. Nothing is sent."""
        try:
            self.reach()
        except NotSent as error:
            return str(error)
        return None

    def call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Ask and read the answer, in `seconds` however slowly the other side speaks. Raises `NotSent` and `NoAnswer`."""
        self.reach()
        connection = self._connection
        assert connection is not None  # noqa: S101
        over = threading.Event()
        watch = threading.Timer(self.seconds, _cut, (connection.sock, over))
        watch.daemon = True
        watch.start()
        try:
            connection.request(method, path, body, {"User-Agent": "Siyu", **headers})
            answer = connection.getresponse()
            said = answer.read(LONGEST_ANSWER)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            what = f"no answer in {self.seconds:.0f} s" if over.is_set() else words(error)
            raise NoAnswer(f"{self.host}: {what}") from None
        finally:
            watch.cancel()
        if answer.will_close or over.is_set():
            self.close()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, said)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _cut(sock: socket.socket, over: threading.Event) -> None:
    over.set()
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def words(error: Exception) -> str:
    """An error on one line, for the log."""
    text = str(error)
    return f"{type(error).__name__}: {text}"[:200] if text else type(error).__name__
