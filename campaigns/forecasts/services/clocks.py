"""The repurchase clock: learning from real gaps how long a piece of each product lasts, in slices a night."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, Float, Integer, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock
from kernel.copying import among
from kernel.db import db
from membership.members import queries as members
from membership.members.models import Member
from membership.orders.models import Order, OrderLine
from membership.products import queries as products
from membership.products import services as product_services
from membership.products.models import Product

from .. import queries, rules
from ..models import Basis, ClockPhase, ClockRun, ProductClock
from .bought import bought
from .due import mark

# So many products are learned, and so many members marked, in one transaction.
PRODUCTS, MEMBERS = 200, 5_000


# ── A night's work ──────────────────────────────────────────────────────────────────────────────────────────────────


def needs_night(last: ClockRun | None) -> bool:
    """Whether a new night's work is to begin: once a night, and once the first products have come to a new shop."""
    if last is not None and not last.products and db.session.scalar(select(Product.id).limit(1)) is not None:
        return True
    return rules.begins(clock.local(last.started_at) if last is not None else None, clock.local(clock.now()))


def start_learning(now: bool = False) -> ClockRun | None:
    """Begin a night's work if it is time (or asked for `now`) and none is under way; returns it, or None."""
    # Two who ask at once begin one.
    db.session.execute(select(func.pg_advisory_xact_lock(func.hashtext("forecasts.clock"))))
    last = queries.last_clock_run()
    if last is not None and last.phase is not ClockPhase.DONE:
        return last if now else None
    if not (now or needs_night(last)):
        return None
    run = ClockRun(phase=ClockPhase.LEARNING, started_at=clock.now())
    db.session.add(run)
    db.session.flush()
    if now:
        audit.record("forecast.learning_asked", "clock_run", run.id)
    return run


def learn_on() -> bool:
    """Do the next slice of the work that is under way; returns whether there is more. The slice and how far the work has come
    are one transaction, so that a worker who dies leaves whole slices and the next one goes on after them."""
    run = db.session.scalars(
        select(ClockRun)
        .where(ClockRun.phase != ClockPhase.DONE)
        .order_by(ClockRun.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if run is None:
        return False
    if run.phase is ClockPhase.LEARNING:
        ids = db.session.scalars(
            select(Product.id).where(Product.id > run.cursor).order_by(Product.id).limit(PRODUCTS)
        ).all()
        if ids:
            learn(ids)
            run.cursor, run.products = ids[-1], run.products + len(ids)
        else:
            share()
            resolve()
            run.phase, run.cursor = ClockPhase.MARKING, 0
    else:
        people = db.session.scalars(
            members.live().with_only_columns(Member.id).where(Member.id > run.cursor).order_by(Member.id).limit(MEMBERS)
        ).all()
        if people:
            mark(people)
            run.cursor, run.members = people[-1], run.members + len(people)
        else:
            db.session.execute(update(ProductClock).where(ProductClock.stale).values(stale=False, stale_after=0))
            run.phase, run.finished_at = ClockPhase.DONE, clock.now()
    db.session.flush()
    return run.phase is not ClockPhase.DONE


def learn(product_ids: Sequence[int]) -> None:
    """Learn how long a piece of these products lasts: the median of the gaps between a person's purchases of it, each by the
    pieces bought at its beginning, and the median absolute deviation from it times 1.4826 (Rousseeuw, Croux 1993)."""
    ids = list(product_ids)
    buys = bought(among(OrderLine.product_id, ids, numbers=True)).cte("buys")
    following = func.lead(buys.c.day).over(partition_by=[buys.c.product_id, buys.c.member_id], order_by=buys.c.day)
    gap = select(buys.c.product_id, buys.c.member_id, buys.c.pieces, (following - buys.c.day).label("gap")).cte("gap")
    lasted = (
        select(gap.c.product_id, gap.c.member_id, (cast(gap.c.gap, Float) / gap.c.pieces).label("days"))
        .where(gap.c.gap <= rules.LONGEST_GAP)
        .cte("lasted")
    )
    middle = (
        select(
            lasted.c.product_id,
            func.count().label("gaps"),
            func.count(lasted.c.member_id.distinct()).label("people"),
            func.percentile_cont(0.5).within_group(lasted.c.days).label("days"),
        )
        .group_by(lasted.c.product_id)
        .cte("middle")
    )
    spread = (
        select(
            lasted.c.product_id,
            (func.percentile_cont(0.5).within_group(func.abs(lasted.c.days - middle.c.days)) * rules.MAD).label(
                "spread"
            ),
        )
        .join(middle, middle.c.product_id == lasted.c.product_id)
        .group_by(lasted.c.product_id)
        .cte("spread")
    )
    width = func.greatest(1, func.ceil(middle.c.days / 4))
    binned = (
        select(
            lasted.c.product_id,
            cast(func.least(func.floor(lasted.c.days / width), rules.BINS), Integer).label("bin"),
        )
        .join(middle, middle.c.product_id == lasted.c.product_id)
        .cte("binned")
    )
    counted = (
        select(binned.c.product_id, binned.c.bin, func.count().label("n"))
        .group_by(binned.c.product_id, binned.c.bin)
        .cte("counted")
    )
    bins = (
        select(counted.c.product_id, func.jsonb_object_agg(counted.c.bin, counted.c.n).label("bins"))
        .group_by(counted.c.product_id)
        .cte("bins")
    )
    rows = db.session.execute(
        select(
            Product.id,
            Product.days_of_use,
            middle.c.gaps,
            middle.c.people,
            middle.c.days,
            spread.c.spread,
            cast(width, BigInteger).label("width"),
            bins.c.bins,
        )
        .outerjoin(middle, middle.c.product_id == Product.id)
        .outerjoin(spread, spread.c.product_id == Product.id)
        .outerjoin(bins, bins.c.product_id == Product.id)
        .where(among(Product.id, ids, numbers=True))
    ).all()
    now = clock.now()
    add = insert(ProductClock)
    learned = ("gaps", "people", "learned_days", "learned_spread", "histogram", "bin_days", "learned_at")
    db.session.execute(
        add.on_conflict_do_update(index_elements=["product_id"], set_={name: add.excluded[name] for name in learned}),
        [
            {
                "product_id": row.id,
                "gaps": row.gaps or 0,
                "people": row.people or 0,
                "learned_days": row.days,
                "learned_spread": row.spread,
                "histogram": [int((row.bins or {}).get(str(place), 0)) for place in range(rules.BINS + 1)],
                "bin_days": row.width or 1,
                "stale": False,
                "stale_after": 0,
                "learned_at": now,
            }
            for row in rows
        ],
    )
    _forget_read()


def share() -> None:
    """Write down what the categories and the whole shop say, for products that have been bought again, but not often enough."""
    found = db.session.execute(
        select(Product.category, ProductClock.learned_days, ProductClock.learned_spread, ProductClock.gaps)
        .join(Product, Product.id == ProductClock.product_id)
        .where(ProductClock.gaps > 0)
    ).all()
    categories, shop = rules.fallbacks(
        [
            rules.Learned(category, days, spread, gaps)
            for category, days, spread, gaps in found
            if days is not None and spread is not None
        ]
    )
    cleared = {"fallback_days": None, "fallback_spread": None, "fallback_basis": None}
    db.session.execute(update(ProductClock).values(cleared).execution_options(synchronize_session=False))
    if shop is not None:
        db.session.execute(
            update(ProductClock)
            .where(ProductClock.gaps > 0)
            .values(fallback_days=shop.days, fallback_spread=shop.spread, fallback_basis=Basis.SHOP)
            .execution_options(synchronize_session=False)
        )
    for name, lasts in categories.items():
        db.session.execute(
            update(ProductClock)
            .where(
                ProductClock.product_id == Product.id,
                Product.category == name,
                ProductClock.gaps > 0,
            )
            .values(fallback_days=lasts.days, fallback_spread=lasts.spread, fallback_basis=Basis.CATEGORY)
            .execution_options(synchronize_session=False)
        )
    _forget_read()


def resolve(product_ids: Sequence[int] | None = None) -> list[int]:
    """Work out which days count for the products (all without `product_ids`), by `rules.choose`; returns those whose days are
    others now."""
    statement = select(ProductClock, Product.days_of_use).join(Product, Product.id == ProductClock.product_id)
    if product_ids is not None:
        statement = statement.where(among(Product.id, product_ids, numbers=True))
    moved = []
    for row, set_days in db.session.execute(statement.execution_options(populate_existing=True)):
        learned = (
            (row.learned_days, row.learned_spread)
            if row.learned_days is not None and row.learned_spread is not None
            else None
        )
        fallback = (
            rules.Lasts(row.fallback_days, row.fallback_spread, row.fallback_basis)
            if row.fallback_days is not None and row.fallback_spread is not None and row.fallback_basis is not None
            else None
        )
        lasts = rules.choose(set_days, learned, row.gaps, fallback)
        chosen = (lasts.days, lasts.spread, lasts.basis) if lasts is not None else (None, None, None)
        if (row.days, row.spread) != chosen[:2]:
            moved.append(row.product_id)
        row.set_days = set_days
        row.days, row.spread, row.basis = chosen
    db.session.flush()
    return moved


def _forget_read() -> None:
    for found in db.session.identity_map.values():
        if isinstance(found, ProductClock):
            db.session.expire(found)


# ── What staff set ──────────────────────────────────────────────────────────────────────────────────────────────────


def set_days(product_id: int, days: int) -> bool:
    """Let a piece of a product last so many days, whatever its gaps say; returns whether that is new."""
    return _set(product_id, days)


def reset_days(product_id: int) -> bool:
    """Let a product's own gaps decide again; returns whether anything was set."""
    return _set(product_id, None)


def _set(product_id: int, days: int | None) -> bool:
    product = products.get_product(product_id)
    edited = product_services.edit(product, product.title, product.category, product.list_price, product.cost, days)
    if edited:
        db.session.flush()
        _turn([product.id])
    return edited


def spot_changed() -> int:
    """Take up days of use that were set elsewhere, on a product's page or by another program; returns of how many products."""
    found = db.session.scalars(
        select(Product.id)
        .outerjoin(ProductClock, ProductClock.product_id == Product.id)
        .where(Product.days_of_use.is_distinct_from(ProductClock.set_days))
        .order_by(Product.id)
        .limit(PRODUCTS)
    ).all()
    if found:
        _turn(found)
    return len(found)


def _turn(product_ids: Sequence[int]) -> None:
    """Let the clocks of products go by other days, and have whoever bought them worked out anew."""
    ids = sorted(product_ids)
    db.session.execute(
        insert(ProductClock)
        .values([{"product_id": one, "stale": False, "stale_after": 0, "histogram": []} for one in ids])
        .on_conflict_do_nothing()
    )
    resolve(ids)
    db.session.execute(
        update(ProductClock).where(among(ProductClock.product_id, ids, numbers=True)).values(stale=True, stale_after=0)
    )


def refresh_stale() -> bool:
    """Work out the next members who bought a product whose days have changed; returns whether there are more. How far it came
    is written with it, so that a worker who dies loses nothing."""
    row = db.session.scalars(
        select(ProductClock)
        .where(ProductClock.stale)
        .order_by(ProductClock.product_id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        return False
    people = db.session.scalars(
        select(Order.member_id)
        .join(OrderLine, OrderLine.order_id == Order.id)
        .where(OrderLine.product_id == row.product_id, Order.member_id > row.stale_after)
        .distinct()
        .order_by(Order.member_id)
        .limit(MEMBERS)
    ).all()
    if people:
        mark([one for one in people if one is not None])
        row.stale_after = people[-1] or 0
    else:
        row.stale, row.stale_after = False, 0
    db.session.flush()
    return True


__all__ = [
    "learn",
    "learn_on",
    "needs_night",
    "refresh_stale",
    "reset_days",
    "resolve",
    "set_days",
    "share",
    "spot_changed",
    "start_learning",
]
