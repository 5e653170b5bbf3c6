"""Nothing points at a member, an order, a product, a file, a policy or a coupon that is not there, though the database does not look."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import text

from membership.orders import queries
from membership.orders.services import single
from membership.tiers import services as tiers
from tests.strays import strays

from .test_intake import draft

ROOT = Path(__file__).resolve().parents[3]
# Two deletions: a file that was never begun, and so has brought no order; and members whose making this very transaction takes
# back, before it writes the orders of those whom they turned out to be.
LEFT = ["membership/members/services/people.py", "membership/orders/services/runs.py"]
DELETED = re.compile(
    r'DELETE FROM (?:"order"|product|import_run|member|tier_policy|offer|offer_version|coupon)\b'
    r"|\bdelete\((?:\w+\.)?(?:Order|Product|ImportRun|Member|TierPolicy|Offer|OfferVersion|Coupon|order|product|run|member|policy)\)"
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
    assert deletions(ROOT / floor) == (LEFT if floor == "membership" else [])


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("order_line", "order_id"),
        ("order_line", "product_id"),
        ("order", "run_id"),
        ("order", "member_id"),
        ("member_tier", "policy_id"),
        ("tier_change", "policy_id"),
    ],
)
def test_the_look_finds_strays(db, table, column):
    single.record("shop", draft("A1"))
    tiers.set_manually(queries.find_order("shop", "A1").member_id, 1, "a friend of the house")
    assert strays(db) == []
    with db.session.begin_nested() as savepoint:
        db.session.execute(text(f'UPDATE "{table}" SET {column} = 987654321'))
        assert [what for what, _ in strays(db)] == [f"{table}.{column}"]
        savepoint.rollback()
