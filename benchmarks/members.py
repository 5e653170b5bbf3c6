"""The list of members under each filter by itself, its first page and a deep one, against a page of the primary key.

    .venv/bin/python -m benchmarks.members [--rows 1000000] [--rounds 200] [--data FOLDER] [--only tag name …] [--explain]

Makes N members and 10 N orders by set-wise SQL in a database of its own (kept and used again with `--data`), then asks for
pages through `membership.members.listing.page_of`, which counts too, taking the filters in turn so that a slow moment of
the machine meets all. The yardstick is one page of 50 members by primary key, loaded in the same way. Goals: p95 of every
filter at most 5 × the yardstick's, a deep page at most 3 × the first one; a combination ends after two seconds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, text

from benchmarks import plans
from benchmarks.floor import shop_floor
from kernel import clock, pages
from kernel.db import db, transaction
from membership.members import listing
from membership.members.listing import MemberFilter
from membership.members.models import Contact, Member, Stage, ValueLabel

SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧"
GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰红梅建国志文晓雪婷宇浩轩欣怡佳子涵梓诗语辰诺"

MEMBERS = """
INSERT INTO member (name, nickname, phone, birthday, hobbies, city, address, locale, source, stage, stage_since, rank,
                    enrolled_at, orders_count, spend, first_order_at, last_order_at, value_index, value_label, created_at)
SELECT substr(:surnames, 1 + (power(random(), 2) * 29)::int, 1) || substr(:given, 1 + (random() * 47)::int, 1)
         || CASE WHEN random() < .8 THEN substr(:given, 1 + (random() * 47)::int, 1) ELSE '' END,
       CASE WHEN random() < .3 THEN 'user' || substr(md5(n::text), 1, 8) ELSE '' END,
       CASE WHEN random() < .9 THEN '+861' || lpad((3000000000 + n)::text, 10, '0') END,
       CASE WHEN random() < .5 THEN DATE '1960-01-01' + (random() * 18000)::int END,
       '', '', '', 'zh_Hans', (ARRAY['taobao', 'tmall', 'douyin', 'shop', 'counter'])[1 + (random() * 4)::int],
       (ARRAY['lead', 'customer', 'member', 'active', 'dormant', 'lost'])[1 + (power(random(), 2) * 5)::int],
       :now, (power(random(), 3) * 4)::int, CASE WHEN random() < .4 THEN :now END,
       CASE WHEN seldom THEN 0 ELSE 1 + (power(random(), 3) * 30)::int END,
       CASE WHEN seldom THEN 0 ELSE (exp(random() * 9) * 1000)::bigint END,
       CASE WHEN NOT seldom THEN :now - INTERVAL '900 days' END,
       CASE WHEN NOT seldom THEN :now - power(random(), 2) * INTERVAL '900 days' END,
       (power(random(), 2) * 100)::int,
       (ARRAY[NULL, 'transaction', 'relation', 'both'])[1 + (power(random(), 2) * 3)::int], :now
FROM (SELECT n, random() < .08 AS seldom FROM generate_series(1, :rows) AS n) AS one
"""
REST = (
    "INSERT INTO member_identity (member_id, channel, external_id, created_at)"
    " SELECT id, 'shop', 'b' || id, :now FROM member",
    "INSERT INTO member_identity (member_id, channel, external_id, created_at)"
    " SELECT id, 'phone', phone, :now FROM member WHERE phone IS NOT NULL",
    'INSERT INTO "order" (source, external_id, member_id, state, payment, placed_at, paid_at, paid_amount, postage, discount,'
    " reported_refund, refunded_amount, version_at, version_mark, created_at)"
    " SELECT 'shop', 'S' || n, 1 + (random() * (:rows - 1))::bigint, 'completed', 'online', at, at, 9900, 0, 0, 0, 0, at, '1', at"
    " FROM (SELECT n, :now - random() * INTERVAL '900 days' AS at FROM generate_series(1, :rows * 10) AS n) AS one",
    "INSERT INTO tag (name) VALUES ('often'), ('seldom'), ('送礼')",
    "INSERT INTO member_tag (member_id, tag_id, at) SELECT member.id, tag.id, :now FROM member JOIN tag"
    " ON random() + 0 * member.id < CASE tag.name WHEN 'often' THEN .5 WHEN 'seldom' THEN .001 ELSE .05 END",
    "INSERT INTO consent (member_id, channel, purpose, granted, source, text_version, author, at)"
    " SELECT id, channel, 'marketing', random() < .85, 'import', '', '', :now"
    " FROM member JOIN (VALUES ('inbox', .4), ('email', .1), ('sms', .02)) AS c (channel, share) ON random() + 0 * member.id < share",
    'INSERT INTO "group" (public_id, name, kind, state, intro, announcement, capacity, seats_each, seated, queued, last_number,'
    " active_week, hold_minutes, invite_hours, join_rule, open_to_new, welcome_post, created_at)"
    " VALUES ('bench', 'Bench', 'regular', 'open', '', '', 5000, 500, 5000, 0, 0, 0, 10, 24, '{}', false, '', :now)",
    'INSERT INTO sub_group (group_id, number, seats, seated) SELECT id, 1, 5000, 5000 FROM "group"',
    "INSERT INTO seat (group_id, sub_group_id, member_id, state, role, source, held_at, joined_at, barred)"
    " SELECT g.id, s.id, m.id, 'taken', 'member', '', :now, :now, false"
    ' FROM "group" AS g JOIN sub_group AS s ON s.group_id = g.id'
    " JOIN (SELECT id FROM member ORDER BY random() LIMIT 5000) AS m ON true",
)


def fill(rows: int) -> None:
    """Members, orders and what filters ask for; the same on every machine."""
    values = {"rows": rows, "now": clock.now(), "surnames": SURNAMES, "given": GIVEN}
    with transaction():
        db.session.execute(text("SELECT setseed(.42)"))
        for statement in (MEMBERS, *REST):
            wanted = {key: value for key, value in values.items() if f":{key}" in statement}
            db.session.execute(text(statement), wanted)


def filters(rows: int) -> dict[str, Callable[[], MemberFilter]]:
    """Each filter by itself; where people type or choose freely, another value each time."""
    dice = random.Random(7)
    return {
        "everybody": MemberFilter,
        "tier VIP1": lambda: MemberFilter(tier=1),
        "tier VIP4": lambda: MemberFilter(tier=4),
        "stage": lambda: MemberFilter(stage=dice.choice(list(Stage))),
        "source": lambda: MemberFilter(source=dice.choice(["taobao", "counter"])),
        "tag on half": lambda: MemberFilter(tag="often"),
        "tag on one in a thousand": lambda: MemberFilter(tag="seldom"),
        "spend": lambda: MemberFilter(spend=dice.choice([(0, 10_000), (10_000, 50_000), (1_000_000, None)])),
        "last order": lambda: MemberFilter(last_order_days=dice.choice([(0, 30), (90, 180), (365, None)])),
        "never ordered": lambda: MemberFilter(never_ordered=True),
        "group of 5,000": lambda: MemberFilter(group=1),
        "agreed to inbox": lambda: MemberFilter(consent=Contact.INBOX),
        "agreed to SMS": lambda: MemberFilter(consent=Contact.SMS),
        "agreed to nothing": lambda: MemberFilter(consent="none"),
        "value": lambda: MemberFilter(value=dice.choice([(0, 20), (40, 60), (80, None)])),
        "value label": lambda: MemberFilter(label=dice.choice(list(ValueLabel))),
        "birthday month": lambda: MemberFilter(birthday_month=dice.randint(1, 12)),
        "phone tail": lambda: MemberFilter(q=f"{dice.randrange(10_000):04}"),
        "order number": lambda: MemberFilter(q=f"S{dice.randint(1, rows * 10)}"),
        "whole name": lambda: MemberFilter(q=dice.choice(SURNAMES) + dice.choice(GIVEN) + dice.choice(GIVEN)),
        "part of a name": lambda: MemberFilter(q=dice.choice(GIVEN) + dice.choice(GIVEN)),
        "surname": lambda: MemberFilter(q=dice.choice(SURNAMES)),
        "one character": lambda: MemberFilter(q=dice.choice(GIVEN)),
        "Latin letters": lambda: MemberFilter(q=f"user{dice.randrange(4096):03x}"),
        "nobody's name": lambda: MemberFilter(q="没有这个人"),
    }


def deep_cursor(wanted: MemberFilter) -> str | None:
    """A cursor that leads to the middle of a list."""
    statement, order = listing.arranged(wanted)
    columns, _descending = pages.order_columns(order)
    keys = statement.with_only_columns(*columns, maintain_column_froms=True).order_by(*order)
    half = (db.session.scalar(select(func.count()).select_from(keys.order_by(None).subquery())) or 0) // 2
    row = db.session.execute(keys.offset(half).limit(1)).first()
    return pages.cursor_at(list(row)) if row is not None and half else None


def by_primary_key(rows: int) -> None:
    """The yardstick: one page of 50 members from a place in the primary key."""
    at = random.randint(51, rows)
    db.session.scalars(select(Member).where(Member.id <= at).order_by(Member.id.desc()).limit(50)).all()


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    spent = time.perf_counter() - began
    db.session.rollback()
    db.session.expunge_all()
    return spent * 1000


def p(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(options: argparse.Namespace) -> None:
    wanted = {
        name: make
        for name, make in filters(options.rows).items()
        if not options.only or any(word in name for word in options.only)
    }
    cursors = {name: deep_cursor(make()) for name, make in wanted.items()}
    first: dict[str, list[float]] = {name: [] for name in wanted}
    deep: dict[str, list[float]] = {name: [] for name in wanted}
    yardstick: list[float] = []
    for _round in range(options.rounds):
        yardstick.append(timed(lambda: by_primary_key(options.rows)))
        for name, make in wanted.items():
            one = make()
            first[name].append(timed(lambda one=one: listing.page_of(one, "", None)))  # type: ignore[misc]
            if (cursor := cursors[name]) is not None:
                deep[name].append(timed(lambda one=one, c=cursor: listing.page_of(one, "", c)))  # type: ignore[misc]
    base50, base95 = statistics.median(yardstick), p(yardstick, 0.95)
    print(
        f"{options.rows:,} members, {options.rows * 10:,} orders; primary-key page p50 {base50:.2f} ms, p95 {base95:.2f} ms"
    )
    print(f"{'filter':26} {'p50 ms':>8} {'p95 ms':>8} {'p50 ratio':>10} {'p95 ratio':>10} {'deep/first p50':>15}")
    for name, values in first.items():
        later = statistics.median(deep[name]) / statistics.median(values) if deep[name] else float("nan")
        mark = " *" if p(values, 0.95) > 5 * base95 or later > 3 else ""
        print(
            f"{name:26} {statistics.median(values):8.2f} {p(values, 0.95):8.2f} {statistics.median(values) / base50:10.2f}"
            f" {p(values, 0.95) / base95:10.2f}"
            f" {later:15.2f}{mark}"
        )


def first_page(make: Callable[[], MemberFilter]) -> Any:
    """The statement of a filter's first page."""
    statement, order = listing.arranged(make())
    return statement.order_by(*order).limit(51)


def explain(options: argparse.Namespace) -> None:
    """The plan of each filter's first page."""
    plans.explain({name: partial(first_page, make) for name, make in filters(options.rows).items()}, options.only)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=200, help="0 only makes the shop")
    options.add_argument("--data", type=Path)
    options.add_argument("--only", nargs="*")
    options.add_argument("--explain", action="store_true")
    chosen = options.parse_args()
    with shop_floor(chosen.data, durable=False) as (app, _folder), app.app_context():
        chosen.rows = db.session.scalar(text("SELECT count(*) FROM member")) or chosen.rows
        db.session.rollback()
        if db.session.scalar(text("SELECT count(*) FROM member")) == 0:
            db.session.rollback()
            began = time.perf_counter()
            fill(chosen.rows)
            print(f"made in {time.perf_counter() - began:.0f} s")
        db.session.rollback()
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        if chosen.explain:
            explain(chosen)
        elif chosen.rounds:
            measure(chosen)


if __name__ == "__main__":
    main()
