"""The pages of channels and of the contact budget."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from campaigns.channels import registry, services
from campaigns.channels.models import Account, ChannelKind
from campaigns.channels.sealing import unseal
from kernel import shop
from kernel.audit import AuditEntry
from kernel.auth import Role

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
    account = services.save_account(ChannelKind.EMAIL, "Mail", settings, None, None)
    answer = owner_client.post(f"/console/channels/{account.id}/test", data={"address": "me@shop.example"})
    assert answer.status_code == 302
    assert "hx-get" in owner_client.get(f"/console/channels/{account.id}/health").text
    run_jobs()
    db.session.refresh(account)
    assert account.test_passed is False
    assert "127.0.0.1" in (account.test_outcome or "")
    assert "hx-get" not in owner_client.get(f"/console/channels/{account.id}/health").text


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
