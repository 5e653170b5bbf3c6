"""How many rows a statement touched is known, whatever kind of statement it is."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel.db import changed
from kernel.shop import ShopSetting


def test_the_count_of_every_kind_of_statement(db: Any) -> None:
    def run(statement: Any) -> int:
        return changed(db.session.execute(statement.execution_options(synchronize_session=False)))

    table = ShopSetting.__table__
    row = {"key": "a.count", "value": 1}
    assert run(insert(table).values(row)) == 1
    assert run(insert(table).values(row).on_conflict_do_nothing()) == 0
    several = [row, {"key": "another.count", "value": 1}]
    assert run(insert(table).values(several).on_conflict_do_nothing()) == 1
    copied = select(table.c.key + ".copy", table.c.value).where(table.c.key.like("%.count"))
    assert run(insert(table).from_select(["key", "value"], copied).on_conflict_do_nothing()) == 2
    assert run(update(table).where(table.c.key.like("%.count")).values(value=2)) == 2
    assert run(delete(table).where(table.c.key.like("%.count%"))) == 4


def test_a_count_that_nobody_kept_is_refused() -> None:
    class Lost:
        rowcount = -1

    with pytest.raises(RuntimeError):
        changed(Lost())
