"""Takes reports of orders in: many at once, in a fixed number of statements, the same end whatever arrives first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Row, func, select, text, update

from kernel import clock
from kernel.copying import NULL, array_of, copied, copied_instant, copy_text, draw_ids
from kernel.db import db
from kernel.events import Event, publish_all
from membership.members import services as members
from membership.members.models import Channel
from membership.products import services as products

from .. import rules
from ..events import (
    OrderCompleted,
    OrderDelivered,
    OrderRecorded,
    OrderRefunded,
    OrderRefused,
    OrderShipped,
    OrderUpdated,
)
from ..formats.drafts import AsideDraft, Buyer, CancelDraft, DetailDraft, OrderDraft, RefundDraft, StepDraft
from ..models import Order, OrderState, Refund
from . import details, returns, steps, summaries

# Whoever writes orders does so alone, until its commit: batches of a thousand orders that touch the same members, products
# and orders in different sequences would otherwise lock each other out. A batch takes a fraction of a second.
WRITERS_LOCK = 730_114_101

# Names of an enum's members cost more to look up than their values to compare.
_PHONE, _EMAIL, _SHOP = Channel.PHONE, Channel.EMAIL, Channel.SHOP
_COMPLETED = OrderState.COMPLETED

SALES_CHANNELS = {
    channel.value: channel
    for channel in (Channel.TAOBAO, Channel.TMALL, Channel.DOUYIN, Channel.SHOP, Channel.COUNTER, Channel.WECHAT)
}
# There a nickname is an account; elsewhere two people may share one.
NICKNAME_IS_ACCOUNT = (Channel.TAOBAO, Channel.TMALL)


Report = OrderDraft | DetailDraft | CancelDraft | AsideDraft | RefundDraft | StepDraft


@dataclass
class Taken:
    """What came of reports: for each, in their order, `new`, `changed` or `duplicate`; and the sums."""

    outcomes: list[str] = field(default_factory=list)
    accepted: int = 0
    duplicate: int = 0
    orders_new: int = 0
    orders_changed: int = 0
    members_new: int = 0
    order_ids: dict[str, int] = field(default_factory=dict)
    member_ids: set[int] = field(default_factory=set)


# As plain text, because a re-import reads nothing else: the session would look at each value once more.
_KNOWN = text(
    """
    SELECT id, external_id, member_id, state, refunded_amount, version_at, version_mark FROM "order"
    WHERE source = :source AND external_id = ANY(CAST(:numbers AS text[]))
    """
)


def person_of(source: str, buyer: Buyer | None) -> members.Person | None:
    """The person behind a buyer, or None when nothing says who it is. Masked names are nobody's."""
    if buyer is None:
        return None
    channel = SALES_CHANNELS.get(source)
    keys: list[tuple[Channel, str]] = []
    number = buyer.number
    if number is None and channel in NICKNAME_IS_ACCOUNT:
        number = buyer.nickname or None
    # Of a name that shows nothing (zero-width blanks alone) nothing would be left to be known by.
    if number and "*" not in number and (number.isprintable() or any(map(str.isprintable, number))):
        keys.append((channel, number) if channel is not None else (_SHOP, f"{source}:{number}"))
    if buyer.phone:
        keys.append((_PHONE, buyer.phone))
    if buyer.email:
        keys.append((_EMAIL, buyer.email))
    if not keys:
        return None
    return members.Person(
        identities=tuple(keys),
        name=buyer.name,
        nickname=buyer.nickname or ("" if buyer.name else buyer.number or ""),
        source=source,
        city=buyer.city,
        address=buyer.address,
    )


def lock_writers() -> None:
    """Wait until nobody else writes orders; held until the transaction ends."""
    db.session.execute(select(func.pg_advisory_xact_lock(WRITERS_LOCK)))


@dataclass(frozen=True)
class Prepared:
    """What can be worked out of reports without the database, by the identity of each order's draft: its version, who
    bought, and its row and lines as COPY takes them. Whoever prepares in another thread saves the writer the time."""

    versions: dict[int, tuple[datetime, str]] = field(default_factory=dict)
    people: dict[int, members.Person | None] = field(default_factory=dict)
    rows: dict[int, _Written] = field(default_factory=dict)
    # Every product that any of the orders names.
    products: dict[str, products.ProductSeen] = field(default_factory=dict)


def prepare(source: str, reports: Iterable[object], news: bool = True) -> Prepared:
    """Work out beforehand what `take_in` needs of reports of one source; pure. Without `news` only their versions, which is
    all that is asked of orders that are known already."""
    orders = [one for one in reports if isinstance(one, OrderDraft)]
    versions = {id(one): version_of(one) for one in orders}
    if not news:
        return Prepared(versions)
    people = {id(one): person_of(source, one.buyer) for one in orders}
    for person in people.values():
        if person is not None:
            # Worked out once, here.
            person.keys  # noqa: B018
            person.words  # noqa: B018
    rows = {id(one): _written(source, one, versions[id(one)]) for one in orders}
    return Prepared(versions, people, rows, _products(orders))


def take_in(
    source: str,
    reports: Sequence[Report],
    run_id: int | None = None,
    sums: bool = True,
    prepared: Prepared | None = None,
) -> Taken:
    """Take reports of one source in, in the caller's transaction.

    An order that is new or newer than what is known is accepted and written with its lines; an equal or older one is a
    duplicate. Cancellations and refunds find their orders whichever comes first. Members' sums follow; without `sums` only
    those of members whom an order left, and the caller has the others counted (`summaries.refresh_members`). With `run_id` (a
    file) only what happened in the last fourteen days, or to orders known before, is published one by one.
    """
    taken = Taken(outcomes=["duplicate"] * len(reports))
    if not reports:
        return taken
    db.session.flush()
    lock_writers()
    prepared = prepared or Prepared()
    judged = _judge(source, reports, taken, prepared)
    before, winners = judged.before, judged.winners
    if not winners and {one.__class__ for one in reports} == {OrderDraft}:
        # As of a file that was taken in before: nothing follows from it.
        taken.order_ids = judged.known_ids
        _sum_up(taken, reports)
        return taken
    owners = _members(source, reports, winners, taken, prepared)
    rows = prepared.rows | {
        id(draft): _written(source, draft, judged.versions[number])
        for number, draft in winners.items()
        if id(draft) not in prepared.rows
    }
    made = _make_orders(judged, owners, rows, run_id)
    written = made | _write_orders(source, judged, owners, run_id)
    taken.order_ids = judged.known_ids | written
    _write_lines(source, judged, written, rows, prepared)
    touched = {order_id for number, order_id in written.items() if number in before}
    touched |= _take_refunds(source, reports, taken, run_id)
    touched |= _link_refunds(source, written)
    touched |= steps.take_in(source, reports, taken.outcomes, written)
    touched |= details.take_in(source, reports, taken.outcomes, written, run_id)
    if made and details.any_of(source):
        touched |= set(made.values())
    changed_buyers = {d.buyer_key for d in winners.values() if d.buyer_key and d.external_id in before}
    purchases = {(d.buyer_key, line.sku) for d in winners.values() if d.buyer_key for line in d.lines}
    touched |= returns.take_in(source, reports, taken.outcomes, purchases, changed_buyers, run_id)
    _sum_up(taken, reports)
    # A new order that nothing else has touched stands as its report says; the others are worked out from what is known.
    plain = {number: order_id for number, order_id in made.items() if order_id not in touched}
    taken.member_ids = {owners[number] for number in plain if number in owners}
    events = _settle(source, touched, judged, taken, run_id)
    events += _events_of_new(source, plain, judged, owners, run_id)
    left = {one.member_id for number, one in before.items() if number in winners and one.member_id is not None}
    taken.member_ids |= left
    summaries.refresh_members(taken.member_ids if sums else left)
    publish_all(sorted(events, key=lambda event: getattr(event, "order_id", 0)))
    return taken


@dataclass(frozen=True)
class _Judged:
    """Which orders are known, the report of each that is newer than all others, and that report's version."""

    # Rows of `_KNOWN`, as they were before this batch.
    before: dict[str, Row[Any]]
    winners: dict[str, OrderDraft]
    versions: dict[str, tuple[datetime, str]]

    @property
    def known_ids(self) -> dict[str, int]:
        return {number: row[0] for number, row in self.before.items()}


def _judge(source: str, reports: Sequence[Report], taken: Taken, prepared: Prepared) -> _Judged:
    """Compare the reports with what is known and with one another; outcomes are filled in."""
    numbers = [one.external_id for one in reports if one.__class__ is OrderDraft or one.__class__ is StepDraft]
    # Read all at once and left as they come: of a file taken in again this is most of the work that is left.
    rows = db.session.execute(_KNOWN, {"source": source, "numbers": array_of(numbers)}).all() if numbers else []
    before = {row[1]: row for row in rows}
    newest = {row[1]: (row[5], row[6]) for row in rows}
    winners: dict[str, OrderDraft] = {}
    versions, outcomes = prepared.versions, taken.outcomes
    for place, one in enumerate(reports):
        if one.__class__ is not OrderDraft:
            continue
        number = one.external_id
        known = newest.get(number)
        if known is not None and one.version_at < known[0]:
            continue
        version = versions.get(id(one)) or version_of(one)
        if known is None or version > known:
            newest[number] = version
            winners[number] = one
            outcomes[place] = "new" if known is None else "changed"
    return _Judged(before, winners, newest)


def version_of(draft: OrderDraft) -> tuple[datetime, str]:
    """What decides which of two reports of an order is the newer."""
    buyer = draft.buyer
    moments = (
        draft.placed_at,
        draft.paid_at,
        draft.shipped_at,
        draft.delivered_at,
        draft.completed_at,
        draft.closed_at,
    )
    # A tuple of plain values as `repr` writes it, in less than half the time. It is never to change: a file taken in again is
    # known by it.
    told = ", ".join(["None" if at is None else repr(at.timestamp()) for at in moments])
    who = f"({buyer.number!r}, {buyer.phone!r}, {buyer.email!r}, {buyer.nickname!r})" if buyer else "None"
    lines = ", ".join(
        [f"({line.sku!r}, {line.title!r}, {line.quantity}, {line.unit_price}, {line.amount})" for line in draft.lines]
    )
    content = (
        f"('{draft.payment!s}', [{told}], {draft.paid_amount}, {draft.postage}, {draft.discount}, {who}, [{lines}])"
    )
    return draft.version_at, rules.version_mark(draft.state, draft.refunded_amount, content)


def _members(
    source: str, reports: Sequence[Report], winners: dict[str, OrderDraft], taken: Taken, prepared: Prepared
) -> dict[str, int]:
    """The member of each accepted order that has one. Whoever only gave things back is a customer too."""
    ready = prepared.people
    people = {
        number: ready[id(draft)] if id(draft) in ready else person_of(source, draft.buyer)
        for number, draft in sorted(winners.items())
    }
    people |= {f"-{one.external_id}": person_of(source, one.buyer) for one in reports if isinstance(one, CancelDraft)}
    known = {number: person for number, person in people.items() if person is not None}
    if not known:
        return {}
    ids, made = members.find_or_make_counted(list(known.values()))
    taken.members_new = len(made)
    return dict(zip(known, ids, strict=True))


_ORDERS = text(
    """
    INSERT INTO "order" AS o (
        source, external_id, member_id, state, payment, placed_at, paid_at, shipped_at, delivered_at, completed_at,
        closed_at, paid_amount, postage, discount, reported_refund, refunded_amount, buyer, version_at, version_mark,
        run_id, created_at)
    SELECT :source, external_id, member_id, state, payment, placed_at, paid_at, shipped_at, delivered_at, completed_at,
           closed_at, paid_amount, postage, discount, refund, LEAST(refund, paid_amount), buyer, version_at, version_mark,
           CAST(:run_id AS bigint), :now
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS t (
        external_id text, member_id bigint, state text, payment text, placed_at timestamptz, paid_at timestamptz,
        shipped_at timestamptz, delivered_at timestamptz, completed_at timestamptz, closed_at timestamptz,
        paid_amount bigint, postage bigint, discount bigint, refund bigint, buyer text, version_at timestamptz,
        version_mark text)
    ORDER BY external_id COLLATE "C"
    ON CONFLICT (source, external_id) DO UPDATE SET
        member_id = excluded.member_id, state = excluded.state, payment = excluded.payment,
        placed_at = excluded.placed_at, paid_at = excluded.paid_at, shipped_at = excluded.shipped_at,
        delivered_at = excluded.delivered_at, completed_at = excluded.completed_at, closed_at = excluded.closed_at,
        paid_amount = excluded.paid_amount, postage = excluded.postage, discount = excluded.discount,
        reported_refund = excluded.reported_refund, buyer = excluded.buyer, version_at = excluded.version_at,
        version_mark = excluded.version_mark, run_id = excluded.run_id
    WHERE (o.version_at, o.version_mark COLLATE "C") < (excluded.version_at, excluded.version_mark COLLATE "C")
    RETURNING id, external_id
    """
)


def _write_orders(source: str, judged: _Judged, owners: dict[str, int], run_id: int | None) -> dict[str, int]:
    """Write the accepted reports of orders that were known; the id of each."""
    rows = [
        _row(draft, owners.get(number), judged.versions[number])
        for number, draft in judged.winners.items()
        if number in judged.before
    ]
    if not rows:
        return {}
    told = [{key: at.isoformat() if isinstance(at, datetime) else at for key, at in row.items()} for row in rows]
    written = db.session.execute(
        _ORDERS,
        {"source": source, "run_id": run_id, "now": clock.now(), "rows": json.dumps(told, ensure_ascii=False)},
    )
    return {external_id: order_id for order_id, external_id in written}


@dataclass(slots=True)
class _Written:
    """An order in COPY's text format, but for its id and what only the database knows: the columns before the member, those
    after, and of each line the SKU (None of what is no product) with the columns after the product. Never changed."""

    head: str
    tail: str
    lines: list[tuple[str | None, str]]


def _written(source: str, draft: OrderDraft, version: tuple[datetime, str]) -> _Written:
    version_at, version_mark = version
    paid_at, completed_at = _implied(draft)
    placed_at, delivered_at = draft.placed_at, draft.delivered_at
    arrived = copied_instant(delivered_at)
    placed = copied_instant(placed_at)
    paid = placed if paid_at is placed_at else copied_instant(paid_at)
    completed = NULL if completed_at is None else copied_instant(completed_at)
    shipped = NULL if draft.shipped_at is None else copied_instant(draft.shipped_at)
    closed = NULL if draft.closed_at is None else copied_instant(draft.closed_at)
    changed = arrived if version_at is delivered_at else copied_instant(version_at)
    refunded, paid_amount = draft.refunded_amount, draft.paid_amount
    # Only what a file has written itself may hold what has to be escaped.
    return _Written(
        f"{source}\t{copied(draft.external_id)}\t",
        f"\t{draft.state!s}\t{draft.payment!s}\t{placed}\t{paid}\t{shipped}\t{arrived}\t{completed}\t{closed}"
        f"\t{paid_amount}\t{draft.postage}\t{draft.discount}\t{refunded}"
        f"\t{refunded if refunded <= paid_amount else paid_amount}\t{copied(draft.buyer_key)}\t{changed}\t{version_mark}\t",
        [
            (
                line.sku if line.goods else None,
                f"\t{position}\t{copied(line.sku)}\t{copied(line.title)}\t{line.quantity}\t{line.unit_price}\t{line.amount}\t0\n",
            )
            for position, line in enumerate(draft.lines, start=1)
        ],
    )


def _make_orders(
    judged: _Judged, owners: dict[str, int], rows: dict[int, _Written], run_id: int | None
) -> dict[str, int]:
    """Write the orders that nobody knew; the id of each.

    By COPY, the quickest way in: nobody else can be making the same ones, because writers wait for each other. Should
    anybody write past that lock, the unique index still refuses the batch.
    """
    fresh = [number for number in judged.winners if number not in judged.before]
    if not fresh:
        return {}
    fresh.sort()
    ids = draw_ids("order", len(fresh))
    end = f"{copied(run_id)}\t{clock.now()}\n"
    lines: list[str] = []
    for order_id, number in zip(ids, fresh, strict=True):
        row = rows[id(judged.winners[number])]
        lines.append(f"{order_id}\t{row.head}{owners.get(number, NULL)}{row.tail}{end}")
    copy_text("order", _ORDER_COLUMNS, lines)
    return dict(zip(fresh, ids, strict=True))


_ORDER_COLUMNS = (
    "id", "source", "external_id", "member_id", "state", "payment", "placed_at", "paid_at", "shipped_at", "delivered_at",
    "completed_at", "closed_at", "paid_amount", "postage", "discount", "reported_refund", "refunded_amount", "buyer",
    "version_at", "version_mark", "run_id", "created_at",
)  # fmt: skip


def _implied(draft: OrderDraft) -> tuple[datetime | None, datetime | None]:
    """When an order was paid and completed, where its report leaves that out."""
    completed_at = draft.completed_at
    paid_at = rules.paid_at_for(
        draft.state, draft.payment, draft.placed_at, draft.paid_at, draft.delivered_at or completed_at
    )
    if draft.state is _COMPLETED and completed_at is None:
        # Some feeds say that an order is complete and not since when: it was by the last moment they do name.
        completed_at = draft.version_at
    return paid_at, completed_at


def _row(draft: OrderDraft, member_id: int | None, version: tuple[datetime, str]) -> dict[str, Any]:
    paid_at, completed_at = _implied(draft)
    return {
        "external_id": draft.external_id,
        "member_id": member_id,
        "state": str(draft.state),
        "payment": str(draft.payment),
        "placed_at": draft.placed_at,
        "paid_at": paid_at,
        "shipped_at": draft.shipped_at,
        "delivered_at": draft.delivered_at,
        "completed_at": completed_at,
        "closed_at": draft.closed_at,
        "paid_amount": draft.paid_amount,
        "postage": draft.postage,
        "discount": draft.discount,
        "refund": draft.refunded_amount,
        "buyer": draft.buyer_key,
        "version_at": version[0],
        "version_mark": version[1],
    }


def _products(drafts: Iterable[OrderDraft]) -> dict[str, products.ProductSeen]:
    """What orders say of each product."""
    seen: dict[str, products.ProductSeen] = {}
    for draft in drafts:
        for line in draft.lines:
            if line.goods:
                found = seen.get(line.sku)
                if found is not None and found.title == line.title and found.price >= line.unit_price:
                    continue
                # The fullest title and the highest price say most about a product.
                title = max(line.title, found.title if found else "", key=lambda words: (len(words), words))
                seen[line.sku] = products.ProductSeen(title, max(line.unit_price, found.price if found else 0))
    return seen


def _write_lines(
    source: str, judged: _Judged, written: dict[str, int], rows: dict[int, _Written], prepared: Prepared
) -> None:
    winners = judged.winners
    whole = (
        prepared.rows and len(winners) == len(prepared.rows) and all(id(d) in prepared.rows for d in winners.values())
    )
    ids = products.find_or_make_many(source, prepared.products if whole else _products(winners.values()))
    replaced = [order_id for number, order_id in written.items() if number in judged.before]
    if replaced:
        db.session.execute(text("DELETE FROM order_line WHERE order_id = ANY(:ids)"), {"ids": replaced})
    lines = [
        f"{written[number]}\t{NULL if sku is None else ids.get(sku, NULL)}{rest}"
        for number, draft in winners.items()
        if number in written
        for sku, rest in rows[id(draft)].lines
    ]
    if lines:
        copy_text("order_line", _LINE_COLUMNS, lines)


_LINE_COLUMNS = (
    "order_id", "product_id", "position", "sku", "title", "quantity", "unit_price", "amount", "refunded_quantity",
)  # fmt: skip
_REFUNDS = text(
    """
    INSERT INTO refund (source, external_id, order_external_id, order_id, amount, at, run_id)
    SELECT :source, t.external_id, t.order_external_id, o.id, t.amount, t.at, CAST(:run_id AS bigint)
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS t (
        external_id text, order_external_id text, amount bigint, at timestamptz)
    LEFT JOIN "order" o ON o.source = :source AND o.external_id = t.order_external_id
    ORDER BY t.external_id COLLATE "C"
    ON CONFLICT (source, external_id) DO NOTHING
    RETURNING external_id, order_id
    """
)


_REFUNDS_WAIT = text("SELECT EXISTS (SELECT FROM refund WHERE source = :source AND order_id IS NULL)")


def _take_refunds(source: str, reports: Sequence[Report], taken: Taken, run_id: int | None) -> set[int]:
    """Write single refunds; the orders they belong to, as far as these are known."""
    first: dict[str, int] = {}
    for place, one in enumerate(reports):
        if isinstance(one, RefundDraft):
            first.setdefault(one.external_id, place)
    if not first:
        return set()
    rows = [
        {
            "external_id": one.external_id,
            "order_external_id": one.order_external_id,
            "amount": one.amount,
            "at": one.at.isoformat(),
        }
        for one in (reports[place] for place in first.values())
        if isinstance(one, RefundDraft)
    ]
    written = db.session.execute(_REFUNDS, {"source": source, "run_id": run_id, "rows": json.dumps(rows)}).all()
    for row in written:
        taken.outcomes[first[row.external_id]] = "new"
    return {row.order_id for row in written if row.order_id is not None}


def _link_refunds(source: str, written: dict[str, int]) -> set[int]:
    """Give refunds that waited for their order to it."""
    if not written or not db.session.scalar(_REFUNDS_WAIT, {"source": source}):
        return set()
    rows = db.session.scalars(
        update(Refund)
        .where(
            Refund.source == source,
            Refund.order_id.is_(None),
            Refund.order_external_id == func.any(list(written)),
            Order.source == source,
            Order.external_id == Refund.order_external_id,
        )
        .values(order_id=Order.id)
        .returning(Refund.order_id)
        .execution_options(synchronize_session=False)
    )
    return {order_id for order_id in rows if order_id is not None}


def _sum_up(taken: Taken, reports: Sequence[Report]) -> None:
    for one, outcome in zip(reports, taken.outcomes, strict=True):
        kind = one.__class__
        lines = 1 if kind is RefundDraft or kind is StepDraft else one.rows  # type: ignore[union-attr]
        if outcome == "duplicate":
            taken.duplicate += lines
            continue
        taken.accepted += lines
        if kind is OrderDraft and outcome == "new":
            taken.orders_new += 1
        elif outcome == "changed" and (kind is OrderDraft or kind is DetailDraft):
            taken.orders_changed += 1


_SETTLE = text(
    """
    WITH sums AS (
        SELECT o.id, LEAST(o.paid_amount, GREATEST(
            o.reported_refund, COALESCE(sum(r.amount), 0), COALESCE(max(d.refunded_amount), 0))) AS refunded
        FROM "order" o LEFT JOIN refund r ON r.order_id = o.id
        LEFT JOIN order_detail d ON d.source = o.source AND d.order_external_id = o.external_id
        WHERE o.id = ANY(:ids) GROUP BY o.id
    )
    UPDATE "order" o SET refunded_amount = sums.refunded, run_id = COALESCE(CAST(:run_id AS bigint), o.run_id)
    FROM sums WHERE o.id = sums.id AND o.refunded_amount <> sums.refunded
    """
)


def _settle(source: str, touched: set[int], judged: _Judged, taken: Taken, run_id: int | None) -> list[Event]:
    """Work out what was refunded of the touched orders; what happened to them. Adds their members to `taken`."""
    if not touched:
        return []
    before = judged.before
    known = {one.id: one for one in before.values()}
    made = {taken.order_ids[number] for number in judged.winners if number not in before and number in taken.order_ids}
    was = {one.id: one.refunded_amount for one in known.values()} | dict.fromkeys(made, 0)
    others = sorted(touched - was.keys())
    if others:
        # Only what was given back of them has changed.
        was |= dict(
            db.session.execute(select(Order.id, Order.refunded_amount).where(Order.id == func.any(others))).all()
        )
    db.session.execute(_SETTLE, {"ids": sorted(touched), "run_id": run_id})
    now_rows = db.session.execute(
        select(
            Order.id,
            Order.external_id,
            Order.member_id,
            Order.state,
            Order.placed_at,
            Order.paid_at,
            Order.shipped_at,
            Order.delivered_at,
            Order.completed_at,
            Order.paid_amount,
            Order.postage,
            Order.refunded_amount,
            Order.version_at,
            Order.version_mark,
            select(func.max(Refund.at)).where(Refund.order_id == Order.id).scalar_subquery().label("refunded_at"),
        ).where(Order.id == func.any(sorted(touched)))
    ).all()
    taken.member_ids |= {row.member_id for row in now_rows if row.member_id is not None}
    for row in db.session.identity_map.values():
        if isinstance(row, Order) and row.id in touched:
            db.session.expire(row)
    return _events(source, now_rows, known, made, was, run_id)


def _events_of_new(
    source: str, plain: dict[str, int], judged: _Judged, owners: dict[str, int], run_id: int | None
) -> list[Event]:
    """What happened to new orders that stand as their reports say; most of a file lies too far back to be told of."""
    since = clock.now() - rules.FRESH
    rows = []
    for number, order_id in plain.items():
        draft = judged.winners[number]
        arrived_at = draft.delivered_at or draft.completed_at
        if run_id is not None and draft.version_at < since and (arrived_at is None or arrived_at < since):
            continue
        told = _row(draft, owners.get(number), judged.versions[number])
        refunded = min(draft.refunded_amount, draft.paid_amount)
        rows.append(SimpleNamespace(**told | {"id": order_id, "refunded_amount": refunded, "refunded_at": None,
                                              "state": draft.state}))  # fmt: skip
    return _events(source, rows, {}, {row.id for row in rows}, dict.fromkeys((row.id for row in rows), 0), run_id)


def _events(
    source: str,
    rows: Iterable[Any],
    known: dict[int, Row[Any]],
    made: set[int],
    was: dict[int, int],
    run_id: int | None,
) -> list[Event]:
    now = clock.now()
    events: list[Event] = []
    for row in sorted(rows, key=lambda one: one.id):
        before = known.get(row.id)
        fresh = run_id is None or row.version_at >= now - rules.FRESH
        if before is not None or row.id in made:
            was_in = OrderState(before.state) if before is not None else None
            events += _steps(source, row, was_in, fresh, run_id is None, now)
        newer = before is not None and (
            (row.version_at, row.version_mark) != (before.version_at, before.version_mark) or row.state != before.state
        )
        if before is not None and newer and run_id is None:
            whose = dict.fromkeys((row.member_id, before.member_id))
            events += [OrderUpdated(order_id=row.id, member_id=one) for one in whose if one is not None]
        more = row.refunded_amount - was.get(row.id, 0)
        refund_fresh = row.refunded_at is not None and row.refunded_at >= now - rules.FRESH
        if more > 0 and (fresh or refund_fresh or before is not None):
            events.append(
                OrderRefunded(
                    order_id=row.id,
                    member_id=row.member_id,
                    amount=more,
                    full=rules.wholly_refunded(row.paid_amount, row.postage, row.refunded_amount),
                    source=source,
                    external_id=row.external_id,
                )
            )
    return events


def _steps(source: str, row: Any, before: OrderState | None, fresh: bool, single: bool, now: datetime) -> list[Event]:
    """How far an order has come since its state before (None: it is new)."""
    who = {"order_id": row.id, "member_id": row.member_id, "external_id": row.external_id}
    events: list[Event] = []
    if single and row.paid_at is not None and before in (None, OrderState.PLACED):
        events.append(OrderRecorded(**who, source=source, amount=row.paid_amount))
    if row.state is OrderState.SHIPPED and before in (None, OrderState.PLACED, OrderState.PAID):
        at = row.shipped_at or (now if before is not None or fresh else None)
        if at is not None and now - rules.FRESH <= at <= now + rules.AHEAD:
            events.append(OrderShipped(**who, shipped_at=min(at, now)))
    if row.state in rules.ARRIVED_STATES and before not in rules.ARRIVED_STATES:
        at = row.delivered_at or (row.completed_at if row.completed_at != row.paid_at else None)
        if at is None and (before is not None or fresh):
            # The feed names no moment: what is known is that the parcel had arrived when this report came.
            at = now
        if at is not None and now - rules.FRESH <= at <= now + rules.AHEAD:
            events.append(OrderDelivered(**who, delivered_at=min(at, now)))
    if single and row.state is OrderState.COMPLETED and before is not OrderState.COMPLETED:
        events.append(OrderCompleted(**who))
    if row.state is OrderState.REFUSED and before is not OrderState.REFUSED and fresh:
        events.append(OrderRefused(**who))
    return events
