"""Members, orders and settings for the tests of points, and the books of everybody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from kernel import clock as kernel_clock
from membership.members.models import Member
from membership.orders.models import Order, OrderState
from membership.points import queries, rules, services


def active(member: Any) -> int:
    """How many points a member can spend now."""
    return queries.balance_of(member.id).active


@pytest.fixture
def noon(clock: Any) -> Any:
    return clock


@pytest.fixture
def make_member(make_member: Callable[..., Member], clock: Any) -> Callable[..., Member]:
    """People of the hour at which the tests' time stands still."""
    return make_member


@pytest.fixture
def set_program(db: Any, clock: Any) -> Callable[..., rules.Program]:
    """`set_program(rate=2000, lot_days=None)`: the program runs for orders paid in the last year, one point a yuan."""

    def make(**changes: Any) -> rules.Program:
        values = {"enabled": True, "effective_from": kernel_clock.now() - timedelta(days=365), **changes}
        return services.save_program(replace(rules.STANDARD, **values))

    return make


@pytest.fixture
def program(set_program: Callable[..., rules.Program]) -> rules.Program:
    return set_program()


@pytest.fixture
def make_order(db: Any, clock: Any) -> Callable[..., Order]:
    """`make_order(member, 100_00, delivered=3)`: paid a day ago; days ago as numbers, amounts in 分."""
    number = iter(range(1, 10_000))

    def ago(days: float | None) -> datetime | None:
        return kernel_clock.now() - timedelta(days=days) if days is not None else None

    def make(
        member: Member | int | None,
        paid: int = 100_00,
        *,
        days: float = 1,
        delivered: float | None = None,
        completed: float | None = None,
        refunded: int = 0,
        postage: int = 0,
        state: OrderState | None = None,
        run_id: int | None = None,
    ) -> Order:
        at = ago(days)
        assert at is not None
        reached = (
            OrderState.COMPLETED if completed is not None else OrderState.DELIVERED if delivered is not None else None
        )
        order = Order(
            source="shop",
            external_id=f"N{next(number)}",
            member_id=member.id if isinstance(member, Member) else member,
            state=state or reached or OrderState.PAID,
            placed_at=at,
            paid_at=at,
            delivered_at=ago(delivered),
            completed_at=ago(completed),
            paid_amount=paid,
            postage=postage,
            refunded_amount=refunded,
            version_at=at,
            version_mark="",
            run_id=run_id,
            created_at=at,
        )
        db.session.add(order)
        db.session.flush()
        return order

    return make


BOOKS = text(
    """
    SELECT a.id, a.member_id, a.shortfall, a.overdrawn,
           COALESCE((SELECT sum(amount) FROM points_entry e WHERE e.account_id = a.id AND e.bucket = 'active'), 0) AS active,
           COALESCE((SELECT sum(amount) FROM points_entry e WHERE e.account_id = a.id AND e.bucket = 'pending'), 0) AS pending,
           COALESCE((SELECT sum(amount) FROM points_entry e WHERE e.account_id = a.id AND e.bucket = 'locked'), 0) AS locked,
           COALESCE((SELECT sum(remaining) FROM points_lot l WHERE l.account_id = a.id AND l.state = 'active'), 0) AS lots,
           COALESCE((SELECT sum(remaining) FROM points_lot l WHERE l.account_id = a.id AND l.state = 'pending'), 0) AS waiting
    FROM points_account a WHERE a.member_id IS NOT NULL ORDER BY a.id
    """
)


def check_books(db: Any) -> None:
    """Invariants P1, P2, P5 and I25–I30 over everything that is booked."""
    db.session.flush()
    unbalanced = db.session.execute(
        text("SELECT transaction_id FROM points_entry GROUP BY transaction_id HAVING sum(amount) <> 0")
    ).all()
    assert unbalanced == [], "inv_p1 (I25): each transaction sums to zero"
    assert not db.session.scalar(text("SELECT COALESCE(sum(amount), 0) FROM points_entry")), "I25: so do all accounts"
    for row in db.session.execute(BOOKS):
        assert row.active == row.lots - row.overdrawn, f"inv_p2 (I27): active balance = active lots, {row}"
        assert row.pending == row.waiting, f"inv_p2: pending balance = pending lots, {row}"
        assert row.locked >= 0
    wrong_lots = db.session.execute(
        text(
            "SELECT l.id FROM points_lot l LEFT JOIN (SELECT lot_id, sum(amount - returned) AS used FROM points_lot_use "
            "GROUP BY lot_id) u ON u.lot_id = l.id WHERE l.remaining <> l.original - COALESCE(u.used, 0)"
        )
    ).all()
    assert wrong_lots == [], "I30: what a lot lacks has been used"
    expired_pending = db.session.execute(
        text(
            "SELECT t.id FROM points_transaction t JOIN points_entry e ON e.transaction_id = t.id "
            "WHERE t.type = 'expire' AND e.bucket <> 'active'"
        )
    ).all()
    assert expired_pending == [], "inv_p5 (I33): expiry touches neither pending nor locked points"


@pytest.fixture
def books(db: Any) -> Callable[[], None]:
    """`books()` checks the invariants of the ledger."""
    return lambda: check_books(db)
