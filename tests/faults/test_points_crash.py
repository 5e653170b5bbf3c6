"""A process that dies between any two statements leaves books that add up: what was half booked was never booked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from kernel import clock
from kernel.db import db, transaction
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, CouponKind, OfferState
from membership.members.models import Member
from membership.orders.models import Order, OrderState
from membership.points import queries, rules, services
from membership.points.models import Clawback, Kind, PointsRedemption, PointsTransaction
from tests.faults.midway import killed_before
from tests.membership.points.conftest import check_books


def everything(app: Flask) -> tuple[Any, ...]:
    """What stands in the books of everybody."""
    with app.app_context():
        check_books(db)
        return (
            db.session.scalar(select(func.count()).select_from(PointsTransaction)),
            db.session.scalar(select(func.count()).select_from(PointsRedemption)),
            db.session.scalar(select(func.count()).select_from(Coupon)),
            tuple(
                (found.active, found.pending, found.shortfall)
                for _member, found in sorted(queries.balances_of(db.session.scalars(select(Member.id)).all()).items())
            ),
        )


@pytest.fixture
def shop(app: Flask, committed: Flask) -> dict[str, Any]:
    """A member with points and orders, and a reward."""
    with app.app_context(), transaction():
        now = clock.now()
        services.save_program(
            replace(
                rules.STANDARD, enabled=True, clawback=Clawback.WITHIN_BALANCE, effective_from=now - timedelta(days=400)
            )
        )
        member = Member(stage_since=now, created_at=now)
        db.session.add(member)
        db.session.flush()
        orders = [
            Order(
                source="shop", external_id=str(place), member_id=member.id, state=OrderState.COMPLETED, placed_at=now,
                paid_at=now, completed_at=now, paid_amount=100_00, version_at=now, version_mark="", created_at=now,
            )
            for place in range(3)
        ]  # fmt: skip
        db.session.add_all(orders)
        offer = coupons.create(
            coupons.Draft(name="Ten", kind=CouponKind.AMOUNT, value=1000, valid_days=9, stock=5), OfferState.ACTIVE
        )
        reward = services.create_reward(services.RewardDraft(name="Ten", points=60, offer_id=offer.id, per_member=1))
        services.settle_order(orders[0].id)
        services.award(member.id, 50, type=Kind.AWARD, source_type="test", source_id="a")
        spent = services.spend(member.id, 70, source_type="till", source_id="1")
        return {
            "member": member.id,
            "orders": [order.id for order in orders],
            "reward": reward.id,
            "spent": spent.id,
        }


def acts(shop: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    def refund() -> None:
        db.session.execute(text('UPDATE "order" SET refunded_amount = 10000 WHERE id = :id'), {"id": shop["orders"][0]})
        services.settle_order(shop["orders"][0])

    return {
        "redeem": lambda: services.redeem(shop["member"], shop["reward"], "token-0001"),
        "spend": lambda: services.spend(shop["member"], 75, source_type="till", source_id="2"),
        "give back": lambda: services.give_back(queries.get_transaction(shop["spent"])),
        "earn one": lambda: services.settle_order(shop["orders"][1]),
        "earn many": lambda: services.settle_orders(shop["orders"]),
        "refund": refund,
        "adjust": lambda: services.adjust(shop["member"], -20, "Counted twice", key="key-0001", cap=100),
    }


@pytest.mark.parametrize("act", ["redeem", "spend", "give back", "earn one", "earn many", "refund", "adjust"])
def test_killed_between_any_two_statements_nothing_is_half_booked(app: Flask, shop: dict[str, Any], act: str) -> None:
    before = everything(app)
    number = 1
    while killed_before(app, number, acts(shop)[act]):
        assert everything(app) == before, f"killed before statement {number}"
        number += 1
        assert number < 200
    # It came to its end in the same number of statements, and only then is anything there.
    after = everything(app)
    assert after != before
    assert number > 5
    # Once more changes nothing: whoever does not know whether it was booked may ask again.
    if act not in ("refund",):
        assert not killed_before(app, 10_000, acts(shop)[act])
        assert everything(app) == after


def test_teeth_two_transactions_would_be_noticed(app: Flask, shop: dict[str, Any]) -> None:
    """Were points taken in a transaction of their own, dying before the coupon would leave less points and no coupon."""
    before = everything(app)

    def in_two() -> None:
        services.spend(shop["member"], 60, source_type="redemption", source_id="x", type=Kind.REDEEM)
        db.session.commit()
        services.redeem(shop["member"], shop["reward"], "token-0001")

    number = 1
    while killed_before(app, number, in_two):
        if everything(app) != before:
            return
        number += 1
    raise AssertionError("a half booking was not seen")
