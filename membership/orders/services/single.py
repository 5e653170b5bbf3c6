"""Orders and refunds reported one by one, by a program."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, update

from kernel import clock
from kernel.db import db
from kernel.events import publish_all
from membership.members import services as members

from ..events import OrderDelivered
from ..formats.drafts import OrderDraft, RefundDraft
from ..models import Order, OrderState, Payment
from . import summaries
from .intake import Report, Taken, lock_writers, take_in


def record(source: str, draft: OrderDraft) -> Order:
    """Take one order in and return it as it stands after that (an older report changes nothing).

    Publishes `OrderRecorded`, `OrderDelivered`, `OrderRefused` and `OrderRefunded` as they come true.
    """
    taken = record_many(source, [draft])
    return db.session.get_one(Order, taken.order_ids[draft.external_id])


def record_many(source: str, drafts: Sequence[OrderDraft]) -> Taken:
    """Take several orders of one source in; see `record`."""
    return take_in_reported(source, drafts)


def take_in_reported(source: str, reports: Sequence[Report]) -> Taken:
    """Take in orders, refunds and news of how far orders have come, all of one source."""
    taken = take_in(source, reports)
    members.reassess_stages(sorted(taken.member_ids))
    return taken


def refund(source: str, external_id: str, order_external_id: str, amount: int, at: datetime | None = None) -> Taken:
    """Take one refund in, before or after its order. `amount` in 分; the same `external_id` again changes nothing."""
    return take_in_reported(source, [RefundDraft(external_id, order_external_id, amount, at or clock.now())])


def deliver_due() -> int:
    """Let parcels arrive whose expected delivery has come, where the feed named one; returns how many did.

    A feed that reports the delivery itself comes later with a newer version and is believed.
    """
    now = clock.now()
    lock_writers()
    rows = db.session.execute(
        update(Order)
        .where(Order.state == OrderState.SHIPPED, Order.delivered_at <= now)
        .values(state=OrderState.DELIVERED, paid_at=func.coalesce(Order.paid_at, Order.delivered_at))
        .returning(Order.id, Order.external_id, Order.member_id, Order.delivered_at, Order.payment)
        .execution_options(synchronize_session=False)
    ).all()
    # Cash on delivery was paid at the door.
    summaries.refresh_members(
        {row.member_id for row in rows if row.payment is Payment.ON_DELIVERY and row.member_id is not None}
    )
    publish_all(
        OrderDelivered(
            order_id=row.id, member_id=row.member_id, delivered_at=row.delivered_at, external_id=row.external_id
        )
        for row in sorted(rows, key=lambda one: one.id)
        if row.delivered_at is not None
    )
    return len(rows)
