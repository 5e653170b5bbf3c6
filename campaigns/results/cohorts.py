"""Members by the month of their first order, and how many of each month ordered again later."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, Date, Text, cast, func, literal, select

from kernel import clock
from kernel.db import db
from membership.members.models import Member
from membership.orders import queries as orders
from membership.orders.models import Order

from . import rules


def _month(instant: Any) -> Any:
    """The first day of the shop's month in which an instant lies."""
    return cast(func.date_trunc("month", func.timezone(literal(str(clock.ZONE), Text), instant)), Date)


def cohorts(first: date, last: date, among: Sequence[ColumnElement[bool]] = ()) -> list[rules.Cohort]:
    """A cohort for every month from one to the other, oldest first; `among` are conditions on `member`.

    Month 0 is the month of the first order itself: whoever stands there ordered a second time before it was over. Orders
    that were not paid or wholly refunded do not count.
    """
    months = rules.months_between(first, last)
    since = clock.at(months[0])
    until = clock.at(rules.month_after(months[-1]))
    members = [Member.merged_into_id.is_(None), Member.first_order_at >= since, Member.first_order_at < until, *among]
    began, placed = _month(Member.first_order_at), _month(Order.placed_at)
    sizes = {row[0]: row[1] for row in db.session.execute(select(began, func.count()).where(*members).group_by(began))}
    after = (
        (func.date_part("year", placed) - func.date_part("year", began)) * 12
        + func.date_part("month", placed)
        - func.date_part("month", began)
    )
    rows = db.session.execute(
        select(began, after, func.count(Member.id.distinct()))
        .join(Order, Order.member_id == Member.id)
        .where(*members, Order.placed_at > Member.first_order_at, orders.counts())
        .group_by(began, after)
    )
    again: dict[date, dict[int, int]] = {}
    for month, number, people in rows:
        again.setdefault(month, {})[int(number)] = people
    return [rules.Cohort(month, sizes.get(month, 0), again.get(month, {})) for month in months]
