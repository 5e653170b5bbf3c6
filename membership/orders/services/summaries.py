"""Keeps what a member's record says about their orders right, set-wise."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, column, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from kernel.copying import among
from kernel.db import db
from kernel.events import publish_all
from kernel.ports import Port
from membership.members.models import Member

from .. import queries
from ..events import BuyersChanged
from ..models import Order

# Judges the tiers of members whose orders have changed, and notes it all but for `member.rank`; answers with the ranks that
# are others now. A member's row has many indexes, so that sums and rank are written at once.
ranks_of_buyers: Port[[Sequence[int]], dict[int, int]] = Port("orders.ranks_of_buyers")

# Members of an import are told of by so many at once.
SLICE = 2_000


def tell_of_buyers(run_id: int) -> None:
    """Publish whose orders an import changed, in slices: whoever follows works each out in a transaction of its own."""
    found = queries.members_of_run(run_id)
    publish_all(BuyersChanged(member_ids=found[first : first + SLICE]) for first in range(0, len(found), SLICE))


def settle_members(member_ids: Sequence[int]) -> None:
    """Count the given members' orders anew and have their tiers judged, with one change of each member's row."""
    ranks: dict[int, int] = {}
    for answer in ranks_of_buyers.call(member_ids):
        ranks |= answer
    refresh_members(member_ids, ranks)


def refresh_members(member_ids: Collection[int], ranks: Mapping[int, int] | None = None) -> None:
    """Count the given members' orders anew: number, spend (分), first and last. `ranks` are written with it."""
    if not member_ids:
        return
    # In one order, so that two transactions that meet do not wait for each other crosswise.
    ids = sorted(member_ids)
    lock = (
        select(Member.id).where(among(Member.id, ids, numbers=True)).order_by(Member.id).with_for_update(key_share=True)
    )
    db.session.execute(select(func.count()).select_from(lock.subquery()))
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
        .where(among(Member.id, ids, numbers=True))
        .group_by(Member.id)
        .subquery()
    )
    ranks = ranks or {}
    ranked = (
        func.unnest(literal(list(ranks), ARRAY(BigInteger)), literal(list(ranks.values()), ARRAY(BigInteger)))
        .table_valued(column("id", BigInteger), column("rank", BigInteger), name="ranked")
        .render_derived()
    )
    found = (
        select(sums, ranked.c.rank).select_from(sums.outerjoin(ranked, ranked.c.id == sums.c.id)).subquery()
        if ranks
        else sums
    )
    values: dict[str, Any] = {
        "orders_count": found.c.n,
        "spend": found.c.spend,
        "first_order_at": found.c.first,
        "last_order_at": found.c.last,
    }
    differs = (
        (Member.orders_count != found.c.n)
        | (Member.spend != found.c.spend)
        | Member.first_order_at.is_distinct_from(found.c.first)
        | Member.last_order_at.is_distinct_from(found.c.last)
    )
    if ranks:
        values["rank"] = func.coalesce(found.c.rank, Member.rank)
        differs |= Member.rank != found.c.rank
    db.session.execute(
        update(Member)
        .where(Member.id == found.c.id, differs)
        .values(values)
        .execution_options(synchronize_session=False)
    )
    touched = set(ids)
    for row in db.session.identity_map.values():
        if isinstance(row, Member) and row.id in touched:
            db.session.expire(row, ["orders_count", "spend", "first_order_at", "last_order_at", "rank"])
