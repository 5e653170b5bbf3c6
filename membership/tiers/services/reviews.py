"""Judging members: the decision of `rules.tier_for` over sets, and whom time alone concerns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import TextClause, func, select, text

from kernel import clock, shop
from kernel.copying import among, array_of
from kernel.db import db
from kernel.events import deliver_events, publishing, subscribers_of
from membership.members.models import Member
from membership.orders import services as orders
from membership.orders.rules import AFTER_SALE, ARRIVED_STATES

from .. import rules
from ..events import TierChanged
from ..models import MemberTier, RefundEffect
from .policies import ensure_policy

REVIEWED_POLICY = "tiers.reviewed_policy"
REVIEWED_UNTIL = "tiers.reviewed_until"
CHUNK = 20_000


# Every order that counts at some instant; `orders.queries.qualifying` as text.
COUNTED = """
    WITH counted AS (
        SELECT o.member_id,
               LEAST(o.delivered_at + CAST(:after_sale AS interval),
                     CASE WHEN o.state = 'completed' THEN o.completed_at END) AS at,
               GREATEST(o.paid_amount - o.postage - o.refunded_amount, 0) AS spend,
               CAST(NOT (o.refunded_amount > 0 AND o.refunded_amount >= o.paid_amount - o.postage) AS int) AS whole
        FROM "order" o
        WHERE o.member_id IS NOT NULL AND o.paid_at IS NOT NULL AND o.state = ANY(CAST(:arrived AS text[]))
          AND (:everybody OR o.member_id = ANY(CAST(:ids AS bigint[])))
    )"""
# The windows, levels and steps of `rules.tier_for` over sets. `width_bucket` finds how many thresholds a sum reaches: they
# rise strictly. `rebasing` rows were judged under another version of the policy: see `rules.rebased`.
STANDINGS = (
    COUNTED  # noqa: S608 - both parts are constants
    + """
    , standing AS (
        SELECT m.id, m.rank AS shown_before, t.member_id IS NOT NULL AS stored, COALESCE(t.own_rank, 0) AS rank,
               CASE WHEN t.policy_id <> :policy AND t.valid_until <= :now
                         AND :now < t.valid_until + make_interval(days => CAST(p.grace_days AS int))
                    THEN t.valid_until + GREATEST(
                        make_interval(days => CAST(p.grace_days AS int)) - CAST(:grace AS interval), interval '0')
                    ELSE t.valid_until END AS valid_until,
               t.backed_at, t.manual_rank, t.manual_until, COALESCE(t.policy_id <> :policy, false) AS rebasing,
               CASE CAST(:window AS text)
                   WHEN 'rolling' THEN t.backed_at - CAST(:rolling AS interval)
                   WHEN 'calendar' THEN date_trunc('year', t.backed_at AT TIME ZONE :zone) AT TIME ZONE :zone
                   ELSE CAST('-infinity' AS timestamptz) END AS backed_from
        FROM member m LEFT JOIN member_tier t ON t.member_id = m.id LEFT JOIN tier_policy p ON p.id = t.policy_id
        WHERE m.merged_into_id IS NULL AND m.erased_at IS NULL AND (:everybody OR m.id = ANY(CAST(:ids AS bigint[])))
    ), sums AS (
        SELECT s.id,
               COALESCE(sum(c.spend) FILTER (WHERE c.at <= :now AND c.at >= CAST(:since AS timestamptz)), 0) AS spend,
               COALESCE(sum(c.whole) FILTER (WHERE c.at <= :now AND c.at >= CAST(:since AS timestamptz)), 0) AS orders,
               COALESCE(sum(c.spend) FILTER (WHERE c.at <= s.backed_at AND c.at >= s.backed_from), 0) AS backed_spend,
               COALESCE(sum(c.whole) FILTER (WHERE c.at <= s.backed_at AND c.at >= s.backed_from), 0) AS backed_orders
        FROM standing s LEFT JOIN counted c ON c.member_id = s.id AND c.at IS NOT NULL
        GROUP BY s.id
    ), bucketed AS (
        SELECT id, spend, orders,
               width_bucket(CAST(spend AS bigint), CAST(:spends AS bigint[])) AS by_spend,
               width_bucket(CAST(orders AS bigint), CAST(:counts AS bigint[])) AS by_orders,
               width_bucket(CAST(backed_spend AS bigint), CAST(:spends AS bigint[])) AS backed_by_spend,
               width_bucket(CAST(backed_orders AS bigint), CAST(:counts AS bigint[])) AS backed_by_orders
        FROM sums
    ), levelled AS (
        SELECT s.*, b.spend, b.orders,
               COALESCE((CAST(:ranks AS bigint[]))[CASE CAST(:metric AS text)
                   WHEN 'spend' THEN b.by_spend WHEN 'orders' THEN b.by_orders
                   WHEN 'all' THEN LEAST(b.by_spend, b.by_orders) ELSE GREATEST(b.by_spend, b.by_orders) END], 0) AS earned,
               COALESCE((CAST(:ranks AS bigint[]))[CASE CAST(:metric AS text)
                   WHEN 'spend' THEN b.backed_by_spend WHEN 'orders' THEN b.backed_by_orders
                   WHEN 'all' THEN LEAST(b.backed_by_spend, b.backed_by_orders)
                   ELSE GREATEST(b.backed_by_spend, b.backed_by_orders) END], 0) AS backed
        FROM standing s JOIN bucketed b ON b.id = s.id
    )
"""
)


def _level(spend: str, orders: str) -> str:
    """The rank that two columns of sums reach, as SQL."""
    by_spend = f"width_bucket(CAST({spend} AS bigint), CAST(:spends AS bigint[]))"
    by_orders = f"width_bucket(CAST({orders} AS bigint), CAST(:counts AS bigint[]))"
    return f"""COALESCE((CAST(:ranks AS bigint[]))[CASE CAST(:metric AS text)
        WHEN 'spend' THEN {by_spend} WHEN 'orders' THEN {by_orders}
        WHEN 'all' THEN LEAST({by_spend}, {by_orders}) ELSE GREATEST({by_spend}, {by_orders}) END], 0)"""


def _window_from(instant: str) -> str:
    return f"""CASE CAST(:window AS text)
        WHEN 'rolling' THEN {instant} - CAST(:rolling AS interval)
        WHEN 'calendar' THEN date_trunc('year', {instant} AT TIME ZONE :zone) AT TIME ZONE :zone
        ELSE CAST('-infinity' AS timestamptz) END"""


def _sum(column: str, instant: str) -> str:
    return f"COALESCE(sum(c.{column}) FILTER (WHERE c.at <= f.{instant}_at AND c.at >= f.{instant}_from), 0)"


# `rules.outlook` over the rows of `held (id, rank, until)`: those that fall, when, to which rank, and what is missing.
AHEAD = f"""
    , ahead AS (
        SELECT h.id, h.rank, h.until + CAST(:grace AS interval) AS falls_at, GREATEST(h.until, :now) AS end_at,
               GREATEST(h.until + CAST(:grace AS interval), :now) AS fall_at
        FROM held h WHERE h.rank > 0 AND h.until IS NOT NULL AND CAST(:downgrade AS text) <> 'none'
    ), framed AS (
        SELECT a.*, {_window_from("end_at")} AS end_from, {_window_from("fall_at")} AS fall_from FROM ahead a
    ), ahead_sums AS (
        SELECT f.id, {_sum("spend", "end")} AS end_spend, {_sum("whole", "end")} AS end_orders,
               {_sum("spend", "fall")} AS fall_spend, {_sum("whole", "fall")} AS fall_orders
        FROM framed f LEFT JOIN counted c ON c.member_id = f.id AND c.at IS NOT NULL
        GROUP BY f.id
    ), seen AS (
        SELECT f.id, f.rank, f.falls_at, array_position(CAST(:ranks AS bigint[]), f.rank) AS place,
               s.fall_spend, s.fall_orders, {_level("s.end_spend", "s.end_orders")} AS end_rank,
               {_level("s.fall_spend", "s.fall_orders")} AS fall_rank
        FROM framed f JOIN ahead_sums s ON s.id = f.id
    ), falling AS (
        SELECT s.id, s.falls_at,
               CASE CAST(:downgrade AS text) WHEN 'one_level' THEN GREATEST(s.fall_rank, COALESCE(
                   (SELECT max(r) FROM unnest(CAST(:ranks AS bigint[])) r WHERE r < s.rank), 0)) ELSE s.fall_rank END AS falls_to,
               CASE WHEN CAST(:metric AS text) <> 'orders' AND s.place IS NOT NULL
                   THEN GREATEST((CAST(:spends AS bigint[]))[s.place] - s.fall_spend, 0) END AS keep_spend,
               CASE WHEN CAST(:metric AS text) <> 'spend' AND s.place IS NOT NULL
                   THEN GREATEST((CAST(:counts AS bigint[]))[s.place] - s.fall_orders, 0) END AS keep_orders
        FROM seen s WHERE s.end_rank < s.rank AND s.fall_rank < s.rank
    )
"""  # noqa: S608 - its parts are constants

# What `rules.tier_for` decides of each: the rank of its own (`own`), until when, as at when, and by which step.
STEPPED = """
    , stepped AS (
        SELECT l.*,
               CASE WHEN earned > rank THEN 'earned'
                    WHEN rank > 0 AND CAST(:immediate AS boolean) AND NOT rebasing AND backed_at IS NOT NULL AND backed < rank
                    THEN 'refund' ELSE '' END AS step
        FROM levelled l
    ), stood AS (
        SELECT s.*,
               CASE step WHEN 'earned' THEN earned WHEN 'refund' THEN GREATEST(backed, earned) ELSE rank END AS rank2,
               CASE step WHEN 'earned' THEN :now + CAST(:valid AS interval) ELSE valid_until END AS valid2,
               CASE WHEN step = 'earned' OR (step = 'refund' AND earned >= backed) THEN CAST(:now AS timestamptz)
                    WHEN rebasing AND backed < rank THEN NULL ELSE backed_at END AS backed2
        FROM stepped s
    ), reviewed AS (
        SELECT s.*,
               CASE WHEN step = 'earned' OR rank2 = 0 OR valid2 IS NULL OR valid2 > :now THEN ''
                    WHEN earned >= rank2 THEN 'renew'
                    WHEN valid2 + CAST(:grace AS interval) <= :now THEN 'expire'
                    ELSE '' END AS review,
               CASE CAST(:downgrade AS text)
                   WHEN 'none' THEN rank2
                   WHEN 'one_level' THEN GREATEST(earned, COALESCE(
                       (SELECT max(r) FROM unnest(CAST(:ranks AS bigint[])) r WHERE r < rank2), 0))
                   ELSE earned END AS lowered
        FROM stood s
    ), ended AS (
        SELECT r.*,
               CASE review WHEN 'expire' THEN lowered ELSE rank2 END AS own,
               CASE review
                   WHEN 'renew' THEN valid2 + CAST(:valid AS interval) * (1 + floor(
                       EXTRACT(epoch FROM :now - valid2) / EXTRACT(epoch FROM CAST(:valid AS interval))))
                   WHEN 'expire' THEN :now + CAST(:valid AS interval)
                   ELSE valid2 END AS valid3,
               CASE review
                   WHEN 'renew' THEN CAST(:now AS timestamptz)
                   WHEN 'expire' THEN CASE WHEN lowered = earned THEN CAST(:now AS timestamptz) END
                   ELSE backed2 END AS backed3,
               COALESCE(manual_until <= :now, false) AS manual_over
        FROM reviewed r
    )
"""

# With `moving` empty whoever asked writes the members' new ranks.
_MOVING = """
    , moved AS (
        UPDATE member SET rank = judged.shown FROM judged
        WHERE member.id = judged.id AND judged.shown <> judged.shown_before
    )
"""


@cache
def _judging(moving: str) -> TextClause:
    """Judge, write where members stand and what lies ahead of each, and note and publish each change of rank."""
    told = publishing(TierChanged, "noted", now="CAST(:now AS timestamptz)", subscribers="CAST(:subscribers AS text[])")
    return text(
        STANDINGS  # noqa: S608 - its parts are constants
        + STEPPED
        + """
        , judged AS MATERIALIZED (
            SELECT e.id, e.stored, e.shown_before, e.rank AS own_before, e.spend, e.orders, e.own, e.manual_over,
                   CASE WHEN e.own > 0 THEN e.valid3 END AS valid_until,
                   CASE WHEN e.own > 0 THEN e.backed3 END AS backed_at,
                   GREATEST(e.own, CASE WHEN e.manual_over THEN 0 ELSE COALESCE(e.manual_rank, 0) END) AS shown,
                   CASE WHEN e.own = e.rank THEN NULL
                        WHEN e.step = 'earned' THEN 'earned'
                        WHEN e.step = 'refund' AND e.rank2 < e.rank THEN 'refund'
                        ELSE 'expired' END AS why
            FROM ended e
        ), held AS (
            SELECT id, own AS rank, valid_until AS until FROM judged
        )
        """
        + AHEAD
        + """
        , kept AS (
            INSERT INTO member_tier AS k (
                member_id, rank, since, own_rank, valid_until, backed_at, spend, orders, policy_id, reviewed_at,
                falls_at, falls_to, keep_spend, keep_orders)
            SELECT j.id, j.shown, :now, j.own, j.valid_until, j.backed_at, j.spend, j.orders, :policy, :now,
                   f.falls_at, f.falls_to, f.keep_spend, f.keep_orders
            FROM judged j LEFT JOIN falling f ON f.id = j.id WHERE j.stored OR j.own > 0 ORDER BY j.id
            ON CONFLICT (member_id) DO UPDATE SET
                since = CASE WHEN k.rank <> excluded.rank THEN excluded.since ELSE k.since END,
                rank = excluded.rank, own_rank = excluded.own_rank, valid_until = excluded.valid_until,
                backed_at = excluded.backed_at, spend = excluded.spend, orders = excluded.orders,
                policy_id = excluded.policy_id, reviewed_at = excluded.reviewed_at,
                falls_at = excluded.falls_at, falls_to = excluded.falls_to,
                keep_spend = excluded.keep_spend, keep_orders = excluded.keep_orders,
                manual_rank = CASE WHEN k.manual_until <= :now THEN NULL ELSE k.manual_rank END,
                manual_reason = CASE WHEN k.manual_until <= :now THEN NULL ELSE k.manual_reason END,
                manual_until = CASE WHEN k.manual_until <= :now THEN NULL ELSE k.manual_until END,
                manual_staff_id = CASE WHEN k.manual_until <= :now THEN NULL ELSE k.manual_staff_id END,
                manual_at = CASE WHEN k.manual_until <= :now THEN NULL ELSE k.manual_at END
            WHERE (k.rank, k.own_rank, k.spend, k.orders, k.policy_id)
                  <> (excluded.rank, excluded.own_rank, excluded.spend, excluded.orders, excluded.policy_id)
               OR (k.valid_until, k.backed_at, k.falls_at, k.falls_to, k.keep_spend, k.keep_orders) IS DISTINCT FROM
                  (excluded.valid_until, excluded.backed_at, excluded.falls_at, excluded.falls_to, excluded.keep_spend,
                   excluded.keep_orders)
               OR k.manual_until <= :now
        )
        """
        + moving
        + """
        , noted AS (
            INSERT INTO tier_change (member_id, from_rank, to_rank, reason, spend, orders, policy_id, staff_id, at)
            SELECT id, shown_before, shown,
                   COALESCE(why, CASE WHEN shown > shown_before THEN 'manual' ELSE 'manual_ended' END),
                   spend, orders, :policy, CAST(:staff AS bigint), :now
            FROM judged WHERE shown <> shown_before ORDER BY id
            RETURNING member_id, from_rank, to_rank, reason
        ), """
        + told
        + " SELECT member_id, to_rank FROM noted"
    )


def values_of(policy: rules.Policy, member_ids: Sequence[int] | None, now: datetime) -> dict[str, Any]:
    """What the statements about standings are given. `policy.id` of None makes every stored standing one of another version."""
    start = rules.window_start(policy, now)
    return {
        "everybody": member_ids is None,
        "ids": array_of(sorted(member_ids or ())),
        "now": now,
        "since": start.isoformat() if start is not None else "-infinity",
        "after_sale": AFTER_SALE,
        "arrived": [state.value for state in ARRIVED_STATES],
        "window": policy.window.value,
        "rolling": timedelta(days=policy.rolling_days or 0),
        "zone": str(clock.ZONE),
        "metric": policy.metric.value,
        "ranks": [level.rank for level in policy.levels],
        "spends": [level.spend for level in policy.levels] if policy.asks_spend else [0],
        "counts": [level.orders for level in policy.levels] if policy.asks_orders else [0],
        "policy": policy.id or 0,
        "valid": timedelta(days=policy.valid_days),
        "grace": timedelta(days=policy.grace_days),
        "downgrade": policy.downgrade.value,
        "immediate": policy.refund_effect is RefundEffect.IMMEDIATE,
    }


def reassess(member_ids: Sequence[int] | None = None, staff_id: int | None = None) -> int:
    """Judge members (everybody when None) as at now and write what changed; returns how many have another rank.

    Set-wise, in the caller's transaction, with what lies ahead of each (`rules.outlook`). Publishes `TierChanged` for each.
    `rules.tier_for` is the same decision for one.
    """
    return len(_reassess(_MOVING, member_ids, staff_id))


@orders.ranks_of_buyers.fill
def rank_buyers(member_ids: Sequence[int]) -> dict[int, int]:
    """As `reassess`, except that whoever asks writes the members' ranks: those that are another now, by member."""
    return {row.member_id: row.to_rank for row in _reassess("", member_ids, None)}


def _reassess(moving: str, member_ids: Sequence[int] | None, staff_id: int | None) -> Sequence[Any]:
    if member_ids is not None and not member_ids:
        return []
    policy = ensure_policy()
    db.session.flush()
    lock = select(Member.id).where(Member.merged_into_id.is_(None)).order_by(Member.id).with_for_update(key_share=True)
    if member_ids is not None:
        lock = lock.where(among(Member.id, sorted(member_ids), numbers=True))
    # Only the lock is wanted, not the ids.
    db.session.execute(select(func.count()).select_from(lock.subquery()))
    subscribers = subscribers_of(TierChanged)
    values = values_of(policy, member_ids, clock.now()) | {"staff": staff_id, "subscribers": subscribers}
    rows = db.session.execute(_judging(moving), values).all()
    if rows and subscribers:
        deliver_events.later()
    for held in db.session.identity_map.values():
        if isinstance(held, MemberTier) or (isinstance(held, Member) and rows):
            db.session.expire(held, ["rank"] if isinstance(held, Member) else None)
    return rows


def due(until: datetime, since: datetime) -> list[int]:
    """The members whose standing time alone may change: an order qualified between `since` and `until`, a tier or a manual
    tier ended."""
    rows = db.session.execute(
        text(
            """
            SELECT member_id FROM "order" WHERE member_id IS NOT NULL
              AND delivered_at > :since - CAST(:after_sale AS interval) AND delivered_at <= :until - CAST(:after_sale AS interval)
            UNION SELECT member_id FROM "order" WHERE member_id IS NOT NULL AND state = 'completed'
              AND completed_at > :since AND completed_at <= :until
            UNION SELECT member_id FROM member_tier WHERE valid_until <= :until
            UNION SELECT member_id FROM member_tier WHERE manual_until <= :until
            """
        ),
        {"since": since, "until": until, "after_sale": AFTER_SALE},
    )
    return sorted(row.member_id for row in rows)


def chunk_after(member_id: int) -> list[int]:
    """The next so many members after an id, for judging everybody in pieces."""
    return list(
        db.session.scalars(
            select(Member.id)
            .where(Member.id > member_id, Member.merged_into_id.is_(None))
            .order_by(Member.id)
            .limit(CHUNK)
        )
    )


def reviewed_until() -> datetime | None:
    """Up to which instant the clock's effects have been judged; None when everybody is to be judged (a first start, or a
    policy that has not been applied to everybody yet)."""
    stamp = shop.get(REVIEWED_UNTIL)
    if stamp is None or shop.get(REVIEWED_POLICY) != ensure_policy().id:
        return None
    return datetime.fromisoformat(stamp)


def note_review(until: datetime, policy_id: int | None) -> None:
    """Remember that everybody has been judged up to an instant under a version of the policy."""
    shop.put(REVIEWED_UNTIL, until.isoformat())
    shop.put(REVIEWED_POLICY, policy_id)
