"""Purchases by the day, and a night's work from beginning to end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from campaigns.forecasts import services
from campaigns.forecasts.abacus import Abacus
from kernel import clock as kernel_clock
from membership.members.models import Member
from membership.orders.models import Order, OrderLine, OrderState
from membership.products.models import Product


@pytest.fixture
def make_product(db: Any) -> Callable[..., Product]:
    """`make_product(sku, category="", days=None)`."""

    def make(sku: str = "TEA-1", category: str = "", days: int | None = None, title: str = "") -> Product:
        product = Product(
            source="shop", sku=sku, title=title or f"茶 {sku}", category=category, days_of_use=days,
            created_at=kernel_clock.now(),
        )  # fmt: skip
        db.session.add(product)
        db.session.flush()
        return product

    return make


@pytest.fixture
def buy(db: Any) -> Callable[..., Order]:
    """`buy(member, product, days_ago, pieces=1, …)` is an order that was paid, at noon of the shop's day."""
    numbers = iter(range(1, 100_000))

    def make(member: Member, product: Product, days_ago: float, pieces: int = 1, **fields: Any) -> Order:
        at: datetime = kernel_clock.now() - timedelta(days=days_ago)
        returned = fields.pop("returned", 0)
        values: dict[str, Any] = {
            "source": "shop", "external_id": f"F{next(numbers)}", "member_id": member.id, "state": OrderState.COMPLETED,
            "placed_at": at, "paid_at": at, "paid_amount": 5_000, "version_at": at, "version_mark": "", "created_at": at,
        }  # fmt: skip
        order = Order(**(values | fields))
        db.session.add(order)
        db.session.flush()
        db.session.add(
            OrderLine(
                order_id=order.id, position=1, product_id=product.id, sku=product.sku, title=product.title,
                quantity=pieces, unit_price=5_000, amount=5_000, refunded_quantity=returned,
            )
        )  # fmt: skip
        db.session.flush()
        return order

    return make


def learn_all() -> None:
    """A whole night's work on the clocks."""
    assert services.start_learning(now=True) is not None
    while services.learn_on():
        pass


def fit_all() -> None:
    """A whole night's fit."""
    assert services.start_fitting(now=True) is not None
    with Abacus() as abacus:
        while services.fit_on(abacus):
            pass
