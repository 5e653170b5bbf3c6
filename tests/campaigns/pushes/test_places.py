"""Pushes to a chat or to the feed of the shop's groups: said once, through the same ledger, to nobody in particular."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from campaigns.channels import pace, registry
from campaigns.channels import services as channels
from campaigns.channels.adapters import Message, Outcome, Status
from campaigns.channels.models import Account, ChannelKind, ContactCount
from campaigns.channels.services.texts import TooLongForChat, WholeTooLongForChat
from campaigns.pushes import jobs, ledger, places, queries, rules, services
from campaigns.pushes.models import NOBODY, Delivery, DeliveryState, RunState, Slice
from campaigns.results import queries as results
from campaigns.results import rules as result_rules
from campaigns.results.jobs import forget_networks
from campaigns.results.models import Attribution, Click, Kind
from campaigns.results.services import credit
from community.groups.models import Group, GroupKind, GroupState
from community.posts.models import Post, PostState
from kernel import clock as kernel_clock
from kernel.auth import Role
from kernel.db import db as database
from membership.limits.models import LimitCounter
from membership.orders.models import Order
from membership.products.models import Product
from tests.conftest import bind

BODY = "新茶到店，看看 https://shop.example/tea"


class Chat:
    """A robot's chat with a ledger of its own; `answers` are used up one by one."""

    def __init__(self, real: Any) -> None:
        self.abilities = real.abilities
        self.said: list[Message] = []
        self.answers: list[Outcome] = []

    def submit(self, batch: list[Message]) -> list[Outcome]:
        self.said += batch
        return [self.answers.pop(0) if self.answers else Outcome(Status.ACCEPTED) for _ in batch]


@pytest.fixture
def robot(db: Any, clock: Any) -> Account:
    return channels.save_account(
        ChannelKind.ROBOT, "店员群", {"robot": "feishu", "groups": []}, pace.Rates(), {"url": "https://chat.example/k"}
    )


@pytest.fixture
def chat(robot: Account, monkeypatch: pytest.MonkeyPatch) -> Chat:
    found = Chat(registry.adapter_of(robot))
    monkeypatch.setattr(registry, "adapter_of", lambda account: found)
    return found


@pytest.fixture
def feed(db: Any, clock: Any) -> Account:
    group = Group(
        public_id="places1",
        name="茶友群",
        kind=GroupKind.REGULAR,
        state=GroupState.OPEN,
        created_at=kernel_clock.now(),
        join_rule={},
    )
    db.session.add(group)
    db.session.flush()
    settings = {"groups": [group.id], "post_kind": "promotion"}
    return channels.save_account(ChannelKind.GROUP_POST, "群动态", settings, pace.Rates(), None)


def go(run: Any, run_jobs: Any) -> list[Delivery]:
    services.schedule(run)
    jobs.wake.direct()
    run_jobs()
    return rows_of(run)


def rows_of(run: Any) -> list[Delivery]:
    database.session.expire_all()
    return list(database.session.scalars(select(Delivery).where(Delivery.run_id == run.id)))


def test_inv_d1_a_chat_is_told_once_and_the_run_adds_up(
    db: Any, run_jobs: Any, robot: Account, chat: Chat, make_member: Any, make_push: Any
) -> None:
    make_member("Lime")
    _push, run = make_push(account_id=robot.id, subject="新茶", body=BODY, link_url="/me/")
    (row,) = go(run, run_jobs)
    assert (row.member_id, row.state, row.contacted_on) == (NOBODY, DeliveryState.ACCEPTED, None)
    assert (run.state, run.planned, run.tally) == (RunState.COMPLETED, 1, {"accepted": 1})
    assert len(chat.said) == 1
    assert chat.said[0].key == f"delivery:{row.id}"
    # The address in the text is counted, and nobody's budget was used.
    assert "https://shop.example/tea" not in chat.said[0].text
    assert db.session.scalar(select(func.count()).select_from(ContactCount)) == 0
    jobs.wake.direct()
    run_jobs()
    assert len(chat.said) == 1


def test_planned_twice_it_is_one(db: Any, robot: Account, chat: Chat, make_push: Any) -> None:
    _push, run = make_push(account_id=robot.id, subject="新茶", body=BODY)
    services.schedule(run)
    services.start(run)
    assert services.fan_out(run.id) == ledger.Planned(1, True)
    assert services.fan_out(run.id) == ledger.Planned(0, True)
    assert len(rows_of(run)) == 1


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (Outcome(Status.UNKNOWN, "no answer"), DeliveryState.UNKNOWN, "no answer"),
        (Outcome(Status.REJECTED, "19024: key words"), DeliveryState.FAILED, "19024: key words"),
        (Outcome(Status.RETRY, "slow"), DeliveryState.READY, "slow"),
    ],
)
def test_inv_d4_doubt_refusal_and_retry_hold_as_everywhere(
    db: Any,
    run_jobs: Any,
    robot: Account,
    chat: Chat,
    make_push: Any,
    answer: Outcome,
    state: DeliveryState,
    reason: str,
) -> None:
    chat.answers = [answer]
    _push, run = make_push(account_id=robot.id, subject="新茶", body=BODY)
    (row,) = go(run, run_jobs)
    assert (row.state, row.reason) == (state, reason)
    if state is DeliveryState.UNKNOWN:
        assert services.resend_unknown(run) == 1
        jobs.wake_run(run.id)
        run_jobs()
        assert rows_of(run)[0].state is DeliveryState.ACCEPTED
        assert len({m.key for m in chat.said}) == 1


def test_a_dead_sender_leaves_doubt(db: Any, robot: Account, chat: Chat, clock: Any, make_push: Any) -> None:
    _push, run = make_push(account_id=robot.id, subject="新茶", body=BODY)
    services.schedule(run)
    services.start(run)
    services.fan_out(run.id)
    ledger.lease(run.id, "gone", timedelta(seconds=1))
    (row,) = rows_of(run)
    row.state = DeliveryState.SUBMITTING
    db.session.flush()
    clock.move(minutes=2)
    assert services.reap() == 1
    assert [(r.state, r.reason) for r in rows_of(run)] == [(DeliveryState.UNKNOWN, "sender_stopped")]
    assert db.session.scalar(select(Slice.unknown).where(Slice.run_id == run.id)) == 1


def test_pausing_cancelling_and_quiet_hours(db: Any, robot: Account, chat: Chat, clock: Any, make_push: Any) -> None:
    _push, run = make_push(account_id=robot.id, subject="新茶", body=BODY)
    services.schedule(run)
    services.start(run)
    services.fan_out(run.id)
    db.session.refresh(run)
    services.pause(run)
    assert not places.say(run.id)
    services.resume(run)
    channels.set_budget(channels.budget(), "00:00", "23:59", 0.0)
    assert not places.say(run.id)
    assert chat.said == []
    services.cancel(run)
    services.close(run.id)
    assert [r.state for r in rows_of(run)] == [DeliveryState.CANCELLED]


def test_a_post_appears_once_with_the_picture_of_its_first_product(
    db: Any, run_jobs: Any, feed: Account, make_push: Any
) -> None:
    product = Product(
        source="shop", sku="T", title="秋茶", list_price=6800, picture="demo/shelf.webp", created_at=kernel_clock.now()
    )
    db.session.add(product)
    db.session.flush()
    cards = [{"product_id": product.id, "url": "https://shop.example/autumn"}]
    _push, run = make_push(
        account_id=feed.id, subject="新茶", body="到店了", link_url="https://a.example/", cards=cards
    )
    (row,) = go(run, run_jobs)
    (post,) = db.session.scalars(select(Post))
    assert row.state is DeliveryState.ACCEPTED
    assert row.provider_id == f"post:{post.id}"
    assert (post.state, post.title, post.picture) == (PostState.PUBLISHED, "新茶", "demo/shelf.webp")
    assert re.search(r"\[秋茶\]\(http\S+/l/\S+\) ¥68\.00", post.body)
    assert "/l/" in post.link_url


def test_a_post_that_is_refused_ends_with_the_reason(db: Any, run_jobs: Any, feed: Account, make_push: Any) -> None:
    _push, run = make_push(account_id=feed.id, subject="新茶", body="到店了")
    db.session.get_one(Group, feed.settings["groups"][0]).state = GroupState.CLOSED
    (row,) = go(run, run_jobs)
    assert row.state is DeliveryState.FAILED
    assert row.reason
    assert run.tally == {"failed": 1}


@pytest.mark.parametrize("text", ["{nickname}，新茶到了", "{tier} 专享"])
def test_nobody_is_called_by_name(robot: Account, make_push: Any, text: str) -> None:
    with pytest.raises(rules.NobodysOwn):
        make_push(account_id=robot.id, subject="新茶", body=text)
    with pytest.raises(rules.NobodysOwn):
        make_push(account_id=robot.id, subject=text, body=BODY)


def test_no_coupon_of_anybodys_own_and_one_wording(robot: Account, make_push: Any, make_offer: Any) -> None:
    with pytest.raises(services.ForOneGroup):
        make_push(account_id=robot.id, subject="新茶", body=BODY, offer_id=make_offer().id)
    with pytest.raises(services.ForOneGroup):
        make_push(account_id=robot.id, subject="新茶", body=BODY, variants=[{"share": 50, "subject": "B", "body": "B"}])


def test_a_chat_of_unknown_size_needs_the_second_person(
    db: Any, robot: Account, feed: Account, make_push: Any, make_staff: Any
) -> None:
    asker = make_staff()
    for account, state in ((robot, RunState.APPROVAL), (feed, RunState.SCHEDULED)):
        _push, run = make_push(account_id=account.id, subject="新茶", body=BODY)
        services.set_approval_above(100)
        services.schedule(run, staff_id=asker.id)
        assert run.state is state


def test_visits_count_and_known_members_are_credited(
    db: Any,
    run_jobs: Any,
    robot: Account,
    chat: Chat,
    make_member: Any,
    make_push: Any,
    make_order: Any,
    client: Any,
    clock: Any,
) -> None:
    lime = make_member("Lime")
    push, run = make_push(account_id=robot.id, subject="新茶", body=BODY)
    go(run, run_jobs)
    path = "/l/" + chat.said[0].text.split("/l/")[1].split()[0]
    for _visit in range(2):
        assert client.get(path).location == "https://shop.example/tea"
    bind(client, lime.id)
    for _visit in range(2):
        client.get(path)
    db.session.expire_all()
    assert sorted(db.session.scalars(select(Click.member_id))) == [0, 0, lime.id]
    report = results.report(run, push)
    assert (report.sent, report.visits, report.visitors) == (1, 3, 1)
    assert report.treated.people == report.control.people == 0
    assert report.split is None
    # The order after the visit is influenced by the push; nobody else's is.
    clock.move(hours=1)
    order = make_order(lime, 0)
    make_order(make_member("Mint"), 0)
    credit(Order.id >= order.id)
    assert [(one.order_id, one.run_id, one.member_id, one.kind) for one in db.session.scalars(select(Attribution))] == [
        (order.id, run.id, lime.id, Kind.INFLUENCED)
    ]
    assert results.report(run, push).influenced.orders == 1


def test_visits_of_the_unknown_are_bounded_for_each_network(
    db: Any,
    run_jobs: Any,
    robot: Account,
    chat: Chat,
    make_member: Any,
    make_push: Any,
    client: Any,
    clock: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(result_rules, "MOST_UNKNOWN_VISITS", 2)
    _push, run = make_push(account_id=robot.id, subject="新茶", body=BODY)
    (row,) = go(run, run_jobs)
    path = "/l/" + chat.said[0].text.split("/l/")[1].split()[0]

    def visits(network: str, times: int) -> int:
        for _visit in range(times):
            answer = client.get(path, environ_base={"REMOTE_ADDR": network})
            assert answer.location == "https://shop.example/tea"
        return int(database.session.scalar(select(func.count()).select_from(Click)) or 0)

    assert visits("198.51.100.1", 4) == 2
    assert visits("198.51.100.2", 1) == 3
    db.session.refresh(row)
    first = row.clicked_at
    clock.move(minutes=10)
    assert visits("198.51.100.1", 4) == 5
    # A member whose browser is known is one of many behind the same address and still counts, once.
    bind(client, make_member("Lime").id)
    assert visits("198.51.100.1", 2) == 6
    db.session.refresh(row)
    assert row.clicked_at == first
    clock.move(days=2)
    forget_networks.direct()
    counters = select(func.count()).select_from(LimitCounter).where(LimitCounter.limit.startswith("visits:"))
    assert db.session.scalar(counters) == 0


def test_the_pages_speak_of_the_place(
    db: Any, run_jobs: Any, robot: Account, chat: Chat, make_push: Any, owner_client: Any, make_offer: Any
) -> None:
    offer = make_offer()
    typed = {"name": "茶", "account_id": robot.id, "subject": "新茶", "body": BODY, "contact_class": "broadcast"}
    page = owner_client.post("/console/pushes/check", data=typed).text
    assert "店员群" in page
    assert "只发一次" in page
    for refused in ({"body": "{nickname} 新茶"}, {"offer_id": str(offer.id)}):
        assert owner_client.post("/console/pushes/new", data=typed | refused).status_code == 422
    made = owner_client.post("/console/pushes/new", data=typed | {"act": "schedule", "usual_hour": "y"})
    assert made.status_code == 302
    run_jobs()
    push, run = queries.get_push(int(made.location.split("/")[-1].split("?")[0]))
    assert (push.usual_hour, push.control_percent) == (False, 0)
    assert rows_of(run)[0].state is DeliveryState.ACCEPTED
    for path in ("", "/deliveries", "/read-as", "/deliveries.csv"):
        answer = owner_client.get(f"/console/pushes/{push.id}{path}")
        assert answer.status_code == 200
        assert "店员群" in answer.text
    assert owner_client.get(f"/console/results/runs/{run.id}").status_code == 200
    assert owner_client.post(f"/console/pushes/{push.id}/test").status_code == 302
    run_jobs()
    assert chat.said[-1].kind == "test"


def test_a_test_in_a_chat_needs_the_second_person_too(
    db: Any, run_jobs: Any, robot: Account, chat: Chat, make_push: Any, make_staff: Any, owner_client: Any
) -> None:
    push, run = make_push(account_id=robot.id, subject="新茶", body=BODY)
    services.set_approval_above(100)
    refused = owner_client.post(f"/console/pushes/{push.id}/test")
    assert refused.status_code == 409
    assert "需先由另一位同事审批" in refused.text
    run_jobs()
    assert chat.said == []
    services.schedule(run, kernel_clock.now() + timedelta(days=1), staff_id=make_staff().id)
    services.approve(run, make_staff(Role.MANAGER).id)
    assert owner_client.post(f"/console/pushes/{push.id}/test").status_code == 302
    run_jobs()
    assert [said.kind for said in chat.said] == ["test"]


def test_one_message_takes_one_of_the_allowance(
    db: Any, robot: Account, chat: Chat, make_push: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.rate_per_hour = 50
    _push, run = make_push(account_id=robot.id, subject="新茶", body=BODY)
    services.schedule(run)
    services.start(run)
    services.fan_out(run.id)
    wanted, take = [], channels.take_tokens

    def asked(row: Any, rate: Any, amount: int) -> Any:
        wanted.append(amount)
        return take(row, rate, amount)

    monkeypatch.setattr(channels, "take_tokens", asked)
    places.say(run.id)
    assert len(chat.said) == 1
    assert set(wanted) == {1}


def test_a_text_too_long_for_the_chat_is_refused(db: Any, clock: Any, make_push: Callable[..., Any]) -> None:
    wecom = channels.save_account(
        ChannelKind.ROBOT, "W", {"robot": "wecom"}, pace.Rates(), {"url": "https://c.example"}
    )
    make_push(account_id=wecom.id, subject="新茶", body="茶" * 400)
    with pytest.raises(TooLongForChat):
        make_push(account_id=wecom.id, subject="新茶", body="茶" * 500)


def test_a_message_that_is_too_long_with_its_link_is_refused(
    db: Any, clock: Any, make_push: Callable[..., Any], owner_client: Any
) -> None:
    wecom = channels.save_account(
        ChannelKind.ROBOT, "W", {"robot": "wecom"}, pace.Rates(), {"url": "https://c.example"}
    )
    # Each address becomes a counted link, which is longer than itself.
    body = "茶" * 370 + "".join(f" https://a.example/{number}" for number in range(12))
    _push, run = make_push(account_id=wecom.id, subject="新茶", body=body.replace("茶", "", 270))
    services.schedule(run)
    with pytest.raises(WholeTooLongForChat) as refused:
        make_push(account_id=wecom.id, subject="茶" * 60, body=body, link_url="/me/")
    assert refused.value.values["over"] > 0
    typed = {"name": "茶", "account_id": wecom.id, "subject": "茶" * 60, "body": body, "link_url": "/me/"}
    answer = owner_client.post("/console/pushes/new", data=typed | {"contact_class": "broadcast"})
    assert answer.status_code == 422
    assert f"消息共 {refused.value.values['length']} 个字符" in answer.text
