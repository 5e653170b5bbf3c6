"""Sign-in codes by SMS: over the account that is set up for them, to phones that somebody has, and not too many."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from campaigns.channels import services
from campaigns.channels.models import Account, ChannelKind
from campaigns.channels.services import codes, texts
from kernel.errors import Refusal
from membership.members.models import Channel, MemberIdentity
from membership.members.services import identify

from .conftest import Say, Side

PHONE = "+8610000000001"
OTHER = "+8610000000002"
TEMPLATES = "SMS_1 亲爱的${name}，新茶到店，拒收请回复R\nSMS_2 您的验证码为${code}，请勿泄露"


@pytest.fixture
def with_codes(db: Any, clock: Any, sms_account: Account) -> Account:
    sms_account.settings = sms_account.settings | {"codes": True}
    db.session.flush()
    return sms_account


@pytest.fixture
def lime(db: Any, clock: Any, make_member: Any) -> Any:
    member = make_member("Lime", phone=PHONE)
    identity = MemberIdentity(member_id=member.id, channel=Channel.PHONE, external_id=PHONE, created_at=clock.now())
    db.session.add(identity)
    db.session.flush()
    return member


def ask(client: Any, address: str) -> Any:
    return client.post("/me/sign-in/code", data={"address": address})


def test_a_code_by_sms_says_who_one_is(client: Any, run_jobs: Any, with_codes: Account, lime: Any, side: Side) -> None:
    assert "验证码" in client.get("/me/sign-in").text
    asked = ask(client, "100 0000 0001")
    run_jobs()
    (request,) = side.taken
    assert request.json["mobile"] == "10000000001"
    text = request.json["content"]
    assert text.startswith("【青荷茶铺】")
    # It is no marketing, and nobody needs to be told how to stop it.
    assert "拒收" not in text
    code = re.findall(r"\d{6}", text)[0]
    assert client.post(asked.location, data={"code": code}).status_code == 302
    assert client.get("/me/profile").status_code == 200


def test_check_e2_an_unknown_phone_gets_the_same_answer_and_nothing_is_sent(
    client: Any, run_jobs: Any, with_codes: Account, lime: Any, side: Side
) -> None:
    answers = []
    for phone in (PHONE, OTHER):
        asked = ask(client, phone)
        page = client.get(asked.location)
        wrong = client.post(asked.location, data={"code": "000000"})
        answers.append((asked.status_code, page.status_code, wrong.status_code))
    run_jobs()
    assert answers[0] == answers[1]
    assert len(side.taken) == 1


def test_check_e1_ten_codes_a_day_and_the_order_number_still_opens(
    client: Any, clock: Any, with_codes: Account, lime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    for _quarter in range(4):
        clock.move(minutes=9)
        for _try in range(identify.PERSON_TRIES):
            clock.move(minutes=1)
            given.append(ask(client, PHONE).status_code)
    assert given.count(302) == identify.PERSON_CODES
    assert set(given[-identify.PERSON_TRIES :]) == {429}
    clock.move(minutes=15)
    # The second way is no lock-out weapon's victim.
    typed = {"phone": PHONE, "order_number": "nobody's"}
    assert client.post("/me/sign-in", data=typed).status_code == 422
    clock.move(days=1)
    assert ask(client, PHONE).status_code == 302


def test_check_e6_one_code_a_minute_for_a_phone_whoever_asks(
    app: Any, client: Any, clock: Any, run_jobs: Any, with_codes: Account, lime: Any, side: Side
) -> None:
    for phone in (PHONE, OTHER):
        assert ask(client, phone).status_code == 302
        clock.move(seconds=20)
        refused = ask(app.test_client(), phone)
        assert refused.status_code == 429
        assert "40 秒" in refused.text
        assert f'value="{phone}"' in refused.text
        clock.move(seconds=40)
        assert ask(client, phone).status_code == 302
    run_jobs()
    assert len(side.taken) == 2


def test_what_the_gateway_refuses_is_tried_again_and_doubt_is_not(
    db: Any, with_codes: Account, lime: Any, side: Side
) -> None:
    side.answers = [Say(body={"code": 7, "msg": "busy"}), Say(500)]
    with pytest.raises(services.MailFailed):
        services.text_code(PHONE, "123456")
    services.text_code(PHONE, "123456")
    assert len(side.taken) == 2


@pytest.mark.parametrize("without", ["codes", "paused", "rate"])
def test_no_account_no_code(db: Any, client: Any, with_codes: Account, lime: Any, side: Side, without: str) -> None:
    if without == "codes":
        with_codes.settings = with_codes.settings | {"codes": False}
    elif without == "paused":
        services.pause_account(with_codes, "by hand")
    else:
        with_codes.rate_per_day = 1
        db.session.flush()
        services.text_code(PHONE, "123456")
    db.session.flush()
    if without != "rate":
        assert codes.texting() is None
        assert "验证码" not in client.get("/me/sign-in").text
        assert ask(client, PHONE).status_code == 404
    with pytest.raises(services.MailFailed):
        services.text_code(PHONE, "123456")


def test_either_way_is_taken_by_what_is_typed(
    app: Any, client: Any, with_codes: Account, lime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        app.extensions, "settings", replace(app.extensions["settings"], smtp_url="smtp://mail.example:25")
    )
    assert identify.ways() == {Channel.PHONE, Channel.EMAIL}
    assert ask(client, "lime@example.com").status_code == 302
    assert ask(client, "no phone, no address").status_code == 422


def test_an_e_mail_account_sends_codes_too(db: Any, client: Any, clock: Any, make_account: Any) -> None:
    assert identify.ways() == set()
    mail = make_account(ChannelKind.EMAIL, host="127.0.0.1", port=1, sender="a@b.example", security="none")
    assert identify.ways() == {Channel.EMAIL}
    found = codes.mailing()
    assert found is not None
    assert (found.host, found.sender) == ("127.0.0.1", "a@b.example")
    with pytest.raises(services.MailFailed):
        services.mail_code("lime@example.com", "123456")
    services.pause_account(mail, "by hand")
    db.session.flush()
    assert identify.ways() == set()


def test_aliyun_sends_codes_by_the_template_for_them(db: Any, make_account: Any, owner_client: Any) -> None:
    settings = {"provider": "aliyun", "signature": "青荷茶铺", "opt_out": "拒收请回复R", "key_id": "k", "codes": True}
    account = make_account(ChannelKind.SMS, secret="s", templates=TEMPLATES, **settings)
    assert texts.code_text(account, "012345") == "【青荷茶铺】您的验证码为012345，请勿泄露"
    texts.check(account, "【青荷茶铺】亲爱的{nickname}，新茶到店，拒收请回复R")
    with pytest.raises(Refusal):
        # A push cannot take the way of a code.
        texts.check(account, "【青荷茶铺】您的验证码为{nickname}，请勿泄露")
    typed = {"name": "Texts", "key": "s", "rate_per_second": "", **settings, "codes": "y"}
    path = "/console/channels/new/sms"
    assert owner_client.post(path, data=typed | {"templates": TEMPLATES.split("\n")[0]}).status_code == 422
    assert owner_client.post(path, data=typed | {"templates": TEMPLATES}).status_code == 302
