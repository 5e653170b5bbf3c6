"""Keeps what a member's record says about their orders right, set-wise."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select, update

from kernel.db import db
from membership.members.models import Member

from .. import queries
from ..models import Order


def refresh_members(member_ids: Collection[int]) -> None:
    """Count the given members' orders anew: number, spend (分), first and last."""
    if not member_ids:
        return
    # In one order, so that two transactions that meet do not wait for each other crosswise.
    ids = db.session.scalars(
        select(Member.id)
        .where(Member.id == func.any(list(member_ids)))
        .order_by(Member.id)
        .with_for_update(key_share=True)
    ).all()
    counted = queries.counts()
    sums = (
        select(
            Member.id.label("id"),
            func.count(Order.id).filter(counted).label("n"),
            func.coalesce(func.sum(queries.spend()).filter(counted), 0).label("spend"),
            func.min(Order.placed_at).filter(counted).label("first"),
            func.max(Order.placed_at).filter(counted).label("last"),
        )
        .outerjoin(Order, Order.member_id == Member.id)
        .where(Member.id == func.any(list(ids)))
        .group_by(Member.id)
        .subquery()
    )
    db.session.execute(
        update(Member)
        .where(
            Member.id == sums.c.id,
            (Member.orders_count != sums.c.n)
            | (Member.spend != sums.c.spend)
            | Member.first_order_at.is_distinct_from(sums.c.first)
            | Member.last_order_at.is_distinct_from(sums.c.last),
        )
        .values(orders_count=sums.c.n, spend=sums.c.spend, first_order_at=sums.c.first, last_order_at=sums.c.last)
        .execution_options(synchronize_session=False)
    )
    touched = set(ids)
    for row in db.session.identity_map.values():
        if isinstance(row, Member) and row.id in touched:
            db.session.expire(row, ["orders_count", "spend", "first_order_at", "last_order_at"])
