"""Working out when members need a product again, set-wise; called after each of their orders and refunds, and every night."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from sqlalchemy import Integer, cast, delete, exists, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on, insert

from kernel import clock
from kernel.copying import among
from kernel.db import changed, db
from membership.members.models import Member
from membership.orders.models import Order

from .. import rules
from ..models import ProductClock, Repurchase
from .bought import bought

# Whoever has missed their window by this many days is forgotten here.
MISSED = 30


def watch(member_ids: Collection[int | None]) -> None:
    """Work out anew when these members need what again. Whoever names no member is left out."""
    mark(sorted({one for one in member_ids if one is not None}))


def mark(member_ids: Sequence[int]) -> int:
    """Write down of each of the members, product by product, when what they bought last is used up (`rules.due_day`); returns
    how many rows changed. An order moves the day on, a refund moves it back to what was bought before.

    Products without days of use, and windows that were missed long ago, have no row.
    """
    if not member_ids:
        return 0
    db.session.flush()
    # Whoever has the lock reads the orders as they are; two who work out the same member do so one after the other.
    lock = select(Member.id).where(among(Member.id, list(member_ids), numbers=True)).order_by(Member.id)
    db.session.execute(select(func.count()).select_from(lock.with_for_update(key_share=True).subquery()))
    buys = bought(among(Order.member_id, list(member_ids), numbers=True)).subquery("buys")
    last = (
        select(buys)
        .ext(distinct_on(buys.c.member_id, buys.c.product_id))
        .order_by(buys.c.member_id, buys.c.product_id, buys.c.day.desc())
        .subquery("last")
    )
    total = cast(
        func.least(rules.LONGEST_USE, func.greatest(1, func.round(ProductClock.days * last.c.pieces))), Integer
    ).label("total")
    each = (
        select(last, total, ProductClock.spread)
        .join(ProductClock, ProductClock.product_id == last.c.product_id)
        .join(Member, Member.id == last.c.member_id)
        .where(ProductClock.days.is_not(None), Member.merged_into_id.is_(None), Member.erased_at.is_(None))
        .subquery("each")
    )
    room = cast(
        func.least(
            rules.LONGEST_WINDOW,
            func.greatest(rules.LEAST_WINDOW, each.c.total // 2),
            func.greatest(rules.LEAST_WINDOW, func.round(each.c.spread * each.c.pieces)),
        ),
        Integer,
    )
    due = each.c.day + each.c.total
    fresh = (
        select(
            each.c.member_id,
            each.c.product_id,
            each.c.order_id,
            each.c.bought_at,
            each.c.day.label("bought_on"),
            each.c.pieces,
            due.label("due_on"),
            (due - room).label("from_on"),
            (due + room).label("until_on"),
        )
        .where(due + room >= clock.today() - timedelta(days=MISSED))
        .cte("fresh")
    )
    gone = (
        delete(Repurchase)
        .where(
            among(Repurchase.member_id, list(member_ids), numbers=True),
            ~exists().where(fresh.c.member_id == Repurchase.member_id, fresh.c.product_id == Repurchase.product_id),
        )
        .returning(Repurchase.member_id)
        .cte("gone")
    )
    names = [column.name for column in fresh.c]
    add = insert(Repurchase).from_select(names, select(fresh).order_by(fresh.c.member_id, fresh.c.product_id))
    kept = names[2:]
    differs = or_(*(getattr(Repurchase, name).is_distinct_from(add.excluded[name]) for name in kept))
    done = db.session.execute(
        add.on_conflict_do_update(
            index_elements=["member_id", "product_id"],
            set_={name: add.excluded[name] for name in kept},
            where=differs,
        ).add_cte(gone)
    )
    for found in db.session.identity_map.values():
        if isinstance(found, Repurchase):
            db.session.expire(found)
    return changed(done)
