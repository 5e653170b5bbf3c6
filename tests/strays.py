"""Rows that point at nothing. The columns that `kernel.guards` names are no foreign keys: every test of orders and of coupons
ends with this look instead, and so do those in which claims and imports crash, or imports and merges race."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from kernel.guards import Pointer, pointers


def _count(one: Pointer) -> str:
    return (
        f"SELECT '{one.table}.{one.column}' AS what, count(*) AS n FROM \"{one.table}\" c"
        f' WHERE c.{one.column} IS NOT NULL AND NOT EXISTS (SELECT FROM "{one.parent}" p WHERE p.id = c.{one.column})'
    )


def strays(db: Any) -> list[tuple[str, int]]:
    """The columns that point at nothing, and in how many rows."""
    counts = " UNION ALL ".join(_count(one) for one in pointers())
    return [(what, n) for what, n in db.session.execute(text(f"SELECT * FROM ({counts}) AS c WHERE n > 0"))]
