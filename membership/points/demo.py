"""Points in the demo shop: a program that has run for ten months, rewards, and a few that were taken."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, text, update

from kernel import clock, shop
from kernel.db import db
from kernel.demo import Progress
from kernel.events import EventRecord
from membership.coupons import services as coupons
from membership.coupons.models import CouponKind, OfferState
from membership.gifts.models import Gift
from membership.orders.models import Order

from . import rules, services
from .events import PointsExpired
from .models import AccountKind, Bucket, Kind, LotState, PointsAccount, PointsLot
from .services import earning, ledger
from .services.program import BACKLOG

MONTHS = 10
MONTH = timedelta(days=30)
# What was earned in the first months and not spent has lapsed; most points are alive.
LOT_DAYS = 180
TAKERS = 24
# Those who spend at the end of each month, and how much of what they have.
SPENDERS, SPENT_PERCENT = 30, 60


def book(progress: Progress) -> None:
    """Let the orders of ten months earn, month by month as they came, and lapse as time went by."""
    now = clock.now()
    start = now - MONTHS * MONTH
    services.save_program(replace(rules.STANDARD, enabled=True, lot_days=LOT_DAYS, effective_from=start))
    for month in range(MONTHS):
        since, until = start + month * MONTH, start + (month + 1) * MONTH
        ids = db.session.scalars(
            select(Order.id)
            .where(Order.paid_at >= since, Order.paid_at < until, Order.member_id.is_not(None))
            .order_by(Order.id)
        ).all()
        for place in range(0, len(ids), earning.SLICE):
            services.settle_orders(ids[place : place + earning.SLICE], now=until)
        while services.settle_due(now=until):
            pass
        _spend(month, until)
        progress(month / MONTHS)
    # What lapsed months ago did not happen today: it stands in the ledger under its own day, not on the timelines.
    db.session.execute(delete(EventRecord).where(EventRecord.name == PointsExpired.__name__))
    # Every order has been gone through; and nobody is told today what they would have been told as time went by.
    shop.put(BACKLOG, None)
    db.session.execute(update(PointsLot).values(noticed_at=now).execution_options(synchronize_session=False))


def _spend(month: int, at: datetime) -> None:
    """Let those with the most points pay a part of an order with them, under the day when they did."""
    rich = db.session.execute(
        select(PointsAccount.member_id, func.sum(PointsLot.remaining))
        .join(PointsLot, PointsLot.account_id == PointsAccount.id)
        .where(PointsAccount.member_id.is_not(None), PointsLot.state == LotState.ACTIVE, PointsLot.remaining > 0)
        .group_by(PointsAccount.member_id)
        .order_by(func.sum(PointsLot.remaining).desc(), PointsAccount.member_id)
        .limit(SPENDERS)
    ).all()
    contra = ledger.contra(AccountKind.LIABILITY)
    for member_id, points in rich:
        accounts = ledger.locked([member_id] if member_id is not None else [])
        takes = rules.taken_from(
            rules.spending_order(lot for lot in ledger.lots_in(accounts) if lot.state is LotState.ACTIVE),
            int(points) * SPENT_PERCENT // 100,
        )
        spent = sum(amount for _lot, amount in takes)
        if not spent:
            continue
        transaction = ledger.post(
            accounts[0].id,
            Kind.SPEND,
            -spent,
            [*ledger.legs_of(takes), (contra, Bucket.ACTIVE, spent)],
            source_type="checkout",
            source_id=f"demo-{month}-{member_id}",
            reason="下单抵扣",
            at=at,
        )
        ledger.take(takes, transaction)


def offer_rewards(progress: Progress) -> None:
    """A coupon and a gift for points, and some members who have taken one."""
    values: dict[str, Any] = {"per_member": None, "valid_days": 30}
    offer = coupons.create(
        coupons.Draft(
            name="积分兑换 10 元券", kind=CouponKind.AMOUNT, value=10_00, min_spend=59_00, stock=2_000,
            terms="用积分兑换，30 天内有效。", **values,
        ),
        OfferState.ACTIVE,
    )  # fmt: skip
    made = [
        services.create_reward(
            services.RewardDraft(
                name="10 元优惠券",
                points=800,
                offer_id=offer.id,
                description="满 59 元可用，30 天内有效。",
                per_member=3,
            )
        )
    ]
    gift_id = db.session.scalar(select(Gift.id).order_by(Gift.id).limit(1))
    if gift_id is not None:
        made.append(
            services.create_reward(
                services.RewardDraft(
                    name="帆布袋一只",
                    points=1_800,
                    gift_id=gift_id,
                    description="结实能装，邮费我们出。",
                    min_rank=2,
                    per_member=1,
                )
            )
        )
    takers = db.session.execute(
        text(
            "SELECT a.member_id, m.rank, sum(l.remaining) AS points FROM points_lot l "
            "JOIN points_account a ON a.id = l.account_id JOIN member m ON m.id = a.member_id "
            "WHERE l.state = 'active' AND l.remaining > 0 AND l.expires_at > :now "
            "GROUP BY a.member_id, m.rank HAVING sum(l.remaining) >= 2000 ORDER BY a.member_id LIMIT :most"
        ),
        {"now": clock.now(), "most": TAKERS},
    ).all()
    for place, row in enumerate(takers):
        reward = made[place % len(made)] if row.rank >= 2 else made[0]
        services.redeem(row.member_id, reward.id, f"demo-{row.member_id:08d}")
        progress(place / len(takers))


def thank(progress: Progress) -> None:
    """Some points given by hand and for a birthday, as they are in any shop."""
    members = db.session.scalars(
        text("SELECT member_id FROM points_account WHERE member_id IS NOT NULL ORDER BY id LIMIT 12")
    ).all()
    for place, member_id in enumerate(members):
        if place % 3 == 0:
            services.adjust(member_id, 50, "包裹晚到了两天，抱歉", key=f"demo-{member_id:08d}")
        else:
            services.award(
                member_id,
                100,
                type="birthday",
                source_type="birthday",
                source_id=str(clock.today().year),
                reason="生日快乐",
            )
        progress(place / len(members))
