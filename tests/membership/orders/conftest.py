"""Whatever a test of orders does, no row is left that points at nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .strays import strays


@pytest.fixture(autouse=True)
def no_strays(request: pytest.FixtureRequest) -> Iterator[None]:
    if "db" not in request.fixturenames:
        yield
        return
    db: Any = request.getfixturevalue("db")
    yield
    if db.session.is_active:
        assert strays(db) == []
