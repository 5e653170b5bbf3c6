"""What gateways, mail servers and WeCom call back with: signed, unsigned, late, twice, forged, malformed."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select

from campaigns.channels import services
from campaigns.channels.adapters import wecom_crypto
from campaigns.channels.events import MessageReported
from campaigns.channels.models import Account, Callback, ChannelKind, DeadAddress, Receipt, Reply
from kernel import clock as kernel_clock
from kernel.events import EventRecord
from membership.members import queries as members
from membership.members.models import Channel, Consent, Contact, Member, MemberIdentity, OptOut, Purpose
from membership.members.services import give_consent
from membership.members.services.rights import address_hash

from .test_bounces import ARF, dsn

PHONE, EMAIL = "+8610000000001", "lime@example.com"
KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


@pytest.fixture
def lime(db: Any, clock: Any) -> Member:
    """A member who agreed to text messages, e-mails and WeCom."""
    now = kernel_clock.now()
    member = Member(nickname="Lime", phone=PHONE, email=EMAIL, created_at=now, stage_since=now)
    db.session.add(member)
    db.session.flush()
    for channel, external_id in ((Channel.PHONE, PHONE), (Channel.EMAIL, EMAIL), (Channel.WECOM, "wm-lime")):
        db.session.add(MemberIdentity(member_id=member.id, channel=channel, external_id=external_id, created_at=now))
    db.session.flush()
    for contact in (Contact.SMS, Contact.EMAIL, Contact.WECOM):
        give_consent(member.id, contact, source="portal")
    db.session.flush()
    return member


@pytest.fixture
def sms(db: Any, clock: Any, sms_account: Account) -> Account:
    services.open_hooks(sms_account)
    return sms_account


def sign(account: Account, body: bytes, at: float | None = None, key: str | None = None) -> dict[str, str]:
    stamp = str(int(at if at is not None else kernel_clock.now().timestamp()))
    made = hmac.new((key or services.hook_secret(account)).encode(), f"{stamp}.".encode() + body, "sha256").hexdigest()
    return {"Siyu-Signature": f"t={stamp},v1={made}"}


def post(client: Any, account: Account, what: str, content: Any, signed: bool = False, **headers: str) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    head = (sign(account, body) if signed else {}) | headers
    return client.post(
        f"/hooks/channels/{account.hook_token}/{what}", data=body, headers=head, content_type="application/json"
    )


def agreed(member: Member, contact: Contact = Contact.SMS) -> bool:
    return members.has_consent(member.id, contact)


# ── Answers to text messages ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("words", ["R", "r", "Ｒ", "T", "TD", "退订", " r。"])
def test_check_f3_an_answer_stops_at_once_signed_or_not(db, client, lime, sms, words):
    assert agreed(lime)
    began = time.monotonic()
    answer = post(client, sms, "replies", [{"phone_number": "10000000001", "content": words, "sequence_id": "1"}])
    # Aliyun gives up on an answer after 700 ms; a hundredth of that is what it takes.
    assert time.monotonic() - began < 5
    assert (answer.status_code, answer.json) == (200, {"code": 0, "msg": "OK"})
    assert not agreed(lime)
    row = members.rights(lime.id)[Contact.SMS, Purpose.MARKETING]
    assert (row.granted, row.source) == (False, "sms_reply")
    assert db.session.scalar(select(OptOut.channel).where(OptOut.address_hash == address_hash(PHONE))) == Contact.SMS
    assert agreed(lime, Contact.EMAIL)


def test_check_f3_no_answer_ever_gives_a_right(db, client, lime, sms):
    post(client, sms, "replies", [{"phone": PHONE, "text": "R", "id": "1"}])
    before = db.session.scalar(select(func.count()).select_from(Consent))
    for n, words in enumerate(["START", "Y", "订阅", "同意", "yes please", "恢复"]):
        for signed in (False, True):
            assert (
                post(
                    client, sms, "replies", [{"phone": PHONE, "text": words, "id": f"{n}{signed}"}], signed
                ).status_code
                == 200
            )
    assert db.session.scalar(select(func.count()).select_from(Consent)) == before
    assert not agreed(lime)


def test_check_f3_the_same_answer_again_does_nothing_even_after_they_agreed_anew(db, client, lime, sms):
    said = [{"phone": PHONE, "text": "R", "send_time": "2026-03-03 12:00:00"}]
    for _again in range(3):
        post(client, sms, "replies", said)
    assert db.session.scalar(select(func.count()).select_from(Reply)) == 1
    give_consent(lime.id, Contact.SMS, source="portal")
    # The gateway tries once more, hours later.
    post(client, sms, "replies", said)
    assert agreed(lime)
    post(client, sms, "replies", [{"phone": PHONE, "text": "R", "send_time": "2026-03-04 12:00:00"}])
    assert not agreed(lime)


def test_check_f3_a_stranger_is_remembered(db, client, sms):
    post(client, sms, "replies", {"mobile": "13800000009", "content": "退订"})
    assert db.session.scalar(select(OptOut.channel).where(OptOut.address_hash == address_hash("+8613800000009")))
    (reply,) = db.session.scalars(select(Reply))
    assert (reply.member_id, reply.words, reply.stopped) == (None, "", True)


def test_another_answer_is_kept_for_the_staff(db, client, lime, sms, owner_client):
    post(client, sms, "replies", {"from": PHONE, "msg": "茶很好喝"})
    assert agreed(lime)
    page = owner_client.get(f"/console/channels/{sms.id}/record").text
    assert "茶很好喝" in page
    assert PHONE not in page


def test_a_form_is_read_too(db, client, lime, sms):
    answer = client.post(
        f"/hooks/channels/{sms.hook_token}/replies", data=urlencode({"mobile": PHONE, "content": "T"}),
        content_type="application/x-www-form-urlencoded",
    )  # fmt: skip
    assert answer.status_code == 200
    assert not agreed(lime)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"7", b'"R"', b"[1]", b"\xff\xfe", b"[" * 20_000, b'{"a":[[]]}', b"null", b'{"a": NaN'],
)
def test_check_b7_what_cannot_be_read_is_refused(db, client, sms, body):
    for what in ("replies", "receipts"):
        assert 400 <= post(client, sms, what, body).status_code < 500
    assert db.session.scalar(select(func.count()).select_from(Callback)) == 0


def test_check_b7_size_is_judged_first(db, client, sms):
    assert post(client, sms, "replies", b"[" + b" " * 70_000 + b"]").status_code == 413


def test_an_address_nobody_made_leads_nowhere(db, client, sms, make_account):
    mail = make_account(ChannelKind.EMAIL, host="h", port=25, sender="a@b.example", security="none")
    services.open_hooks(mail)
    for path in ("", "x" * 32, mail.hook_token):
        assert client.post(f"/hooks/channels/{path}/replies", json=[{"phone": PHONE, "text": "R"}]).status_code == 404


# ── Receipts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def reported(db: Any) -> list[dict[str, Any]]:
    rows = db.session.scalars(
        select(EventRecord).where(EventRecord.name.endswith("MessageReported")).order_by(EventRecord.id)
    )
    return [row.payload for row in rows]


def test_receipts_count_once_each(db, client, sms):
    aliyun = [{"phone_number": "1", "success": True, "err_code": "DELIVERED", "biz_id": "b", "out_id": "delivery:7"}]
    for _again in range(3):
        assert post(client, sms, "receipts", aliyun, signed=True).status_code == 200
    post(client, sms, "receipts", {"key": "delivery:8", "delivered": "false", "code": "MK:0001"}, signed=True)
    rows = db.session.scalars(select(Receipt).order_by(Receipt.id)).all()
    assert [(r.key, r.delivered, r.code, r.signed) for r in rows] == [
        ("delivery:7", True, "DELIVERED", True),
        ("delivery:8", False, "MK:0001", True),
    ]
    assert [(e["key"], e["delivered"], e["signed"]) for e in reported(db)] == [
        ("delivery:7", True, True),
        ("delivery:8", False, True),
    ]
    assert MessageReported.__doc__


def test_check_f3_a_forged_receipt_is_told_as_unsigned(db, client, sms):
    body = json.dumps([{"key": "delivery:7", "success": False}]).encode()
    now = kernel_clock.now().timestamp()
    forged = [
        {},
        {"Siyu-Signature": "t=1,v1=" + "0" * 64},
        {"Siyu-Signature": "garbage"},
        sign(sms, body, key="wrong"),
        sign(sms, body + b" "),
        sign(sms, body, at=now - 301),
        sign(sms, body, at=now + 301),
    ]
    for head in forged:
        assert post(client, sms, "receipts", body, **head).status_code == 200
    assert [e["signed"] for e in reported(db)] == [False]
    for at in (now - 299, now + 299):
        assert services.signed(sms, sign(sms, body, at=at)["Siyu-Signature"], body)


# ── Returned mail ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def mail(db: Any, clock: Any, make_account: Any) -> Account:
    account = make_account(ChannelKind.EMAIL, host="h", port=25, sender="a@b.example", security="none")
    services.open_hooks(account)
    return account


def test_an_address_that_does_not_exist_is_given_up_but_nothing_was_refused(db, client, lime, mail):
    for _again in range(2):
        answer = post(client, mail, "mail", dsn(address=EMAIL), signed=True)
        assert answer.status_code == 200
    (dead,) = db.session.scalars(select(DeadAddress))
    assert (dead.member_id, dead.address, dead.contact) == (lime.id, EMAIL, Contact.EMAIL)
    assert "user unknown" in dead.reason
    assert agreed(lime, Contact.EMAIL)
    assert services.try_again(lime.id)
    assert db.session.scalars(select(DeadAddress)).all() == []


def test_a_full_mailbox_is_not_given_up(db, client, lime, mail):
    post(client, mail, "mail", dsn(address=EMAIL, status="5.2.2", said="552 mailbox full"), signed=True)
    assert db.session.scalars(select(DeadAddress)).all() == []


def test_a_complaint_is_a_refusal(db, client, lime, mail):
    assert post(client, mail, "mail", ARF, signed=True).json["ended"] == 1
    assert not agreed(lime, Contact.EMAIL)
    assert agreed(lime, Contact.SMS)


def test_unsigned_mail_is_not_read(db, client, lime, mail):
    for head in ({}, sign(mail, b"other"), {"Siyu-Signature": "t=1"}):
        assert post(client, mail, "mail", dsn(address=EMAIL), **head).status_code == 401
    assert db.session.scalars(select(DeadAddress)).all() == []


# ── WeCom ───────────────────────────────────────────────────────────────────────────────────────────────────────────

# Tencent's own sample and one of another implementation: see `data/protocol/vectors.json`.
VECTORS = [
    (
        "QDG6eK",
        "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C",
        "wx5823bf96d3bd56c7",
        "1409659589",
        "263014780",
        "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ==",
        "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3",
        b"1616140317555161061",
    ),
    (
        "kjr2TKI8umCBfVF3wAHk8JiPwma5VBme",
        "4Ma3YBrSBbX2aez8MJpXGBne5LSDwgGqHbhM9WPYIws",
        "ww6a112864f8022910",
        "1583940690",
        "VHh7ymSeb0jc4lSb",
        "6KmUQuPVu7UhjyVqRdbo5SfcRqaHvbUlKSHFvBV2ZuR6TIlKsygcfeSd1GDplg1C5KSKr6UPHCaC/nIX3ZNt9w==",
        "1ba3cb09c0d2c2b3ed6900d37f91a6efae6cb011",
        b"94966531020182955848408",
    ),
]


@pytest.mark.parametrize("vector", VECTORS, ids=["tencent", "go-workwx"])
def test_the_published_vectors_open(vector):
    token, aes, receive, stamp, nonce, encrypted, signature, plain = vector
    assert wecom_crypto.signature(token, stamp, nonce, encrypted) == signature
    wecom_crypto.check(token, stamp, nonce, encrypted, signature)
    assert wecom_crypto.opened(wecom_crypto.key_of(aes), encrypted, receive) == plain


@pytest.fixture
def wecom(db: Any, clock: Any, make_account: Any) -> Account:
    account = make_account(
        ChannelKind.WECOM, secret={"secret": "s", "token": "tok", "aes_key": KEY}, corp_id="wwcorp", per_month=4
    )
    services.open_hooks(account)
    return account


def left(who: str = "wm-lime", extra: str = "") -> str:
    return (
        "<xml><ToUserName><![CDATA[wwcorp]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
        "<CreateTime>1772510400</CreateTime><MsgType><![CDATA[event]]></MsgType>"
        "<Event><![CDATA[change_external_contact]]></Event><ChangeType><![CDATA[del_follow_user]]></ChangeType>"
        f"<ExternalUserID><![CDATA[{who}]]></ExternalUserID>{extra}</xml>"
    )


def envelope(
    content: str | bytes,
    *,
    token: str = "tok",  # noqa: S107
    key: str = KEY,
    receive: str = "wwcorp",
    stamp: str | None = None,
    nonce: str = "n1",
) -> tuple[dict[str, str], bytes]:
    stamp = stamp or str(int(kernel_clock.now().timestamp()))
    plain = content.encode() if isinstance(content, str) else content
    encrypted = wecom_crypto.closed(wecom_crypto.key_of(key), plain, receive)
    asked = {
        "msg_signature": wecom_crypto.signature(token, stamp, nonce, encrypted),
        "timestamp": stamp,
        "nonce": nonce,
    }
    return (
        asked,
        f"<xml><ToUserName><![CDATA[x]]></ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>".encode(),
    )


def call(client: Any, account: Account, asked: dict[str, str], body: bytes) -> Any:
    return client.post(
        f"/hooks/channels/{account.hook_token}/wecom?{urlencode(asked)}", data=body, content_type="text/xml"
    )


def test_wecom_proves_the_address(db, client, wecom):
    now = str(int(kernel_clock.now().timestamp()))
    echo = wecom_crypto.closed(wecom_crypto.key_of(KEY), b"4711", "wwcorp")
    asked = {
        "msg_signature": wecom_crypto.signature("tok", now, "n", echo),
        "timestamp": now,
        "nonce": "n",
        "echostr": echo,
    }
    url = f"/hooks/channels/{wecom.hook_token}/wecom"
    answer = client.get(f"{url}?{urlencode(asked)}")
    assert (answer.status_code, answer.data) == (200, b"4711")
    assert client.get(f"{url}?{urlencode(asked | {'echostr': echo[:-4]})}").status_code == 403
    assert client.get(url).status_code == 403


def test_a_customer_who_leaves_is_written_to_no_more_and_once_is_enough(db, client, lime, wecom):
    asked, body = envelope(left())
    assert call(client, wecom, asked, body).data == b"success"
    assert not agreed(lime, Contact.WECOM)
    give_consent(lime.id, Contact.WECOM, source="portal")
    for _again in range(3):
        assert call(client, wecom, asked, body).status_code == 200
    assert agreed(lime, Contact.WECOM), "the same call acted twice"
    assert db.session.scalar(select(func.count()).select_from(Callback)) == 1


def hostile() -> list[tuple[str, Any]]:
    """What must not act, by name: a function of nothing that gives the query and the body."""
    now = int(kernel_clock.now().timestamp())
    fine = envelope(left())
    asked, body = fine
    encrypted = body.split(b"CDATA[")[2].split(b"]")[0].decode()
    inner = base64.b64decode(encrypted)

    def signed(content: bytes) -> tuple[dict[str, str], bytes]:
        return envelope(content)

    def resigned(text: str) -> tuple[dict[str, str], bytes]:
        stamp = str(now)
        return (
            {"msg_signature": wecom_crypto.signature("tok", stamp, "n", text), "timestamp": stamp, "nonce": "n"},
            f"<xml><Encrypt><![CDATA[{text}]]></Encrypt></xml>".encode(),
        )

    flipped = bytearray(inner)
    flipped[20] ^= 1
    last = bytearray(inner)
    last[-1] ^= 1
    doctype = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]><xml><A>&a;</A></xml>'
    bomb = '<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;&a;">]><xml><A>&b;</A></xml>'
    cases: list[tuple[str, Any]] = [
        ("wrong token", envelope(left(), token="other")),
        ("wrong key", envelope(left(), key=KEY[::-1])),
        ("wrong receiveid", envelope(left(), receive="wwother")),
        ("no receiveid", envelope(left(), receive="")),
        ("receiveid with more", envelope(left(), receive="wwcorpx")),
        ("an hour old", envelope(left(), stamp=str(now - 3600))),
        ("301 s old", envelope(left(), stamp=str(now - 301))),
        ("301 s early", envelope(left(), stamp=str(now + 301))),
        ("changed nonce", (asked | {"nonce": "n2"}, body)),
        ("changed time", (asked | {"timestamp": str(now + 1)}, body)),
        ("changed signature", (asked | {"msg_signature": "0" * 40}, body)),
        ("upper signature", (asked | {"msg_signature": asked["msg_signature"].upper()}, body)),
        ("short signature", (asked | {"msg_signature": asked["msg_signature"][:-1]}, body)),
        ("long signature", (asked | {"msg_signature": asked["msg_signature"] + "0"}, body)),
        ("signature of other letters", (asked | {"msg_signature": "é" * 40}, body)),
        ("no signature", ({k: v for k, v in asked.items() if k != "msg_signature"}, body)),
        ("no time", ({k: v for k, v in asked.items() if k != "timestamp"}, body)),
        ("no nonce", ({k: v for k, v in asked.items() if k != "nonce"}, body)),
        ("time of letters", (asked | {"timestamp": "now"}, body)),
        ("time of other digits", (asked | {"timestamp": "１２３"}, body)),
        ("endless time", (asked | {"timestamp": "9" * 400}, body)),
        ("endless nonce", (asked | {"nonce": "n" * 5000}, body)),
        ("empty", (asked, b"")),
        ("no envelope", (asked, b"<xml></xml>")),
        ("two envelopes", (asked, body + body)),
        ("plain XML", (asked, left().encode())),
        ("JSON", (asked, b'{"Encrypt": "x"}')),
        ("not UTF-8", (asked, b"\xff\xfe" + body[5:])),
        ("NUL", (asked, b"\x00" * 100)),
        ("cut short", (asked, body[:-40])),
        ("no base64", resigned("====")),
        ("one block missing", resigned(base64.b64encode(inner[:-16]).decode())),
        ("half a block", resigned(base64.b64encode(inner[:-5]).decode())),
        ("one bit of the content", resigned(base64.b64encode(bytes(flipped)).decode())),
        ("one bit of the padding", resigned(base64.b64encode(bytes(last)).decode())),
        ("one block alone", resigned(base64.b64encode(inner[:16]).decode())),
        ("DOCTYPE inside", signed(doctype.encode())),
        ("entity bomb inside", signed(bomb.encode())),
        ("external entity inside", signed(b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><xml></xml>')),
        ("stylesheet inside", signed(b'<?xml-stylesheet href="x"?><xml></xml>')),
        ("not XML inside", signed(b"hello")),
        ("not UTF-8 inside", signed(b"<xml>\xff</xml>")),
        ("NUL inside", signed(b"<xml>\x00</xml>")),
        ("other root inside", signed(b"<html></html>")),
        ("nothing inside", signed(b"")),
        ("unclosed inside", signed(b"<xml><A>")),
        ("DOCTYPE outside", (asked, b'<!DOCTYPE x [<!ENTITY a "b">]>' + body)),
    ]
    return cases


def test_check_b7_only_the_valid_call_acts(db, client, lime, wecom):
    cases = hostile()
    assert len(cases) >= 40
    told = {}
    for name, (asked, body) in cases:
        told[name] = call(client, wecom, asked, body).status_code
    assert {name: status for name, status in told.items() if not 400 <= status < 500} == {}
    assert agreed(lime, Contact.WECOM)
    assert db.session.scalar(select(func.count()).select_from(Callback)) == 0
    big_asked, big = envelope(left(extra="<A>" + "x" * 70_000 + "</A>"))
    assert call(client, wecom, big_asked, big).status_code in (400, 413)
    assert call(client, wecom, *envelope(left())).status_code == 200
    assert not agreed(lime, Contact.WECOM)


def test_check_b7_teeth_without_the_signature_a_forged_call_acts(db, client, lime, wecom, monkeypatch):
    monkeypatch.setattr(wecom_crypto, "check", lambda *parts: None)
    asked, body = envelope(left())
    call(client, wecom, asked | {"msg_signature": "0" * 40}, body)
    assert not agreed(lime, Contact.WECOM)


def test_a_callback_without_token_and_key_is_closed(db, client, make_account):
    account = make_account(ChannelKind.WECOM, secret={"secret": "s"}, corp_id="wwcorp")
    services.open_hooks(account)
    assert call(client, account, *envelope(left())).status_code == 403
