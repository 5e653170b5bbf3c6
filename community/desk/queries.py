"""Reads: who is to be called, a customer's past, the scripts, and the way from the parcel to the next order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Text, case, cast, func, or_, select, text

from kernel import clock, shop
from kernel.auth import Role
from kernel.db import db, escaped
from kernel.errors import NotFound
from kernel.staff.models import Staff
from membership.members import queries as members
from membership.members.models import CustomerType, Member
from membership.orders import queries as orders
from membership.orders.models import Order, OrderLine
from membership.tiers import queries as tiers

from . import rules
from .models import CallReason, CallState, CallTask, CallTaskOrder, Script
from .starter import STARTERS, Starter

SORTS = ("due", "opened", "name", "tries")


def get_task(task_id: int) -> CallTask:
    """The task, or `NotFound`."""
    found = db.session.get(CallTask, task_id)
    if found is None:
        raise NotFound
    return found


def live_task(member_id: int) -> CallTask | None:
    """The task of a member that is still to be done."""
    return db.session.scalar(select(CallTask).where(CallTask.member_id == member_id, CallTask.state.in_(rules.LIVE)))


def tasks_of(member_id: int, limit: int = 5) -> Sequence[CallTask]:
    """The calls of a member, newest first."""
    return db.session.scalars(
        select(CallTask).where(CallTask.member_id == member_id).order_by(CallTask.id.desc()).limit(limit)
    ).all()


def _due(view: str) -> ColumnElement[bool]:
    start, end = clock.day_bounds(clock.today())
    live = CallTask.state.in_(rules.LIVE)
    match view:
        case "overdue":
            return live & (CallTask.due_at < start)
        case "later":
            return live & (CallTask.due_at >= end)
        case "closed":
            return CallTask.closed_at.is_not(None)
        case "all":
            return CallTask.id.is_not(None)
        case _:
            return live & (CallTask.due_at < end)


def listing(
    q: str = "",
    view: str = "today",
    state: CallState | None = None,
    reason: CallReason | None = None,
    assignee: int | None = None,
) -> Any:
    """The tasks of a view (today: due by the end of the day), filtered. Rows: CallTask, Member, name of the assignee.

    `assignee` is a staff id, or 0 for tasks that nobody has taken.
    """
    found: Any = (
        select(CallTask, Member, Staff.name)
        .join(Member, Member.id == CallTask.member_id)
        .outerjoin(Staff, Staff.id == CallTask.assignee_id)
        .where(_due(view))
    )
    if q:
        found = found.where(members.sought(q))
    if state is not None:
        found = found.where(CallTask.state == state)
    if reason is not None:
        found = found.where(CallTask.reason == reason)
    if assignee is not None:
        found = found.where(CallTask.assignee_id == assignee if assignee else CallTask.assignee_id.is_(None))
    return found


def order_of(sort: str, view: str) -> list[Any]:
    """The columns of a sort such as `-due`, the last one unique.

    Unknown ones mean by due time, those whose tier is served first before the others; what is done: newest first.
    """
    name = sort.removeprefix("-")
    if name not in SORTS:
        if view != "closed" and (ranks := tiers.priority_ranks()):
            first = Member.rank.in_(ranks) & Member.enrolled_at.is_not(None)
            return [case((first, 0), else_=1), CallTask.due_at, CallTask.id]
        name, sort = "due", "-due" if view == "closed" else "due"
    column: Any = {
        "due": CallTask.due_at,
        "opened": CallTask.created_at,
        "name": func.coalesce(func.nullif(Member.nickname, ""), Member.name, type_=Member.name.type),
        "tries": CallTask.tries,
    }[name]
    return [column.desc(), CallTask.id.desc()] if sort.startswith("-") else [column, CallTask.id]


def served_first(member: Member) -> bool:
    """Whether a member's tier promises that they are served before others."""
    return member.enrolled_at is not None and member.rank in tiers.priority_ranks()


def export(found: Any, order: list[Any]) -> Sequence[Any]:
    """Every row of a listing (no more than 20,000), for a file."""
    return db.session.execute(found.order_by(*order).limit(20_000)).all()


def waiting() -> tuple[int, int]:
    """How many calls are due today, and how many have been since yesterday or longer."""
    start, end = clock.day_bounds(clock.today())
    row = db.session.execute(
        select(
            func.count().filter(CallTask.due_at >= start),
            func.count().filter(CallTask.due_at < start),
        ).where(CallTask.state.in_(rules.LIVE), CallTask.due_at < end)
    ).one()
    return row[0], row[1]


def of_staff(staff_id: int) -> int:
    """How many of today's calls somebody has taken."""
    end = clock.day_bounds(clock.today())[1]
    return (
        db.session.scalar(
            select(func.count()).where(
                CallTask.state.in_(rules.LIVE), CallTask.due_at < end, CallTask.assignee_id == staff_id
            )
        )
        or 0
    )


def names(staff_ids: Sequence[int | None]) -> dict[int, str]:
    """The names of staff, in one statement."""
    wanted = {i for i in staff_ids if i is not None}
    if not wanted:
        return {}
    return {row.id: row.name for row in db.session.execute(select(Staff.id, Staff.name).where(Staff.id.in_(wanted)))}


# ── A customer's past ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Purchase:
    """An order with its lines."""

    order: Order
    lines: Sequence[OrderLine]


def purchases_of(task: CallTask, earlier: int = 8) -> tuple[list[Purchase], list[Purchase], int]:
    """The orders a call is about, the member's other orders newest first, and how many there are of those."""
    about = set(db.session.scalars(select(CallTaskOrder.order_id).where(CallTaskOrder.task_id == task.id))) | (
        {task.order_id} if task.order_id else set()
    )
    found = orders.orders_of(task.member_id, limit=200)
    others = [order for order in found if order.id not in about]
    this = [order for order in found if order.id in about]
    this.sort(key=lambda order: (order.id != task.order_id, -order.id))
    lines = orders.lines_of_many([order.id for order in [*this, *others[:earlier]]])
    return (
        [Purchase(order, lines[order.id]) for order in this],
        [Purchase(order, lines[order.id]) for order in others[:earlier]],
        len(others),
    )


def product_of(task: CallTask) -> str:
    """What was bought, as one says it: the dearest line of the order the call is about, else of the last order."""
    order_id = task.order_id or db.session.scalar(
        select(Order.id)
        .where(Order.member_id == task.member_id)
        .order_by(Order.placed_at.desc(), Order.id.desc())
        .limit(1)
    )
    if order_id is None:
        return ""
    return (
        db.session.scalar(
            select(OrderLine.title)
            .where(OrderLine.order_id == order_id)
            .order_by(OrderLine.amount.desc(), OrderLine.position)
            .limit(1)
        )
        or ""
    )


# ── Scripts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _own(staff_id: int | None) -> ColumnElement[bool]:
    """Scripts that are everybody's or somebody's own."""
    return or_(Script.owner_id.is_(None), Script.owner_id == staff_id)


def get_script(script_id: int, staff_id: int | None = None) -> Script:
    """The script, or `NotFound` for one that is not there or is a colleague's own."""
    found = db.session.scalar(select(Script).where(Script.id == script_id, _own(staff_id)))
    if found is None:
        raise NotFound
    return found


def scripts(
    q: str = "",
    reason: CallReason | None = None,
    customer_type: CustomerType | None = None,
    staff_id: int | None = None,
    voice: str = "",
) -> Any:
    """The library with somebody's own, searched in title and text and filtered."""
    found: Any = select(Script).where(_own(staff_id))
    if voice:
        found = found.where(Script.voice == voice)
    for word in q.split()[:8]:
        wanted = f"%{escaped(word)}%"
        found = found.where(or_(Script.title.ilike(wanted), Script.body.ilike(wanted)))
    if reason is not None:
        found = found.where(Script.reason == reason)
    if customer_type is not None:
        found = found.where(Script.customer_type == customer_type)
    return found


def script_order() -> list[Any]:
    """By reason, then by type, the general ones first."""
    return [
        func.coalesce(cast(Script.reason, Text), "", type_=Text()),
        func.coalesce(cast(Script.customer_type, Text), "", type_=Text()),
        Script.id,
    ]


def offers_starters() -> bool:
    """Whether the shop may still take the starting scripts: it never did, and has none that is everybody's. What colleagues
    keep for themselves does not count."""
    if shop.get("desk.scripts_made"):
        return False
    return not db.session.scalar(select(select(Script.id).where(Script.owner_id.is_(None)).exists()))


def fitting_scripts(
    reason: CallReason,
    customer_type: CustomerType | None,
    role: Role,
    limit: int = 4,
    staff_id: int | None = None,
    q: str = "",
) -> list[Script | Starter]:
    """The scripts that fit a call, the best first; the starters after one's own while everybody's library has none for it.

    With words: whatever holds all of them, for any reason, those of the type of customer and of one's voice first.
    """
    if q:
        found = scripts(q, staff_id=staff_id).where(Script.voice.in_(("", role.value)))
        fits = func.coalesce(Script.customer_type == customer_type, Script.customer_type.is_(None))
        return list(db.session.scalars(found.order_by(fits.desc(), Script.used.desc(), Script.id).limit(2 * limit)))
    written = db.session.scalars(
        select(Script).where(
            or_(Script.reason.is_(None), Script.reason == reason),
            or_(Script.customer_type.is_(None), Script.customer_type == customer_type),
            _own(staff_id),
        )
    ).all()
    chosen: Any = rules.fitting(written, reason, customer_type, role.value)
    if all(script.owner_id is not None for script in written):
        chosen += rules.fitting(STARTERS, reason, customer_type, role.value)
    return list(chosen[:limit])


# ── From the parcel to the next order ───────────────────────────────────────────────────────────────────────────────


STEPS = ("delivered", "called", "reached", "invited", "joined", "gift", "again")


@dataclass(frozen=True)
class Funnel:
    """How many members came how far, of those to whom a parcel was delivered in a period; each step counts among the former.

    `joined_again` and `others_again`: who ordered again after the delivery, among those who joined and among the others.
    """

    delivered: int
    called: int
    reached: int
    invited: int
    joined: int
    gift: int
    again: int
    joined_again: int
    others_again: int

    def steps(self) -> list[tuple[str, int]]:
        return [(name, getattr(self, name)) for name in STEPS]


# What is counted along the way from the parcel (`delivered`: a row a member, with when their first one arrived), each as a table
# that the later ones and the counts read.
_WAY = {
    "calls": """
    SELECT t.id, t.member_id, d.at, t.called_at, t.state, t.invited_group_id, t.invited_at
    FROM delivered d JOIN call_task t ON t.member_id = d.member_id AND t.called_at >= d.at""",
    "joins": """
    SELECT c.member_id, c.at, s.group_id, min(s.joined_at) AS joined_at
    FROM calls c JOIN seat s ON s.member_id = c.member_id AND s.group_id = c.invited_group_id AND s.joined_at >= c.invited_at
    WHERE c.state = 'reached' GROUP BY 1, 2, 3""",
    "gifts": """
    SELECT j.member_id, min(g.claimed_at) AS claimed_at
    FROM joins j JOIN gift_claim g
      ON g.member_id = j.member_id AND g.group_id = j.group_id AND g.claimed_at >= j.joined_at
    GROUP BY 1""",
    "joined": "SELECT member_id, min(joined_at) AS joined_at FROM joins GROUP BY 1",
    "buys": """
    SELECT d.member_id, max(o.placed_at) AS last_at FROM delivered d JOIN "order" o ON o.member_id = d.member_id
    WHERE o.placed_at > d.at AND o.paid_at IS NOT NULL AND o.state NOT IN ('placed', 'closed', 'refused')
      AND NOT (o.refunded_amount > 0 AND o.refunded_amount >= o.paid_amount - o.postage)
    GROUP BY 1""",
}
_COUNTS = (
    "(SELECT count(*) FROM delivered)",
    "(SELECT count(DISTINCT member_id) FROM calls)",
    "(SELECT count(DISTINCT member_id) FROM calls WHERE state = 'reached')",
    "(SELECT count(DISTINCT member_id) FROM calls WHERE state = 'reached' AND invited_at IS NOT NULL)",
    "(SELECT count(*) FROM joined)",
    "(SELECT count(*) FROM gifts)",
    "(SELECT count(*) FROM gifts JOIN joined USING (member_id) JOIN buys USING (member_id)"
    " WHERE buys.last_at > joined.joined_at)",
    "(SELECT count(*) FROM joined JOIN buys USING (member_id) WHERE buys.last_at > joined.joined_at)",
    "(SELECT count(*) FROM buys WHERE NOT EXISTS (SELECT 1 FROM joined WHERE joined.member_id = buys.member_id))",
)


def funnel(since: datetime, until: datetime) -> Funnel:
    """The steps of everybody to whom a parcel was delivered in `[since, until)`, in one statement. What is a delivery,
    `orders.has_arrived` says."""
    delivered = (
        select(Order.member_id, func.min(Order.delivered_at).label("at"))
        .where(
            Order.delivered_at >= since,
            Order.delivered_at < until,
            orders.has_arrived(),
            Order.member_id.is_not(None),
        )
        .group_by(Order.member_id)
    )
    tables = [delivered.cte("delivered"), *(text(one).columns().cte(name) for name, one in _WAY.items())]
    counts = select(*(text(one) for one in _COUNTS)).add_cte(*(one.prefix_with("MATERIALIZED") for one in tables))
    row: Any = db.session.execute(counts).one()
    return Funnel(*row)


@dataclass(frozen=True)
class AgentRow:
    """What an agent's calls of a period came to."""

    name: str
    closed: int
    reached: int
    invited: int
    joined: int
    satisfaction: float | None


_AGENTS = text(
    """
SELECT staff.name, count(*), count(*) FILTER (WHERE t.state = 'reached'), count(t.invited_at),
       count(*) FILTER (WHERE EXISTS (
           SELECT 1 FROM seat s WHERE s.member_id = t.member_id AND s.group_id = t.invited_group_id AND s.joined_at >= t.invited_at)),
       avg(t.satisfaction)::float
FROM call_task t JOIN staff ON staff.id = t.closed_by_id
WHERE t.closed_at >= :since AND t.closed_at < :until
GROUP BY staff.id, staff.name ORDER BY 2 DESC, staff.name
"""
)


def agents(since: datetime, until: datetime) -> list[AgentRow]:
    """Who closed how many calls in `[since, until)`, and what came of them."""
    return [AgentRow(*row) for row in db.session.execute(_AGENTS, {"since": since, "until": until})]


def second_orders(since: datetime, middle: datetime, until: datetime) -> tuple[int, int]:
    """How many members placed their second order in `[middle, until)`, and in `[since, middle)`."""
    buyers = (
        select(Order.member_id)
        .where(Order.placed_at >= since, Order.placed_at < until, Order.member_id.is_not(None))
        .distinct()
    )
    ranked = (
        select(
            Order.placed_at,
            func.row_number().over(partition_by=Order.member_id, order_by=(Order.placed_at, Order.id)).label("n"),
        )
        .where(Order.member_id.in_(buyers), orders.counts())
        .subquery()
    )
    row = db.session.execute(
        select(
            func.count().filter(ranked.c.placed_at >= middle),
            func.count().filter(ranked.c.placed_at < middle),
        ).where(ranked.c.n == 2, ranked.c.placed_at >= since, ranked.c.placed_at < until)
    ).one()
    return row[0], row[1]
