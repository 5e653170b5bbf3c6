"""Keeping everybody's stage of life right, set-wise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from functools import cache

from sqlalchemy import TextClause, text

from kernel import audit, clock, shop
from kernel.db import db
from kernel.events import deliver_events, publishing, subscribers_of

from .. import queries, rules
from ..events import StageChanged
from ..models import Member, Stage

# The same decision as `rules.stage_for`.
_STANDING = """
    WITH touched AS (
        SELECT id, stage AS was, orders_count, first_order_at, last_order_at, enrolled_at, created_at,
               GREATEST(last_order_at, enrolled_at) AS touched_at
        FROM member
        WHERE merged_into_id IS NULL AND erased_at IS NULL AND (:everybody OR id = ANY(CAST(:ids AS bigint[])))
    ), standing AS (
        SELECT id, was,
               CASE WHEN touched_at <= :now - :lost THEN 'lost'
                    WHEN touched_at <= :now - :dormant THEN 'dormant'
                    WHEN orders_count >= 2 AND last_order_at > :now - :active THEN 'active'
                    WHEN enrolled_at IS NOT NULL THEN 'member'
                    WHEN orders_count > 0 AND first_order_at IS NOT NULL THEN 'customer'
                    ELSE 'lead' END AS stage,
               CASE WHEN touched_at <= :now - :lost THEN touched_at + :lost
                    WHEN touched_at <= :now - :dormant THEN touched_at + :dormant
                    WHEN orders_count >= 2 AND last_order_at > :now - :active THEN last_order_at
                    WHEN enrolled_at IS NOT NULL THEN enrolled_at
                    WHEN orders_count > 0 AND first_order_at IS NOT NULL THEN first_order_at
                    ELSE created_at END AS since
        FROM touched
    ), locked AS (
        SELECT member.id FROM member JOIN standing ON standing.id = member.id
        WHERE standing.stage <> standing.was ORDER BY member.id FOR UPDATE OF member
    ), moved AS (
        UPDATE member SET stage = standing.stage, stage_since = standing.since
        FROM standing JOIN locked ON locked.id = standing.id
        WHERE member.id = standing.id
        RETURNING member.id AS member_id, standing.was AS from_stage, standing.stage AS to_stage
    ), """


@cache
def _reassessing() -> TextClause:
    """Judge, write and publish: many move after a file, and none of them need come here."""
    told = publishing(
        StageChanged, "moved", now="CAST(:now AS timestamptz)", subscribers="CAST(:subscribers AS text[])"
    )
    return text(f"{_STANDING}{told} SELECT count(*) FROM moved")  # noqa: S608 - its parts are constants


def set_stages(days: rules.StageDays, strategies: Mapping[Stage, str]) -> None:
    """Set after how many days somebody is at another stage, and what the shop does at each; everybody is looked at anew
    within the hour. `days` and texts come checked: dormant before lost, a text of at most 500 characters.
    """
    before = queries.stage_days()
    for name in ("active", "dormant", "lost"):
        shop.put(f"stage.{name}_days", getattr(days, name))
    for stage, words in strategies.items():
        shop.put(f"stage.strategy.{stage.value}", words)
    audit.record("stages.changed", "shop", None, before=asdict(before), after=asdict(days))


def reassess_stages(member_ids: Sequence[int] | None = None) -> int:
    """Move everybody (or the given members) to the stage the rule gives; returns how many moved.

    Publishes `StageChanged` for each. The date of a stage is when its condition came true, not when this ran.
    """
    db.session.flush()
    days = queries.stage_days()
    subscribers = subscribers_of(StageChanged)
    moved: int = db.session.scalars(
        _reassessing(),
        {
            "everybody": member_ids is None,
            "ids": list(member_ids or ()),
            "now": clock.now(),
            "active": timedelta(days=days.active),
            "dormant": timedelta(days=days.dormant),
            "lost": timedelta(days=days.lost),
            "subscribers": subscribers,
        },
    ).one()
    if moved and subscribers:
        deliver_events.later()
    if moved:
        # Rows that the session holds are read anew.
        ids = None if member_ids is None else set(member_ids)
        for found in db.session.identity_map.values():
            if isinstance(found, Member) and (ids is None or found.id in ids):
                db.session.expire(found, ["stage", "stage_since"])
    return moved
