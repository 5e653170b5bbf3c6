"""The migrations make exactly the tables that the models describe, and can be taken back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from sqlalchemy import create_engine, text

from kernel import config
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


def test_the_migrated_tables_are_those_of_the_models(bare: Flask) -> None:
    upgrade(bare)
    with bare.app_context():
        assert differences() == []


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
