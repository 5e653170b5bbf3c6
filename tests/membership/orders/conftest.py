"""Whatever a test of orders does, no row is left that points at nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from membership.orders.services import runs
from tests.strays import strays


@pytest.fixture(autouse=True)
def one_settler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who shares one connection with its test cannot be at work twice at once."""
    if "db" in request.fixturenames:
        monkeypatch.setattr(runs, "SETTLERS", 1)


@pytest.fixture(autouse=True)
def no_strays(request: pytest.FixtureRequest) -> Iterator[None]:
    if "db" not in request.fixturenames:
        yield
        return
    db: Any = request.getfixturevalue("db")
    yield
    if db.session.is_active:
        assert strays(db) == []
