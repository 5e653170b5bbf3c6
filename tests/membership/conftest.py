"""People for the tests of rooms that need them with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kernel import clock as kernel_clock
from membership.members.models import Member


@pytest.fixture
def make_member(db: Any) -> Callable[..., Member]:
    """`make_member(rank=2, name=…)` adds a person."""

    def make(rank: int = 0, **columns: Any) -> Member:
        now = kernel_clock.now()
        member = Member(rank=rank, stage_since=now, created_at=now, **columns)
        db.session.add(member)
        db.session.flush()
        return member

    return make
