"""Pushes over channels with rules of their own: text messages, tasks of the staff, addresses that bounced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from campaigns.channels import pace, sms
from campaigns.channels import services as channels
from campaigns.channels.models import Account, ChannelKind, ContactClass, ContactTask, TaskState
from campaigns.pushes import jobs, message, services
from campaigns.pushes.models import Delivery, DeliveryState
from kernel import shop
from kernel.auth import Role
from membership.members.models import Contact

GOOD = "【青荷茶铺】{nickname} 新茶到店，拒收请回复R"


@pytest.fixture
def texts(db: Any, clock: Any) -> Account:
    settings = {
        "provider": "gateway",
        "signature": "青荷茶铺",
        "opt_out": "拒收请回复R",
        "url": "https://gateway.example/",
        "template": '{"to": "{to}", "text": "{text}"}',
    }
    return channels.save_account(ChannelKind.SMS, "SMS", settings, pace.Rates(), "hush")


@pytest.fixture
def calls(db: Any, clock: Any) -> Account:
    return channels.save_account(ChannelKind.TASK, "Calls", {"days": 2}, pace.Rates(), None)


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ("{nickname} 新茶到店，拒收请回复R", sms.SignatureMissing),
        ("【青荷茶铺】{nickname} 新茶到店", sms.OptOutMissing),
        ("【青荷茶铺】{coupon_link} 拒收请回复R", sms.LinkPersonal),
    ],
)
def test_check_f2_such_a_text_can_neither_be_saved_nor_sent(
    db: Any, texts: Account, make_push: Callable[..., Any], body: str, refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        make_push(account_id=texts.id, body=body)
    push, run = make_push(account_id=texts.id, body=GOOD)
    with pytest.raises(refusal):
        services.change(push, run, body=body)
    # However it came to be there, it is looked at again before it is sent.
    push.body = body
    db.session.flush()
    with pytest.raises(refusal):
        services.schedule(run)


def test_check_f2_the_form_says_so(db: Any, texts: Account, owner_client: Any) -> None:
    typed = {"name": "Tea", "account_id": texts.id, "subject": "Tea", "body": "新茶到店", "contact_class": "broadcast"}
    answer = owner_client.post("/console/pushes/new", data=typed)
    assert answer.status_code == 422
    assert "【青荷茶铺】" in answer.text
    # A notice needs neither agreement nor a way to stop it: nobody writes one by hand and calls it that.
    for notice in ("service", "transactional", "triggered"):
        answer = owner_client.post("/console/pushes/new", data=typed | {"body": GOOD, "contact_class": notice})
        assert answer.status_code == 422


def test_a_task_is_in_the_hands_of_staff_until_they_say(
    db: Any, run_jobs: Any, calls: Account, make_member: Any, make_push: Any, make_staff: Any
) -> None:
    shop.put("holdout.percent", 0)
    people = [make_member(f"M{n}", (Contact.CALL,), phone=f"+8610000000{n:03}") for n in range(3)]
    _push, run = make_push(account_id=calls.id, subject="Tea", body="Tell {nickname} the tea is in.")
    services.schedule(run)
    jobs.wake.direct()
    run_jobs()
    states = {d.member_id: d.state for d in db.session.scalars(select(Delivery).where(Delivery.run_id == run.id))}
    assert set(states.values()) == {DeliveryState.ASSIGNED}
    tasks = {t.member_id: t for t in db.session.scalars(select(ContactTask))}
    assert tasks[people[0].id].words == "Tell M0 the tea is in."
    who = make_staff(Role.SERVICE)
    for member, state in zip(people, (TaskState.DONE, TaskState.NOT_REACHED, TaskState.REFUSED), strict=True):
        channels.end_task(tasks[member.id].id, state, "", who.id)
    run_jobs()
    db.session.expire_all()
    found = {
        d.member_id: (d.state, d.reason) for d in db.session.scalars(select(Delivery).where(Delivery.run_id == run.id))
    }
    assert found[people[0].id][0] is DeliveryState.ACCEPTED
    assert found[people[1].id] == (DeliveryState.FAILED, "not_reached")
    assert found[people[2].id] == (DeliveryState.FAILED, "refused")


def test_an_address_that_bounced_is_not_written_to(
    db: Any, clock: Any, run_jobs: Any, make_member: Any, make_push: Any
) -> None:
    shop.put("holdout.percent", 0)
    lime = make_member("Lime", (Contact.EMAIL,), email="lime@example.com")
    settings = {"host": "127.0.0.1", "port": 1, "security": "none", "sender": "a@b.example", "username": ""}
    mail = channels.save_account(ChannelKind.EMAIL, "Mail", settings, pace.Rates(), None)
    channels.give_up(lime.id, "lime@example.com", "550 5.1.1 user unknown")
    _push, run = make_push(account_id=mail.id)
    services.schedule(run)
    jobs.wake.direct()
    run_jobs()
    (delivery,) = db.session.scalars(select(Delivery).where(Delivery.run_id == run.id))
    assert (delivery.state, delivery.reason) == (DeliveryState.SUPPRESSED, "no_address")


def test_the_length_of_a_text_message_is_shown(
    db: Any, texts: Account, owner_client: Any, make_push: Any, make_member: Any
) -> None:
    make_member("Lime", (Contact.SMS,), phone="+8610000000001")
    push, _run = make_push(account_id=texts.id, body=GOOD + "茶" * 70)
    for page in ("read-as", "edit"):
        assert "按 2 条计费" in owner_client.get(f"/console/pushes/{push.id}/{page}").text


def test_a_notice_by_text_needs_no_way_out(db: Any, texts: Account, make_push: Any) -> None:
    body = "【青荷茶铺】{nickname} 您的包裹已发出"
    with pytest.raises(sms.OptOutMissing):
        make_push(account_id=texts.id, body=body)
    push, _run = make_push(account_id=texts.id, body=body, contact_class=ContactClass.SERVICE)
    written = message.example(push, texts, None)
    assert written is not None
    assert written.kind == "service"
