"""Order files for tests."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from sqlalchemy import select

from membership.orders.models import Order

HEADING = [
    "order_no", "placed_at", "state", "paid_amount", "sku", "quantity", "unit_price", "title", "paid_at", "delivered_at",
    "completed_at", "postage", "refunded_amount", "buyer_id", "buyer_phone", "buyer_nickname", "updated_at",
]  # fmt: skip
LINE: dict[str, Any] = {
    "order_no": "A1",
    "placed_at": "2026-01-05 10:00",
    "state": "completed",
    "paid_amount": "100.00",
    "sku": "CUP",
    "quantity": "1",
    "unit_price": "92.00",
    "title": "青瓷茶杯",
    "postage": "8.00",
    "buyer_id": "77",
    "completed_at": "2026-01-15 10:00",
}


def numbers(db: Any) -> list[str]:
    """The numbers of all orders that are stored."""
    return list(db.session.scalars(select(Order.external_id).order_by(Order.external_id)))


def line(**values: Any) -> list[str]:
    """A line of our own format; what is not named is as in `LINE`."""
    told = LINE | values
    return [str(told.get(name, "")) for name in HEADING]


def text_of(rows: list[list[str]], heading: list[str] | None = None, end: str = "\n", delimiter: str = ",") -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator=end, delimiter=delimiter).writerows([heading or HEADING, *rows])
    return text.getvalue()


def write(path: Path, rows: list[list[str]], encoding: str = "utf-8", **form: Any) -> Path:
    path.write_bytes(text_of(rows, **form).encode(encoding))
    return path
