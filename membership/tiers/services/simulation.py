"""What a draft would do if it were put in force: everybody judged by it, in slices, and nothing changed.

The judging is that of a review (`reviews.STEPPED`), so that what a simulation promises is what the review after saving does.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select, text, update

from kernel import clock
from kernel.db import changed, db
from membership.members.models import Member
from membership.orders.rules import PAID_STATES

from .. import queries
from ..models import SimulationState, TierDraft, TierDraftMember
from .drafts import forget_simulation, get_draft, policy_of
from .policies import ensure_policy
from .reviews import AHEAD, STANDINGS, STEPPED, chunk_after, values_of

# Costs are estimated over what members spent in so many days, and falls are foreseen for as long.
YEAR_DAYS = 365
# A simulation that nobody has got on with for so long is taken up again.
RESTED = timedelta(seconds=90)

_SLICE = text(
    STANDINGS  # noqa: S608 - its parts are constants
    + STEPPED
    + """
    , after AS (
        SELECT e.id, e.shown_before, e.own, CASE WHEN e.own > 0 THEN e.valid3 END AS until,
               CASE WHEN e.manual_over THEN 0 ELSE COALESCE(e.manual_rank, 0) END AS manual_rank, e.manual_until
        FROM ended e
    ), held AS (
        SELECT id, own AS rank, until FROM after
    )"""
    + AHEAD
    + """
    , yearly AS (
        SELECT o.member_id, sum(GREATEST(o.paid_amount - o.postage - o.refunded_amount, 0)) AS spend
        FROM "order" o
        WHERE o.member_id = ANY(CAST(:ids AS bigint[])) AND o.paid_at >= :year_from
          AND o.state = ANY(CAST(:paid AS text[]))
        GROUP BY o.member_id
    ), seen_of AS MATERIALIZED (
        SELECT a.id, a.shown_before AS from_rank, GREATEST(a.own, a.manual_rank) AS to_rank,
               COALESCE(y.spend, 0) AS spend, m.enrolled_at IS NOT NULL AND m.erased_at IS NULL AS enrolled,
               m.birthday IS NOT NULL AS has_birthday,
               CASE WHEN f.falls_at <= :horizon THEN f.falls_at END AS falls_at,
               GREATEST(f.falls_to, CASE WHEN a.manual_until IS NULL OR a.manual_until > f.falls_at
                                         THEN a.manual_rank ELSE 0 END) AS falls_to,
               COALESCE(t.falls_at <= :horizon, false) AS falls_anyway
        FROM after a JOIN member m ON m.id = a.id LEFT JOIN falling f ON f.id = a.id
             LEFT JOIN yearly y ON y.member_id = a.id LEFT JOIN member_tier t ON t.member_id = a.id
    ), told AS (
        SELECT id, from_rank, to_rank, spend, enrolled, has_birthday, falls_anyway,
               CASE WHEN falls_to < to_rank THEN falls_at END AS falls_at,
               CASE WHEN falls_to < to_rank AND falls_at IS NOT NULL THEN falls_to END AS falls_to
        FROM seen_of
    ), written AS (
        INSERT INTO tier_draft_member (draft_id, member_id, from_rank, to_rank, spend, falls_at, falls_to, falls_anyway)
        SELECT :draft, id, from_rank, to_rank, spend, falls_at, falls_to, falls_anyway FROM told
        WHERE to_rank <> from_rank OR falls_at IS NOT NULL
        ON CONFLICT (draft_id, member_id) DO NOTHING
    )
    SELECT 'cell' AS kind, from_rank AS a, to_rank AS b, '' AS month, count(*) AS people, sum(spend) AS spend,
           count(*) FILTER (WHERE enrolled) AS enrolled, count(*) FILTER (WHERE enrolled AND has_birthday) AS birthdays
    FROM told GROUP BY from_rank, to_rank
    UNION ALL
    SELECT 'fall', to_rank, falls_to, to_char(falls_at AT TIME ZONE :zone, 'YYYY-MM'), count(*), 0,
           count(*) FILTER (WHERE falls_anyway), 0
    FROM told WHERE falls_at IS NOT NULL GROUP BY 1, 2, 3, 4
    """
)


def start_simulation(draft_id: int) -> TierDraft:
    """Begin to judge everybody by a draft; a simulation that was there is thrown away. Refuses with `NotFound`."""
    from ..jobs import simulate

    compared = ensure_policy()
    draft = get_draft(draft_id, lock=True)
    forget_simulation(draft)
    now = clock.now()
    draft.state, draft.compared_id, draft.started_at, draft.worked_at = (
        SimulationState.RUNNING, compared.id, now, now,
    )  # fmt: skip
    draft.total = (
        db.session.scalar(select(func.count()).select_from(Member).where(Member.merged_into_id.is_(None))) or 0
    )
    db.session.flush()
    simulate.later(draft_id=draft.id, run=draft.run)
    return draft


def simulate_slice(draft_id: int, run: int) -> bool:
    """Judge the next so many members by a draft; returns whether the work goes on.

    The counts and the place reached are written with the members' rows, so that a worker that dies repeats nothing.
    """
    draft = db.session.get(TierDraft, draft_id, with_for_update=True, populate_existing=True)
    if draft is None or draft.run != run or draft.state != SimulationState.RUNNING or draft.started_at is None:
        return False
    ids = chunk_after(draft.cursor)
    if not ids:
        _finish(draft)
        return False
    values = values_of(policy_of(draft), ids, draft.started_at) | {
        "draft": draft.id,
        "year_from": draft.started_at - timedelta(days=YEAR_DAYS),
        "horizon": draft.started_at + timedelta(days=YEAR_DAYS),
        "paid": [state.value for state in PAID_STATES],
    }
    cells, falls = dict(draft.result.get("cells", {})), dict(draft.result.get("falls", {}))
    for row in db.session.execute(_SLICE, values):
        place, key = (cells, f"{row.a}:{row.b}") if row.kind == "cell" else (falls, f"{row.month}:{row.a}:{row.b}")
        counted = [int(row.people), int(row.spend), int(row.enrolled), int(row.birthdays)]
        place[key] = [one + more for one, more in zip(place.get(key, [0, 0, 0, 0]), counted, strict=True)]
    draft.result = {"cells": cells, "falls": falls}
    draft.cursor, draft.done, draft.worked_at = ids[-1], draft.done + len(ids), clock.now()
    db.session.flush()
    return True


def _finish(draft: TierDraft) -> None:
    """Count who would be given an entry benefit that they never had, level by level, and call it done."""
    entries: dict[str, list[int]] = {}
    for level in policy_of(draft).levels:
        entering = (
            select(TierDraftMember.member_id)
            .join(Member, Member.id == TierDraftMember.member_id)
            .where(
                TierDraftMember.draft_id == draft.id,
                TierDraftMember.from_rank < level.rank,
                TierDraftMember.to_rank >= level.rank,
                Member.enrolled_at.is_not(None),
                Member.erased_at.is_(None),
            )
        )
        entries[str(level.rank)] = [
            db.session.scalar(select(func.count()).select_from(entering.subquery())) or 0,
            sum(queries.given_before.call("entry_gift", level.rank, entering)),
            sum(queries.given_before.call("entry_coupon", level.rank, entering)),
        ]
    draft.result = draft.result | {"entries": entries}
    draft.state, draft.finished_at = SimulationState.DONE, clock.now()
    db.session.flush()


def rested(now: datetime) -> list[tuple[int, int]]:
    """(draft, run) of simulations that nobody has got on with, marked as taken up."""
    stale = select(TierDraft.id, TierDraft.run).where(
        TierDraft.state == SimulationState.RUNNING, TierDraft.worked_at <= now - RESTED
    )
    taken = []
    for draft_id, run in db.session.execute(stale).all():
        mark = update(TierDraft).where(
            TierDraft.id == draft_id, TierDraft.run == run, TierDraft.worked_at <= now - RESTED
        )
        if changed(db.session.execute(mark.values(worked_at=now))) == 1:
            taken.append((draft_id, run))
    return taken
