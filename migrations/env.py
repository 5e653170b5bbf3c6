"""How Alembic reaches the database: through the application, one migration at a time, never waiting long for a lock."""

from __future__ import annotations

import logging
from typing import Any

from alembic import context
from alembic.operations.ops import CreateTableOp, DropTableOp, ExecuteSQLOp
from sqlalchemy import text

from kernel import guards
from kernel.db import UtcDateTime, db

log = logging.getLogger("alembic.env")

# Any number that no other advisory lock of ours uses: several machines may start at once.
MIGRATION_LOCK = 730_114_001


def render_item(kind: str, item: Any, autogen_context: Any) -> str | bool:
    """Write our own column type as the plain one it is in the database, so that old migrations need no code of ours."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def drop_empty(migration_context: Any, revision: Any, directives: list[Any]) -> None:
    """Make no file when a comparison finds no difference."""
    if getattr(context.config.cmd_opts, "autogenerate", False) and directives[0].upgrade_ops.is_empty():
        directives[:] = []
        log.info("The models and the database are the same.")


def add_statements(directives: list[Any]) -> None:
    """What a table needs beside its columns (a trigger) stands in its `info`, and goes into the migration as plain SQL."""
    for script in directives:
        for ops, key in ((script.upgrade_ops, "after_create"), (script.downgrade_ops, "after_drop")):
            for op in [op for op in ops.ops if isinstance(op, CreateTableOp | DropTableOp)]:
                said = (
                    db.metadata.tables[op.table_name].info.get(key, ()) if op.table_name in db.metadata.tables else ()
                )
                ops.ops.extend(ExecuteSQLOp(statement) for statement in said)
                if isinstance(op, CreateTableOp):
                    op.info = {}


def guard_pointers(migration_context: Any, directives: list[Any]) -> None:
    """The triggers of columns that point at rows without a foreign key (`kernel.guards`)."""
    for script in directives:
        for do, undo in guards.drift(migration_context.connection):
            script.upgrade_ops.ops.append(ExecuteSQLOp(do))
            script.downgrade_ops.ops.insert(0, ExecuteSQLOp(undo))


def complete(migration_context: Any, revision: Any, directives: list[Any]) -> None:
    """Make no file when a comparison finds no difference, else add what only SQL can say."""
    guard_pointers(migration_context, directives)
    drop_empty(migration_context, revision, directives)
    add_statements(directives)


def run() -> None:
    with db.engine.connect() as connection:
        # The lock is the session's: it outlives the migrations' own transactions and ends with the connection.
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        # A migration that cannot get its table at once must not queue in front of everybody who uses it.
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            compare_type=True,
            compare_server_default=True,
            transaction_per_migration=True,
            render_item=render_item,
            process_revision_directives=complete,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text("RESET lock_timeout"))
        connection.commit()


if context.is_offline_mode():
    raise SystemExit("Siyu's migrations look at the database they change: run them against one.")
run()
