"""Calls that two of the demo shop's staff held over the last month, after deliveries that really happened, and who came of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import select, text

from community.desk import rules as desk_rules
from community.desk.models import CallReason, CallState, CallTask, CallTaskOrder
from community.groups import queries as group_reads
from community.groups import services as groups
from community.groups.models import Group, GroupKind, GroupState
from kernel import clock
from kernel.db import db
from kernel.staff.models import Staff
from membership.demo import share_of
from membership.orders import queries as orders
from membership.orders.models import Order

# Whose calls they are: how many a day, and which share was held on the promised day.
AGENTS = (("service@shop.example", 3, 0.92), ("assistant@shop.example", 2, 0.78))
DAYS = range(28, 3, -1)


def make(progress: Callable[[float], None]) -> None:
    """Some of each day's parcels were asked about; one in three of those reached joined the open group."""
    people = {email: db.session.scalar(select(Staff.id).where(Staff.email == email)) for email, _each, _kept in AGENTS}
    group_id = db.session.scalar(
        select(Group.id)
        .where(Group.kind == GroupKind.REGULAR, Group.state == GroupState.OPEN)
        .order_by(Group.id)
        .limit(1)
    )
    if group_id is None:
        return
    called: set[int] = set()
    for done, ago in enumerate(DAYS):
        since = clock.at(clock.today() - timedelta(days=ago))
        parcels = db.session.execute(
            select(Order.id, Order.member_id, Order.delivered_at)
            .where(
                Order.delivered_at >= since,
                Order.delivered_at < since + timedelta(days=1),
                Order.member_id.is_not(None),
                orders.counts(),
                Order.id.not_in(select(CallTaskOrder.order_id)),
            )
            .order_by(Order.id)
        ).all()
        waiting = iter([row for row in parcels if row.member_id not in called])
        for email, each, kept in AGENTS:
            for row in (found for found in waiting if found.member_id not in called):
                called.add(row.member_id)
                _held(row, people[email], kept, group_id)
                each -= 1
                if not each:
                    break
        progress((done + 1) / len(DAYS))


def _held(parcel: Any, staff_id: int | None, kept: float, group_id: int) -> None:
    """One call: when it was due, when it was held, how it ended, and whether the customer came into the group after it."""
    order_id, member_id, arrived = parcel
    due = desk_rules.due_at(CallReason.DELIVERED, clock.local(arrived), clock.local(arrived))
    late = share_of(member_id, "late call") >= kept
    held = due + timedelta(days=2 if late else 0, minutes=int(share_of(member_id, "call at") * 420))
    mood = share_of(member_id, "call ends")
    state = CallState.REACHED if mood < 0.76 else CallState.UNREACHABLE if mood < 0.93 else CallState.REFUSED
    reached = state is CallState.REACHED
    joins = reached and share_of(member_id, "call joins") < 0.45 and not group_reads.in_group(member_id, group_id)
    task = CallTask(
        member_id=member_id,
        order_id=order_id,
        reason=CallReason.DELIVERED,
        state=state,
        due_at=due,
        assignee_id=staff_id,
        tries=1,
        called_at=held,
        satisfaction=3 + int(share_of(member_id, "call stars") * 3) if reached and mood < 0.5 else None,
        invited_group_id=group_id if joins else None,
        invited_at=held if joins else None,
        invited_by_id=staff_id if joins else None,
        closed_at=held,
        closed_by_id=staff_id,
        created_at=arrived,
    )
    db.session.add(task)
    db.session.flush()
    db.session.add(CallTaskOrder(order_id=order_id, reason=CallReason.DELIVERED, task_id=task.id, at=arrived))
    if joins:
        groups.join(group_id, member_id, source="call", staff_id=staff_id, together=True)
        db.session.execute(
            text(
                "UPDATE seat SET held_at = :at, joined_at = :at WHERE group_id = :group AND member_id = :member AND state = 'taken'"
            ),
            {"at": held + timedelta(minutes=25), "group": group_id, "member": member_id},
        )
