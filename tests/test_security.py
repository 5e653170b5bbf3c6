"""Check A7: cookies, forged requests and response headers, over the whole URL map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from kernel import config
from kernel.app import create_app
from kernel.auth import Role
from kernel.db import db as database

from .conftest import sign_in
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
