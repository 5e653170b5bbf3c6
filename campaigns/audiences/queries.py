"""An audience as one parametrised statement over the live members, its count, a sample, and its rules in words."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, not_, or_, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError

from community.groups import queries as groups
from community.groups.models import Group
from kernel import clock
from kernel.db import db
from kernel.errors import NotFound
from membership.members import queries as members
from membership.members.models import Member, MemberTag, Purpose, Tag
from membership.orders.models import Order, OrderLine, OrderState
from membership.products.models import Product

from . import rules
from .models import Audience

LIMIT_MS = 2_000


def _bought(rule: rules.BoughtRule) -> ColumnElement[bool]:
    escaped = rule.words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    wanted = select(Product.id).where(
        or_(func.lower(Product.sku) == rule.words.lower(), Product.title.ilike(f"%{escaped}%", escape="\\"))
    )
    buyers = (
        select(Order.member_id)
        .join(OrderLine, OrderLine.order_id == Order.id)
        .where(
            OrderLine.product_id.in_(wanted),
            OrderLine.quantity > OrderLine.refunded_quantity,
            Order.member_id.is_not(None),
            Order.state.not_in([OrderState.CLOSED, OrderState.REFUSED, OrderState.PLACED]),
        )
    )
    if rule.within_days is not None:
        buyers = buyers.where(Order.placed_at >= clock.day_bounds(clock.today() - timedelta(days=rule.within_days))[0])
    found = Member.id.in_(buyers)
    return found if rule.ever else not_(found)


def _between(column: Any, low: int, high: int | None) -> ColumnElement[bool]:
    return column >= low if high is None else and_(column >= low, column <= high)


def clause(rule: Any) -> ColumnElement[bool]:
    """One rule as a condition on `member`."""
    match rule:
        case rules.TierRule():
            return Member.rank.in_(sorted(set(rule.ranks)))
        case rules.LastOrderRule():
            since, until = rules.order_window(rule, clock.today())
            before = Member.last_order_at < clock.at(until)
            return before if since is None else and_(Member.last_order_at >= clock.at(since), before)
        case rules.BoughtRule():
            return _bought(rule)
        case rules.GroupRule():
            inside = groups.in_group_expression(rule.group_id)
            return inside if rule.inside else not_(inside)
        case rules.TagRule():
            carried = (
                exists().where(MemberTag.member_id == Member.id, MemberTag.tag_id.in_(rule.tag_ids)).correlate(Member)
            )
            return carried if rule.carried else ~carried
        case rules.SpendRule():
            return _between(Member.spend, rule.from_fen, rule.to_fen)
        case rules.OrdersRule():
            return _between(Member.orders_count, rule.from_count, rule.to_count)
        case rules.EnrolledRule():
            return Member.enrolled_at.is_not(None) if rule.value else Member.enrolled_at.is_(None)
        case rules.ConsentRule():
            return members.consented(rule.contact, Purpose.MARKETING)
    raise rules.AudienceInvalid


def conditions(definition: rules.Definition) -> list[ColumnElement[bool]]:
    """Every rule as a condition on `member`, and that the member is live."""
    return [Member.merged_into_id.is_(None), Member.erased_at.is_(None), *(clause(rule) for rule in definition.rules)]


def member_ids(definition: rules.Definition) -> Select[Any]:
    """The statement that an audience is: ids of the members who are in it now."""
    return select(Member.id).where(*conditions(definition))


@dataclass(frozen=True)
class Reach:
    """How many members an audience has now; `estimated` when counting would have taken too long."""

    people: int
    estimated: bool = False


def count(definition: rules.Definition, *more: ColumnElement[bool]) -> Reach:
    """Count an audience within two seconds, else estimate it from the planner's statistics and say so."""
    statement = select(func.count()).select_from(Member).where(*conditions(definition), *more)
    try:
        with db.session.begin_nested():
            db.session.execute(text(f"SET LOCAL statement_timeout = {LIMIT_MS}"))
            people = db.session.scalar(statement) or 0
            db.session.execute(text("SET LOCAL statement_timeout = DEFAULT"))
            return Reach(people)
    except OperationalError as error:
        # 57014: the server stopped the statement at its time limit; the savepoint has undone only that.
        if getattr(error.orig, "sqlstate", "") != "57014":
            raise
    return Reach(_estimate(member_ids(definition).where(*more)), estimated=True)


def _estimate(statement: Select[Any]) -> int:
    compiled = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"render_postcompile": True})
    connection = db.session.connection()
    plan: Any = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}", compiled.params).scalar()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return int(plan[0]["Plan"]["Plan Rows"])


def sample(definition: rules.Definition, size: int = 10) -> Sequence[Member]:
    """Some members of the audience, taken from a random place on."""
    statement = select(Member).where(*conditions(definition)).order_by(Member.id).limit(size)
    newest = db.session.scalar(select(func.max(Member.id))) or 0
    start = random.randint(0, newest)
    try:
        with db.session.begin_nested():
            db.session.execute(text(f"SET LOCAL statement_timeout = {LIMIT_MS}"))
            found = list(db.session.scalars(statement.where(Member.id > start)))
            if len(found) < size:
                found += db.session.scalars(statement.where(Member.id <= start).limit(size - len(found)))
            db.session.execute(text("SET LOCAL statement_timeout = DEFAULT"))
            return found
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", "") != "57014":
            raise
        return []


def saved() -> Sequence[Audience]:
    """Every saved audience, newest first."""
    return db.session.scalars(select(Audience).order_by(Audience.id.desc())).all()


def get_audience(audience_id: int) -> Audience:
    """A saved audience; refuses with `NotFound`."""
    found = db.session.get(Audience, audience_id)
    if found is None:
        raise NotFound
    return found


def tag_choices() -> list[tuple[int, str]]:
    return [(tag.id, tag.name) for tag in members.tags()]


def group_choices() -> list[tuple[int, str]]:
    return [
        (row.id, row.name) for row in db.session.execute(select(Group.id, Group.name).order_by(Group.name, Group.id))
    ]


def tag_names(ids: Sequence[int]) -> list[str]:
    return list(db.session.scalars(select(Tag.name).where(Tag.id.in_(ids)).order_by(Tag.name)))


def group_name(group_id: int) -> str | None:
    return db.session.scalar(select(Group.name).where(Group.id == group_id))


def for_grants() -> list[tuple[str, str]]:
    """The saved audiences as coupons can be given to them: (key, name)."""
    return [(f"audience:{audience.id}", audience.name) for audience in saved()]


def members_for_grants(key: str) -> list[int]:
    """The members of an audience now; none for a key that is not an audience's."""
    kind, _colon, number = key.partition(":")
    if kind != "audience" or not (number.isascii() and number.isdigit()):
        return []
    return list(db.session.scalars(member_ids(rules.parse(get_audience(int(number)).definition))))
