"""Counting audiences of every kind of rule, alone and nested, against one pass over the members.

    .venv/bin/python -m benchmarks.audiences [--rows 1000000] [--rounds 5] [--data FOLDER] [--only bought nested …] [--explain]

Makes N members, 10 N orders with a line each, consents, tags, seats, clicks and coupons by set-wise SQL in a database of its
own (kept and used again with `--data`), then counts each audience through `campaigns.audiences.queries.count`, first as people
wait for it (half a second, then an estimate from a sample), then with no limit to see what the estimate is worth. The yardstick
is a count of the live members by their primary key's table, one pass. Goal: at 1,000,000 members every answer, exact or
estimated, within two seconds; an estimate within a tenth of the truth where it speaks of more than one in a hundred.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, text

from benchmarks import members, plans
from benchmarks.floor import shop_floor
from campaigns.audiences import cells, clauses, queries, rules
from kernel import clock
from kernel.db import db, transaction
from membership.members.models import Contact, Member, Stage

MORE = (
    "INSERT INTO product (source, sku, title, category, created_at)"
    " SELECT 'shop', 'P' || n, 'Product ' || n, (ARRAY['tea', 'coffee', 'cups', 'sweets'])[1 + n % 4], :now"
    " FROM generate_series(1, 200) AS n",
    "INSERT INTO order_line (order_id, position, product_id, sku, title, quantity, unit_price, amount, refunded_quantity)"
    ' SELECT o.id, 1, p.id, p.sku, p.title, 1, 9900, 9900, 0 FROM "order" AS o JOIN product AS p'
    " ON p.sku = 'P' || 1 + (o.id * 7919) % 200",
    "INSERT INTO offer (name, state, claimed, claimed_today, open_to_new, created_at)"
    " VALUES ('Bench', 'active', 0, 0, false, :now)",
    "INSERT INTO offer_version (offer_id, number, kind, value, min_spend, skus, item_title, min_rank, channels, stack_group,"
    " exclusive, priority, terms, created_at)"
    " SELECT id, 1, 'amount', 2000, 0, '[]', '', 0, '[]', '', false, 100, '', :now FROM offer",
    "INSERT INTO coupon (offer_id, version_id, member_id, code, state, ordinal, source, usable_from, usable_until, issued_at)"
    " SELECT v.offer_id, v.id, m.id, 'C' || m.id, 'issued', 1, '', :now, :now, :now - random() * INTERVAL '300 days'"
    " FROM member AS m, offer_version AS v WHERE random() < .3",
)


def fill(rows: int) -> None:
    """Make the shop of `benchmarks.members`, then what audiences ask beside it."""
    members.fill(rows)
    with transaction():
        for statement in MORE:
            db.session.execute(text(statement), {"now": clock.now()} if ":now" in statement else {})


def audiences() -> dict[str, rules.Definition]:
    """Every kind of question, alone, and some that belong together."""
    group = db.session.scalar(text('SELECT min(id) FROM "group"'))
    often, seldom = db.session.scalars(text("SELECT id FROM tag WHERE name IN ('often', 'seldom') ORDER BY name"))

    def of(*found: Any, match: Any = "all") -> rules.Definition:
        return rules.Definition(rules=found, match=match)

    bought = rules.BoughtRule(words="Product 17", within_days=90)
    never = rules.BoughtRule(words="Product 18", ever=False)
    either = rules.Nested(
        match="any",
        rules=(
            rules.CategoryRule(category="tea", within_days=60),
            rules.TagRule(tag_ids=[seldom]),
            rules.SpendRule(from_fen=500_00, within_days=365),
        ),
    )
    neither = rules.Nested(match="any", negated=True, rules=(never, rules.ConsentRule(channel=Contact.SMS)))
    return {
        "everybody": of(),
        "tier": of(rules.TierRule(ranks=[2, 3, 4])),
        "last order 30-90 days": of(rules.LastOrderRule(from_days=30, to_days=90)),
        "orders in all": of(rules.OrdersRule(from_count=3)),
        "spend in all": of(rules.SpendRule(from_fen=100_000)),
        "stage and value": of(rules.StageRule(stages=[Stage.ACTIVE]), rules.ValueRule(from_index=50)),
        "birthday in a week": of(rules.BirthdayRule(in_days=7)),
        "tag on half": of(rules.TagRule(tag_ids=[often])),
        "group of 5,000": of(rules.GroupRule(group_id=group)),
        "agreed to inbox": of(rules.ConsentRule(channel=Contact.INBOX)),
        "claimed in 30 days": of(rules.DidRule(deed="claimed", within_days=30)),
        "never claimed": of(rules.DidRule(deed="claimed", ever=False)),
        "bought in 90 days": of(bought),
        "never bought": of(never),
        "category in 30 days": of(rules.CategoryRule(category="tea", within_days=30)),
        "category ever": of(rules.CategoryRule(category="tea")),
        "orders in 90 days": of(rules.OrdersRule(from_count=2, within_days=90)),
        "spend in a year": of(rules.SpendRule(from_fen=100_000, within_days=365)),
        "at most 3 orders ever by channel": of(rules.OrdersRule(to_count=3, source="shop")),
        "summary columns, nested": of(
            rules.TierRule(ranks=[1, 2, 3, 4]),
            rules.Nested(match="any", rules=(rules.OrdersRule(from_count=5), rules.LastOrderRule(to_days=30))),
        ),
        "orders and consent, nested": of(rules.TierRule(ranks=[1, 2, 3, 4]), bought, either),
        "all of it, any and not": of(rules.TierRule(ranks=[0]), either, neither, match="any"),
    }


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it, in a transaction of its own."""
    began = time.perf_counter()
    found = call()
    spent = time.perf_counter() - began
    db.session.rollback()
    return spent, found


def measure(options: argparse.Namespace) -> None:
    one_pass = statistics.median(
        timed(lambda: db.session.scalar(select(func.count()).select_from(Member).where(Member.name != "")))[0]
        for _round in range(options.rounds)
    )
    print(f"{options.rows:,} members, {options.rows * 10:,} orders; one pass over the members {one_pass * 1000:.0f} ms")
    print(
        f"{'audience':34} {'answer ms':>10} {'ratio':>7} {'people':>11} {'exact ms':>10} {'estimate off':>13} {'one member ms':>14}"
    )
    for name, definition in audiences().items():
        if options.only and not any(word in name for word in options.only):
            continue
        waits = [timed(lambda d=definition: queries.count(d)) for _round in range(options.rounds)]  # type: ignore[misc]
        answer, reach = statistics.median(spent for spent, _reach in waits), waits[-1][1]
        exact, people = timed(lambda d=definition: _exactly(d))  # type: ignore[misc]
        guess = timed(lambda d=definition: queries._estimate(d))[1]  # type: ignore[misc]
        one = statistics.median(
            timed(lambda d=definition, n=n: queries.matches(d, n))[0]  # type: ignore[misc]
            for n in range(1, options.rows, options.rows // 20)
        )
        off = f"{abs(guess - people) / people:.1%}" if people else "-"
        said = f"{'≈' if reach.estimated else ''}{reach.people:,}"
        mark = " *" if answer > 2 or (people > options.rows / 100 and abs(guess - people) > people / 10) else ""
        print(
            f"{name:34} {answer * 1000:10.0f} {answer / one_pass:7.1f} {said:>11} {exact * 1000:10.0f} {off:>13}"
            f" {one * 1000:14.1f}{mark}"
        )
    print(f"the grid of the shop: {timed(cells.grid)[0] * 1000:.0f} ms")


def _exactly(definition: rules.Definition) -> int:
    with queries.time_limit(600_000):
        return db.session.scalar(select(func.count()).select_from(Member).where(*queries.conditions(definition))) or 0


def counting(definition: rules.Definition) -> Any:
    """The statement of a count."""
    return select(func.count()).select_from(Member).where(*queries.conditions(definition, clauses.EVERYBODY))


def explain(options: argparse.Namespace) -> None:
    """The plan of each count."""
    statements = {name: partial(counting, definition) for name, definition in audiences().items()}
    plans.explain(statements, options.only, partial(queries.time_limit, 600_000))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--data", type=Path)
    options.add_argument("--only", nargs="*")
    options.add_argument("--explain", action="store_true")
    chosen = options.parse_args()
    with shop_floor(chosen.data, durable=False) as (app, _folder), app.app_context():
        made = db.session.scalar(text("SELECT count(*) FROM member")) or 0
        db.session.rollback()
        if made == 0:
            began = time.perf_counter()
            fill(chosen.rows)
            print(f"made in {time.perf_counter() - began:.0f} s")
        chosen.rows = made or chosen.rows
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        (explain if chosen.explain else measure)(chosen)


if __name__ == "__main__":
    main()
