"""Hand on what the buyers of a file still wait for

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Whoever followed a file as a whole follows its buyers in slices now, of which another subscriber tells. What was still to be
# delivered to them, or was given up, would fail each time: they are gone, or are handed another event.
FORMER = [
    "campaigns.forecasts.subscribers.slice_import",
    "campaigns.journeys.subscribers.leave_after_an_import",
    "membership.members.subscribers.reassess_everybody",
    "membership.members.subscribers.revalue_buyers",
    "membership.orders.subscribers.reassess_stages_of_run",
]
PRESENT = ["membership.orders.subscribers.tell_of_buyers"]

# What they do is the same when it is done again.
HAND_ON = sa.text(
    """
    WITH handed AS (
        DELETE FROM event_delivery d USING event e
        WHERE e.id = d.event_id AND e.name = 'OrdersImported' AND d.delivered_at IS NULL
          AND d.subscriber = ANY(CAST(:old AS text[]))
        RETURNING d.event_id
    )
    INSERT INTO event_delivery (event_id, subscriber, due_at, attempts)
    SELECT DISTINCT handed.event_id, new.subscriber, now(), 0
    FROM handed, unnest(CAST(:new AS text[])) AS new (subscriber)
    ON CONFLICT DO NOTHING
    """
)


def upgrade() -> None:
    op.get_bind().execute(HAND_ON, {"old": FORMER, "new": PRESENT})


def downgrade() -> None:
    op.get_bind().execute(HAND_ON, {"old": PRESENT, "new": FORMER})
