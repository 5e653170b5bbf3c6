"""The command line over the application."""

from __future__ import annotations

from contextvars import Context
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from kernel.api_keys import ApiKey
from kernel.audit import AuditEntry


def run(app: Flask, *words: str) -> Any:
    """Run a command as `script/siyu` would, in a context of its own."""
    return Context().run(app.test_cli_runner().invoke, args=list(words))


def test_api_key_is_printed_once_and_works(app: Flask, db: Any, client: FlaskClient) -> None:
    done = run(app, "api-key", "create", "--name", "web shop", "--scope", "orders:write")
    assert done.exit_code == 0
    token = done.output.strip()
    assert token.startswith("siyu_")
    key = db.session.scalars(select(ApiKey)).one()
    assert (key.name, key.scopes, token in str(vars(key))) == ("web shop", ["orders:write"], False)
    assert db.session.scalars(select(AuditEntry.action)).all() == ["api_key.created"]
    headers = {"Authorization": f"Bearer {token}"}
    assert client.post("/api/v1/orders", json={}, headers=headers).status_code == 422
    assert client.post("/api/v1/coupons/redeem", json={}, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "words", [("--name", "x", "--scope", "orders:fly"), ("--name", " ", "--scope", "orders:write")]
)
def test_api_key_refuses_what_makes_no_sense(app: Flask, db: Any, words: tuple[str, ...]) -> None:
    done = run(app, "api-key", "create", *words)
    assert done.exit_code == 1
    assert "siyu: " in done.output
    assert db.session.scalars(select(ApiKey)).all() == []


def test_a_forgotten_password_is_replaced(app: Flask, db: Any, make_staff: Any) -> None:
    person = make_staff()
    db.session.commit()
    before = person.password_hash
    done = run(app, "staff", "password", person.email)
    assert done.exit_code == 0
    assert person.email in done.output
    db.session.expire_all()
    assert person.password_hash != before
    assert run(app, "staff", "password", "nobody@shop.example").exit_code == 1
