"""The counter of statements under a name that leaves `queries` to the room's module."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def statements(queries: Any) -> Any:
    """`with statements(2): …` fails when the block sends another number of statements."""
    return queries
