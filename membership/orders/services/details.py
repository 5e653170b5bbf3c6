"""Lines of orders that come in a file of their own, before or after the orders: the end is the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, select, text

from kernel.db import db
from membership.products import services as products

from ..formats.drafts import DetailDraft
from ..models import Order, OrderDetail, OrderLine

_DETAILS = text(
    """
    INSERT INTO order_detail AS d (
        source, order_external_id, version_at, version_mark, refunded_amount, lines, run_id)
    SELECT :source, order_external_id, version_at, version_mark, refunded_amount, lines, CAST(:run_id AS bigint)
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS t (
        order_external_id text, version_at timestamptz, version_mark text, refunded_amount bigint, lines jsonb)
    ORDER BY order_external_id COLLATE "C"
    ON CONFLICT (source, order_external_id) DO UPDATE SET
        version_at = excluded.version_at, version_mark = excluded.version_mark,
        refunded_amount = excluded.refunded_amount, lines = excluded.lines, run_id = excluded.run_id
    WHERE (d.version_at, d.version_mark COLLATE "C") < (excluded.version_at, excluded.version_mark COLLATE "C")
    RETURNING order_external_id
    """
)

_LINES = text(
    """
    INSERT INTO order_line (
        order_id, position, product_id, sku, title, quantity, unit_price, amount, refunded_quantity)
    SELECT order_id, position, product_id, sku, title, quantity, unit_price, amount, 0
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS t (
        order_id bigint, position bigint, product_id bigint, sku text, title text, quantity bigint, unit_price bigint,
        amount bigint)
    """
)


def any_of(source: str) -> bool:
    """Whether details of this source's orders are known at all."""
    return bool(
        db.session.scalar(text("SELECT EXISTS (SELECT FROM order_detail WHERE source = :source)"), {"source": source})
    )


def mark_of(draft: DetailDraft) -> str:
    """What decides between two reports of one order's lines with the same `version_at`, as `rules.version_mark` does for
    orders: lines further on, then the larger refund, then a digest."""
    digest = hashlib.sha256(json.dumps(_stored(draft), ensure_ascii=False).encode()).hexdigest()
    return f"{draft.step:06d}{draft.refunded_amount:013d}{digest[:24]}"


def _stored(draft: DetailDraft) -> list[list[Any]]:
    return [[one.sku, one.title, one.quantity, one.unit_price, one.amount, one.goods] for one in draft.lines]


def take_in(
    source: str, reports: Sequence[Any], outcomes: list[str], written: Mapping[str, int], run_id: int | None
) -> set[int]:
    """Write the details among the reports, and give every order concerned its lines: those whose details are new, and
    those just `written` (number → id) whose details came before. Fills in `outcomes`; returns the ids of the orders whose
    details changed."""
    newest: dict[str, tuple[Any, int]] = {}
    for place, one in enumerate(reports):
        if isinstance(one, DetailDraft):
            version = (one.version_at, mark_of(one))
            if one.external_id not in newest or version > newest[one.external_id][0]:
                newest[one.external_id] = (version, place)
    changed: set[str] = set()
    if newest:
        rows = [
            {
                "order_external_id": number,
                "version_at": version[0].isoformat(),
                "version_mark": version[1],
                "refunded_amount": reports[place].refunded_amount,
                "lines": _stored(reports[place]),
            }
            for number, (version, place) in newest.items()
        ]
        changed = set(
            db.session.scalars(
                _DETAILS, {"source": source, "run_id": run_id, "rows": json.dumps(rows, ensure_ascii=False)}
            )
        )
        known = set(
            db.session.scalars(
                select(Order.external_id).where(Order.source == source, Order.external_id == func.any(list(changed)))
            )
        )
        for number in changed:
            outcomes[newest[number][1]] = "changed" if number in known else "new"
    return _apply(source, changed, written)


def _apply(source: str, changed: set[str], written: Mapping[str, int]) -> set[int]:
    """Put the lines of the details in the place of the orders' own."""
    if not changed and (not written or not any_of(source)):
        return set()
    numbers = sorted(changed | written.keys())
    found = db.session.execute(
        select(Order.id, Order.buyer, OrderDetail.order_external_id, OrderDetail.lines)
        .join(Order, (Order.source == OrderDetail.source) & (Order.external_id == OrderDetail.order_external_id))
        .where(OrderDetail.source == source, OrderDetail.order_external_id == func.any(numbers))
    ).all()
    touched = {row.id for row in found if row.order_external_id in changed}
    # Where cancellations look for an order by its products, these stay as the order itself named them.
    found = [row for row in found if row.buyer is None]
    if not found:
        return touched
    seen: dict[str, products.ProductSeen] = {}
    for row in found:
        for sku, title, _quantity, unit_price, _amount, goods in row.lines:
            if goods:
                before = seen.get(sku)
                fullest = max(title, before.title if before else "", key=lambda words: (len(words), words))
                seen[sku] = products.ProductSeen(fullest, max(unit_price, before.price if before else 0))
    ids = products.find_or_make_many(source, seen)
    db.session.execute(delete(OrderLine).where(OrderLine.order_id == func.any(sorted(row.id for row in found))))
    lines = [
        {
            "order_id": row.id,
            "position": position,
            "product_id": ids.get(sku) if goods else None,
            "sku": sku,
            "title": title,
            "quantity": quantity,
            "unit_price": unit_price,
            "amount": amount,
        }
        for row in found
        for position, (sku, title, quantity, unit_price, amount, goods) in enumerate(row.lines, start=1)
    ]
    db.session.execute(_LINES, {"rows": json.dumps(lines, ensure_ascii=False)})
    return touched
