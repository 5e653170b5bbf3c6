"""Robots in group chats: Feishu (飞书自定义机器人), DingTalk (钉钉自定义机器人) and WeCom (企业微信群机器人).

Each is an address that takes JSON and answers with a number, 0 for taken. Feishu and DingTalk may ask for a signature: HMAC-SHA256
in base64, at Feishu of nothing under "<seconds>\\n<secret>" in the body, at DingTalk of "<milliseconds>\\n<secret>" under the
secret in the address. DingTalk and WeCom take 20 messages a minute, Feishu 100.
"""

from __future__ import annotations

import base64
import enum
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

from kernel import clock, links
from membership.members.models import Contact

from ..models import ChannelKind
from . import Abilities, Message, Outcome, Status, wire

# The longest text in bytes that each of them takes.
LONGEST = {"feishu": 18_000, "dingtalk": 18_000, "wecom": 2_000}
MINUTE = {"feishu": 100, "dingtalk": 20, "wecom": 20}
# Too many messages: DingTalk's 130101 and 410100, WeCom's 45009, Feishu's 9499 and 11232.
_TOO_FAST = frozenset({130101, 410100, 45009, 9499, 11232})
# The system of the other side is in trouble: DingTalk's and WeCom's -1.
_BUSY = frozenset({-1})


class RobotKind(enum.StrEnum):
    FEISHU = "feishu"
    DINGTALK = "dingtalk"
    WECOM = "wecom"


@dataclass(frozen=True)
class Chat:
    """A robot's chat."""

    kind: RobotKind
    url: str
    secret: str = ""
    timeout_seconds: float = 10.0


def feishu_sign(secret: str, at: datetime) -> tuple[str, str]:
    """Feishu's time stamp (seconds) and signature."""
    stamp = str(int(at.timestamp()))
    return stamp, base64.b64encode(hmac.digest(f"{stamp}\n{secret}".encode(), b"", "sha256")).decode()


def dingtalk_sign(secret: str, at: datetime) -> tuple[str, str]:
    """DingTalk's time stamp (milliseconds) and signature."""
    stamp = str(int(at.timestamp() * 1000))
    return stamp, base64.b64encode(hmac.digest(secret.encode(), f"{stamp}\n{secret}".encode(), "sha256")).decode()


def cut(text: str, most: int) -> str:
    """A text in at most so many bytes of UTF-8, with … where something was left out."""
    whole = text.encode()
    return text if len(whole) <= most else whole[: most - 3].decode("utf-8", "ignore").rstrip() + "…"


def in_two(message: Message) -> tuple[str, str]:
    """A message's words, and the line with its link below them, empty where it leads nowhere or says the link itself."""
    link = links.absolute(message.path) if message.path else ""
    words = "\n".join(part for part in (message.subject, message.text) if part)
    return words, f"\n{link}" if link not in message.text else ""


class Robot:
    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.line = wire.Line(chat.url, chat.timeout_seconds)
        self.abilities = Abilities(
            kind=ChannelKind.ROBOT,
            contact=Contact.INBOX,
            shared=True,
            batch_size=1,
            longest=timedelta(seconds=2 * chat.timeout_seconds),
        )

    def submit(self, batch: Sequence[Message]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for message in batch:
            outcomes.append(self._one(message))
            if outcomes[-1].down:
                rest = len(batch) - len(outcomes)
                return (
                    outcomes + [Outcome(Status.RETRY, outcomes[-1].reason, after=outcomes[-1].after, down=True)] * rest
                )
        return outcomes

    def _one(self, message: Message) -> Outcome:
        path, content = self._request(message, clock.now())
        try:
            answer = self.line.call(
                "POST",
                path,
                json.dumps(content, ensure_ascii=False).encode(),
                {"Content-Type": "application/json; charset=utf-8"},
            )
        except wire.NotSent as error:
            return Outcome(Status.RETRY, str(error), down=True)
        except wire.NoAnswer as error:
            return Outcome(Status.UNKNOWN, str(error))
        return verdict(answer)

    def _request(self, message: Message, at: datetime) -> tuple[str, dict[str, Any]]:
        words, link = in_two(message)
        # A message whose link is cut leads nobody anywhere: what is too long is taken from the words.
        text = (cut(words, LONGEST[self.chat.kind] - len(link.encode())) + link).lstrip("\n")
        path = self.line.path
        if self.chat.kind is RobotKind.FEISHU:
            content: dict[str, Any] = {"msg_type": "text", "content": {"text": text}}
            if self.chat.secret:
                content["timestamp"], content["sign"] = feishu_sign(self.chat.secret, at)
            return path, content
        content = {"msgtype": "text", "text": {"content": text}}
        if self.chat.kind is RobotKind.DINGTALK and self.chat.secret:
            stamp, signature = dingtalk_sign(self.chat.secret, at)
            path += f"{'&' if '?' in path else '?'}timestamp={stamp}&sign={quote_plus(signature)}"
        return path, content

    def probe(self) -> str | None:
        """Whether somebody listens there: None, or what is wrong."""
        return self.line.trouble()

    def close(self) -> None:
        self.line.close()


def verdict(answer: wire.Answer) -> Outcome:
    """What a robot's answer means: 0 is taken, too fast waits a while, another number is a refusal with its reason."""
    said = answer.json if isinstance(answer.json, dict) else {}
    number = next((said[name] for name in ("errcode", "code", "StatusCode") if isinstance(said.get(name), int)), None)
    words = str(said.get("errmsg") or said.get("msg") or said.get("StatusMessage") or "")
    reason = f"{number}: {words}"[:300] if number is not None else f"HTTP {answer.status}"
    if number == 0:
        return Outcome(Status.ACCEPTED)
    if number in _TOO_FAST or answer.status in (429, 503):
        return Outcome(Status.RETRY, reason, after=answer.after or timedelta(minutes=1), down=True)
    if number in _BUSY or answer.status >= 500:
        return Outcome(Status.UNKNOWN, reason)
    if number is None and answer.status in wire.OURS_TO_MEND:
        return Outcome(Status.RETRY, reason, down=True)
    if number is None and 200 <= answer.status < 300:
        return Outcome(Status.UNKNOWN, f"{reason}: no number in the answer")
    return Outcome(Status.REJECTED, reason)
