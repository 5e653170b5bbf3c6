"""Check A7: cookies, forged requests and response headers, over the whole URL map."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from kernel import config
from kernel.app import create_app
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.db import db as database
from kernel.http import client_address

from .conftest import PASSWORD, sign_in
from .test_access import calls


@pytest.fixture
def https_app(settings: config.Settings) -> Iterator[Flask]:
    """The application as it runs behind https, with its forms' tokens on."""
    app = create_app(replace(settings, site_url="https://siyu.example"), TESTING=True, WTF_CSRF_ENABLED=True)
    yield app
    with app.app_context():
        database.engine.dispose()


def cookies_of(response: Any) -> list[str]:
    return list(response.headers.getlist("Set-Cookie"))


def test_check_a7_cookies_on_an_https_site(https_app: Flask) -> None:
    client = https_app.test_client()
    seen = [
        *cookies_of(client.get("/console/sign-in", base_url="https://siyu.example")),
        *cookies_of(client.get("/me/sign-in", base_url="https://siyu.example")),
    ]
    assert seen
    for cookie in seen:
        assert cookie.startswith("__Host-"), cookie
        assert "Secure" in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Path=/" in cookie


def test_cookies_on_a_plain_site_are_plain(app: Flask, client: FlaskClient) -> None:
    for cookie in cookies_of(client.get("/console/sign-in")):
        assert not cookie.startswith("__Host-")
        assert "Secure" not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie


def writing_calls(app: Flask) -> list[tuple[str, str]]:
    return [
        (method, address) for _rule, method, address, policy in calls(app) if method != "GET" and policy.kind != "api"
    ]


@pytest.fixture
def guarded(app: Flask, staff_client: Callable[..., FlaskClient]) -> Iterator[FlaskClient]:
    """The owner's browser, with the forms' tokens asked for."""
    client = staff_client(Role.OWNER)
    before = app.config["WTF_CSRF_ENABLED"]
    app.config["WTF_CSRF_ENABLED"] = True
    yield client
    app.config["WTF_CSRF_ENABLED"] = before


def signed_instead(address: str) -> bool:
    """Whether a signature stands where a form's token would."""
    return "/u/" in address or "/hooks/" in address


def test_check_a7_no_token_no_act(app: Flask, guarded: FlaskClient) -> None:
    # One-click unsubscribing (RFC 8058) is posted by mail programs, which have no token; its link is signed instead. What
    # shop systems push is signed as a whole.
    let_through = {
        f"{method} {address}"
        for method, address in writing_calls(app)
        if guarded.open(address, method=method).status_code not in (400, 403)
    }
    assert {call for call in let_through if not signed_instead(call)} == set()


def test_check_a7_a_wrong_token_is_no_token(app: Flask, guarded: FlaskClient) -> None:
    for method, address in writing_calls(app):
        if not signed_instead(address):
            answer = guarded.open(address, method=method, data={"csrf_token": "forged"})
            assert answer.status_code == 403, f"{method} {address}"


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://localhost.evil.example"}],
)
def test_check_a7_cross_site_requests(
    app: Flask, staff_client: Callable[..., FlaskClient], headers: dict[str, str]
) -> None:
    client = staff_client(Role.OWNER)
    for method, address in writing_calls(app):
        assert client.open(address, method=method, headers=headers).status_code == 403, f"{method} {address}"


def test_check_a7_has_teeth(app: Flask, staff_client: Callable[..., FlaskClient]) -> None:
    """With tokens off (as most tests run) the same calls get through, so the check above does check something."""
    client = staff_client(Role.OWNER)
    assert any(client.open(address, method=method).status_code != 403 for method, address in writing_calls(app))


def test_every_answer_is_hardened(app: Flask, staff_client: Callable[..., FlaskClient]) -> None:
    client = staff_client(Role.OWNER)
    for _rule, method, address, _policy in calls(app):
        if method != "GET":
            continue
        headers = client.get(address).headers
        assert "script-src 'self'" in headers["Content-Security-Policy"], address
        assert "unsafe" not in headers["Content-Security-Policy"], address
        assert headers["X-Content-Type-Options"] == "nosniff", address
        assert headers["Referrer-Policy"] == "no-referrer", address


def test_an_unknown_host_is_refused_and_never_used(
    app: Flask, client: FlaskClient, make_staff: Callable[..., Any]
) -> None:
    sign_in(client, make_staff(Role.OWNER))
    answer = client.get("/console/", headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
    assert b"evil.example" not in answer.data
    assert "evil.example" not in answer.headers.get("Location", "")


@pytest.mark.parametrize("proxies", [0, 1, 2])
def test_check_e5_forwarded_headers_count_as_far_as_proxies_are_configured(
    settings: config.Settings, proxies: int
) -> None:
    """A thousand made-up headers are one client: the peer, or whom the shop's own proxies name."""
    app = create_app(replace(settings, proxy_count=proxies), TESTING=True)
    chance = random.Random(proxies)
    peer, client, proxy = "192.0.2.1", "203.0.113.7", "198.51.100.9"
    said = ([client, proxy] if proxies == 2 else [client])[:proxies]
    seen = set()

    def look() -> str:
        seen.add(client_address())
        return "seen"

    app.before_request_funcs[None].insert(0, look)
    browser = app.test_client()
    for _ in range(1000):
        made_up = [str(IPv4Address(chance.getrandbits(32))) for _ in range(chance.randrange(4))]
        headers = {
            "X-Forwarded-For": ", ".join([*made_up, *said]),
            "X-Real-IP": str(IPv4Address(chance.getrandbits(32))),
            "Forwarded": f"for={IPv4Address(chance.getrandbits(32))}",
        }
        browser.get("/", headers=headers, environ_base={"REMOTE_ADDR": peer})
    assert seen == {client if proxies else peer}


def test_check_e5_the_trail_keeps_the_true_address(
    app: Flask, db: Any, client: FlaskClient, make_staff: Callable[..., Any]
) -> None:
    make_staff(Role.VIEWER)
    words = {"email": "viewer@shop.example", "password": PASSWORD}
    client.post("/console/sign-in", data=words, headers={"X-Forwarded-For": "203.0.113.7", "X-Real-IP": "203.0.113.8"})
    assert db.session.scalars(select(AuditEntry.address).where(AuditEntry.action == "staff.signed_in")).all() == [
        "127.0.0.1"
    ]
