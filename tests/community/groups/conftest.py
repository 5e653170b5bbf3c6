"""Groups and members to seat in them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from community.groups.models import Group, GroupKind, GroupState
from kernel import clock as kernel_clock
from membership.members.models import Member

numbers = itertools.count(1)


@pytest.fixture
def make_member(db: Any) -> Callable[..., Member]:
    """`make_member(rank=3, spend=…, enrolled=True)` adds a person without any identity."""

    def make(name: str = "", **values: Any) -> Member:
        now = kernel_clock.now()
        if values.pop("enrolled", False):
            values["enrolled_at"] = now
        person = Member(nickname=name or f"Guest {next(numbers)}", stage_since=now, created_at=now, **values)
        db.session.add(person)
        db.session.flush()
        return person

    return make


@pytest.fixture
def make_group(db: Any) -> Callable[..., Group]:
    """`make_group(capacity=4, seats_each=2)` adds an open group."""

    def make(capacity: int = 10, seats_each: int = 5, **values: Any) -> Group:
        number = next(numbers)
        values = {
            "name": f"Group {number}",
            "public_id": f"grp{number:09d}",
            "kind": GroupKind.REGULAR,
            "state": GroupState.OPEN,
            "created_at": kernel_clock.now(),
            "join_rule": {},
            **values,
        }
        group = Group(capacity=capacity, seats_each=seats_each, **values)
        db.session.add(group)
        db.session.flush()
        return group

    return make
