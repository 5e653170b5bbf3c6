"""The verbs of tiers: judge members set-wise, change the policy, set a tier by hand, show what a policy would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import g
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from kernel import audit, clock, shop
from kernel.db import db
from kernel.errors import Refusal
from kernel.events import publish_all
from kernel.i18n import lazy_gettext as _l
from membership.members import queries as members
from membership.members.models import Member
from membership.orders.rules import AFTER_SALE, ARRIVED_STATES

from . import queries, rules
from .events import TierChanged
from .models import Downgrade, MemberTier, Metric, RefundEffect, TierPolicy, Window

POLICY_LOCK = 730_114_102
REVIEWED_POLICY = "tiers.reviewed_policy"
REVIEWED_UNTIL = "tiers.reviewed_until"
CHUNK = 20_000
# The cost of discounts is estimated over what members spent in so many days.
COST_DAYS = 365


class PolicyInvalid(Refusal):
    """The policy breaks a rule; `mistakes` say which, where."""

    status = 422
    label = _l("The tiers cannot be saved like this.")

    def __init__(self, mistakes: list[rules.PolicyMistake]) -> None:
        super().__init__()
        self.mistakes = mistakes


class RankUnknown(Refusal):
    status = 422
    label = _l("There is no such tier, or it is switched off.")


class ManualEndPast(Refusal):
    status = 422
    label = _l("The end lies in the past.")


# The windows, levels and steps of `rules.tier_for` over sets. `width_bucket` finds how many thresholds a sum reaches: they
# rise strictly. `rebasing` rows were judged under another version of the policy: see `rules.rebased`.
_STANDINGS = """
    WITH counted AS (
        SELECT o.member_id,
               LEAST(o.delivered_at + CAST(:after_sale AS interval),
                     CASE WHEN o.state = 'completed' THEN o.completed_at END) AS at,
               GREATEST(o.paid_amount - o.postage - o.refunded_amount, 0) AS spend,
               CAST(NOT (o.refunded_amount > 0 AND o.refunded_amount >= o.paid_amount - o.postage) AS int) AS whole
        FROM "order" o
        WHERE o.member_id IS NOT NULL AND o.paid_at IS NOT NULL AND o.state = ANY(CAST(:arrived AS text[]))
          AND (:everybody OR o.member_id = ANY(CAST(:ids AS bigint[])))
    ), standing AS (
        SELECT m.id, m.rank AS shown_before, t.member_id IS NOT NULL AS stored, COALESCE(t.own_rank, 0) AS rank,
               t.valid_until, t.backed_at, t.manual_rank, t.manual_until, COALESCE(t.policy_id <> :policy, false) AS rebasing,
               CASE CAST(:window AS text)
                   WHEN 'rolling' THEN t.backed_at - CAST(:rolling AS interval)
                   WHEN 'calendar' THEN date_trunc('year', t.backed_at AT TIME ZONE :zone) AT TIME ZONE :zone
                   ELSE CAST('-infinity' AS timestamptz) END AS backed_from
        FROM member m LEFT JOIN member_tier t ON t.member_id = m.id
        WHERE m.merged_into_id IS NULL AND (:everybody OR m.id = ANY(CAST(:ids AS bigint[])))
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

_JUDGE = text(
    _STANDINGS  # noqa: S608 - both parts are constants
    + """
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
    ), judged AS MATERIALIZED (
        SELECT e.id, e.stored, e.shown_before, e.rank AS own_before, e.spend, e.orders, e.own, e.manual_over,
               CASE WHEN e.own > 0 THEN e.valid3 END AS valid_until,
               CASE WHEN e.own > 0 THEN e.backed3 END AS backed_at,
               GREATEST(e.own, CASE WHEN e.manual_over THEN 0 ELSE COALESCE(e.manual_rank, 0) END) AS shown,
               CASE WHEN e.own = e.rank THEN NULL
                    WHEN e.step = 'earned' THEN 'earned'
                    WHEN e.step = 'refund' AND e.rank2 < e.rank THEN 'refund'
                    ELSE 'expired' END AS why
        FROM ended e
    ), kept AS (
        INSERT INTO member_tier AS k (
            member_id, rank, since, own_rank, valid_until, backed_at, spend, orders, policy_id, reviewed_at)
        SELECT id, shown, :now, own, valid_until, backed_at, spend, orders, :policy, :now
        FROM judged WHERE stored OR own > 0 ORDER BY id
        ON CONFLICT (member_id) DO UPDATE SET
            since = CASE WHEN k.rank <> excluded.rank THEN excluded.since ELSE k.since END,
            rank = excluded.rank, own_rank = excluded.own_rank, valid_until = excluded.valid_until,
            backed_at = excluded.backed_at, spend = excluded.spend, orders = excluded.orders,
            policy_id = excluded.policy_id, reviewed_at = excluded.reviewed_at,
            manual_rank = CASE WHEN k.manual_until <= :now THEN NULL ELSE k.manual_rank END,
            manual_reason = CASE WHEN k.manual_until <= :now THEN NULL ELSE k.manual_reason END,
            manual_until = CASE WHEN k.manual_until <= :now THEN NULL ELSE k.manual_until END
        WHERE (k.rank, k.own_rank, k.spend, k.orders, k.policy_id)
              <> (excluded.rank, excluded.own_rank, excluded.spend, excluded.orders, excluded.policy_id)
           OR k.valid_until IS DISTINCT FROM excluded.valid_until
           OR k.backed_at IS DISTINCT FROM excluded.backed_at
           OR k.manual_until <= :now
    ), moved AS (
        UPDATE member SET rank = judged.shown FROM judged WHERE member.id = judged.id AND member.rank <> judged.shown
    )
    INSERT INTO tier_change (member_id, from_rank, to_rank, reason, spend, orders, policy_id, staff_id, at)
    SELECT id, shown_before, shown,
           COALESCE(why, CASE WHEN shown > shown_before THEN 'manual' ELSE 'manual_ended' END),
           spend, orders, :policy, CAST(:staff AS bigint), :now
    FROM judged WHERE shown <> shown_before ORDER BY id
    RETURNING member_id, from_rank, to_rank, reason
    """
)

_MATRIX = text(
    _STANDINGS  # noqa: S608 - both parts are constants
    + """
    , yearly AS (
        SELECT o.member_id, sum(GREATEST(o.paid_amount - o.postage - o.refunded_amount, 0)) AS spend
        FROM "order" o
        WHERE o.member_id IS NOT NULL AND o.paid_at >= CAST(:year_from AS timestamptz)
          AND o.state = ANY(CAST(:paid AS text[]))
        GROUP BY o.member_id
    )
    SELECT l.shown_before AS rank, l.earned, count(*) AS members, COALESCE(sum(y.spend), 0) AS spend
    FROM levelled l LEFT JOIN yearly y ON y.member_id = l.id
    GROUP BY 1, 2
    """
)


def _values(policy: rules.Policy, member_ids: Sequence[int] | None, now: datetime) -> dict[str, Any]:
    start = rules.window_start(policy, now)
    return {
        "everybody": member_ids is None,
        "ids": sorted(member_ids or ()),
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
        "policy": policy.id,
    }


def ensure_policy() -> rules.Policy:
    """The policy in force, the standard one being written as the first version when there is none."""
    found = queries.policy()
    if found.id is not None:
        return found
    db.session.execute(select(func.pg_advisory_xact_lock(POLICY_LOCK)))
    g.pop("tier_policy", None)
    found = queries.policy()
    return found if found.id is not None else _write_policy(found, None)


def _write_policy(policy: rules.Policy, staff_id: int | None) -> rules.Policy:
    row = TierPolicy(
        metric=policy.metric,
        window=policy.window,
        rolling_days=policy.rolling_days if policy.window is Window.ROLLING else None,
        valid_days=policy.valid_days,
        grace_days=policy.grace_days,
        downgrade=policy.downgrade,
        refund_effect=policy.refund_effect,
        levels=[asdict(level) for level in sorted(policy.levels, key=lambda level: level.rank)],
        staff_id=staff_id,
        created_at=clock.now(),
    )
    db.session.add(row)
    db.session.flush()
    g.pop("tier_policy", None)
    return queries.as_policy(row)


def save_policy(draft: rules.Policy, staff_id: int | None = None) -> rules.Policy:
    """Put a new version in force; nobody is lowered by it. Everybody is judged anew, for what they may gain, by a job.

    The same policy again makes no version. Refuses with `PolicyInvalid`.
    """
    from .jobs import review_everybody

    mistakes = rules.mistakes_in(draft)
    if mistakes:
        raise PolicyInvalid(mistakes)
    db.session.execute(select(func.pg_advisory_xact_lock(POLICY_LOCK)))
    g.pop("tier_policy", None)
    before = queries.policy()
    if before.id is not None and asdict(before) | {"id": None} == asdict(draft) | {"id": None}:
        return before
    saved = _write_policy(draft, staff_id)
    audit.record("tiers.saved", "tier_policy", saved.id, before=_plain(before), after=_plain(saved))
    review_everybody.later()
    return saved


def _plain(policy: rules.Policy) -> dict[str, Any]:
    return {key: value for key, value in asdict(policy).items() if key != "id"}


def reassess(member_ids: Sequence[int] | None = None, staff_id: int | None = None) -> int:
    """Judge members (everybody when None) as at now and write what changed; returns how many have another rank.

    Set-wise, in the caller's transaction. Publishes `TierChanged` for each. `rules.tier_for` is the same decision for one.
    """
    if member_ids is not None and not member_ids:
        return 0
    policy = ensure_policy()
    db.session.flush()
    lock = select(Member.id).where(Member.merged_into_id.is_(None)).order_by(Member.id).with_for_update(key_share=True)
    if member_ids is not None:
        lock = lock.where(Member.id == func.any(sorted(member_ids)))
    db.session.execute(lock).all()
    values = _values(policy, member_ids, clock.now()) | {
        "valid": timedelta(days=policy.valid_days),
        "grace": timedelta(days=policy.grace_days),
        "downgrade": policy.downgrade.value,
        "immediate": policy.refund_effect is RefundEffect.IMMEDIATE,
        "staff": staff_id,
    }
    rows = db.session.execute(_JUDGE, values).all()
    publish_all(
        TierChanged(member_id=row.member_id, from_rank=row.from_rank, to_rank=row.to_rank, reason=row.reason)
        for row in rows
    )
    for held in db.session.identity_map.values():
        if isinstance(held, MemberTier) or (isinstance(held, Member) and rows):
            db.session.expire(held, ["rank"] if isinstance(held, Member) else None)
    return len(rows)


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


def set_manually(
    member_id: int, rank: int, reason: str, until: datetime | None = None, staff_id: int | None = None
) -> None:
    """Lift a member to a rank by hand until `until` (None: for good); orders can raise them further, and it lowers nobody.

    Rank 0 ends a tier set by hand before. Refuses with `RankUnknown` and `ManualEndPast`.
    """
    policy = ensure_policy()
    now = clock.now()
    if rank != 0 and policy.level(rank) is None:
        raise RankUnknown
    if until is not None and until <= now:
        raise ManualEndPast
    member = members.get_member(member_id)
    row = queries.standing_of(member.id)
    before = (
        {"rank": row.manual_rank, "until": row.manual_until.isoformat() if row.manual_until else None} if row else None
    )
    chosen = {
        "manual_rank": rank or None,
        "manual_reason": reason.strip()[:300] or None if rank else None,
        "manual_until": until if rank else None,
    }
    statement = upsert(MemberTier).values(
        member_id=member.id,
        rank=0,
        since=now,
        own_rank=0,
        spend=0,
        orders=0,
        policy_id=policy.id,
        reviewed_at=now,
        **chosen,
    )
    db.session.execute(statement.on_conflict_do_update(index_elements=[MemberTier.member_id], set_=chosen))
    if row is not None:
        db.session.expire(row)
    audit.record(
        "tier.set_manually",
        "member",
        member.id,
        before=before,
        after={"rank": rank or None, "until": until.isoformat() if until else None, "reason": reason.strip()[:300]},
    )
    reassess([member.id], staff_id)


@dataclass(frozen=True)
class LevelPreview:
    """What a policy would do to one rank: members now, after saving, moved up into it, and, of those in it now, how many
    would not reach it by the new rules (they keep it until it expires)."""

    rank: int
    now: int
    after: int
    up: int
    below: int


@dataclass(frozen=True)
class Preview:
    """What saving a policy would do. Costs are 分 of discount over the last year's orders, had all members used it."""

    levels: tuple[LevelPreview, ...]
    moving_up: int
    below: int
    cost_now: int
    cost_after: int


def preview(draft: rules.Policy) -> Preview:
    """Show what a policy would do, without doing it. Refuses with `PolicyInvalid`."""
    mistakes = rules.mistakes_in(draft)
    if mistakes:
        raise PolicyInvalid(mistakes)
    now = clock.now()
    before = queries.policy()
    values = _values(draft, None, now) | {
        "policy": draft.id or before.id or 0,
        "year_from": (now - timedelta(days=COST_DAYS)).isoformat(),
        "paid": ["paid", "shipped", "delivered", "completed"],
    }
    rows = db.session.execute(_MATRIX, values).all()
    found = {rank: {"now": 0, "after": 0, "up": 0, "below": 0} for rank in (0, *rules.RANKS)}
    cost_now = cost_after = 0
    for row in rows:
        rank, earned, people, spend = int(row.rank), int(row.earned), int(row.members), int(row.spend)
        after = max(rank, earned)
        found[rank]["now"] += people
        found[after]["after"] += people
        found[after]["up"] += people if after > rank else 0
        found[rank]["below"] += people if earned < rank else 0
        cost_now += _discount_of(before, rank, spend)
        cost_after += _discount_of(draft, after, spend)
    levels = tuple(LevelPreview(rank=rank, **counts) for rank, counts in found.items())
    return Preview(
        levels=levels,
        moving_up=sum(level.up for level in levels),
        below=sum(level.below for level in levels),
        cost_now=cost_now,
        cost_after=cost_after,
    )


def _discount_of(policy: rules.Policy, rank: int, spend: int) -> int:
    level = policy.level(rank)
    return spend * (rules.FULL_PRICE - level.discount) // rules.FULL_PRICE if level is not None else 0


__all__ = [
    "Downgrade",
    "Metric",
    "PolicyInvalid",
    "Preview",
    "RankUnknown",
    "due",
    "ensure_policy",
    "preview",
    "reassess",
    "save_policy",
    "set_manually",
]
