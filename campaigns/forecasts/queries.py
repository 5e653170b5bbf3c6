"""Reads about looking ahead: clocks of products, who is due, the model and what it expects of members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Float, Select, and_, cast, func, or_, select

from campaigns.audiences import rules as audience_rules
from campaigns.journeys.queries import Due
from kernel import clock
from kernel.db import db
from kernel.pages import order_by
from membership.members import queries as members
from membership.members.models import Member
from membership.products.models import Product

from . import rules
from .models import Basis, ClockRun, ForecastModel, MemberForecast, ModelState, ProductClock, Repurchase

WEEK = 7


# ── The clocks of products ──────────────────────────────────────────────────────────────────────────────────────────


def due_within(days: int) -> ColumnElement[bool]:
    """Those who need something again by the business date so many days ahead, and whose window is not over."""
    today = clock.today()
    return and_(Repurchase.due_on <= today + timedelta(days=days), Repurchase.until_on >= today)


DAYS = func.coalesce(ProductClock.days, cast(0, Float))
GAPS = func.coalesce(ProductClock.gaps, 0)


def clocks(q: str = "", basis: str = "") -> tuple[Select[*tuple[Any, ...]], dict[str, list[Any]]]:
    """Products with their clocks (None while they have none) and how many members are due this week; and how the list can be
    ordered. `q` is words of the title or a SKU, `basis` one of `Basis`, or "none" for products without days of use."""
    due = (
        select(Repurchase.product_id, func.count().label("n"))
        .where(due_within(WEEK))
        .group_by(Repurchase.product_id)
        .subquery("due")
    )
    people = func.coalesce(due.c.n, 0)
    statement = (
        select(Product, ProductClock, people.label("due"))
        .outerjoin(ProductClock, ProductClock.product_id == Product.id)
        .outerjoin(due, due.c.product_id == Product.id)
    )
    if q:
        statement = statement.where(
            or_(Product.title.icontains(q, autoescape=True), Product.sku.istartswith(q, autoescape=True))
        )
    if basis in list(Basis):
        statement = statement.where(ProductClock.basis == Basis(basis))
    elif basis == "none":
        statement = statement.where(ProductClock.basis.is_(None))
    columns = {"title": Product.title, "days": DAYS, "gaps": GAPS, "due": people}
    sorts = {name: [column, Product.id] for name, column in columns.items()}
    sorts |= {f"-{name}": [column.desc(), Product.id.desc()] for name, column in columns.items()}
    return statement, sorts


def clock_rows(statement: Select[*tuple[Any, ...]]) -> Iterator[list[Any]]:
    """Products and clocks as plain rows for a file, read in portions."""
    for product, found, due in db.session.execute(statement.order_by(Product.id).execution_options(yield_per=1000)):
        has = found is not None
        yield [
            product.sku,
            product.title,
            product.category,
            round(found.days, 2) if has and found.days is not None else None,
            found.basis.value if has and found.basis is not None else None,
            product.days_of_use,
            round(found.learned_days, 2) if has and found.learned_days is not None else None,
            round(found.learned_spread, 2) if has and found.learned_spread is not None else None,
            found.gaps if has else 0,
            found.people if has else 0,
            due,
        ]


def find_clock(product_id: int) -> ProductClock | None:
    """The clock of a product, as it stands now."""
    return db.session.get(ProductClock, product_id)


def last_clock_run() -> ClockRun | None:
    """The latest night's work on the clocks."""
    return db.session.scalar(select(ClockRun).order_by(ClockRun.id.desc()).limit(1))


def sums() -> dict[Basis | None, int]:
    """How many products go by which days; None for those that have none."""
    rows = db.session.execute(
        select(ProductClock.basis, func.count(Product.id))
        .select_from(Product)
        .outerjoin(ProductClock, ProductClock.product_id == Product.id)
        .group_by(ProductClock.basis)
    )
    return {row[0]: row[1] for row in rows}


# ── Who is due ──────────────────────────────────────────────────────────────────────────────────────────────────────


def due(days: int, product_id: int | None = None, q: str = "") -> Select[*tuple[Any, ...]]:
    """Who needs what again within so many days; `q` is a part of a name, or a member's number."""
    statement = (
        select(Repurchase, Member, Product)
        .join(Member, Member.id == Repurchase.member_id)
        .join(Product, Product.id == Repurchase.product_id)
        .where(due_within(days), Member.merged_into_id.is_(None), Member.erased_at.is_(None))
    )
    if product_id is not None:
        statement = statement.where(Repurchase.product_id == product_id)
    if q:
        number = q.removeprefix("#")
        same = [Member.id == int(number)] if number.isascii() and number.isdigit() and len(number) < 19 else []
        words = [column.icontains(q, autoescape=True) for column in (Member.nickname, Member.name)]
        statement = statement.where(or_(*words, *same))
    return statement


DUE_ORDER = [Repurchase.due_on, Repurchase.member_id, Repurchase.product_id]


def due_order(sort: str) -> list[Any]:
    """The columns of a sort (`due`, `bought`, `pieces`, each with a minus for the other way), the last ones unique together;
    unknown ones mean the first to be due first."""
    columns: dict[str, Any] = {"due": Repurchase.due_on, "bought": Repurchase.bought_on, "pieces": Repurchase.pieces}
    return order_by(sort, columns, [Repurchase.member_id, Repurchase.product_id], DUE_ORDER)


def due_rows(statement: Select[*tuple[Any, ...]], order: Sequence[Any]) -> Iterator[list[Any]]:
    """Who is due as plain rows for a file, read in portions."""
    ordered = statement.order_by(*order).execution_options(yield_per=1000)
    for row, member, product in db.session.execute(ordered):
        yield [
            member.id,
            member.shown_name,
            product.sku,
            product.title,
            row.bought_on.isoformat(),
            row.pieces,
            row.due_on.isoformat(),
            row.from_on.isoformat(),
            row.until_on.isoformat(),
        ]


def due_people(days: int = WEEK) -> int:
    """How many members need anything again within so many days."""
    return db.session.scalar(select(func.count(Repurchase.member_id.distinct())).where(due_within(days))) or 0


def needed_again(member_id: int, limit: int = 4) -> Sequence[Any]:
    """What a member is likely to need again, soonest first, as (repurchase, product); windows that are over are left out."""
    return db.session.execute(
        select(Repurchase, Product)
        .join(Product, Product.id == Repurchase.product_id)
        .where(Repurchase.member_id == member_id, Repurchase.until_on >= clock.today())
        .order_by(Repurchase.due_on, Repurchase.product_id)
        .limit(limit)
    ).all()


def due_members(days: int) -> list[Due]:
    """Who is due within so many days, for journeys: each purchase that is used up, once."""
    rows = db.session.execute(
        select(Repurchase.member_id, Repurchase.product_id, Repurchase.order_id, Repurchase.bought_at)
        .where(due_within(days))
        .order_by(*DUE_ORDER)
    )
    return [Due(row.member_id, f"due:{row.product_id}:{row.order_id}", row.bought_at) for row in rows]


def orders_within(days: int) -> ColumnElement[float]:
    """The orders expected of a member in so many days (7 to 730), as a column of `MemberForecast`."""
    if days in rules.HORIZONS:
        return func.coalesce(_at(days), _between(days, *_inner(days)), 0.0)
    return func.coalesce(_between(days, *rules.around(days)), _between(days, *_inner(days)), 0.0)


def _at(days: int) -> ColumnElement[float]:
    found: ColumnElement[float] = getattr(MemberForecast, f"orders_{days}")
    return found


def _between(days: int, low: int, high: int) -> ColumnElement[float]:
    """None where nothing is expected at all, or where one of the two has not been worked out."""
    found: ColumnElement[float] = rules.read_off(
        days, low, high, func.nullif(_at(low), 0.0), func.nullif(_at(high), 0.0)
    )
    return found


def _inner(days: int) -> tuple[int, int]:
    """The two nearest days that every forecast has."""
    return rules.around(min(max(days, rules.HORIZONS[1] + 1), rules.HORIZONS[-2]))


def foreseen(rule: audience_rules.DueRule | audience_rules.ForecastRule) -> Select[Any]:
    """The members of whom a rule of an audience holds."""
    if isinstance(rule, audience_rules.DueRule):
        statement = select(Repurchase.member_id).where(due_within(rule.in_days))
        if rule.words is None:
            return statement
        named = or_(func.lower(Product.sku) == rule.words.lower(), Product.title.icontains(rule.words, autoescape=True))
        return statement.where(Repurchase.product_id.in_(select(Product.id).where(named)))
    orders = orders_within(rule.in_days)
    amounts: dict[str, Any] = {
        "alive": MemberForecast.alive * 10_000,
        "orders": orders * 100,
        "value": orders * MemberForecast.order_value,
    }
    amount = amounts[rule.measure]
    statement = select(MemberForecast.member_id).where(amount >= rule.from_hundredths)
    return statement if rule.to_hundredths is None else statement.where(amount <= rule.to_hundredths)


# ── The model ───────────────────────────────────────────────────────────────────────────────────────────────────────


def last_model() -> ForecastModel | None:
    """The latest night's fit, whatever became of it."""
    return db.session.scalar(select(ForecastModel).order_by(ForecastModel.id.desc()).limit(1))


def shown_model() -> ForecastModel | None:
    """The latest fit that has come to an end: fitted, or told that there is not enough."""
    return db.session.scalar(
        select(ForecastModel)
        .where(ForecastModel.state.in_([ModelState.DONE, ModelState.TOO_FEW]))
        .order_by(ForecastModel.id.desc())
        .limit(1)
    )


def forecast_of(member_id: int) -> MemberForecast | None:
    """What is expected of a member, if anything is."""
    return db.session.get(MemberForecast, member_id)


def totals(days: int = rules.SHOWN_HORIZON) -> tuple[int, float, int]:
    """What is expected of everybody in so many days: members with a forecast, orders, and value (分)."""
    orders = orders_within(days)
    row = db.session.execute(
        select(
            func.count(), func.coalesce(func.sum(orders), 0.0),
            func.coalesce(func.sum(orders * MemberForecast.order_value), 0.0),
        ).where(MemberForecast.member_id.in_(members.live().with_only_columns(Member.id)))
    ).one()  # fmt: skip
    return row[0], float(row[1]), round(row[2])
