"""A webhook: each batch is one POST of JSON to an address of the shop's, signed, for a gateway or a program of its own.

    POST <url>
    Siyu-Signature: t=1767225600,v1=<hex HMAC-SHA256 of "<t>.<body>" under the account's secret>
    {"messages": [{"key": "delivery:12", "to": "…", "member": 7, "subject": "…", "body": "…", "link": "…"}]}

A 2xx answer takes the whole batch, unless it says otherwise of single messages:
    {"results": [{"key": "delivery:12", "status": "accepted|rejected|retry", "id": "…", "reason": "…"}]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from hmac import new as hmac
from typing import Any

from kernel import clock, links
from membership.members.models import Contact

from ..models import ChannelKind
from . import Abilities, Message, Outcome, Status, wire


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
        self._line = wire.Line(hook.url, hook.timeout_seconds)

    def submit(self, batch: Sequence[Message]) -> list[Outcome]:
        body = json.dumps({"messages": [_plain(m) for m in batch]}, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            answer = self._line.call("POST", self._line.path, body, self._headers(body, batch))
        except wire.NotSent as error:
            return [Outcome(Status.RETRY, str(error), down=True)] * len(batch)
        except wire.NoAnswer as error:
            # Part of it may have gone out; whether it was taken, nobody here knows.
            return [Outcome(Status.UNKNOWN, str(error))] * len(batch)
        return self._judge(batch, answer)

    def probe(self) -> str | None:
        """Whether somebody listens there: None, or what is wrong."""
        return self._line.trouble()

    def _headers(self, body: bytes, batch: Sequence[Message]) -> dict[str, str]:
        at = str(int(clock.now().timestamp()))
        signature = hmac(self.hook.secret.encode(), f"{at}.".encode() + body, sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "Siyu-Signature": f"t={at},v1={signature}",
            "Idempotency-Key": sha256("\n".join(m.key for m in batch).encode()).hexdigest(),
        }

    def _judge(self, batch: Sequence[Message], answer: wire.Answer) -> list[Outcome]:
        status, reason = answer.status, f"HTTP {answer.status}"
        if 200 <= status < 300:
            results = _results(answer.body)
            return [_outcome(m, results.get(m.key)) for m in batch]
        if status in (429, 503):
            return [Outcome(Status.RETRY, reason, after=answer.after, down=True)] * len(batch)
        if status in wire.OURS_TO_MEND:
            return [Outcome(Status.RETRY, reason, down=True)] * len(batch)
        if 400 <= status < 500:
            return [Outcome(Status.REJECTED, reason)] * len(batch)
        return [Outcome(Status.UNKNOWN, reason)] * len(batch)

    def close(self) -> None:
        self._line.close()


def _plain(m: Message) -> dict[str, Any]:
    return {
        "key": m.key,
        "to": m.address,
        "member": m.member_id,
        "subject": m.subject,
        "body": m.text,
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
