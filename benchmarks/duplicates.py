"""Looking for likely duplicates among all members, and how it grows with their number.

    .venv/bin/python -m benchmarks.duplicates [--rows 1000000] [--data FOLDER]

Makes a tenth of N and then N members with `benchmarks.members`' SQL and addresses, one in fifty of them doubled, and looks for pairs.
Goal: ten times the members take at most fifteen times as long, for no pair is compared that shares no key.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from sqlalchemy import text

from benchmarks.floor import shop_floor
from kernel import clock
from kernel.db import db, transaction
from membership.members.services import duplicates

from .members import GIVEN, MEMBERS, REST, SURNAMES

ADDRESSES = """
UPDATE member SET city = (ARRAY['上海', '杭州', '成都', '广州'])[1 + (id % 4)], address = '样板路' || (id / 3) || '号' || (id % 7) || '室'
"""
# One in fifty is a second record of the one before: the same name, address and city under another phone.
DOUBLED = """
UPDATE member SET name = one.name, address = one.address, city = one.city
FROM member one WHERE one.id = member.id - 1 AND member.id % 50 = 0
"""


def seconds() -> float:
    started = time.perf_counter()
    with transaction():
        duplicates.find_all()
    return time.perf_counter() - started


def measure(rows: int) -> tuple[float, int]:
    """The seconds of a search over so many members, and how many pairs there were."""
    values = {"rows": rows, "now": clock.now(), "surnames": SURNAMES, "given": GIVEN}
    with transaction():
        db.session.execute(text("TRUNCATE member, shop_setting CASCADE"))
        db.session.execute(text("ALTER TABLE member ALTER COLUMN id RESTART WITH 1"))
        db.session.execute(text("SELECT setseed(.42)"))
        for statement in (MEMBERS, REST[0], REST[1], ADDRESSES, DOUBLED):
            db.session.execute(text(statement), {k: v for k, v in values.items() if f":{k}" in statement})
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE member, member_identity"))
    search = min(seconds() for _ in range(2))
    with transaction():
        pairs = db.session.execute(text("SELECT count(*) FROM duplicate_pair")).scalar() or 0
    return search, pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    with shop_floor(options.data, durable=False) as (app, _folder), app.app_context():
        small, few = measure(options.rows // 10)
        large, many = measure(options.rows)
    print(f"{options.rows // 10:>10,} members: {small:6.2f} s, {few:,} pairs")
    print(f"{options.rows:>10,} members: {large:6.2f} s, {many:,} pairs")
    print(f"ten times the members take {large / small:.1f} times as long (goal: at most 15)")


if __name__ == "__main__":
    main()
