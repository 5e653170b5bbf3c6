"""The demo shop's journeys: two are on, with people from real parcels inside."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select, update

from kernel import clock
from kernel.db import db
from kernel.staff.models import Staff
from membership.coupons.models import Offer, OfferState
from membership.orders.models import Order, OrderState

from . import queries, rules, services
from .models import Journey, JourneyMember

# How far back parcels still bring somebody in, and at most how many.
BACK, MOST = timedelta(days=8), 160


def begin() -> None:
    """Put the ready-made journeys in, switch two on, and let recent parcels bring their people."""
    services.ensure_recipes()
    marketer = db.session.scalar(select(Staff.id).where(Staff.email == "marketer@shop.example"))
    care = _recipe("after_sale")
    services.switch_on(care, marketer)
    _bring_recent(care)
    offer = db.session.scalar(
        select(Offer.id).where(Offer.state == OfferState.ACTIVE, Offer.stock.is_(None)).order_by(Offer.id).limit(1)
    )
    if offer is None:
        return
    second = _recipe("second_order")
    for step in list(rules.walk(rules.parse(second.draft).steps)):
        if isinstance(step, rules.GrantCoupon):
            services.put_step(second, step.model_copy(update={"offer_id": offer}).model_dump())
    services.switch_on(second, marketer)
    second.switched_on_at = clock.now() - timedelta(days=30)
    services.look(second.id)


def _recipe(key: str) -> Journey:
    return db.session.scalars(select(Journey).where(Journey.recipe == key)).one()


def _bring_recent(journey: Journey) -> None:
    """Those whose parcels came within the last days; who has had theirs for longer does not wait for tomorrow's ten o'clock."""
    now = clock.now()
    arrived = db.session.execute(
        select(Order.id, Order.member_id, Order.delivered_at)
        .where(
            Order.state.in_([OrderState.DELIVERED, OrderState.COMPLETED]),
            Order.delivered_at.between(now - BACK, now - timedelta(days=1)),
        )
        .order_by(Order.delivered_at.desc())
        .limit(MOST)
    )
    for order_id, member_id, delivered_at in arrived:
        if member_id is not None and delivered_at is not None:
            services.enter(journey.id, member_id, f"order:{order_id}", delivered_at)
    db.session.execute(
        update(JourneyMember)
        .where(JourneyMember.journey_id == journey.id, queries.LIVE, JourneyMember.since < now - timedelta(days=2))
        .values(due_at=now)
        .execution_options(synchronize_session=False)
    )
