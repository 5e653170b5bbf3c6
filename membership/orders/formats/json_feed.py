"""Files of JSON as shop systems hand it out: the answers of their order interfaces, or a list of orders put together from them.

Such a file is unfolded into rows, one order each with its JSON in a cell, so that everything that holds for files (the preview, the
progress, going on after a crash, the rejects) holds for it as well. Refunds of their own are no orders: they come by the
REST interface or a connection.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..feeds.reasons import PayloadRefused
from ..feeds.reasons import Reason as FeedReason
from .drafts import Entry, Fault, OrderDraft, Reason, RejectedDraft
from .sheet import FileUnreadable, Row, Sheet, Wrong, opened

HEADING = ("shop_system", "order_no", "currency", "order_json")
SYSTEMS = ("shopify", "woocommerce", "youzan")
MOST_BYTES = 64 << 20
# A packed file that is cut off or damaged.
_BROKEN = (EOFError, OSError, zlib.error)
_BLANK = b" \t\r\n"
_LISTS = ("orders", "full_order_info_list")


def is_json(path: Path) -> bool:
    """Whether a file begins as JSON does; no heading of a table does."""
    try:
        with opened(path) as stream:
            head = stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)
    except _BROKEN:
        # What is wrong with it is said by whoever reads it as a table.
        return False
    return head.startswith((b"{", b"[{", b"[ ", b"[\n", b"[\r"))


def unfold(path: Path) -> dict[str, Any]:
    """Replace a file of JSON by one row for each order. Refuses with `FileUnreadable`: more than 64 MB, no JSON in UTF-8,
    nothing that is an order of a system known here."""
    try:
        with opened(path) as stream:
            body = stream.read(MOST_BYTES + 1)
    except _BROKEN as error:
        raise FileUnreadable(Wrong.BROKEN_GZIP) from error
    if len(body) > MOST_BYTES:
        raise FileUnreadable(Wrong.TOO_LARGE)
    # The feeds' readers make the drafts of this package, which therefore is loaded before them.
    from ..feeds import fields

    try:
        whole = fields.parsed(body.removeprefix(b"\xef\xbb\xbf"))
    except PayloadRefused as refused:
        raise FileUnreadable(Wrong.NOT_TEXT) from refused
    bodies = _bodies(whole)
    kinds = [_kind(one) for one in bodies]
    if not any(kinds):
        keys = sorted(bodies[0]) if bodies and isinstance(bodies[0], dict) else []
        raise FileUnreadable(Wrong.HEADING_UNKNOWN, columns=", ".join(keys)[:300])
    usual = next(filter(None, kinds))
    half = path.with_name(path.name + ".rows")
    with half.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(HEADING)
        for one, kind in zip(bodies, kinds, strict=True):
            rows.writerow(
                (kind or usual, _number(one), _currency(one), json.dumps(one, ensure_ascii=False, default=str))
            )
    half.replace(path)
    return {"json": usual}


def _bodies(whole: Any) -> list[Any]:
    for wrapper in ("response", "data"):
        if isinstance(whole, dict) and isinstance(whole.get(wrapper), dict | list):
            whole = whole[wrapper]
    if isinstance(whole, dict):
        whole = next((whole[key] for key in _LISTS if isinstance(whole.get(key), list)), [whole])
    return [one["order"] if isinstance(one, dict) and isinstance(one.get("order"), dict) else one for one in whole]


def _kind(one: Any) -> str:
    """Which shop system writes an order like this; empty when none does."""
    if not isinstance(one, dict):
        return ""
    if "full_order_info" in one or ("msg" in one and "kdt_id" in one):
        return "youzan"
    if "financial_status" in one or "total_price" in one:
        return "shopify"
    if "date_created_gmt" in one or ("status" in one and "billing" in one):
        return "woocommerce"
    return ""


def _number(one: Any) -> str:
    inner: Any = one
    if isinstance(one, dict) and isinstance(one.get("full_order_info"), dict):
        inner = one["full_order_info"].get("order_info")
    found = (inner.get("id") or inner.get("tid")) if isinstance(inner, dict) else None
    return str(found)[:64] if isinstance(found, str | int) else ""


def _currency(one: Any) -> str:
    found = one.get("currency") if isinstance(one, dict) else None
    return found[:3] if isinstance(found, str) else ""


def recognises(heading: Sequence[str]) -> bool:
    """Whether a heading is that of an unfolded file."""
    return tuple(heading) == HEADING


def check(heading: Sequence[str]) -> None:
    """Refuses with `FileUnreadable` another heading."""
    if not recognises(heading):
        raise FileUnreadable(Wrong.COLUMNS_MISSING, columns=", ".join(name for name in HEADING if name not in heading))


def survey(sheet: Sheet) -> dict[str, Any]:
    """The currencies of the file but yuan, with the number of their orders."""
    counted = Counter(row.cells[2] for row in sheet.rows() if len(row.cells) == len(HEADING))
    foreign = {code: n for code, n in sorted(counted.items()) if len(code) == 3 and code.isalpha() and code != "CNY"}
    return {"currencies": foreign} if foreign else {}


def entries(sheet: Sheet, now: datetime) -> Iterator[Entry]:
    """Every order of the file once; `sheet.options["rates"]` has what one of a foreign currency is worth in yuan."""
    check(sheet.heading)
    rates = {code: Decimal(str(rate)) for code, rate in sheet.options.get("rates", {}).items()}
    for row in sheet.rows():
        yield _entry(row, rates, now)


def _entry(row: Row, rates: dict[str, Decimal], now: datetime) -> Entry:
    from ..feeds import fields
    from ..feeds.readers import READERS
    from ..feeds.signatures import Kind

    cells = tuple(row.cells)
    number = cells[1] if len(cells) > 1 else ""
    if len(cells) != len(HEADING) or cells[0] not in SYSTEMS:
        return RejectedDraft(number, (Fault(row.line, "", FeedReason.NO_ORDER, "", cells),))
    currency = cells[2] or "CNY"
    exchange = fields.Exchange(currency, rates[currency]) if currency in rates else fields.Exchange()
    try:
        payload = READERS[Kind(cells[0])](fields.parsed(cells[3].encode("utf-8", "replace")), exchange, now, None)
    except PayloadRefused as refused:
        place, why = refused.faults[0]
        if why == FeedReason.CURRENCY_FOREIGN:
            # Of a file the rates are asked for on its page; only connections have one of their own.
            return RejectedDraft(number, (Fault(row.line, place, Reason.CURRENCY, currency, cells),))
        return RejectedDraft(number, (Fault(row.line, place, why, "", cells),))
    if len(payload.reports) == 1 and isinstance(payload.reports[0], OrderDraft):
        return payload.reports[0]
    return RejectedDraft(number, (Fault(row.line, "", payload.ignored or FeedReason.NO_ORDER, "", cells),))
