"""Mass sends over WeCom against a WeCom of the test's own: tokens, quotas, results, and every way it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select

from campaigns.channels import jobs, registry, services
from campaigns.channels.adapters import Message, Status
from campaigns.channels.adapters.wecom import Wecom
from campaigns.channels.models import Account, ChannelKind, WecomRecipient, WecomSend
from kernel.events import EventRecord
from membership.limits import services as limits
from membership.members.models import Contact, Member

from .conftest import Asked, Say, Side


class Corp:
    """A WeCom: hands out tokens, makes tasks, and says what its staff have sent."""

    def __init__(self, side: Side) -> None:
        self.tokens = 0
        self.tasks: dict[str, list[str]] = {}
        self.sent: dict[str, int] = {}
        self.strangers: set[str] = set()
        self.next: list[Say] = []
        side.by_path = self.answer

    def answer(self, asked: Asked) -> Say:
        parts = urlsplit(asked.path)
        name = parts.path.rpartition("/")[2]
        if name == "gettoken":
            self.tokens += 1
            return Say(body={"errcode": 0, "errmsg": "ok", "access_token": f"t{self.tokens}", "expires_in": 7200})
        if parse_qs(parts.query)["access_token"] != [f"t{self.tokens}"]:
            return Say(body={"errcode": 42001, "errmsg": "access_token expired"})
        if self.next:
            return self.next.pop(0)
        if name == "add_msg_template":
            wanted = asked.json["external_userid"]
            msgid = f"msg{len(self.tasks)}"
            self.tasks[msgid] = [one for one in wanted if one not in self.strangers]
            lost = [one for one in wanted if one in self.strangers]
            return Say(body={"errcode": 0, "errmsg": "ok", "fail_list": lost, "msgid": msgid})
        if name == "get_groupmsg_task":
            return Say(body={"errcode": 0, "task_list": [{"userid": "zhang", "status": 2}], "next_cursor": ""})
        rows = [
            {"external_userid": one, "userid": "zhang", "status": self.sent.get(one, 0)}
            for one in self.tasks[asked.json["msgid"]]
        ]
        half = len(rows) // 2
        first = "cursor" not in asked.json
        return Say(
            body={"errcode": 0, "send_list": rows[:half] if first else rows[half:], "next_cursor": "c" if first else ""}
        )


@pytest.fixture
def corp(side: Side) -> Corp:
    return Corp(side)


@pytest.fixture
def account(db: Any, clock: Any, side: Side, make_account: Callable[..., Account]) -> Account:
    return make_account(
        ChannelKind.WECOM,
        secret={"secret": "s"},
        corp_id="wwcorp",
        per_month=2,
        endpoint=side.url,
        timeout_seconds=0.5,
    )


@pytest.fixture
def people(db: Any, make_member: Callable[..., Member]) -> list[Member]:
    return [make_member(f"M{n}", (Contact.WECOM,)) for n in range(4)]


def messages(people: list[Member], text: str = "新茶到了", tag: str = "") -> list[Message]:
    return [Message(f"delivery:{tag}{m.id}", m.id, m.id, f"wm{m.id}", "", text) for m in people]


def adapter_of(account: Account) -> Wecom:
    found = registry.adapter_of(account)
    assert isinstance(found, Wecom)
    return found


def confirmed(db: Any) -> list[dict[str, Any]]:
    rows = db.session.scalars(
        select(EventRecord).where(EventRecord.name.endswith("MessageConfirmed")).order_by(EventRecord.id)
    )
    return [row.payload for row in rows]


def test_one_task_for_one_text(db: Any, side: Side, corp: Corp, account: Account, people: list[Member]) -> None:
    adapter = adapter_of(account)
    assert adapter.abilities.human
    outcomes = adapter.submit(messages(people[:3]) + messages(people[3:], "另一段话"))
    assert [o.status for o in outcomes] == [Status.ASSIGNED] * 4
    assert [len(task) for task in corp.tasks.values()] == [3, 1]
    assert corp.tokens == 1
    assert side.taken[1].json["text"] == {"content": "新茶到了"}
    assert len(db.session.scalars(select(WecomRecipient)).all()) == 4


def test_a_token_that_ran_out_is_fetched_again(db: Any, corp: Corp, account: Account, people: list[Member]) -> None:
    adapter = adapter_of(account)
    adapter.submit(messages(people[:1]))
    corp.tokens += 1
    assert adapter.submit(messages(people[1:2]))[0].status is Status.ASSIGNED
    assert corp.tokens == 3


def test_whoever_is_no_customer_is_told(db: Any, corp: Corp, account: Account, people: list[Member]) -> None:
    corp.strangers = {f"wm{people[0].id}"}
    outcomes = adapter_of(account).submit(messages(people))
    assert [o.status for o in outcomes] == [Status.REJECTED] + [Status.ASSIGNED] * 3
    assert outcomes[0].reason == "wecom_no_customer"


def test_a_customer_gets_no_more_than_the_quota(
    db: Any, clock: Any, corp: Corp, account: Account, people: list[Member]
) -> None:
    adapter = adapter_of(account)
    for n in range(2):
        assert {o.status for o in adapter.submit(messages(people, tag=f"{n}"))} == {Status.ASSIGNED}
    outcomes = adapter.submit(messages(people, tag="3"))
    assert [(o.status, o.reason) for o in outcomes] == [(Status.REJECTED, "wecom_quota")] * 4
    assert len(corp.tasks) == 2
    clock.move(days=29)
    assert {o.status for o in adapter.submit(messages(people, tag="4"))} == {Status.ASSIGNED}


@pytest.mark.parametrize(
    ("say", "status", "down"),
    [
        (Say(body={"errcode": 45009, "errmsg": "freq"}), Status.RETRY, True),
        (Say(body={"errcode": 60020, "errmsg": "not allow ip"}), Status.RETRY, True),
        (Say(body={"errcode": -1, "errmsg": "busy"}), Status.UNKNOWN, False),
        (Say(body={"errcode": 41063, "errmsg": "no customer"}), Status.REJECTED, False),
        (Say(status=500, body=b"oops"), Status.UNKNOWN, False),
        (Say(status=0), Status.UNKNOWN, False),
        (Say(body={"errcode": 0, "msgid": "late"}, wait=1.0), Status.UNKNOWN, False),
    ],
)
def test_check_g9_what_is_certain_and_what_is_not(
    db: Any, corp: Corp, account: Account, people: list[Member], say: Say, status: Status, down: bool
) -> None:
    corp.next = [say]
    outcome = adapter_of(account).submit(messages(people[:1]))[0]
    assert (outcome.status, outcome.down) == (status, down)
    # A try that certainly brought nothing costs no quota; one in doubt does.
    used = limits.used(f"wecom:{account.id}", f"member:{people[0].id}", "2026-03")
    assert used == (1 if status is Status.UNKNOWN else 0)


def test_without_a_token_nothing_went_out(db: Any, side: Side, account: Account, people: list[Member]) -> None:
    side.usual = Say(body={"errcode": 40001, "errmsg": "invalid credential"})
    outcome = adapter_of(account).submit(messages(people[:1]))[0]
    assert (outcome.status, outcome.down) == (Status.RETRY, True)
    assert adapter_of(account).probe()


def test_what_the_staff_send_is_polled_and_told_once(
    db: Any, clock: Any, corp: Corp, account: Account, people: list[Member]
) -> None:
    adapter_of(account).submit(messages(people))
    jobs.ask_wecom.direct()
    assert confirmed(db) == []
    ids = [f"wm{m.id}" for m in people]
    corp.sent = {ids[0]: 1, ids[1]: 2, ids[2]: 3}
    clock.move(minutes=11)
    jobs.ask_wecom.direct()
    jobs.ask_wecom.direct()
    told = {e["delivery_id"]: (e["done"], e["reason"]) for e in confirmed(db)}
    assert told == {
        people[0].id: (True, "sent"),
        people[1].id: (False, "wecom_no_customer"),
        people[2].id: (False, "wecom_quota"),
    }
    assert len(confirmed(db)) == 3
    clock.move(days=8)
    jobs.ask_wecom.direct()
    assert confirmed(db)[-1]["reason"] == "not_confirmed"
    assert db.session.scalars(select(WecomSend)).one().closed_at is not None


def test_a_wecom_that_does_not_answer_changes_nothing(
    db: Any, clock: Any, side: Side, corp: Corp, account: Account, people: list[Member]
) -> None:
    adapter_of(account).submit(messages(people))
    clock.move(minutes=11)
    corp.next = [Say(500, b"")]
    jobs.ask_wecom.direct()
    assert confirmed(db) == []
    assert db.session.scalars(select(WecomSend)).one().closed_at is None


def test_nothing_needs_wecom(db: Any, client: Any) -> None:
    assert [a.kind for a in services.accounts()] == [ChannelKind.INBOX]
    jobs.ask_wecom.direct()
