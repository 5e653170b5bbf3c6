"""What the shop has to have sold before it opens a group: a condition of the platforms, which a shop may switch on here."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select

from kernel import audit, clock, shop
from kernel.db import db
from membership.orders import queries as orders
from membership.orders.models import Order

from .. import rules

KEY = "groups.opening"


def condition() -> rules.Opening:
    """The condition in force; off until a shop switches it on."""
    return rules.Opening(**(shop.get(KEY) or {}))


def set_condition(wanted: rules.Opening) -> None:
    """Switch the condition on or off, or change it; groups that are open stay so."""
    before = condition()
    shop.put(KEY, {"on": wanted.on, "orders": wanted.orders, "days": wanted.days})
    audit.record(
        "groups.opening_changed",
        "shop",
        None,
        {"on": before.on, "orders": before.orders, "days": before.days},
        {"on": wanted.on, "orders": wanted.orders, "days": wanted.days},
    )


def orders_found(days: int) -> int:
    """How many paid orders were placed in the last so many days."""
    since = clock.now() - timedelta(days=days)
    return db.session.scalar(select(func.count()).where(Order.placed_at >= since, orders.counts())) or 0


def refuse_early() -> None:
    """Refuse with `NotEnoughOrders` while the shop has not sold what the condition asks for."""
    asked = condition()
    if not asked.on:
        return
    found = orders_found(asked.days)
    if missing := asked.missing(found):
        raise rules.NotEnoughOrders(needed=asked.orders, days=asked.days, found=found, missing=missing)
