"""News that says only how far an order has come, before or after the order itself: the end is the same.

The order's own row says what its newest whole report said; the newest piece of news later than that is laid over it. All news is
kept, so that a whole report that comes late, and is older than some of it, is followed by what came after.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text

from kernel.db import db

from .. import rules
from ..formats.drafts import StepDraft

_KEEP = text(
    """
    INSERT INTO order_step (source, order_external_id, state, at)
    SELECT :source, number, state, at
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS t (number text, state text, at timestamptz)
    ORDER BY number COLLATE "C", at, state
    ON CONFLICT (source, order_external_id, state, at) DO NOTHING
    RETURNING order_external_id, state, at
    """
)
# Of two pieces of news of the same instant the one further on counts; the order of the states is that of `rules.STEP`.
_LAY_OVER = text(
    """
    WITH news AS (
        SELECT o.id,
               (array_agg(s.state ORDER BY s.at DESC, array_position(CAST(:steps AS text[]), s.state::text) DESC))[1] AS state,
               max(s.at) FILTER (WHERE s.state = 'shipped') AS shipped_at,
               max(s.at) FILTER (WHERE s.state = 'delivered') AS delivered_at,
               max(s.at) FILTER (WHERE s.state = 'completed') AS completed_at,
               max(s.at) FILTER (WHERE s.state IN ('closed', 'refused')) AS closed_at
        FROM order_step s
        JOIN "order" o ON o.source = s.source AND o.external_id = s.order_external_id AND o.version_at < s.at
        WHERE s.source = :source AND s.order_external_id = ANY(CAST(:numbers AS text[]))
        GROUP BY o.id
    )
    UPDATE "order" o SET
        state = news.state,
        shipped_at = COALESCE(news.shipped_at, o.shipped_at),
        delivered_at = COALESCE(news.delivered_at, o.delivered_at),
        completed_at = COALESCE(news.completed_at, o.completed_at),
        closed_at = COALESCE(news.closed_at, o.closed_at),
        paid_at = CASE WHEN o.payment = 'on_delivery' AND news.state IN ('delivered', 'completed')
                       THEN COALESCE(o.paid_at, news.delivered_at, news.completed_at) ELSE o.paid_at END
    FROM news
    WHERE news.id = o.id
      AND (o.state, o.shipped_at, o.delivered_at, o.completed_at, o.closed_at) IS DISTINCT FROM
          (news.state, COALESCE(news.shipped_at, o.shipped_at), COALESCE(news.delivered_at, o.delivered_at),
           COALESCE(news.completed_at, o.completed_at), COALESCE(news.closed_at, o.closed_at))
    RETURNING o.id
    """
)
_ANY = text("SELECT EXISTS (SELECT FROM order_step WHERE source = :source)")


def take_in(source: str, reports: Sequence[Any], outcomes: list[str], written: Mapping[str, int]) -> set[int]:
    """Keep the news among the reports, and lay what is newest over the orders concerned and over those just `written`
    (number → id). Fills in `outcomes`; returns the ids of the orders that changed by it."""
    first: dict[tuple[str, str, Any], int] = {}
    for place, one in enumerate(reports):
        if isinstance(one, StepDraft):
            first.setdefault((one.external_id, one.state.value, one.at), place)
    numbers = {number for number, _state, _at in first}
    if first:
        rows = [{"number": number, "state": state, "at": at.isoformat()} for number, state, at in first]
        for row in db.session.execute(_KEEP, {"source": source, "rows": json.dumps(rows)}):
            outcomes[first[row.order_external_id, row.state, row.at]] = "new"
    elif not written or not db.session.scalar(_ANY, {"source": source}):
        return set()
    wanted = sorted(numbers | written.keys())
    return set(db.session.scalars(_LAY_OVER, {"source": source, "numbers": wanted, "steps": list(rules.STEP)}))
