"""A webhook: each batch is one POST of JSON to an address of the shop's, signed, for a gateway or a program of its own.

    POST <url>
    Siyu-Signature: t=1767225600,v1=<hex HMAC-SHA256 of "<t>.<body>" under the account's secret>
    {"messages": [{"key": "delivery:12", "to": "…", "member": 7, "subject": "…", "body": "…", "link": "…"}]}

A 2xx answer takes the whole batch, unless it says otherwise of single messages:
    {"results": [{"key": "delivery:12", "status": "accepted|rejected|retry", "id": "…", "reason": "…"}]}
"""

from __future__ import annotations

import http.client
import json
import select
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from hmac import new as hmac
from typing import Any
from urllib.parse import urlsplit

from kernel import clock, links
from membership.members.models import Contact

from ..models import ChannelKind
from . import Abilities, Message, Outcome, Status

# The address, the key or the method is wrong: nothing is lost, somebody has to look at the account.
_OURS_TO_MEND = frozenset({301, 302, 303, 307, 308, 401, 402, 403, 404, 405, 407, 410})
_LONGEST_ANSWER = 4 * 2**20


@dataclass(frozen=True)
class Hook:
    """Where a webhook account sends to."""

    url: str
    secret: str = ""
    contact: Contact = Contact.SMS
    idempotent: bool = False
    timeout_seconds: float = 10.0
    batch_size: int = 50


class Webhook:
    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self.abilities = Abilities(
            kind=ChannelKind.WEBHOOK,
            contact=hook.contact,
            idempotent=hook.idempotent,
            batch_size=hook.batch_size,
            longest=timedelta(seconds=3 * hook.timeout_seconds),
        )
        parts = urlsplit(hook.url)
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connection: http.client.HTTPConnection | None = None

    def _connected(self) -> http.client.HTTPConnection:
        connection = self._connection
        if (
            connection is not None
            and connection.sock is not None
            and not select.select([connection.sock], [], [], 0)[0]
        ):
            return connection
        # A kept connection that has something to read was closed by the other side meanwhile.
        self.close()
        if self._secure:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self.hook.timeout_seconds, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self.hook.timeout_seconds)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        return connection

    def submit(self, batch: Sequence[Message]) -> list[Outcome]:
        body = json.dumps({"messages": [_plain(m) for m in batch]}, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            connection = self._connected()
        except OSError as error:
            self.close()
            return [Outcome(Status.RETRY, f"{self._host}: {_words(error)}", down=True)] * len(batch)
        try:
            connection.request("POST", self._path, body, self._headers(body, batch))
            answer = connection.getresponse()
            said = answer.read(_LONGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            # Part of it may have gone out; whether it was taken, nobody here knows.
            self.close()
            return [Outcome(Status.UNKNOWN, f"{self._host}: {_words(error)}")] * len(batch)
        if answer.will_close:
            self.close()
        return self._judge(batch, answer, said)

    def _headers(self, body: bytes, batch: Sequence[Message]) -> dict[str, str]:
        at = str(int(clock.now().timestamp()))
        signature = hmac(self.hook.secret.encode(), f"{at}.".encode() + body, sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "User-Agent": "Siyu",
            "Siyu-Signature": f"t={at},v1={signature}",
            "Idempotency-Key": sha256("\n".join(m.key for m in batch).encode()).hexdigest(),
        }

    def _judge(self, batch: Sequence[Message], answer: http.client.HTTPResponse, said: bytes) -> list[Outcome]:
        status, reason = answer.status, f"HTTP {answer.status}"
        if 200 <= status < 300:
            results = _results(said)
            return [_outcome(m, results.get(m.key)) for m in batch]
        if status in (429, 503):
            return [Outcome(Status.RETRY, reason, after=_after(answer), down=True)] * len(batch)
        if status in _OURS_TO_MEND:
            return [Outcome(Status.RETRY, reason, down=True)] * len(batch)
        if 400 <= status < 500:
            return [Outcome(Status.REJECTED, reason)] * len(batch)
        return [Outcome(Status.UNKNOWN, reason)] * len(batch)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _plain(m: Message) -> dict[str, Any]:
    return {
        "key": m.key,
        "to": m.address,
        "member": m.member_id,
        "subject": m.subject,
        "body": m.body,
        "link": links.absolute(m.path) if m.path else None,
    }


def _results(said: bytes) -> dict[str, dict[str, Any]]:
    try:
        answer = json.loads(said)
        return {str(r["key"]): r for r in answer["results"]}
    except (ValueError, TypeError, KeyError):
        return {}


def _outcome(m: Message, result: dict[str, Any] | None) -> Outcome:
    if result is None:
        return Outcome(Status.ACCEPTED)
    reason = str(result.get("reason") or "")[:300]
    match result.get("status"):
        case "rejected":
            return Outcome(Status.REJECTED, reason or "rejected")
        case "retry":
            return Outcome(Status.RETRY, reason or "retry")
        case _:
            return Outcome(Status.ACCEPTED, provider_id=str(result["id"])[:200] if result.get("id") else None)


def _after(answer: http.client.HTTPResponse) -> timedelta | None:
    text = answer.getheader("Retry-After") or ""
    return timedelta(seconds=min(int(text), 86_400)) if text.isdigit() else None


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200] if str(error) else type(error).__name__
