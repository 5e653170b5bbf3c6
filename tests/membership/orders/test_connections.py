"""The console pages of order connections and of what they delivered."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import func, select

from kernel.audit import AuditEntry
from kernel.auth import Role
from membership.orders.feeds.signatures import Kind
from membership.orders.models import ConnectionState, HookReceipt, Order, OrderConnection, Outcome
from membership.orders.services import connections

from . import payloads
from .payloads import base64_hmac, text

SECRET = "a-secret-of-the-shop"


@pytest.fixture(autouse=True)
def noon(clock):
    return clock


@pytest.fixture
def manager(staff_client):
    client = staff_client(Role.MANAGER)
    client.environ_base["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


@pytest.fixture
def connection(db) -> OrderConnection:
    found, _secret = connections.set_up("My shop", Kind.SHOPIFY, "shop", SECRET)
    return found


@pytest.fixture
def push(app, connection):
    def send(body: bytes, number: str) -> None:
        headers = {
            "X-Shopify-Hmac-Sha256": base64_hmac(SECRET, body),
            "X-Shopify-Webhook-Id": number,
            "X-Shopify-Topic": "orders/updated",
        }
        assert (
            app.test_client().post(f"/hooks/orders/{connection.token}", data=body, headers=headers).status_code == 200
        )

    return send


FORM = {
    "kind": "standard",
    "name": "Till",
    "source": "counter",
    "secret": "",
    "client_id": "",
    "currency": "CNY",
    "rate": "",
}


def test_without_a_connection_the_page_says_what_to_do(manager, db) -> None:
    page = manager.get("/console/order-connections").text
    assert "No shop system is connected yet" in page
    assert "/console/order-connections/new" in page


def test_a_connection_is_made_and_its_secret_shown_once(manager, db) -> None:
    assert manager.get("/console/order-connections/new").status_code == 200
    page = manager.post("/console/order-connections/new", data=FORM).text
    [made] = db.session.scalars(select(OrderConnection))
    assert f"/hooks/orders/{made.token}" in page
    [secret] = set(re.findall(r"whsec_[A-Za-z0-9+/=]+", page))
    assert secret not in manager.get(f"/console/order-connections/{made.id}").text
    assert "Till" in manager.get("/console/order-connections").text
    assert db.session.scalar(select(AuditEntry.action).order_by(AuditEntry.id.desc())) == "order_connection.made"
    assert secret not in str([entry.after for entry in db.session.scalars(select(AuditEntry))])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "This field is required."),
        ({"source": "Shop 1"}, "A source is 1 to 32"),
        ({"kind": "amazon"}, "Not a valid choice"),
        ({"kind": "shopify"}, "Paste the secret"),
        ({"kind": "youzan", "secret": "x"}, "Youzan signs with the client id"),
        ({"currency": "USD"}, "Say how many yuan"),
        ({"currency": "USD", "rate": "-1"}, "Number must be between"),
        ({"currency": "XXX"}, "Not a valid choice"),
    ],
)
def test_what_a_connection_needs(manager, db, change, said) -> None:
    answer = manager.post("/console/order-connections/new", data=FORM | change)
    assert answer.status_code == 422
    assert said in answer.text
    assert db.session.scalar(select(func.count()).select_from(OrderConnection)) == 0


def test_a_connection_is_changed(manager, db, connection) -> None:
    url = f"/console/order-connections/{connection.id}"
    data = {"name": "New name", "source": "own-shop", "currency": "USD", "rate": "7.1"}
    assert manager.post(url, data=data).status_code == 303
    after = db.session.get_one(OrderConnection, connection.id)
    assert (after.name, after.source, after.currency, after.rate) == ("New name", "own-shop", "USD", 7_100_000)
    assert manager.post(url, data=data | {"source": "?"}).status_code == 422
    assert "7.1" in manager.get(url).text


def test_the_secret_is_changed(manager, db, connection) -> None:
    before = connection.secret
    url = f"/console/order-connections/{connection.id}/rotate"
    assert manager.post(url, data={"new_secret": ""}).status_code == 422
    assert manager.post(url, data={"new_secret": "another"}).status_code == 200
    after = db.session.get_one(OrderConnection, connection.id)
    assert after.previous_secret == before
    assert after.secret != before


def test_pause_resume_delete(manager, db, connection, push, run_jobs) -> None:
    url = f"/console/order-connections/{connection.id}"
    assert manager.post(f"{url}/pause").status_code == 303
    assert db.session.get_one(OrderConnection, connection.id).state is ConnectionState.PAUSED
    assert manager.post(f"{url}/pause").status_code == 409
    push(text(payloads.SHOPIFY), "1")
    run_jobs()
    assert (
        "It waits, because the connection is paused"
        in manager.get(f"/console/order-deliveries/{db.session.scalar(select(HookReceipt.id))}").text
    )
    assert manager.post(f"{url}/resume").status_code == 303
    run_jobs()
    assert manager.post(f"{url}/delete").status_code == 303
    assert db.session.scalar(select(func.count()).select_from(HookReceipt)) == 0
    assert db.session.scalar(select(func.count()).select_from(Order)) == 1


def test_the_log_is_searched_filtered_exported_and_worked_on_again(manager, db, connection, push, run_jobs) -> None:
    push(text(payloads.SHOPIFY), "good")
    push(text(payloads.SHOPIFY | {"id": 7, "currency": "USD"}), "bad")
    run_jobs()
    page = manager.get("/console/order-deliveries").text
    assert "5551001" in page
    assert "no rate is set for it" in page
    only = manager.get("/console/order-deliveries?outcome=rejected").text
    assert "5551001" not in only
    assert "5551001" in manager.get("/console/order-deliveries?q=5551001").text
    assert "No delivery matches" in manager.get("/console/order-deliveries?q=nothing").text
    assert "No delivery matches" in manager.get("/console/order-deliveries?connection=999999").text
    assert manager.get("/console/order-deliveries?outcome=x&connection=y&cursor=z").status_code == 200
    table = manager.post("/console/order-deliveries/export?outcome=rejected").text
    assert "no rate is set for it" in table
    assert "5551001" not in table
    bad = db.session.scalar(select(HookReceipt.id).where(HookReceipt.outcome == Outcome.REJECTED))
    detail = manager.get(f"/console/order-deliveries/{bad}").text
    assert "Work on it again" in detail
    connections.change(connection, "x", "shop", "", "USD", 7)
    assert manager.post("/console/order-deliveries/again", data={"ids": [str(bad)]}).status_code == 303
    run_jobs()
    assert db.session.get_one(HookReceipt, bad).outcome is Outcome.ACCEPTED
    assert manager.post(f"/console/order-deliveries/{bad}/again").status_code == 409
    assert manager.post("/console/order-deliveries/again", data={"ids": ["x", "9" * 30]}).status_code == 409


def test_reading_the_text_leaves_a_trace(manager, db, connection, push, run_jobs) -> None:
    push(text(payloads.SHOPIFY), "1")
    receipt = db.session.scalar(select(HookReceipt.id))
    page = manager.get(f"/console/order-deliveries/{receipt}").text
    assert "13800000001" not in page
    answer = manager.post(f"/console/order-deliveries/{receipt}/text")
    assert answer.data == text(payloads.SHOPIFY)
    assert "attachment" in answer.headers["Content-Disposition"]
    assert db.session.scalar(select(AuditEntry.action).order_by(AuditEntry.id.desc())) == "hook_receipt.read"


def test_a_wrong_signature_shows_on_the_connections_page(manager, app, db, connection) -> None:
    headers = {"X-Shopify-Hmac-Sha256": base64_hmac("wrong", b"{}"), "X-Shopify-Webhook-Id": "1"}
    assert app.test_client().post(f"/hooks/orders/{connection.token}", data=b"{}", headers=headers).status_code == 401
    assert "another secret was used" in manager.get(f"/console/order-connections/{connection.id}").text


@pytest.mark.parametrize("role", [Role.MARKETER, Role.SERVICE, Role.ASSISTANT, Role.VIEWER])
def test_only_owner_and_manager(staff_client, connection, role) -> None:
    client = staff_client(role)
    for path in ("order-connections", f"order-connections/{connection.id}", "order-deliveries"):
        assert client.get(f"/console/{path}").status_code == 403
    assert client.post(f"/console/order-connections/{connection.id}/delete").status_code == 403


def test_looking_changes_nothing(manager, db, connection, push, queries) -> None:
    push(text(payloads.SHOPIFY), "1")
    before = db.session.scalar(select(func.count()).select_from(AuditEntry))
    receipt = db.session.scalar(select(HookReceipt.id))
    for path in (
        "order-connections",
        f"order-connections/{connection.id}",
        "order-deliveries",
        f"order-deliveries/{receipt}",
    ):
        assert manager.get(f"/console/{path}").status_code == 200
    assert db.session.scalar(select(func.count()).select_from(AuditEntry)) == before
    assert db.session.scalar(select(HookReceipt.outcome)) is Outcome.RECEIVED
