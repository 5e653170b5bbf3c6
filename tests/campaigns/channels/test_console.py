"""The pages of channels and of the contact budget."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from campaigns.channels import labels, pace, registry, services
from campaigns.channels.models import Account, ChannelKind
from campaigns.channels.sealing import unseal
from kernel import clock as kernel_clock
from kernel import shop
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.i18n import forced_locale

MAIL = {
    "name": "Shop mail",
    "sender": "Shop@Shop.Example",
    "host": "smtp.shop.example",
    "security": "starttls",
    "username": "shop",
    "password": "open sesame",
}


def test_a_mail_server_is_set_up_and_its_password_sealed(db: Any, owner_client: Any) -> None:
    assert owner_client.get("/console/channels/new/email").status_code == 200
    answer = owner_client.post("/console/channels/new/email", data=MAIL)
    assert answer.status_code == 302
    account = db.session.scalars(select(Account).where(Account.kind == ChannelKind.EMAIL)).one()
    assert account.settings["port"] == 587
    assert account.settings["sender"] == "shop@shop.example"
    assert "open sesame" not in f"{account.settings} {account.secret}"
    assert unseal(account.secret) == "open sesame"
    assert registry.server_of(account).password == "open sesame"
    page = owner_client.get(answer.location).text
    assert "smtp.shop.example" in page
    assert "open sesame" not in page
    assert "open sesame" not in str([e.after for e in db.session.scalars(select(AuditEntry))])
    # An empty password keeps the present one.
    owner_client.post(answer.location, data=MAIL | {"password": "", "host": "mail.shop.example"})
    db.session.refresh(account)
    assert (unseal(account.secret), account.settings["host"]) == ("open sesame", "mail.shop.example")


@pytest.mark.parametrize(
    ("kind", "change", "field"),
    [
        ("email", {"name": ""}, "name"),
        ("email", {"sender": "nobody"}, "sender"),
        ("email", {"host": "smtp host"}, "host"),
        ("email", {"port": "70000"}, "port"),
        ("email", {"security": "maybe"}, "security"),
        ("email", {"rate_per_second": "0"}, "rate_per_second"),
        ("webhook", {"url": "ftp://x"}, "url"),
        ("webhook", {"url": "http://"}, "url"),
        ("webhook", {"url": "http://x:port/"}, "url"),
        ("webhook", {"url": "http://a b/"}, "url"),
    ],
)
def test_wrong_settings_are_refused(db: Any, owner_client: Any, kind: str, change: Any, field: str) -> None:
    good = MAIL if kind == "email" else {"name": "Gateway", "url": "https://gateway.example/in", "contact": "sms"}
    answer = owner_client.post(f"/console/channels/new/{kind}", data=good | change)
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert db.session.scalar(select(func.count()).where(Account.kind == kind)) == 0


def test_a_webhook_is_set_up(db: Any, owner_client: Any) -> None:
    data = {
        "name": "Gateway",
        "url": "https://gateway.example/in",
        "contact": "sms",
        "idempotent": "y",
        "signing_secret": "salt",
    }
    assert owner_client.post("/console/channels/new/webhook", data=data).status_code == 302
    account = db.session.scalars(select(Account).where(Account.kind == ChannelKind.WEBHOOK)).one()
    hook = registry.hook_of(account)
    assert (hook.url, hook.secret, hook.idempotent) == ("https://gateway.example/in", "salt", True)


def test_only_these_kinds_can_be_added(owner_client: Any) -> None:
    assert owner_client.get("/console/channels/new/inbox").status_code == 404
    assert owner_client.get("/console/channels/new/pigeon").status_code == 404


def test_pause_and_resume(db: Any, owner_client: Any, inbox: Account) -> None:
    owner_client.post(f"/console/channels/{inbox.id}/pause")
    db.session.refresh(inbox)
    assert inbox.paused_at is not None
    assert "/console/channels/" in owner_client.get("/console/").text
    owner_client.post(f"/console/channels/{inbox.id}/resume")
    db.session.refresh(inbox)
    assert (inbox.paused_at, inbox.errors_in_row) == (None, 0)


def test_a_test_is_sent_by_a_worker_and_its_outcome_shown(db: Any, owner_client: Any, run_jobs: Any) -> None:
    settings = {
        "sender": "a@b.example",
        "host": "127.0.0.1",
        "port": 1,
        "security": "none",
        "username": "",
        "timeout_seconds": 1,
    }
    account = services.save_account(ChannelKind.EMAIL, "Mail", settings, pace.Rates(), None)
    answer = owner_client.post(f"/console/channels/{account.id}/test", data={"address": "me@shop.example"})
    assert answer.status_code == 302
    assert "hx-get" in owner_client.get(f"/console/channels/{account.id}/health").text
    run_jobs()
    db.session.refresh(account)
    assert account.test_passed is False
    assert "127.0.0.1" in (account.test_outcome or "")
    page = owner_client.get(f"/console/channels/{account.id}/health").text
    assert "hx-get" not in page
    # Nobody is told that it works; what its server says is said in words as well.
    with forced_locale("en"):
        assert labels.health(account)[1] == "Test not taken"
        assert "check the server and the port" in labels.health(account)[2]
        account.test_passed = account.test_outcome = None
        assert labels.health(account)[1] == "Not tested yet"
        account.last_accepted_at = kernel_clock.now()
        assert labels.health(account)[1] == "Works"
        assert "password is not right" in labels.meaning("mail.example: 535 5.7.8 Error: authentication failed")
        assert labels.meaning("something else") == ""


def test_the_budget_is_saved(owner_client: Any, db: Any) -> None:
    assert owner_client.get("/console/contact-budget").status_code == 200
    data = {"per_day": "2", "per_month": "", "quiet_from": "21:30", "quiet_until": "09:00", "holdout": "7.5"}
    assert owner_client.post("/console/contact-budget", data=data).status_code == 302
    assert services.budget().per_day == 2
    assert services.budget().per_month is None
    assert services.quiet_hours().since.isoformat("minutes") == "21:30"
    assert services.holdout_percent() == 7.5


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"per_day": "-1"}, "per_day"),
        ({"per_month": "x"}, "per_month"),
        ({"quiet_from": "25:00"}, "quiet_from"),
        ({"quiet_until": ""}, "quiet_until"),
        ({"holdout": "51"}, "holdout"),
        ({"holdout": "nan"}, "holdout"),
    ],
)
def test_a_wrong_budget_is_refused(owner_client: Any, db: Any, change: Any, field: str) -> None:
    data = {"per_day": "1", "per_month": "4", "quiet_from": "22:00", "quiet_until": "08:00", "holdout": "5"}
    answer = owner_client.post("/console/contact-budget", data=data | change)
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert shop.get("contact.per_day") is None


@pytest.mark.parametrize("role", [Role.SERVICE, Role.ASSISTANT, Role.VIEWER])
def test_roles_that_see_no_channels(staff_client: Any, inbox: Account, role: Role) -> None:
    browser = staff_client(role)
    for path in ("/console/channels", f"/console/channels/{inbox.id}", "/console/contact-budget"):
        assert browser.get(path).status_code == 403


def test_the_marketer_sees_channels_and_changes_none(staff_client: Any, inbox: Account, db: Any) -> None:
    browser = staff_client(Role.MARKETER)
    for path in ("/console/channels", f"/console/channels/{inbox.id}", "/console/contact-budget"):
        assert browser.get(path).status_code == 200
    assert browser.get("/console/channels/new/email").status_code == 403
    assert browser.post(f"/console/channels/{inbox.id}/pause").status_code == 403
    assert browser.post("/console/contact-budget", data={}).status_code == 403


# ── Every kind of account ───────────────────────────────────────────────────────────────────────────────────────────

ALIYUN = {
    "name": "短信",
    "provider": "aliyun",
    "signature": "【青荷茶铺】",
    "opt_out": "拒收请回复R",
    "key_id": "LTAI",
    "key": "hush hush",
    "templates": "SMS_1234 新茶到店${what}，拒收请回复R",
    "rate_per_minute": "600",
    "rate_per_day": "20000",
}
GATEWAY = {
    "name": "网关",
    "provider": "gateway",
    "signature": "青荷茶铺",
    "opt_out": "退订回T",
    "url": "https://gateway.example/sms",
    "form": "json",
    "template": '{"m": "{phone}", "c": "{text}"}',
}
WECOM = {"name": "企微", "corp_id": "wwcorp", "secret": "hush hush", "per_month": "4"}
ROBOT = {
    "name": "飞书群",
    "robot": "dingtalk",
    "url": "https://oapi.dingtalk.com/robot/send?access_token=hush",
    "notices": "y",
}
TASK = {"name": "电话", "days": "2"}


@pytest.mark.parametrize(
    ("kind", "typed"),
    [("sms", ALIYUN), ("sms", GATEWAY), ("wecom", WECOM), ("robot", ROBOT), ("task", TASK)],
    ids=["aliyun", "gateway", "wecom", "robot", "task"],
)
def test_each_kind_is_set_up_and_shows_no_secret(db: Any, owner_client: Any, kind: str, typed: dict[str, str]) -> None:
    assert owner_client.get(f"/console/channels/new/{kind}").status_code == 200
    answer = owner_client.post(f"/console/channels/new/{kind}", data=typed)
    assert answer.status_code == 302, answer.text
    account = db.session.scalars(select(Account).where(Account.kind == kind)).one()
    page = owner_client.get(answer.location).text
    assert "hush" not in page + str(account.settings) + (account.secret or "")
    assert "hush" not in str([e.after for e in db.session.scalars(select(AuditEntry))])
    assert owner_client.get(f"/console/channels/{account.id}/record").status_code == 200
    registry.adapter_of(account)
    # Saved again without typing the secret, it keeps it.
    before = account.secret
    kept = {name: value for name, value in typed.items() if "hush" not in value}
    assert owner_client.post(answer.location, data=kept).status_code == 302
    db.session.refresh(account)
    assert bool(account.secret) == bool(before)


@pytest.mark.parametrize(
    ("kind", "typed", "change", "field"),
    [
        ("sms", ALIYUN, {"signature": ""}, "signature"),
        ("sms", ALIYUN, {"signature": "青荷 茶铺"}, "signature"),
        ("sms", ALIYUN, {"signature": "【】"}, "signature"),
        ("sms", ALIYUN, {"opt_out": ""}, "opt_out"),
        ("sms", ALIYUN, {"opt_out": "谢谢"}, "opt_out"),
        ("sms", ALIYUN, {"key_id": ""}, "key_id"),
        ("sms", ALIYUN, {"key": ""}, "key"),
        ("sms", ALIYUN, {"templates": ""}, "templates"),
        ("sms", ALIYUN, {"templates": "SMS_1234 新茶到店"}, "templates"),
        ("sms", ALIYUN, {"rate_per_minute": "0"}, "rate_per_minute"),
        ("sms", GATEWAY, {"url": ""}, "url"),
        ("sms", GATEWAY, {"url": "http://gateway.example/"}, "url"),
        ("sms", GATEWAY, {"url": "https://127.0.0.1/"}, "url"),
        ("sms", GATEWAY, {"template": "{"}, "template"),
        ("sms", GATEWAY, {"template": '{"c": "{text}"}'}, "template"),
        ("sms", GATEWAY, {"headers": "nonsense"}, "headers"),
        ("sms", GATEWAY, {"provider": "pigeon"}, "provider"),
        ("wecom", WECOM, {"corp_id": "a b"}, "corp_id"),
        ("wecom", WECOM, {"secret": ""}, "secret"),
        ("wecom", WECOM, {"per_month": "99"}, "per_month"),
        ("wecom", WECOM, {"aes_key": "short"}, "aes_key"),
        ("wecom", WECOM, {"sender": "a b"}, "sender"),
        ("robot", ROBOT, {"url": ""}, "url"),
        ("robot", ROBOT, {"url": "https://169.254.169.254/"}, "url"),
        ("robot", ROBOT, {"robot": "pigeon"}, "robot"),
        ("robot", ROBOT, {"groups": "99"}, "groups"),
        ("task", TASK, {"days": "0"}, "days"),
        ("task", TASK, {"name": ""}, "name"),
        ("group_post", {"name": "群"}, {}, "groups"),
    ],
)
def test_each_field_of_each_kind_is_judged(
    db: Any, owner_client: Any, kind: str, typed: dict[str, str], change: dict[str, str], field: str
) -> None:
    answer = owner_client.post(f"/console/channels/new/{kind}", data=typed | change)
    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text or f'aria-describedby="{field}' in answer.text
    assert db.session.scalar(select(func.count()).select_from(Account).where(Account.kind == kind)) == 0


def test_a_robot_never_speaks_faster_than_its_chat_allows(db: Any, owner_client: Any) -> None:
    owner_client.post("/console/channels/new/robot", data=ROBOT | {"rate_per_minute": "500"})
    assert db.session.scalars(select(Account.rate_per_minute).where(Account.kind == ChannelKind.ROBOT)).one() == 20


def test_addresses_of_callbacks_are_made_once(db: Any, owner_client: Any) -> None:
    owner_client.post("/console/channels/new/sms", data=ALIYUN)
    account = db.session.scalars(select(Account).where(Account.kind == ChannelKind.SMS)).one()
    assert account.hook_token is None
    owner_client.post(f"/console/channels/{account.id}/hooks")
    token = account.hook_token
    owner_client.post(f"/console/channels/{account.id}/hooks")
    assert (account.hook_token, token in owner_client.get(f"/console/channels/{account.id}").text) == (token, True)


def test_the_table_says_what_each_kind_can_do(owner_client: Any) -> None:
    page = owner_client.get("/console/channels?lang=en").text
    for kind in ChannelKind:
        assert f"/console/channels/new/{kind}" in page or kind is ChannelKind.INBOX
