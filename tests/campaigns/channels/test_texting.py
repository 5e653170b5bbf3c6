"""Text messages over Aliyun and over a gateway that takes late, twice, never, and says 429 or 500."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from campaigns.channels import queries, registry, services, sms
from campaigns.channels.adapters import Message, Status, wire
from campaigns.channels.adapters.aliyun import Access, Aliyun, authorization, national
from campaigns.channels.adapters.gateway import (
    Form,
    Gateway,
    HeadersUnreadable,
    TemplateUnreadable,
    read_headers,
    read_template,
)
from campaigns.channels.models import Account
from campaigns.pushes import jobs as push_jobs
from campaigns.pushes import services as pushes
from campaigns.pushes.models import Delivery, DeliveryState
from kernel import shop
from membership.members.models import Contact

from .conftest import Asked, Say, Side

TEXT = "【青荷茶铺】新茶到店，拒收请回复R"
TERMS = sms.Terms("青荷茶铺")


def message(n: int, body: str = TEXT, kind: str = "push") -> Message:
    return Message(f"delivery:{n}", n, n, f"+8610000{n:06}", "Tea", body, kind=kind)


# ── Aliyun ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# The worked example of Aliyun's documentation of its signature V3.
EXAMPLE_HEADERS = {
    "host": "ecs.cn-shanghai.aliyuncs.com",
    "x-acs-action": "RunInstances",
    "x-acs-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "x-acs-date": "2023-10-26T10:22:32Z",
    "x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d",
    "x-acs-version": "2014-05-26",
}


def test_the_signature_is_that_of_aliyuns_own_example() -> None:
    query = {"ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd", "RegionId": "cn-shanghai"}
    found = authorization(
        "POST",
        "/",
        query,
        EXAMPLE_HEADERS,
        EXAMPLE_HEADERS["x-acs-content-sha256"],
        "YourAccessKeyId",
        "YourAccessKeySecret",
    )
    assert found.endswith("Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0")
    assert (
        "SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version" in found
    )


@pytest.fixture
def aliyun(side: Side) -> Aliyun:
    side.usual = Say(body={"Code": "OK", "Message": "OK", "BizId": "b-1", "RequestId": "r"})
    templates = sms.read_templates("SMS_1234 ${what}到店，拒收请回复R")
    return Aliyun(Access("id", "secret", TERMS, templates, endpoint=side.url, timeout_seconds=0.5))


def test_a_text_goes_to_aliyun_as_its_template(aliyun: Aliyun, side: Side) -> None:
    outcome = aliyun.submit([message(7)])[0]
    assert (outcome.status, outcome.provider_id) == (Status.ACCEPTED, "b-1")
    asked = side.taken[0]
    query = {name: values[0] for name, values in parse_qs(urlsplit(asked.path).query).items()}
    assert query == {
        "PhoneNumbers": "10000000007",
        "SignName": "青荷茶铺",
        "TemplateCode": "SMS_1234",
        "TemplateParam": '{"what":"新茶"}',
        "OutId": "delivery:7",
    }
    headers = {name.lower(): value for name, value in asked.headers.items()}
    wanted = authorization("POST", "/", query, headers, headers["x-acs-content-sha256"], "id", "secret")
    assert headers["authorization"] == wanted
    assert "secret" not in str(asked)


@pytest.mark.parametrize(
    ("status", "code", "wanted", "down"),
    [
        (200, "isv.MOBILE_NUMBER_ILLEGAL", Status.REJECTED, False),
        (200, "isv.BLACK_KEY_CONTROL_LIMIT", Status.REJECTED, False),
        (200, "isv.BUSINESS_LIMIT_CONTROL", Status.RETRY, False),
        (200, "isv.AMOUNT_NOT_ENOUGH", Status.RETRY, True),
        (400, "SignatureDoesNotMatch", Status.RETRY, True),
        (400, "Throttling.User", Status.RETRY, True),
        (200, "isp.SYSTEM_ERROR", Status.UNKNOWN, False),
        (500, "", Status.UNKNOWN, False),
        (200, "", Status.UNKNOWN, False),
        (503, "", Status.RETRY, True),
    ],
)
def test_what_aliyuns_codes_say(aliyun: Aliyun, side: Side, status: int, code: str, wanted: Status, down: bool) -> None:
    side.usual = Say(status, {"Code": code, "Message": "…"} if code else b"<html>")
    outcome = aliyun.submit([message(1)])[0]
    assert (outcome.status, outcome.down) == (wanted, down)


def test_a_text_that_fits_no_template_is_not_sent(aliyun: Aliyun, side: Side) -> None:
    outcome = aliyun.submit([message(1, "【青荷茶铺】旧茶打折，拒收请回复R")])[0]
    assert (outcome.status, outcome.reason) == (Status.REJECTED, "template_unknown")
    assert side.taken == []


def test_phones_of_elsewhere_keep_their_country() -> None:
    assert (national("+8613800000000"), national("+85212345678")) == ("13800000000", "85212345678")


# ── Any gateway ─────────────────────────────────────────────────────────────────────────────────────────────────────


def gateway(side: Side, **change: Any) -> Gateway:
    values: dict[str, Any] = {
        "url": f"{side.url}/sms?x=1",
        "terms": TERMS,
        "template": '{"to": ["{to}"], "text": "{text}", "id": "{key}"}',
        "headers": "Authorization: Bearer {secret}",
        "secret": "s3cret",
        "ok_path": "code",
        "ok_value": "0",
        "id_path": "data.0.id",
        "timeout_seconds": 0.4,
    }
    return Gateway(Form(**(values | change)))


def test_the_request_is_the_template_filled(side: Side) -> None:
    side.usual = Say(body={"code": 0, "data": [{"id": 77}]})
    text = '【青荷茶铺】"}], {text} \\ 拒收请回复R'
    outcome = gateway(side).submit([message(3, text)])[0]
    assert (outcome.status, outcome.provider_id) == (Status.ACCEPTED, "77")
    asked = side.taken[0]
    assert asked.json == {"to": ["+8610000000003"], "text": text, "id": "delivery:3"}
    assert (asked.headers["Authorization"], asked.path) == ("Bearer s3cret", "/sms?x=1")


def test_a_form_is_encoded(side: Side) -> None:
    side.usual = Say(body=b"")
    made = gateway(side, form="form", template="mobile={phone}\nmsg={text}&x", ok_path="", id_path="")
    assert made.submit([message(3, "【青荷茶铺】a&b=c 拒收请回复R")])[0].status is Status.ACCEPTED
    assert parse_qs(side.taken[0].body.decode()) == {
        "mobile": ["10000000003"],
        "msg": ["【青荷茶铺】a&b=c 拒收请回复R&x"],
    }


@pytest.mark.parametrize(
    ("say", "wanted", "down"),
    [
        (Say(200, {"code": "0"}), Status.ACCEPTED, False),
        (Say(200, {"code": 5, "msg": "no"}), Status.REJECTED, False),
        (Say(200, {}), Status.UNKNOWN, False),
        (Say(200, b"ok"), Status.UNKNOWN, False),
        (Say(400), Status.REJECTED, False),
        (Say(401), Status.RETRY, True),
        (Say(302, headers={"Location": "https://evil.example/"}), Status.RETRY, True),
        (Say(429, headers={"Retry-After": "7"}), Status.RETRY, True),
        (Say(500), Status.UNKNOWN, False),
        (Say(502), Status.UNKNOWN, False),
        (Say(0), Status.UNKNOWN, False),
        (Say(200, {"code": 0}, wait=1.0), Status.UNKNOWN, False),
    ],
)
def test_check_g9_states_are_never_guessed(side: Side, say: Say, wanted: Status, down: bool) -> None:
    side.usual = say
    outcome = gateway(side).submit([message(1)])[0]
    assert (outcome.status, outcome.down) == (wanted, down)
    assert len(side.taken) == 1


def test_a_gateway_that_is_down_loses_nothing(side: Side) -> None:
    side.shutdown()
    side.server_close()
    outcomes = gateway(side).submit([message(1), message(2)])
    assert [(o.status, o.down) for o in outcomes] == [(Status.RETRY, True)] * 2


def test_check_f2_the_last_guard_is_at_the_door(side: Side) -> None:
    side.usual = Say(body={"code": 0})
    bad = [message(1, "新茶，拒收请回复R"), message(2, "【青荷茶铺】新茶"), message(3)]
    outcomes = gateway(side).submit(bad)
    assert [o.status for o in outcomes] == [Status.REJECTED, Status.REJECTED, Status.ACCEPTED]
    assert len(side.taken) == 1
    assert gateway(side).submit([message(4, "【青荷茶铺】验证码 123456", kind="code")])[0].status is Status.ACCEPTED


def test_check_d5_only_the_open_internet_is_called(app: Any, db: Any, caplog: Any) -> None:
    for url in (
        "http://127.0.0.1:1/",
        "https://169.254.169.254/",
        "https://100.100.100.200/",
        "https://[::ffff:10.0.0.1]/",
    ):
        with caplog.at_level(logging.DEBUG):
            outcome = Gateway(Form(url, TERMS, '{"to": "{to}", "text": "{text}"}')).submit([message(1)])[0]
        assert (outcome.status, outcome.down) == (Status.RETRY, True)
    with pytest.raises(wire.NotSent):
        wire.Line("https://10.1.2.3/", 1).reach()


def test_templates_and_headers_are_read_when_they_are_saved(app: Any) -> None:
    for text, form in [
        ("", "json"),
        ('{"to": "{to}"}', "json"),
        ("[]", "json"),
        ("mobile", "form"),
        ("m={text}", "form"),
    ]:
        with pytest.raises(TemplateUnreadable):
            read_template(text, form)
    for text in ("Authorization", "A B: c", "X: \x00"):
        with pytest.raises(HeadersUnreadable):
            read_headers(text)
    assert read_headers("X-Key: {secret}\n\nAccept: */*") == {"X-Key": "{secret}", "Accept": "*/*"}


# ── A whole push over a gateway with a ledger of its own ────────────────────────────────────────────────────────────


def test_check_g9_totals_agree_with_the_gateways_own_ledger(
    db: Any,
    clock: Any,
    run_jobs: Any,
    side: Side,
    sms_account: Account,
    make_member: Callable[..., Any],
    make_push: Callable[..., Any],
) -> None:
    """The gateway takes, refuses, hangs up after taking, and fails; ours and its books agree to the message."""
    fates = ["take", "take_and_hang_up", "refuse", "fail", "take", "take_late"]
    members = {
        make_member(f"M{n}", (Contact.SMS,), phone=f"+861000000{n:04}").id: fates[n % len(fates)] for n in range(24)
    }
    phones = {f"1000000{n:04}": member_id for n, member_id in enumerate(members)}
    kept: dict[str, int] = {}

    def answer(asked: Asked) -> Say:
        key = asked.json["id"]
        fate = members[phones[asked.json["mobile"]]]
        if fate in ("take", "take_and_hang_up", "take_late"):
            kept[key] = kept.get(key, 0) + 1
        return {
            "take": Say(body={"code": 0, "data": {"id": key}}),
            "take_and_hang_up": Say(0),
            "take_late": Say(body={"code": 0}, wait=0.8),
            "refuse": Say(body={"code": 9, "msg": "空号"}),
            "fail": Say(500),
        }[fate]

    shop.put("holdout.percent", 0)
    _push, run = make_push(account_id=sms_account.id, body="【青荷茶铺】{nickname} 新茶到店，拒收请回复R")
    pushes.schedule(run)
    side.by_path = answer
    push_jobs.wake.direct()
    run_jobs()
    db.session.expire_all()
    rows = db.session.query(Delivery).filter_by(run_id=run.id).all()
    told: dict[str, set[str]] = {}
    for row in rows:
        if row.state not in (DeliveryState.CONTROL, DeliveryState.SUPPRESSED, DeliveryState.CAPPED):
            told.setdefault(members[row.member_id], set()).add(row.state.value)
    assert told["take"] == {"accepted"}
    assert told["refuse"] == {"failed"}
    assert told["take_and_hang_up"] == told["take_late"] == told["fail"] == {"unknown"}
    assert set(kept.values()) == {1}, "a message was handed over twice"
    accepted = {f"delivery:{row.id}" for row in rows if row.state is DeliveryState.ACCEPTED}
    doubtful = {f"delivery:{row.id}" for row in rows if row.state is DeliveryState.UNKNOWN}
    assert accepted <= set(kept) <= accepted | doubtful
    # Nothing in doubt is offered again by itself.
    clock.move(hours=1)
    push_jobs.wake.direct()
    run_jobs()
    assert set(kept.values()) == {1}
    services.note_call(sms_account.id, [], [], 0.0, flush=True)
    assert queries.record_of(sms_account.id, timedelta(days=1)).accepted == len(accepted)


def test_the_adapter_is_kept_and_made_anew_when_settings_change(db: Any, sms_account: Account) -> None:
    first = registry.adapter_of(sms_account)
    assert registry.adapter_of(sms_account) is first
    sms_account.settings = sms_account.settings | {"signature": "新名字"}
    assert registry.adapter_of(sms_account) is not first
