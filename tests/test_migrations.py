"""The migrations make exactly the tables that the models describe, and can be taken back."""

from __future__ import annotations

import runpy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Flask
from sqlalchemy import CheckConstraint, create_engine, text

from kernel import config, guards
from kernel.app import create_app
from kernel.cli import MIGRATIONS, upgrade
from kernel.db import db as database


@pytest.fixture
def bare(app: Flask, settings: config.Settings) -> Iterator[Flask]:
    """An application over an empty database of its own."""
    admin = create_engine(settings.database_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS migrated WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE migrated TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"))
    made = create_app(settings, TESTING=True, SQLALCHEMY_DATABASE_URI=admin.url.set(database="migrated"))
    yield made
    with made.app_context():
        database.engine.dispose()
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE migrated WITH (FORCE)"))
    admin.dispose()


def differences() -> list[Any]:
    with database.engine.connect() as connection, warnings.catch_warnings():
        # Alembic cannot compare operator classes and says so.
        warnings.simplefilter("ignore")
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), database.metadata)


def checks() -> tuple[set[str], set[str]]:
    """The conditions that the models name, and those that the tables have; Alembic compares none of them."""
    wanted = {
        f"{table.name}: {constraint.name}"
        for table in database.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    with database.engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT relname || ': ' || conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid "
                "WHERE contype = 'c'"
            )
        ).scalars()
        return wanted, set(found)


def test_the_migrated_tables_are_those_of_the_models(bare: Flask) -> None:
    upgrade(bare)
    with bare.app_context():
        assert differences() == []
        wanted, found = checks()
        assert wanted == found
        with database.engine.connect() as connection:
            assert guards.drift(connection) == []


def test_a_missing_column_would_be_seen(bare: Flask) -> None:
    upgrade(bare)
    with bare.app_context():
        with database.engine.begin() as connection:
            connection.execute(text("ALTER TABLE member DROP COLUMN hobbies"))
        assert any("hobbies" in str(difference) for difference in differences())


def test_check_j1_up_down_up(bare: Flask) -> None:
    from flask_migrate import downgrade

    upgrade(bare)
    with bare.app_context():
        downgrade(directory=str(MIGRATIONS), revision="base")
        with database.engine.connect() as connection:
            left = connection.execute(
                text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
            ).scalars()
            assert list(left) == ["alembic_version"]
    upgrade(bare)
    with bare.app_context():
        assert differences() == []


SENT = """
    INSERT INTO member (name, nickname, hobbies, city, address, locale, source, stage, stage_since, rank, orders_count,
                        spend, created_at)
    VALUES ('', '', '', '', '', 'zh_Hans', 'shop', 'customer', now(), 2, 0, 0, now());
    INSERT INTO channel_account (name, kind, settings, tokens, errors_in_row, created_at)
    VALUES ('gateway', 'webhook', '{}', 0, 0, now());
    INSERT INTO push (name, contact_class, account_id, audience, subject, body, coupon_mode, stop_when_bought,
                      attribution_days, created_at)
    SELECT class, class, channel_account.id, '{"rules": []}', 'Tea', 'Tea', 'link', true, 14, now()
    FROM channel_account, unnest(ARRAY['repurchase', 'broadcast']) AS class WHERE kind = 'webhook';
    INSERT INTO push_run (push_id, occurrence, state, cursor, slices, planned, tokens)
    SELECT id, day::text, 'completed', 0, 0, 0, 0 FROM push, unnest(CAST(:days AS date[])) AS day;
    INSERT INTO delivery (run_id, member_id, slice_number, state, attempts, contacted_on)
    SELECT push_run.id, member.id, 1, 'accepted', 1, occurrence::date
    FROM push_run JOIN push ON push.id = push_id AND (contact_class = 'repurchase' OR occurrence = '2026-07-02'), member;
"""


def test_the_contacts_of_the_month_outlive_the_change_of_their_table(bare: Flask) -> None:
    from flask_migrate import downgrade
    from flask_migrate import upgrade as migrate

    upgrade(bare)
    with bare.app_context():
        downgrade(directory=str(MIGRATIONS), revision="0003")
        with database.engine.begin() as connection:
            for statement in SENT.split(";\n")[:-1]:
                days = {"days": ["2026-05-04", "2026-06-30", "2026-07-02"]} if ":days" in statement else {}
                connection.execute(text(statement), days)
        migrate(directory=str(MIGRATIONS))
        with database.engine.connect() as connection:
            kept = connection.execute(text("SELECT * FROM contact_count")).mappings().one()
        # On Thursday 2 July one of each; in that week also the repurchase of 30 June, which was another month.
        assert (str(kept["day_on"]), str(kept["week_on"]), str(kept["month_on"])) == (
            "2026-07-02",
            "2026-06-29",
            "2026-07-01",
        )
        assert [kept[f"{window}_total"] for window in ("day", "week", "month")] == [2, 3, 2]
        assert [kept[f"{window}_repurchase"] for window in ("day", "week", "month")] == [1, 2, 1]
        assert [kept[f"{window}_broadcast"] for window in ("day", "week", "month")] == [1, 1, 1]
        downgrade(directory=str(MIGRATIONS), revision="0003")
        with database.engine.connect() as connection:
            back = connection.execute(text("SELECT total, day_on::text, day_total FROM contact_ledger")).one()
        assert tuple(back) == (2, "2026-07-02", 2)


def test_what_followed_a_file_is_handed_on(db: Any) -> None:
    """Deliveries to subscribers that are gone, or hear of something else now, go to the one that tells of the file's buyers."""
    former, told = (
        "membership.orders.subscribers.reassess_stages_of_run",
        "membership.orders.subscribers.tell_of_buyers",
    )
    revalue, kept = "membership.members.subscribers.revalue_buyers", "membership.points.subscribers.slice_import"
    wrote = text(
        """
        WITH written AS (
            INSERT INTO event (name, payload, occurred_at) VALUES (:name, '{"run_id": 7}', now()) RETURNING id
        )
        INSERT INTO event_delivery (event_id, subscriber, due_at, attempts, delivered_at, dead_at)
        SELECT written.id, subscriber, now(), 3, CASE WHEN :done THEN now() END, CASE WHEN subscriber = :dead THEN now() END
        FROM written, unnest(CAST(:subscribers AS text[])) AS subscriber
        """
    )
    for name, done, subscribers in (
        ("OrdersImported", False, [former, revalue, kept]),
        ("OrdersImported", True, [former, revalue]),
        ("BuyersChanged", False, [revalue]),
    ):
        db.session.execute(wrote, {"name": name, "done": done, "subscribers": subscribers, "dead": revalue})
    undelivered = text(
        "SELECT e.name, d.subscriber, d.attempts FROM event_delivery d JOIN event e ON e.id = d.event_id"
        " WHERE d.delivered_at IS NULL ORDER BY e.id, d.subscriber"
    )
    moving = runpy.run_path(str(MIGRATIONS / "versions" / "0009_hand_on_what_buyers_wait_for.py"))
    with Operations.context(MigrationContext.configure(db.session.connection())):
        moving["upgrade"]()
        assert [tuple(row) for row in db.session.execute(undelivered)] == [
            ("OrdersImported", told, 0), ("OrdersImported", kept, 3), ("BuyersChanged", revalue, 3)
        ]  # fmt: skip
        moving["downgrade"]()
        back = [row.subscriber for row in db.session.execute(undelivered)]
    assert (len(back), told in back, {former, revalue} < set(back)) == (7, False, True)
