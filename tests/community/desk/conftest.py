"""Customers with orders, and calls to make."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select

from community.desk import services
from community.desk.models import CallReason, CallTask
from kernel import clock as kernel_clock
from membership.members.models import Member
from membership.orders.models import Order, OrderLine, OrderState
from tests.community.posts.conftest import make_group, make_member, order

__all__ = ["make_group", "make_member", "order"]


@pytest.fixture
def delivered(db: Any, order: Callable[..., Order]) -> Callable[..., Order]:
    """`delivered(member, at)` is an order that arrived then (now, when nothing is said), with two lines."""

    def make(member: Member, at: datetime | None = None, **values: Any) -> Order:
        at = at or kernel_clock.now()
        made = order(member, at, state=OrderState.DELIVERED, delivered_at=at, **values)
        for position, (title, amount) in enumerate((("茶匙", 1_000), ("白茶礼盒", 9_000)), 1):
            db.session.add(
                OrderLine(
                    order_id=made.id,
                    position=position,
                    sku=f"S{position}",
                    title=title,
                    quantity=1,
                    unit_price=amount,
                    amount=amount,
                )
            )
        db.session.flush()
        return made

    return make


@pytest.fixture
def call(db: Any, make_member: Callable[..., Member], delivered: Callable[..., Order]) -> Callable[..., CallTask]:
    """`call(member)` is an open task about an order that has just arrived."""

    def make(member: Member | None = None, reason: CallReason = CallReason.DELIVERED, **values: Any) -> CallTask:
        member = member or make_member()
        task_id = services.open_for_order(delivered(member, **values).id, member.id, reason)
        assert task_id is not None
        return task_of(db, task_id)

    return make


def task_of(db: Any, task_id: int) -> CallTask:
    """The task as it stands in the database."""
    found = db.session.scalar(select(CallTask).where(CallTask.id == task_id).execution_options(populate_existing=True))
    assert isinstance(found, CallTask)
    return found
