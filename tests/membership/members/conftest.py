"""People for the tests of members."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from kernel import clock as kernel_clock
from membership.members import services
from membership.members.models import Channel, Member
from membership.orders.models import Order, OrderLine, OrderState
from tests.conftest import bind, english

PHONE = "+8612600001234"


@pytest.fixture
def make_member(db: Any) -> Callable[..., Member]:
    """`make_member(phone=…, email=…, shop=…, name=…)`: somebody whom these channels know."""
    made = 0

    def make(phone: str = "", email: str = "", shop: str = "", **details: Any) -> Member:
        nonlocal made
        made += 1
        identities = [(Channel.SHOP, shop or f"buyer-{made}")]
        identities += [(Channel.PHONE, phone)] if phone else []
        identities += [(Channel.EMAIL, email)] if email else []
        member, _ = services.find_or_make(identities, details.pop("name", f"青柠 {made:03}"), source="shop")
        for key, value in details.items():
            setattr(member, key, value)
        db.session.flush()
        return member

    return make


@pytest.fixture
def make_order(db: Any) -> Callable[..., Order]:
    """`make_order(member, "536001", amount=…)`: an order of theirs, with a line."""

    def make(member: Member, number: str, amount: int = 12_300, days_ago: int = 5) -> Order:
        at = kernel_clock.now() - timedelta(days=days_ago)
        order = Order(
            source="shop",
            external_id=number,
            member_id=member.id,
            state=OrderState.DELIVERED,
            placed_at=at,
            paid_at=at,
            paid_amount=amount,
            version_at=at,
            version_mark="1",
            created_at=at,
        )
        db.session.add(order)
        db.session.flush()
        db.session.add(
            OrderLine(
                order_id=order.id,
                position=1,
                sku="22423",
                title="三层蛋糕架",
                quantity=2,
                unit_price=6_150,
                amount=amount,
            )
        )
        db.session.flush()
        return order

    return make


@pytest.fixture
def browser_of(app: Flask, db: Any) -> Callable[..., FlaskClient]:
    """`browser_of(member, identified=False)`: a phone that is bound to a member."""

    def make(member: Member, identified: bool = False) -> FlaskClient:
        return bind(english(app.test_client()), member.id, identified)

    return make
