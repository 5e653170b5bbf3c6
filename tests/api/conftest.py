"""A program with a key, for the tests of the REST interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from kernel import api_keys
from membership.members import services as members
from membership.members.models import Channel

Call = Callable[..., Any]


@pytest.fixture
def program(app: Flask, db: Any) -> Callable[..., Call]:
    """`program("members:read")` is a function that calls with a key of these scopes: `call("GET", "/members", json=…, key=…)`."""

    def make(*scopes: str) -> Call:
        _row, token = api_keys.create(f"program {len(scopes)}", list(scopes))
        db.session.commit()
        client = app.test_client()

        def call(method: str, path: str, *, key: str | None = None, **values: Any) -> Any:
            headers = {"Authorization": f"Bearer {token}", "Accept-Language": "en"}
            if key is not None:
                headers["Idempotency-Key"] = key
            return client.open(f"/api/v1{path}", method=method, headers=headers, **values)

        return call

    return make


@pytest.fixture
def make_person(db: Any) -> Callable[..., int]:
    """`make_person("+8612600001234")` adds somebody and gives back their number."""
    made = 0

    def make(phone: str = "", **words: str) -> int:
        nonlocal made
        made += 1
        identities = [(Channel.SHOP, f"buyer-{made}"), *([(Channel.PHONE, phone)] if phone else [])]
        return members.find_or_make_many([members.Person(tuple(identities), **words)])[0]

    return make
