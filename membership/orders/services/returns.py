"""Cancellations that do not name their order, and what else a feed lists that is no order.

What a cancellation refunds follows from everything that is known of its buyer and product, never from what arrived first:
whenever a purchase or a cancellation is added, all cancellations of that buyer and product are spread anew.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import text

from kernel.db import db

from ..formats.drafts import AsideDraft, CancelDraft
from ..formats.uci import allot
from ..models import EntryKind

Pair = tuple[str, str]

_ENTRIES = text(
    """
    INSERT INTO feed_entry (source, external_id, kind, buyer, at, note, run_id)
    SELECT :source, external_id, kind, buyer, at, note, CAST(:run_id AS bigint)
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS t (
        external_id text, kind text, buyer text, at timestamptz, note text)
    ORDER BY external_id COLLATE "C"
    ON CONFLICT (source, external_id) DO NOTHING
    RETURNING id, external_id
    """
)
_RETURNED = text(
    """
    INSERT INTO returned_line (entry_id, position, source, buyer, sku, quantity, unit_price, at, unmatched)
    SELECT entry_id, position, :source, buyer, sku, quantity, unit_price, at, quantity
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS t (
        entry_id bigint, position bigint, buyer text, sku text, quantity bigint, unit_price bigint, at timestamptz)
    """
)
_RETURNED_PAIRS = text(
    """
    SELECT DISTINCT buyer, sku FROM returned_line WHERE source = :source AND buyer = ANY(CAST(:buyers AS text[]))
    """
)
_PURCHASES = text(
    """
    SELECT o.buyer, l.sku, o.id AS order_id, o.external_id, o.placed_at, l.id AS line_id, l.quantity, l.refunded_quantity
    FROM unnest(CAST(:buyers AS text[]), CAST(:skus AS text[])) AS t (buyer, sku)
    JOIN "order" o ON o.source = :source AND o.buyer = t.buyer
    JOIN order_line l ON l.order_id = o.id AND l.sku = t.sku
    ORDER BY o.placed_at DESC, o.external_id COLLATE "C" DESC, l.position DESC
    """
)
_RETURNS = text(
    """
    SELECT r.id, r.buyer, r.sku, r.quantity, r.unit_price, r.at, r.unmatched, e.external_id, r.position
    FROM unnest(CAST(:buyers AS text[]), CAST(:skus AS text[])) AS t (buyer, sku)
    JOIN returned_line r ON r.source = :source AND r.buyer = t.buyer AND r.sku = t.sku
    JOIN feed_entry e ON e.id = r.entry_id
    ORDER BY r.at, e.external_id COLLATE "C", r.position
    """
)
_DERIVED = text("SELECT returned_line_id, order_id, amount FROM refund WHERE returned_line_id = ANY(:ids)")
_DROP = text(
    """
    DELETE FROM refund USING unnest(CAST(:lines AS bigint[]), CAST(:orders AS bigint[])) AS t (line_id, order_id)
    WHERE refund.returned_line_id = t.line_id AND refund.order_id = t.order_id
    """
)
_ADD = text(
    """
    INSERT INTO refund (source, external_id, order_external_id, order_id, amount, at, run_id, returned_line_id)
    SELECT :source, external_id, order_external_id, order_id, amount, at, CAST(:run_id AS bigint), line_id
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS t (
        external_id text, order_external_id text, order_id bigint, amount bigint, at timestamptz, line_id bigint)
    ORDER BY external_id COLLATE "C"
    """
)
_QUANTITIES = text(
    """
    UPDATE order_line SET refunded_quantity = t.pieces
    FROM unnest(CAST(:ids AS bigint[]), CAST(:pieces AS bigint[])) AS t (id, pieces) WHERE order_line.id = t.id
    """
)
_UNMATCHED = text(
    """
    UPDATE returned_line SET unmatched = t.pieces
    FROM unnest(CAST(:ids AS bigint[]), CAST(:pieces AS bigint[])) AS t (id, pieces) WHERE returned_line.id = t.id
    """
)


def take_in(
    source: str,
    reports: Sequence[Any],
    outcomes: list[str],
    purchases: Collection[Pair],
    changed_buyers: Collection[str],
    run_id: int | None,
) -> set[int]:
    """Write the cancellations and book-keeping among the reports, and spread what was given back over its orders.

    `purchases` are the (buyer, SKU) of the orders just written, `changed_buyers` those of orders written over: any of their
    cancellations may now belong elsewhere. `outcomes` are filled in. Returns the ids of the orders whose refunds changed.
    """
    pairs = _write_entries(source, reports, outcomes, run_id)
    buyers = {buyer for buyer, _sku in purchases} | set(changed_buyers)
    if buyers:
        known = {
            (row.buyer, row.sku) for row in db.session.execute(_RETURNED_PAIRS, _of(source, buyers=sorted(buyers)))
        }
        changed = set(changed_buyers)
        pairs |= {pair for pair in known if pair in purchases or pair[0] in changed}
    return _spread(source, sorted(pairs), run_id) if pairs else set()


def _of(source: str, **values: Any) -> dict[str, Any]:
    return {"source": source, **values}


def _write_entries(source: str, reports: Sequence[Any], outcomes: list[str], run_id: int | None) -> set[Pair]:
    first: dict[str, int] = {}
    for place, one in enumerate(reports):
        if isinstance(one, CancelDraft | AsideDraft):
            first.setdefault(one.external_id, place)
    if not first:
        return set()
    rows = []
    for number, place in first.items():
        one = reports[place]
        cancels = isinstance(one, CancelDraft)
        rows.append(
            {
                "external_id": number,
                "kind": EntryKind.CANCELLATION if cancels else EntryKind.BOOK_KEEPING,
                "buyer": one.buyer_key if cancels else None,
                "at": one.at.isoformat() if cancels else None,
                "note": "" if cancels else one.note,
            }
        )
    written = db.session.execute(_ENTRIES, _of(source, run_id=run_id, rows=json.dumps(rows, ensure_ascii=False)))
    lines = []
    for entry_id, number in written:
        outcomes[first[number]] = "new"
        one = reports[first[number]]
        if isinstance(one, CancelDraft) and one.buyer_key is not None:
            for position, line in enumerate(one.lines, start=1):
                lines.append(
                    {
                        "entry_id": entry_id,
                        "position": position,
                        "buyer": one.buyer_key,
                        "sku": line.sku,
                        "quantity": line.quantity,
                        "unit_price": line.unit_price,
                        "at": one.at.isoformat(),
                    }
                )
    if lines:
        db.session.execute(_RETURNED, _of(source, rows=json.dumps(lines, ensure_ascii=False)))
    return {(line["buyer"], line["sku"]) for line in lines}


def _spread(source: str, pairs: Sequence[Pair], run_id: int | None) -> set[int]:
    """Spread all cancellations of these buyers and products over the purchases before them, the latest first."""
    columns = _of(source, buyers=[buyer for buyer, _ in pairs], skus=[sku for _, sku in pairs])
    bought: dict[Pair, list[Any]] = defaultdict(list)
    for row in db.session.execute(_PURCHASES, columns):
        bought[row.buyer, row.sku].append(row)
    returned = db.session.execute(_RETURNS, columns).all()
    taken: dict[int, int] = defaultdict(int)
    wanted: dict[tuple[int, int], dict[str, Any]] = {}
    unmatched: dict[int, int] = {}
    for line in returned:
        earlier = [row for row in bought[line.buyer, line.sku] if row.placed_at < line.at]
        shares, rest = allot(line.quantity, [row.quantity - taken[row.line_id] for row in earlier])
        if rest != line.unmatched:
            unmatched[line.id] = rest
        for row, share in zip(earlier, shares, strict=True):
            if not share:
                continue
            taken[row.line_id] += share
            if not line.unit_price:
                continue
            refund = wanted.setdefault(
                (line.id, row.order_id),
                {
                    "external_id": f"{line.external_id}:{line.position}:{row.external_id}",
                    "order_external_id": row.external_id,
                    "order_id": row.order_id,
                    "amount": 0,
                    "at": line.at.isoformat(),
                    "line_id": line.id,
                },
            )
            refund["amount"] += share * line.unit_price
    stored = {
        (row.returned_line_id, row.order_id): row.amount
        for row in db.session.execute(_DERIVED, {"ids": [line.id for line in returned]})
    }
    stale = [key for key, amount in stored.items() if key not in wanted or wanted[key]["amount"] != amount]
    fresh = [refund for key, refund in wanted.items() if stored.get(key) != refund["amount"]]
    if stale:
        db.session.execute(_DROP, {"lines": [key[0] for key in stale], "orders": [key[1] for key in stale]})
    if fresh:
        db.session.execute(_ADD, _of(source, run_id=run_id, rows=json.dumps(fresh, ensure_ascii=False)))
    pieces = {
        row.line_id: taken[row.line_id]
        for rows in bought.values()
        for row in rows
        if taken[row.line_id] != row.refunded_quantity
    }
    if pieces:
        db.session.execute(_QUANTITIES, {"ids": list(pieces), "pieces": list(pieces.values())})
    if unmatched:
        db.session.execute(_UNMATCHED, {"ids": list(unmatched), "pieces": list(unmatched.values())})
    return {key[1] for key in stale} | {refund["order_id"] for refund in fresh}
