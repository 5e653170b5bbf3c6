"""What people bought and when, as every clock reads it: by business date, without what was closed, refused or given back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, BigInteger, Date, Select, cast, func, literal_column, select

from kernel import clock
from membership.orders import queries as orders
from membership.orders.models import Order, OrderLine

# The same text wherever it stands, so that the database knows it for one expression.
DAY = cast(func.timezone(literal_column(f"'{clock.ZONE.key}'"), Order.placed_at), Date)


def bought(*where: Any) -> Select[*tuple[Any, ...]]:
    """Purchases, one a member, product and business date: `pieces` that were kept, `bought_at` and `order_id` of the last."""
    return (
        select(
            OrderLine.product_id,
            Order.member_id,
            DAY.label("day"),
            cast(func.sum(OrderLine.quantity - OrderLine.refunded_quantity), BigInteger).label("pieces"),
            func.max(Order.placed_at).label("bought_at"),
            func.max(Order.id).label("order_id"),
        )
        .join(Order, Order.id == OrderLine.order_id)
        .where(
            OrderLine.product_id.is_not(None),
            Order.member_id.is_not(None),
            OrderLine.quantity > OrderLine.refunded_quantity,
            orders.counts(),
            *where,
        )
        .group_by(OrderLine.product_id, Order.member_id, DAY)
    )


def purchases(*where: Any) -> CTE:
    """The days on which members ordered anything, and what they spent (分) on each."""
    return (
        select(Order.member_id, DAY.label("day"), cast(func.sum(orders.spend()), BigInteger).label("spend"))
        .where(Order.member_id.is_not(None), orders.counts(), *where)
        .group_by(Order.member_id, DAY)
        .cte("purchase")
    )
