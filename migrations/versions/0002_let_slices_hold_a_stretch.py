"""Let a slice name the stretch of members whose deliveries it holds, and drop the index that this makes needless.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("push_slice", sa.Column("from_member", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("push_slice", sa.Column("to_member", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE push_slice SET from_member = held.first, to_member = held.last FROM ("
        " SELECT run_id, slice_number, min(member_id) AS first, max(member_id) AS last FROM delivery GROUP BY run_id, slice_number"
        ") held WHERE held.run_id = push_slice.run_id AND held.slice_number = push_slice.number"
    )
    op.alter_column("push_slice", "from_member", server_default=None)
    op.alter_column("push_slice", "to_member", server_default=None)
    op.drop_index("ix_push_slice_leased", table_name="push_slice")
    op.create_index("ix_push_slice_leased", "push_slice", ["run_id"], postgresql_where=sa.text("state = 'leased'"))
    op.drop_index("ix_delivery_slice", table_name="delivery")
    op.execute("ALTER TABLE delivery SET (fillfactor = 50)")


def downgrade() -> None:
    op.execute("ALTER TABLE delivery SET (fillfactor = 70)")
    op.create_index("ix_delivery_slice", "delivery", ["run_id", "slice_number"])
    op.drop_index("ix_push_slice_leased", table_name="push_slice")
    op.create_index(
        "ix_push_slice_leased", "push_slice", ["leased_until"], postgresql_where=sa.text("state = 'leased'")
    )
    op.drop_column("push_slice", "to_member")
    op.drop_column("push_slice", "from_member")
