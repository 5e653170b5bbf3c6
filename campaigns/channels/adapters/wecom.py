"""WeCom customer contact (企业微信客户联系): mass sends that the staff confirm in their own client.

`add_msg_template` makes a task; nothing goes out before the member of staff whose customer it is taps it there. What became of it
is asked later: `get_groupmsg_task` names the staff, `get_groupmsg_send_result` what each has sent. A customer takes at most so many
of a company's mass messages a month, which is kept as a cap here, for WeCom itself drops what goes beyond.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from sqlalchemy.dialects.postgresql import insert

from kernel import clock
from kernel.db import db, transaction
from membership.limits import services as limits
from membership.members.models import Contact

from ..models import ChannelKind, WecomRecipient, WecomSend
from . import Abilities, Message, Outcome, Status, wire

ENDPOINT = "https://qyapi.weixin.qq.com"
# Customers in one mass send.
MOST = 1_000
# The token is wrong or has run out, and another is to be had: 40014 and 42001.
_STALE = frozenset({40014, 42001})
# Too many calls: 45009 a minute, 45033 at once; -1 is busy.
_TOO_FAST = frozenset({45009, 45033})
_BUSY = frozenset({-1})
# Nobody of those named is a customer of anybody who may send.
_NOBODY = frozenset({41063, 84061})
NOT_SENT, SENT, NO_FRIEND, TOO_MANY = 0, 1, 2, 3


@dataclass(frozen=True)
class Corp:
    """A company at WeCom and its secret for customer contact."""

    account_id: int
    corp_id: str
    secret: str
    sender: str = ""
    per_month: int | None = 4
    endpoint: str = ENDPOINT
    timeout_seconds: float = 10.0


class CallRefused(Exception):
    """WeCom answered with a number that is not 0."""

    def __init__(self, number: int, words: str) -> None:
        super().__init__(f"{number}: {words}"[:300])
        self.number = number


class Wecom:
    def __init__(self, corp: Corp) -> None:
        self.corp = corp
        self.line = wire.Line(corp.endpoint, corp.timeout_seconds)
        self.abilities = Abilities(
            kind=ChannelKind.WECOM,
            contact=Contact.WECOM,
            human=True,
            constant_links=True,
            receipts=True,
            batch_size=MOST,
            longest=timedelta(seconds=6 * corp.timeout_seconds),
        )
        self._token: tuple[str, float] | None = None
        self._lock = threading.RLock()

    # ── Asking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _said(self, answer: wire.Answer) -> dict[str, Any]:
        said = answer.json
        if answer.status in (429, 503):
            raise CallRefused(45009, f"HTTP {answer.status}")
        if not isinstance(said, dict) or not isinstance(said.get("errcode"), int):
            raise wire.NoAnswer(f"{self.line.host}: HTTP {answer.status} without an errcode")
        if said["errcode"] != 0:
            raise CallRefused(said["errcode"], str(said.get("errmsg") or ""))
        return said

    def token(self) -> str:
        """The access token, kept for as long as WeCom says, less five minutes. Raises `NotSent`, `CallRefused`."""
        now = clock.now().timestamp()
        if self._token is not None and self._token[1] > now:
            return self._token[0]
        path = f"/cgi-bin/gettoken?corpid={quote(self.corp.corp_id)}&corpsecret={quote(self.corp.secret)}"
        try:
            said = self._said(self.line.call("GET", path, None, {}))
        except wire.NoAnswer as error:
            # Nobody has been told anything yet.
            raise wire.NotSent(str(error)) from None
        self._token = (str(said["access_token"]), now + max(float(said.get("expires_in") or 0) - 300, 60))
        return self._token[0]

    def ask(self, name: str, content: dict[str, Any]) -> dict[str, Any]:
        """Call one of the functions of customer contact. Raises `NotSent`, `NoAnswer` and `CallRefused`."""
        body = json.dumps(content, ensure_ascii=False).encode()
        with self._lock:
            for again in (True, False):
                path = f"/cgi-bin/externalcontact/{name}?access_token={quote(self.token())}"
                try:
                    return self._said(self.line.call("POST", path, body, {"Content-Type": "application/json"}))
                except CallRefused as refused:
                    if refused.number not in _STALE or not again:
                        raise
                    self._token = None
        raise AssertionError("unreachable")

    # ── Sending ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, batch: Sequence[Message]) -> list[Outcome]:
        within = self._reserve(batch)
        outcomes: dict[str, Outcome] = {
            m.key: Outcome(Status.REJECTED, "wecom_quota") for m in batch if m.key not in within
        }
        texts: dict[tuple[str, str], list[Message]] = {}
        for m in batch:
            if m.key in within:
                texts.setdefault((m.subject, m.body), []).append(m)
        down: Outcome | None = None
        for (subject, body), messages in texts.items():
            found = [down] * len(messages) if down is not None else self._send(subject, body, messages)
            outcomes |= {m.key: o for m, o in zip(messages, found, strict=True)}
            down = next((o for o in found if o.down), None)
        self._release(
            [m for m in batch if m.key in within and outcomes[m.key].status in (Status.REJECTED, Status.RETRY)]
        )
        return [outcomes[m.key] for m in batch]

    def _send(self, subject: str, body: str, messages: Sequence[Message]) -> list[Outcome]:
        text = "\n".join(part for part in (subject, body) if part)
        content: dict[str, Any] = {
            "chat_type": "single",
            "external_userid": [m.address for m in messages],
            "text": {"content": text[:1_300]},
        }
        if self.corp.sender:
            content["sender"] = self.corp.sender
        try:
            said = self.ask("add_msg_template", content)
        except wire.NotSent as error:
            return [Outcome(Status.RETRY, str(error), down=True)] * len(messages)
        except wire.NoAnswer as error:
            return [Outcome(Status.UNKNOWN, str(error))] * len(messages)
        except CallRefused as refused:
            if refused.number in _TOO_FAST:
                return [Outcome(Status.RETRY, str(refused), after=timedelta(minutes=1), down=True)] * len(messages)
            if refused.number in _BUSY:
                return [Outcome(Status.UNKNOWN, str(refused))] * len(messages)
            if refused.number in _NOBODY:
                return [Outcome(Status.REJECTED, str(refused))] * len(messages)
            return [Outcome(Status.RETRY, str(refused), down=True)] * len(messages)
        msgid = str(said.get("msgid") or "")
        lost = {str(one) for one in said.get("fail_list") or []}
        going = [m for m in messages if m.address not in lost]
        if msgid and going:
            self._keep(msgid, going)
        return [
            Outcome(Status.REJECTED, "wecom_no_customer")
            if m.address in lost or not msgid
            else Outcome(Status.ASSIGNED, provider_id=msgid)
            for m in messages
        ]

    def _keep(self, msgid: str, messages: Sequence[Message]) -> None:
        rows = [m for m in messages if m.member_id]
        if not rows:
            return
        with transaction():
            send_id = db.session.scalar(
                insert(WecomSend)
                .values(account_id=self.corp.account_id, msgid=msgid, made_at=clock.now())
                .on_conflict_do_update(index_elements=["account_id", "msgid"], set_={"msgid": msgid})
                .returning(WecomSend.id)
            )
            db.session.execute(
                insert(WecomRecipient)
                .values(
                    [
                        {
                            "send_id": send_id,
                            "external_id": m.address,
                            "delivery_id": m.delivery_id,
                            "member_id": m.member_id,
                        }
                        for m in rows
                    ]
                )
                .on_conflict_do_nothing()
            )

    # ── The monthly quota of each customer ──────────────────────────────────────────────────────────────────────────

    def _usage(self, message: Message) -> limits.Usage:
        month = clock.today().isoformat()[:7]
        name = f"wecom:{self.corp.account_id}"
        return limits.Usage(name, limits.subject_of(message.member_id), month, 1, self.corp.per_month)

    def _reserve(self, batch: Sequence[Message]) -> set[str]:
        granted = set()
        with transaction():
            for message in sorted(batch, key=lambda m: m.member_id):
                if message.member_id:
                    try:
                        limits.take([self._usage(message)])
                    except limits.LimitReached:
                        continue
                granted.add(message.key)
        return granted

    def _release(self, messages: Sequence[Message]) -> None:
        wanted = sorted((m for m in messages if m.member_id), key=lambda m: m.member_id)
        if wanted:
            with transaction():
                for message in wanted:
                    usage = self._usage(message)
                    limits.give_back(usage.limit, usage.subject, usage.window)

    # ── What became of it ───────────────────────────────────────────────────────────────────────────────────────────

    def results(self, msgid: str) -> Iterator[tuple[str, int]]:
        """Each customer of a mass send with WeCom's number for them: `NOT_SENT`, `SENT`, `NO_FRIEND` or `TOO_MANY`."""
        for task in self._pages("get_groupmsg_task", {"msgid": msgid}, "task_list"):
            asked = {"msgid": msgid, "userid": str(task.get("userid") or "")}
            for row in self._pages("get_groupmsg_send_result", asked, "send_list"):
                if isinstance(row.get("status"), int) and row.get("external_userid"):
                    yield str(row["external_userid"]), row["status"]

    def _pages(self, name: str, content: dict[str, Any], list_name: str) -> Iterator[dict[str, Any]]:
        cursor = ""
        for _page in range(1_000):
            said = self.ask(name, {**content, "limit": 500, **({"cursor": cursor} if cursor else {})})
            yield from (row for row in said.get(list_name) or [] if isinstance(row, dict))
            cursor = str(said.get("next_cursor") or "")
            if not cursor:
                return

    def probe(self) -> str | None:
        """Whether a token is to be had: None, or what is wrong."""
        self._token = None
        try:
            with self._lock:
                self.token()
        except (wire.NotSent, CallRefused) as error:
            return str(error)
        return None

    def close(self) -> None:
        self.line.close()
