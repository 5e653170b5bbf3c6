"""What came of a run, in a few set-wise statements."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, func, literal, select

from campaigns.pushes.models import Delivery, DeliveryState, Push, Run
from kernel import clock
from kernel.db import db
from membership.coupons.models import Coupon, CouponState
from membership.orders import queries as orders
from membership.orders.models import Order

from . import rules
from .models import Attribution, Click, Kind


@dataclass(frozen=True)
class Credit:
    """Orders that are credited to a run, and their money net of refunds (分)."""

    orders: int = 0
    money: int = 0


@dataclass(frozen=True)
class Report:
    """What came of one run. The three numbers are never added together."""

    clicked: int
    claimed: int
    redeemed: int
    direct: Credit
    influenced: Credit
    treated: rules.Arm
    control: rules.Arm
    since: datetime | None
    until: datetime | None

    @property
    def complete(self) -> bool:
        """Whether the window in which orders are looked at is over."""
        return self.until is not None and self.until <= clock.now()

    @property
    def enough(self) -> bool:
        return rules.enough(self.treated, self.control)

    @property
    def needed(self) -> int | None:
        return rules.needed_in_control(self.treated, self.control)

    @property
    def share(self) -> rules.Interval | None:
        return rules.share_difference(self.treated, self.control)

    @property
    def extra_orders(self) -> rules.Interval | None:
        """More orders in all, because of the run."""
        found = rules.orders_difference(self.treated, self.control)
        return found.times(self.treated.people) if found else None

    @property
    def extra_money(self) -> rules.Interval | None:
        """More money in all (分), because of the run."""
        found = rules.money_difference(self.treated, self.control)
        return found.times(self.treated.people) if found else None


def source_of(run_id: int) -> str:
    """What stands as the source on coupons that a run brought."""
    return f"push:{run_id}"


def credits_of(run_ids: list[int]) -> dict[tuple[int, Kind], Credit]:
    """The credited orders of several runs by kind, in one statement."""
    rows = db.session.execute(
        select(Attribution.run_id, Attribution.kind, func.count(), func.coalesce(func.sum(orders.spend()), 0))
        .join(Order, Order.id == Attribution.order_id)
        .where(Attribution.run_id.in_(run_ids), orders.counts())
        .group_by(Attribution.run_id, Attribution.kind)
    )
    return {(run_id, kind): Credit(count, int(money)) for run_id, kind, count, money in rows}


def arms(run: Run, days: int) -> tuple[rules.Arm, rules.Arm]:
    """Those who were to be written to and those held out, with what they ordered in the window."""
    if run.started_at is None:
        return rules.Arm(), rules.Arm()
    since, until = rules.window_of(run.started_at, days)
    return compared(
        select(Delivery.member_id, case((Delivery.slice_number > 0, 1), else_=0).label("treated")).where(
            Delivery.run_id == run.id, (Delivery.slice_number > 0) | (Delivery.state == DeliveryState.CONTROL)
        ),
        since,
        until,
    )


def compared(people: Any, since: datetime, until: datetime) -> tuple[rules.Arm, rules.Arm]:
    """Two groups, given as a statement of `member_id` and `treated` (1 or 0), with what they ordered in `[since, until)`.

    A third column `since` lets somebody's orders count from a later moment on.
    """
    group = people.cte("people")
    bought: Any = (
        select(Order.member_id, func.count().label("orders"), func.sum(orders.spend()).label("money"))
        .where(Order.placed_at >= since, Order.placed_at < until, Order.member_id.is_not(None), orders.counts())
        .group_by(Order.member_id)
    )
    if "since" in group.c:
        bought = bought.join(group, group.c.member_id == Order.member_id).where(Order.placed_at >= group.c.since)
    bought = bought.subquery("bought")
    placed = func.coalesce(bought.c.orders, 0)
    spent = func.coalesce(bought.c.money, 0)
    rows = db.session.execute(
        select(
            group.c.treated,
            func.count(),
            func.count(bought.c.member_id),
            func.sum(placed),
            func.sum(placed * placed),
            func.sum(spent),
            func.sum(spent * spent),
        )
        .select_from(group.outerjoin(bought, bought.c.member_id == group.c.member_id))
        .group_by(group.c.treated)
    )
    found = {row[0]: rules.Arm(*(int(v or 0) for v in row[1:])) for row in rows}
    return found.get(1, rules.Arm()), found.get(0, rules.Arm())


def report(run: Run, push: Push) -> Report:
    """Everything about what came of a run."""
    source = source_of(run.id)
    clicked = db.session.scalar(select(func.count()).where(Delivery.run_id == run.id, Delivery.clicked_at.is_not(None)))
    coupons = db.session.execute(
        select(func.count(), func.count().filter(Coupon.state == CouponState.REDEEMED)).where(
            Coupon.source == source, *([Coupon.offer_id == push.offer_id] if push.offer_id else [literal(False)])
        )
    ).one()
    credits = credits_of([run.id])
    treated, control = arms(run, push.attribution_days)
    window = rules.window_of(run.started_at, push.attribution_days) if run.started_at else (None, None)
    return Report(
        clicked=clicked or 0,
        claimed=coupons[0],
        redeemed=coupons[1],
        direct=credits.get((run.id, Kind.DIRECT), Credit()),
        influenced=credits.get((run.id, Kind.INFLUENCED), Credit()),
        treated=treated,
        control=control,
        since=window[0],
        until=window[1],
    )


def pooled(since: datetime, until: datetime) -> tuple[rules.Arm, rules.Arm]:
    """All runs that began in `[since, until)` together: each person once, as held out or as written to.

    Somebody's orders count from their first run on, until the end of the interval.
    """
    people = (
        select(
            Delivery.member_id,
            func.max(case((Delivery.slice_number > 0, 1), else_=0)).label("treated"),
            func.min(Run.started_at).label("since"),
        )
        .join(Run, and_(Run.id == Delivery.run_id, Run.started_at >= since, Run.started_at < until))
        .where((Delivery.slice_number > 0) | (Delivery.state == DeliveryState.CONTROL))
        .group_by(Delivery.member_id)
    )
    return compared(people, since, until)


def clicked_of(run_ids: list[int]) -> dict[int, int]:
    """How many members of each run opened its link, in one statement."""
    rows = db.session.execute(
        select(Click.run_id, func.count(Click.member_id.distinct()))
        .where(Click.run_id.in_(run_ids))
        .group_by(Click.run_id)
    )
    return {row[0]: row[1] for row in rows}
