"""Reads about orders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, null, or_, select, union

from kernel import clock
from kernel.db import db, escaped
from kernel.errors import NotFound
from kernel.pages import Count, Page, capped_count, keyset, order_by
from membership.members.models import Member

from . import rules
from .formats.drafts import RefundDraft
from .models import (
    HookReceipt,
    ImportReject,
    ImportRun,
    Order,
    OrderConnection,
    OrderDetail,
    OrderLine,
    OrderState,
    Outcome,
    Refund,
    RunState,
)


def find_order(source: str, external_id: str) -> Order | None:
    """The order that a source knows under this number."""
    return db.session.scalar(select(Order).where(Order.source == source, Order.external_id == external_id))


def get_order(order_id: int) -> Order:
    """One order; refuses with `NotFound`."""
    found = db.session.get(Order, order_id)
    if found is None:
        raise NotFound
    return found


def orders_of(member_id: int, limit: int = 200) -> Sequence[Order]:
    """A member's orders, newest first."""
    return db.session.scalars(
        select(Order).where(Order.member_id == member_id).order_by(Order.placed_at.desc(), Order.id.desc()).limit(limit)
    ).all()


def lines_of(order_id: int) -> Sequence[OrderLine]:
    return db.session.scalars(
        select(OrderLine).where(OrderLine.order_id == order_id).order_by(OrderLine.position)
    ).all()


def lines_of_many(order_ids: Sequence[int]) -> dict[int, list[OrderLine]]:
    """The lines of several orders, in one statement."""
    found: dict[int, list[OrderLine]] = {order_id: [] for order_id in order_ids}
    if order_ids:
        rows = (
            select(OrderLine).where(OrderLine.order_id.in_(order_ids)).order_by(OrderLine.order_id, OrderLine.position)
        )
        for line in db.session.scalars(rows):
            found[line.order_id].append(line)
    return found


def get_refund(source: str, external_id: str) -> Refund:
    """The refund that a source knows under this number; refuses with `NotFound`."""
    found = db.session.scalar(select(Refund).where(Refund.source == source, Refund.external_id == external_id))
    if found is None:
        raise NotFound
    return found


def refunds_of(order_id: int) -> Sequence[Refund]:
    return db.session.scalars(select(Refund).where(Refund.order_id == order_id).order_by(Refund.at, Refund.id)).all()


def wholly_refunded() -> ColumnElement[bool]:
    """`rules.wholly_refunded` as SQL over `Order`."""
    return and_(Order.refunded_amount > 0, Order.refunded_amount >= Order.paid_amount - Order.postage)


def spend() -> ColumnElement[int]:
    """`rules.spend_of` as SQL over `Order`, in 分."""
    return func.greatest(Order.paid_amount - Order.postage - Order.refunded_amount, 0)


def counts() -> ColumnElement[bool]:
    """`rules.counts` as SQL over `Order`: the orders behind `member.orders_count` and `member.spend`."""
    return and_(Order.state.in_(rules.PAID_STATES), Order.paid_at.is_not(None), ~wholly_refunded())


def has_arrived() -> ColumnElement[bool]:
    """Whether the parcel of an `Order` was delivered, as SQL.

    That an order was closed later, sent back by its buyer perhaps, does not undo its delivery. Some shops say beforehand when a
    parcel is expected: a day that has not come, that lies after the closing, or that passed for a parcel that was never sent
    or was refused, is no delivery.
    """
    now = clock.now()
    return or_(
        Order.state.in_(rules.ARRIVED_STATES),
        and_(Order.state == OrderState.SHIPPED, Order.delivered_at <= now),
        and_(Order.state == OrderState.CLOSED, Order.delivered_at <= func.least(Order.closed_at, now)),
    )


def qualifies_at(after_sale: timedelta = rules.AFTER_SALE) -> ColumnElement[datetime | None]:
    """`rules.qualifies_at` as SQL over `Order`: from when it counts for tiers, null while that is not known."""
    ended = func.least(
        Order.delivered_at + literal(after_sale),
        case((Order.state == OrderState.COMPLETED, Order.completed_at), else_=null()),
    )
    return case(
        (and_(Order.state.in_(rules.ARRIVED_STATES), Order.paid_at.is_not(None)), ended),
        else_=null(),
    )


def qualifying(member_ids: Sequence[int] | None = None) -> Select[*tuple[Any, ...]]:
    """Every order that counts for tiers at some instant: columns `member_id`, `order_id`, `at`, `spend` (分), `whole`.

    Set-wise: without `member_ids` it covers everybody. Whoever asks compares `at` with their own window.
    """
    statement: Select[*tuple[Any, ...]] = select(
        Order.member_id,
        Order.id.label("order_id"),
        qualifies_at().label("at"),
        spend().label("spend"),
        (~wholly_refunded()).label("whole"),
    ).where(Order.member_id.is_not(None), qualifies_at().is_not(None))
    if member_ids is not None:
        statement = statement.where(Order.member_id == func.any(list(member_ids)))
    return statement


def members_of_run(run_id: int) -> list[int]:
    """The ids of the members whose orders or refunds an import changed."""
    rows = db.session.scalars(
        union(
            select(Order.member_id).where(Order.run_id == run_id),
            select(Order.member_id).join(Refund, Refund.order_id == Order.id).where(Refund.run_id == run_id),
        )
    )
    return sorted(row for row in rows if row is not None)


def slices_of_run(run_id: int, size: int) -> list[tuple[int, int]]:
    """The orders that an import wrote as stretches of ids `[first, last]`, each of `size` orders at the most."""
    numbered = (
        select(Order.id, ((func.row_number().over(order_by=Order.id) - 1) // size).label("slice"))
        .where(Order.run_id == run_id)
        .subquery()
    )
    rows = db.session.execute(
        select(func.min(numbered.c.id), func.max(numbered.c.id)).group_by(numbered.c.slice).order_by(numbered.c.slice)
    )
    return [(row[0], row[1]) for row in rows]


def get_run(run_id: int) -> ImportRun:
    """One import; refuses with `NotFound`."""
    found = db.session.get(ImportRun, run_id)
    if found is None:
        raise NotFound
    return found


def runs(limit: int = 50) -> Sequence[ImportRun]:
    """The latest imports, newest first."""
    return db.session.scalars(select(ImportRun).order_by(ImportRun.id.desc()).limit(limit)).all()


def runs_page(source: str = "", state: str = "", cursor: str | None = None) -> Page:
    """Imports of files, newest first; what was corrected on a page stands with the file that it corrects."""
    statement = select(ImportRun).where(~ImportRun.options.has_key("by_hand"))
    if source:
        statement = statement.where(ImportRun.source == source)
    if state in list(RunState):
        statement = statement.where(ImportRun.state == RunState(state))
    return keyset(statement, [ImportRun.id.desc()], cursor)


def run_sources() -> list[str]:
    """Every source that a file came from, by name."""
    return list(db.session.scalars(select(ImportRun.source).distinct().order_by(ImportRun.source)))


def get_reject(run_id: int, reject_id: int) -> ImportReject:
    """One rejected line of an import; refuses with `NotFound`."""
    found = db.session.get(ImportReject, reject_id)
    if found is None or found.run_id != run_id:
        raise NotFound
    return found


def rejects_of(run_id: int, cursor: str | None = None, size: int = 50, every: bool = True) -> Page:
    """The rejected lines of an import, in the order of the file; without `every` those that have not come back corrected."""
    statement = select(ImportReject).where(ImportReject.run_id == run_id)
    if not every:
        statement = statement.where(ImportReject.corrected_by_id.is_(None))
    return keyset(statement, [ImportReject.id], cursor, size)


def open_rejects_of(run_id: int) -> Iterator[ImportReject]:
    """Every rejected line of an import that has not come back corrected, streamed."""
    rows = (
        select(ImportReject)
        .where(ImportReject.run_id == run_id, ImportReject.corrected_by_id.is_(None), ImportReject.row != [])
        .order_by(ImportReject.id)
    )
    yield from db.session.scalars(rows.execution_options(yield_per=1_000))


@dataclass(frozen=True)
class DetailsTaken:
    """What became of a file of order details: orders that have their lines by it, and orders that are still awaited."""

    with_order: int
    awaited: int


def details_of(run_id: int) -> DetailsTaken:
    """How many orders a file of details gave their lines to, and how many it waits for."""
    row = db.session.execute(
        select(func.count(Order.id), func.count())
        .select_from(OrderDetail)
        .outerjoin(Order, and_(Order.source == OrderDetail.source, Order.external_id == OrderDetail.order_external_id))
        .where(OrderDetail.run_id == run_id)
    ).one()
    return DetailsTaken(row[0], row[1] - row[0])


def running_runs() -> Sequence[ImportRun]:
    """The imports that are under way."""
    return db.session.scalars(select(ImportRun).where(ImportRun.state == RunState.RUNNING).order_by(ImportRun.id)).all()


def waiting_runs() -> Sequence[ImportRun]:
    """The files that somebody uploaded and nobody started."""
    return db.session.scalars(select(ImportRun).where(ImportRun.state == RunState.WAITING).order_by(ImportRun.id)).all()


def sources() -> list[str]:
    """Every source that orders came from, by name."""
    return list(db.session.scalars(select(Order.source).distinct().order_by(Order.source)))


@dataclass(frozen=True)
class OrderFilter:
    """What a list of orders is narrowed to. `q` is the beginning of an order number, or the tail of a phone; days are the
    shop's, `until` included."""

    q: str = ""
    source: str = ""
    state: OrderState | None = None
    since: date | None = None
    until: date | None = None
    refunded: bool = False
    nobody: bool = False


def sought(words: str) -> ColumnElement[bool]:
    """Orders whose number begins with the words, or whose member's phone ends with them."""
    found: ColumnElement[bool] = Order.external_id.like(f"{escaped(words)}%")
    if words.isascii() and words.isdigit() and 4 <= len(words) <= 11:
        found = or_(
            found, Order.member_id.in_(select(Member.id).where(func.reverse(Member.phone).like(f"{words[::-1]}%")))
        )
    return found


def matching(wanted: OrderFilter) -> Select[*tuple[Any, ...]]:
    """Orders with their members (or None), unordered."""
    statement: Select[*tuple[Any, ...]] = select(Order, Member).outerjoin(Member, Member.id == Order.member_id)
    if wanted.q:
        statement = statement.where(sought(wanted.q))
    if wanted.source:
        statement = statement.where(Order.source == wanted.source)
    if wanted.state is not None:
        statement = statement.where(Order.state == wanted.state)
    if wanted.since is not None:
        statement = statement.where(Order.placed_at >= clock.at(wanted.since))
    if wanted.until is not None:
        statement = statement.where(Order.placed_at < clock.at(wanted.until + timedelta(days=1)))
    if wanted.refunded:
        statement = statement.where(Order.refunded_amount > 0)
    if wanted.nobody:
        statement = statement.where(Order.member_id.is_(None))
    return statement


def _order_of(sort: str, count: Count) -> list[Any]:
    """The columns of a sort (`placed`, `amount`, each with a minus for the other way); unknown ones mean the newest first.

    The days have an index in both directions. Amounts have none, so they order only what is few enough to be sorted at once.
    """
    columns: dict[str, Any] = {"placed": Order.placed_at} | ({} if count.capped else {"amount": Order.paid_amount})
    return order_by(sort, columns, [Order.id], [Order.placed_at.desc(), Order.id.desc()])


def page_of(wanted: OrderFilter, cursor: str | None, sort: str = "") -> tuple[Page, Count]:
    """One page of orders, newest first or as `sort` says (see `_order_of`), and how many there are."""
    statement = matching(wanted)
    count = capped_count(statement)
    return keyset(statement, _order_of(sort, count), cursor), count


def export_of(wanted: OrderFilter, sort: str = "") -> Iterator[Any]:
    """Every order that matches with its member (or None), in the order of `page_of`, streamed."""
    statement = matching(wanted)
    order = _order_of(sort, capped_count(statement))
    yield from db.session.execute(statement.order_by(*order).execution_options(yield_per=1_000))


def listed(
    source: str | None,
    state: OrderState | None,
    member_id: int | None,
    placed_from: datetime | None,
    placed_until: datetime | None,
    updated_since: datetime | None,
) -> tuple[Select[*tuple[Any, ...]], list[Any]]:
    """Orders for a program, and by what they are ordered: newest first, or with `updated_since` as they were changed."""
    statement = select(Order)
    for column, value in ((Order.source, source), (Order.state, state), (Order.member_id, member_id)):
        if value is not None:
            statement = statement.where(column == value)
    if placed_from is not None:
        statement = statement.where(Order.placed_at >= placed_from)
    if placed_until is not None:
        statement = statement.where(Order.placed_at < placed_until)
    if updated_since is not None:
        return statement.where(Order.version_at >= updated_since), [Order.version_at, Order.id]
    return statement, [Order.placed_at.desc(), Order.id.desc()]


# ── Connections ─────────────────────────────────────────────────────────────────────────────────────────────────────


def number_of(report: Any) -> str:
    """The number of the order that a report is about."""
    return str(report.order_external_id if isinstance(report, RefundDraft) else report.external_id)


def connections() -> Sequence[OrderConnection]:
    """The connections to shop systems, by name."""
    return db.session.scalars(select(OrderConnection).order_by(OrderConnection.name, OrderConnection.id)).all()


def get_connection(connection_id: int) -> OrderConnection:
    """One connection; refuses with `NotFound`."""
    found = db.session.get(OrderConnection, connection_id)
    if found is None:
        raise NotFound
    return found


def get_connection_by_token(token: str) -> OrderConnection:
    """The connection of an address; refuses with `NotFound`."""
    found = db.session.scalar(select(OrderConnection).where(OrderConnection.token == token))
    if found is None:
        raise NotFound
    return found


def get_receipt(receipt_id: int) -> HookReceipt:
    """One delivery; refuses with `NotFound`."""
    found = db.session.get(HookReceipt, receipt_id)
    if found is None:
        raise NotFound
    return found


@dataclass(frozen=True)
class ReceiptFilter:
    """What the log of deliveries is narrowed to. `q` is an order's number or the beginning of a delivery's."""

    q: str = ""
    connection_id: int | None = None
    outcome: Outcome | None = None


def _receipts(wanted: ReceiptFilter) -> Select[*tuple[Any, ...]]:
    statement = select(HookReceipt)
    if wanted.connection_id is not None:
        statement = statement.where(HookReceipt.connection_id == wanted.connection_id)
    if wanted.outcome is not None:
        statement = statement.where(HookReceipt.outcome == wanted.outcome)
    if wanted.q:
        statement = statement.where(
            or_(HookReceipt.orders.contains([wanted.q]), HookReceipt.delivery_id.like(f"{escaped(wanted.q)}%"))
        )
    return statement


def receipts(wanted: ReceiptFilter, cursor: str | None) -> tuple[Page, Count]:
    """One page of the log, newest first, and how many deliveries there are."""
    statement = _receipts(wanted)
    return keyset(statement, [HookReceipt.id.desc()], cursor), capped_count(statement)


def export_of_receipts(wanted: ReceiptFilter) -> Iterator[HookReceipt]:
    """Every delivery that matches, newest first, streamed."""
    statement = _receipts(wanted).order_by(HookReceipt.id.desc())
    yield from db.session.scalars(statement.execution_options(yield_per=1_000))


def orders_numbered(connection_id: int, numbers: Sequence[str]) -> dict[str, int]:
    """The ids of a connection's orders by their numbers."""
    rows = db.session.execute(
        select(Order.external_id, Order.id)
        .join(OrderConnection, OrderConnection.source == Order.source)
        .where(OrderConnection.id == connection_id, Order.external_id == func.any(list(numbers)))
    )
    return dict(rows.all())


def receipt_counts() -> dict[int, dict[Outcome, int]]:
    """For each connection how many deliveries of the last thirty days ended how."""
    rows = db.session.execute(
        select(HookReceipt.connection_id, HookReceipt.outcome, func.count())
        .where(HookReceipt.received_at >= clock.now() - timedelta(days=30))
        .group_by(HookReceipt.connection_id, HookReceipt.outcome)
    )
    found: dict[int, dict[Outcome, int]] = {}
    for connection_id, outcome, n in rows:
        found.setdefault(connection_id, {})[outcome] = n
    return found
