"""What a policy would do, before it is saved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from kernel import clock
from kernel.db import db

from .. import queries, rules
from .policies import PolicyInvalid
from .reviews import STANDINGS, values_of

# The cost of discounts is estimated over what members spent in so many days.
COST_DAYS = 365

_MATRIX = text(
    STANDINGS  # noqa: S608 - both parts are constants
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
    values = values_of(draft, None, now) | {
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
