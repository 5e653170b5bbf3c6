"""Group robots: what each kind is sent, how fast, and that everything is said once."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select

from campaigns.channels import jobs, registry, services
from campaigns.channels.adapters import Message, Status
from campaigns.channels.adapters.robot import Chat, Robot, RobotKind, cut, dingtalk_sign, feishu_sign
from campaigns.channels.events import ChannelPaused
from campaigns.channels.models import Account, ChannelKind, GroupPosted, Posting, PostingState
from campaigns.channels.pace import Rates
from campaigns.channels.services import postings
from campaigns.channels.subscribers import pass_on_post, tell_of_pause
from community.groups.models import Group
from community.posts import services as posts
from community.posts.events import PostPublished
from community.posts.models import Post, PostKind, PostState
from kernel import links

from .conftest import Say, Side

AT = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)
NOTE = Message("notice:1", 0, 0, "", "青荷茶铺", "新茶到了", path="/g/abc", kind="notice")


def test_signatures() -> None:
    stamp, signature = feishu_sign("s", AT)
    assert stamp == str(int(AT.timestamp()))
    assert base64.b64decode(signature) == hmac.digest(f"{stamp}\ns".encode(), b"", "sha256")
    stamp, signature = dingtalk_sign("s", AT)
    assert stamp == f"{int(AT.timestamp())}000"
    assert base64.b64decode(signature) == hmac.digest(b"s", f"{stamp}\ns".encode(), "sha256")


def test_feishu(app: Any, side: Side) -> None:
    side.usual = Say(body={"code": 0, "msg": "success"})
    adapter = Robot(Chat(RobotKind.FEISHU, f"{side.url}/hook/k", "s"))
    assert adapter.submit([NOTE])[0].status is Status.ACCEPTED
    said = side.taken[0].json
    assert said["msg_type"] == "text"
    assert said["content"]["text"].startswith("青荷茶铺\n新茶到了\nhttp")
    assert set(said) == {"msg_type", "content", "timestamp", "sign"}


def test_dingtalk(app: Any, side: Side) -> None:
    side.usual = Say(body={"errcode": 0, "errmsg": "ok"})
    adapter = Robot(Chat(RobotKind.DINGTALK, f"{side.url}/robot/send?access_token=k", "s"))
    assert adapter.submit([NOTE])[0].status is Status.ACCEPTED
    query = parse_qs(urlsplit(side.taken[0].path).query)
    assert query["access_token"] == ["k"]
    assert len(base64.b64decode(query["sign"][0])) == 32
    assert side.taken[0].json["msgtype"] == "text"


def test_wecom(app: Any, side: Side) -> None:
    side.usual = Say(body={"errcode": 0})
    long = Message("n", 0, 0, "", "茶", "茶" * 5_000)
    adapter = Robot(Chat(RobotKind.WECOM, f"{side.url}/send?key=k"))
    assert adapter.submit([long])[0].status is Status.ACCEPTED
    text = side.taken[0].json["text"]["content"]
    assert len(text.encode()) <= 2_000
    assert text.endswith("…")
    # The link stays whole, and stands alone where there are no words.
    assert adapter.submit([replace(long, path="/g/abc")])[0].status is Status.ACCEPTED
    text = side.taken[1].json["text"]["content"]
    assert len(text.encode()) <= 2_000
    assert text.endswith("…\n" + links.absolute("/g/abc"))
    adapter.submit([Message("n", 0, 0, "", "", "", path="/g/abc")])
    assert side.taken[2].json["text"]["content"] == links.absolute("/g/abc")
    assert cut("abc", 3) == "abc"


@pytest.mark.parametrize(
    ("say", "status", "down"),
    [
        (Say(body={"errcode": 310000, "errmsg": "sign not match"}), Status.REJECTED, False),
        (Say(body={"errcode": 130101, "errmsg": "send too fast"}), Status.RETRY, True),
        (Say(body={"errcode": 45009}), Status.RETRY, True),
        (Say(body={"code": 9499}), Status.RETRY, True),
        (Say(body={"errcode": -1}), Status.UNKNOWN, False),
        (Say(status=500), Status.UNKNOWN, False),
        (Say(status=404), Status.RETRY, True),
        (Say(body=b"hello"), Status.UNKNOWN, False),
        (Say(status=0), Status.UNKNOWN, False),
    ],
)
def test_what_an_answer_says(app: Any, side: Side, say: Say, status: Status, down: bool) -> None:
    side.usual = say
    outcome = Robot(Chat(RobotKind.DINGTALK, side.url, timeout_seconds=1)).submit([NOTE])[0]
    assert (outcome.status, outcome.down) == (status, down)


# ── What robots have to say ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def group(db: Any, make_group: Callable[..., Group]) -> Group:
    return make_group()


@pytest.fixture
def robot(db: Any, clock: Any, side: Side, group: Group, make_account: Callable[..., Account]) -> Account:
    side.usual = Say(body={"errcode": 0})
    return make_account(
        ChannelKind.ROBOT,
        secret={"url": f"{side.url}/robot?key=k"},
        rates=Rates(minute=20),
        robot="dingtalk",
        groups=[group.id],
        notices=True,
        timeout_seconds=0.5,
    )


def published(group: Group, title: str = "Spring tea") -> Post:
    post = posts.write(posts.Draft(PostKind.TIP, title, "Steep it at 80 °C.", group_ids=(group.id,)))
    posts.publish_now(post.id)
    return post


def test_a_post_is_passed_on_once(db: Any, side: Side, robot: Account, group: Group) -> None:
    post = published(group)
    for _again in range(3):
        pass_on_post(PostPublished(post_id=post.id, group_ids=[group.id]))
    jobs.say.direct()
    assert [asked.json["text"]["content"] for asked in side.taken] == ["Spring tea\nSteep it at 80 °C."]
    (posting,) = db.session.scalars(select(Posting))
    assert posting.state is PostingState.SENT
    pass_on_post(PostPublished(post_id=post.id, group_ids=[group.id + 1]))
    jobs.say.direct()
    assert len(side.taken) == 1


def test_a_robot_keeps_its_pace(db: Any, clock: Any, side: Side, robot: Account) -> None:
    for n in range(30):
        services.tell_staff(f"n{n}", f"Notice {n}", "…")
    jobs.say.direct()
    assert len(side.taken) == 20
    clock.move(seconds=30)
    jobs.say.direct()
    assert len(side.taken) == 20
    clock.move(seconds=40)
    jobs.say.direct()
    assert len(side.taken) == 30
    assert len({asked.body for asked in side.taken}) == 30


def test_what_is_in_doubt_is_not_said_again_by_itself(
    db: Any, clock: Any, side: Side, robot: Account, owner_client: Any
) -> None:
    side.usual = Say(0)
    services.tell_staff("x", "Careful", "…")
    jobs.say.direct()
    clock.move(hours=1)
    jobs.say.direct()
    (posting,) = db.session.scalars(select(Posting))
    assert (posting.state, len(side.taken)) == (PostingState.UNKNOWN, 1)
    side.usual = Say(body={"errcode": 0})
    page = owner_client.get(f"/console/channels/{robot.id}/record")
    assert "Careful" in page.text
    owner_client.post(f"/console/channels/{robot.id}/postings/{posting.id}/again")
    jobs.say.direct()
    db.session.refresh(posting)
    assert (posting.state, len(side.taken)) == (PostingState.SENT, 2)


def test_a_sender_that_died_leaves_doubt(db: Any, clock: Any, side: Side, robot: Account) -> None:
    services.tell_staff("x", "Careful", "…")
    assert postings.take_due() is not None
    clock.move(minutes=3)
    assert postings.take_due() is None
    assert db.session.scalars(select(Posting.state)).one() is PostingState.UNKNOWN


def test_a_chat_that_is_down_is_tried_again(db: Any, clock: Any, side: Side, robot: Account) -> None:
    side.answers = [Say(503, {})]
    services.tell_staff("x", "Careful", "…")
    jobs.say.direct()
    assert db.session.scalars(select(Posting.state)).one() is PostingState.WAITING
    clock.move(minutes=5)
    jobs.say.direct()
    assert db.session.scalars(select(Posting.state)).one() is PostingState.SENT


def test_the_staff_hear_that_a_channel_stands_still(db: Any, side: Side, robot: Account, sms_account: Account) -> None:
    side.usual = Say(body={"errcode": 0})
    assert services.note_errors(sms_account.id, 20, "HTTP 500 for +8613812345678")
    db.session.refresh(sms_account)
    for _again in range(2):
        tell_of_pause(ChannelPaused(account_id=sms_account.id, reason="HTTP 500"))
    jobs.say.direct()
    assert len(side.taken) == 1
    assert sms_account.pause_reason == "HTTP 500 for +861****5678"


# ── The feed of the shop's own groups ───────────────────────────────────────────────────────────────────────────────


def test_a_message_becomes_one_post(db: Any, clock: Any, group: Group, make_account: Callable[..., Account]) -> None:
    account = make_account(ChannelKind.GROUP_POST, groups=[group.id], post_kind="tip")
    adapter = registry.adapter_of(account)
    assert (adapter.abilities.shared, adapter.abilities.transactional) == (True, True)
    message = Message("run:7", 0, 0, "", "Tea of the week", "Try it.", None)
    first, again = adapter.submit([message])[0], adapter.submit([message])[0]
    assert first.status is Status.ACCEPTED
    assert first.provider_id == again.provider_id
    (post,) = db.session.scalars(select(Post).where(Post.title == "Tea of the week"))
    assert post.state is PostState.PUBLISHED
    assert len(db.session.scalars(select(GroupPosted)).all()) == 1
    refused = adapter.submit([Message("run:8", 0, 0, "", "", "", None)])[0]
    assert refused.status in (Status.REJECTED, Status.ACCEPTED)


def test_a_trial_is_a_draft(
    db: Any, clock: Any, run_jobs: Any, owner_client: Any, group: Group, make_account: Any
) -> None:
    account = make_account(ChannelKind.GROUP_POST, groups=[group.id], post_kind="tip")
    owner_client.post(f"/console/channels/{account.id}/test", data={"body": "A try"})
    run_jobs()
    db.session.refresh(account)
    assert account.test_passed
    (post,) = db.session.scalars(select(Post).where(Post.body == "A try"))
    assert post.state is PostState.DRAFT
