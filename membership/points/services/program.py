"""The settings in their versions, what they would have brought, and the orders that are still to be gone through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from flask import g
from sqlalchemy import func, select, text

from kernel import audit, clock, shop
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from membership.orders import rules as order_rules
from membership.orders.models import Order
from membership.tiers.rules import RANKS

from .. import queries, rules
from ..models import PointsProgram
from . import earning

PROGRAM_LOCK = 730_114_103
# How far the orders before a new version have been gone through: {"program": version, "after": order id}; null when done.
BACKLOG = "points.backlog"


class ProgramInvalid(Refusal):
    """The settings break a rule; `mistakes` say which."""

    status = 422
    label = _l("The settings cannot be saved like this.")

    def __init__(self, mistakes: list[rules.ProgramMistake]) -> None:
        super().__init__()
        self.mistakes = mistakes


def save_program(draft: rules.Program, staff_id: int | None = None) -> rules.Program:
    """Put a new version in force. What has been earned keeps its terms; orders paid from `effective_from` on that have
    earned nothing yet are gone through by a job.

    The same settings again make no version. Refuses with `ProgramInvalid`.
    """
    from ..jobs import earn_backlog

    mistakes = rules.mistakes_in(draft)
    if mistakes:
        raise ProgramInvalid(mistakes)
    db.session.execute(select(func.pg_advisory_xact_lock(PROGRAM_LOCK)))
    g.pop("points_program", None)
    before = queries.program()
    if before.id is not None and asdict(before) | {"id": None} == asdict(draft) | {"id": None}:
        return before
    values = {key: value for key, value in asdict(draft).items() if key != "id"}
    row = PointsProgram(staff_id=staff_id, created_at=clock.now(), **values)
    db.session.add(row)
    db.session.flush()
    g.pop("points_program", None)
    audit.record("points.saved", "points_program", row.id, before=_plain(before), after=_plain(draft))
    if draft.enabled:
        shop.put(BACKLOG, {"program": row.id, "after": 0})
        earn_backlog.later()
    return queries.as_program(row)


def _plain(program: rules.Program) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in asdict(program).items()
        if key != "id"
    }


def backlog_after() -> int | None:
    """The order up to which those before the version in force have been gone through; None when there is nothing to do."""
    stamp = shop.get(BACKLOG)
    return int(stamp["after"]) if stamp else None


def earn_next(size: int = earning.SLICE) -> bool:
    """Go through the next orders that a new version lets earn; returns whether there may be more."""
    # A version that is saved meanwhile waits, and begins anew; nothing read before the lock counts.
    db.session.execute(select(func.pg_advisory_xact_lock(PROGRAM_LOCK)))
    g.pop("points_program", None)
    shop.forget_read()
    stamp = shop.get(BACKLOG)
    program = queries.program()
    if not stamp or not program.enabled:
        if stamp:
            shop.put(BACKLOG, None)
        return False
    after = int(stamp["after"]) if stamp["program"] == program.id else 0
    ids = list(
        db.session.scalars(
            select(Order.id)
            .where(Order.id > after, Order.paid_at >= program.effective_from, Order.member_id.is_not(None))
            .order_by(Order.id)
            .limit(size)
        )
    )
    earning.settle_orders(ids)
    shop.put(BACKLOG, {"program": program.id, "after": ids[-1]} if len(ids) == size else None)
    return len(ids) == size


@dataclass(frozen=True)
class Preview:
    """What the orders paid in `[since, until)` would have earned: how many orders and members, points, their value in 分, and
    what the same orders were worth in 分."""

    since: date
    until: date
    orders: int
    members: int
    points: int
    value: int
    spend: int
    by_rank: tuple[tuple[int, int, int], ...]


_PREVIEW = text(
    f"""
    SELECT m.rank, count(*) AS orders, count(DISTINCT o.member_id) AS members, sum(p.spend) AS spend,
           sum({
        earning.POINTS.format(
            rounding="CAST(:rounding AS text)",
            spend="p.spend",
            rate="CAST(:rate AS bigint)",
            multiplier="COALESCE((CAST(:multipliers AS bigint[]))[m.rank + 1], 1000)",
        )
    }) AS points
    FROM "order" o JOIN member m ON m.id = o.member_id,
         LATERAL (SELECT GREATEST(o.paid_amount - o.postage - o.refunded_amount, 0) AS spend) p
    WHERE o.placed_at >= CAST(:since AS timestamptz) AND o.placed_at < CAST(:until AS timestamptz)
      AND o.state = ANY(CAST(:paid AS text[])) AND o.paid_at IS NOT NULL
      AND NOT (o.refunded_amount > 0 AND o.refunded_amount >= o.paid_amount - o.postage)
    GROUP BY m.rank ORDER BY m.rank
    """  # noqa: S608 - all parts are constants
)


def last_month(today: date) -> tuple[date, date]:
    """The calendar month before a day, half open."""
    until = today.replace(day=1)
    return (until - timedelta(days=1)).replace(day=1), until


def preview(draft: rules.Program) -> Preview:
    """What last month's orders would have earned under these settings and today's tiers. Refuses with `ProgramInvalid`."""
    mistakes = rules.mistakes_in(draft)
    if mistakes:
        raise ProgramInvalid(mistakes)
    since, until = last_month(clock.today())
    rows: Sequence[Any] = db.session.execute(
        _PREVIEW,
        {
            "since": clock.at(since),
            "until": clock.at(until),
            "paid": [state.value for state in order_rules.PAID_STATES],
            "rounding": draft.rounding.value,
            "rate": draft.rate,
            "multipliers": queries.multipliers_of((0, *RANKS)),
        },
    ).all()
    points = sum(int(row.points) for row in rows)
    return Preview(
        since=since,
        until=until,
        orders=sum(row.orders for row in rows),
        members=sum(row.members for row in rows),
        points=points,
        value=rules.value_of(points, draft.worth),
        spend=sum(int(row.spend) for row in rows),
        by_rank=tuple((row.rank, row.orders, int(row.points)) for row in rows),
    )
