"""Rows of any table for tests that are about all of them: people with something in every room."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Date,
    Enum,
    Float,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from kernel import clock, guards
from kernel.db import UtcDateTime, db
from membership.tiers import services as tiers

_numbers = itertools.count(1)


def _policy() -> int | None:
    """The policy in force, which standings name without a key."""
    return tiers.ensure_policy().id


# What a table's own checks ask for beyond its types.
RIGHT: dict[str, dict[str, Any]] = {
    "seat": {"state": "taken", "joined_at": clock.now, "ended_at": None, "barred": False},
    "waiting": {"state": "queued"},
    "group": {"capacity": 50, "seats_each": 25, "state": "open", "kind": "regular", "join_rule": {}},
    "sub_group": {"seats": 25},
    "call_task": {"state": "open", "reason": "delivered"},
    "coupon": {"state": "issued", "usable_from": clock.now, "usable_until": lambda: clock.now() + timedelta(days=30)},
    "coupon_transfer": {"state": "open"},
    "contact_count": {
        "rank": 0, "day_total": 1, "week_total": 2, "month_total": 3, "day_triggered": 0, "week_triggered": 0,
        "month_triggered": 0, "day_repurchase": 1, "week_repurchase": 2, "month_repurchase": 3, "day_broadcast": 0,
        "week_broadcast": 0, "month_broadcast": 0,
    },
    "gift_claim": {"state": "offered", "claim_until": lambda: clock.now() + timedelta(days=9)},
    "gift": {"kind": "physical", "stock": None, "active": True, "claim_days": 14},
    "offer": {"state": "active", "claimed": 1, "stock": None, "per_member": 1},
    # No foreign keys there: numbers that nobody else has.
    "delivery": {"state": "accepted", "run_id": lambda: 10**9 + next(_numbers), "member_id": lambda: 10**9},
    "points_account": {"kind": "member"},
    "points_reward": {"gift_id": lambda: row("gift")["id"]},
    "order": {"state": "completed", "paid_amount": 100_00, "postage": 0, "refunded_amount": 0},
    "tier_policy": {
        "metric": "any", "window": "lifetime", "levels": [], "downgrade": "none", "refund_effect": "immediate",
        "valid_days": 365, "grace_days": 0,
    },
    "member_tier": {"rank": 0, "own_rank": 0, "spend": 0, "orders": 0, "valid_until": None, "policy_id": _policy},
    "tier_change": {"policy_id": _policy},
    "live_session": {"ends_at": lambda: clock.now() + timedelta(hours=1)},
    "merge": {},
    "journey_member": {"state": "active", "step": "first", "due_at": clock.now, "ended_at": None},
    "push_run": {"state": "completed"},
    "suggestion": {"message_id": lambda: 10**9 + next(_numbers)},
    "lottery": {"commitment": lambda: f"commitment {next(_numbers)}", "announced_at": clock.now},
    "ticket": {"state": "open", "kind": "return", "running_since": clock.now},
    "channel_account": {"kind": "webhook"},
}  # fmt: skip


def _value(column: Any) -> Any:
    kind = column.type
    if isinstance(kind, Enum):
        return kind.enums[0]
    if isinstance(kind, UtcDateTime):
        return clock.now()
    if isinstance(kind, Date):
        return date(2026, 3, 1)
    if isinstance(kind, Boolean):
        return False
    if isinstance(kind, (BigInteger, Integer, SmallInteger)):
        return next(_numbers) if column.primary_key else 1
    if isinstance(kind, Float):
        return 0.0
    if isinstance(kind, JSONB):
        return []
    if isinstance(kind, LargeBinary):
        return b"x"
    if isinstance(kind, Text):
        return f"{column.name} {next(_numbers)}"
    raise TypeError(f"no value for {column}")


def row(table: Table | str, **values: Any) -> dict[str, Any]:
    """Insert one row, whatever it needs made up and its parents made; returns it."""
    if isinstance(table, str):
        table = db.metadata.tables[table]
    given = {k: v() if callable(v) else v for k, v in RIGHT.get(table.name, {}).items()} | values
    filled: dict[str, Any] = {}
    # The columns of one key lead to one parent.
    parents: dict[Any, dict[str, Any]] = {}
    for column in table.columns:
        if column.name in given:
            filled[column.name] = given[column.name]
        elif column.foreign_keys and not column.nullable:
            key = next(iter(column.foreign_keys))
            parent = key.column
            if parent.table is table:
                continue
            if key.constraint not in parents:
                parents[key.constraint] = person() if parent.table.name == "member" else row(parent.table)
            filled[column.name] = parents[key.constraint][parent.name]
        elif (pointed := guards.target(column)) and not column.nullable:
            filled[column.name] = (person() if pointed == "member" else row(pointed))["id"]
        elif column.nullable or column.identity is not None:
            continue
        elif column.default is not None and column.default.is_scalar:
            filled[column.name] = column.default.arg
        elif column.default is not None and column.default.is_callable:
            filled[column.name] = column.default.arg(None)
        elif column.server_default is None:
            filled[column.name] = _value(column)
    return dict(db.session.execute(insert(table).values(filled).returning(*table.columns)).one()._mapping)


def person(**values: Any) -> dict[str, Any]:
    """A member with a shop account."""
    made = {
        "created_at": clock.now() - timedelta(days=100),
        "stage_since": clock.now(),
        "stage": "lead",
        "rank": 0,
    } | values
    found = row("member", **made)
    row("member_identity", member_id=found["id"], channel="shop", external_id=f"buyer-{found['id']}")
    return found


def rows_naming(column: Any, member_id: int) -> int:
    """How many rows name a member in a column."""
    return len(db.session.execute(select(column).where(column == member_id)).all())


def snapshot(without: frozenset[str]) -> dict[str, list[str]]:
    """Every row of every table but some, as text in a stable order."""
    db.session.flush()
    found = {}
    for table in db.metadata.sorted_tables:
        if table.name in without:
            continue
        name = f'"{table.name}"'
        rows = db.session.connection().exec_driver_sql(f"SELECT to_jsonb(t)::text FROM {name} t")
        found[table.name] = sorted(r[0] for r in rows)
    return found


FAR = datetime(2030, 1, 1, tzinfo=UTC)
