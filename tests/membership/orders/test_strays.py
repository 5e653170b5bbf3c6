"""Nothing points at an order, a product or a file that is not there, though the database does not look."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import text

from membership.orders.services import single

from .strays import strays
from .test_intake import draft

ROOT = Path(__file__).resolve().parents[3]
# The room's one deletion: a file that was never begun, and so has brought no order.
PUT_AWAY = "membership/orders/services/runs.py"
DELETED = re.compile(
    r'DELETE FROM (?:"order"|product|import_run)\b|\bdelete\((?:\w+\.)?(?:Order|Product|ImportRun|order|product|run)\)'
)


def deletions(folder: Path) -> list[str]:
    """Every place in the code that deletes what others point at without a key."""
    found = []
    for path in sorted(folder.glob("**/*.py")):
        name = path.relative_to(ROOT).as_posix()
        found += [name for _ in DELETED.finditer(path.read_text())]
    return found


@pytest.mark.parametrize("floor", ["kernel", "membership", "community", "campaigns"])
def test_nobody_deletes_what_others_point_at(floor):
    assert deletions(ROOT / floor) == ([PUT_AWAY] if floor == "membership" else [])


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ('DELETE FROM "order"', "line without an order"),
        ("UPDATE order_line SET product_id = 987654321", "line without its product"),
        ('UPDATE "order" SET run_id = 987654321', "order without its file"),
    ],
)
def test_the_look_finds_strays(db, statement, what):
    single.record("shop", draft("A1"))
    assert strays(db) == []
    with db.session.begin_nested() as savepoint:
        db.session.execute(text(statement))
        assert [found for found, _ in strays(db)] == [what]
        savepoint.rollback()
