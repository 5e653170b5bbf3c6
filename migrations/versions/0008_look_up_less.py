"""Look up less for each coupon, and let nothing be deleted that is pointed at

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# What a foreign key held, by the name of its constraint: (table, column, the table pointed at).
KEYS = [
    ("coupon", "offer_id", "offer"),
    ("coupon", "version_id", "offer_version"),
    ("coupon", "member_id", "member"),
    ("coupon_event", "coupon_id", "coupon"),
]
# Columns that lost theirs before, and with these are guarded from the other side: (table, column, the table pointed at).
BARE = [
    ("member_tier", "policy_id", "tier_policy"),
    ("order", "member_id", "member"),
    ("order", "run_id", "import_run"),
    ("order_line", "order_id", "order"),
    ("order_line", "product_id", "product"),
    ("tier_change", "policy_id", "tier_policy"),
]
# Tables from which nothing is ever deleted: no look is needed, and no index for it.
KEPT = {"offer_version", "tier_policy"}

REFUSE = """
CREATE FUNCTION refuse_if_pointed_at() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE pointed boolean := true;
BEGIN
    IF TG_NARGS = 2 THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I WHERE %I = $1)', TG_TABLE_SCHEMA, TG_ARGV[0], TG_ARGV[1])
        INTO pointed USING OLD.id;
    END IF;
    IF pointed THEN
        RAISE EXCEPTION 'row % of "%" may not be deleted: "%.%" points at it', OLD.id, TG_TABLE_NAME, TG_ARGV[0], TG_ARGV[1]
        USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    for table, column, _parent in KEYS:
        op.drop_constraint(op.f(f"fk_{table}_{column}"), table, type_="foreignkey")
    op.execute(REFUSE)
    for table, column, parent in KEYS + BARE:
        words = f"'{table}', '{column}'" + (", 'always'" if parent in KEPT else "")
        op.execute(
            f'CREATE TRIGGER kept_for_{table}_{column} AFTER DELETE ON "{parent}" '
            f"FOR EACH ROW EXECUTE FUNCTION refuse_if_pointed_at({words})"
        )
    op.drop_index("ix_coupon_member", table_name="coupon")
    op.drop_constraint(op.f("uq_coupon_offer_id_member_id_ordinal"), "coupon", type_="unique")
    op.create_unique_constraint(
        op.f("uq_coupon_member_id_offer_id_ordinal"), "coupon", ["member_id", "offer_id", "ordinal"]
    )
    op.drop_index(op.f("ix_coupon_event_coupon_id"), table_name="coupon_event")
    op.drop_constraint(op.f("pk_coupon_event"), "coupon_event", type_="primary")
    op.create_primary_key(op.f("pk_coupon_event"), "coupon_event", ["coupon_id", "id"])


def downgrade() -> None:
    op.drop_constraint(op.f("pk_coupon_event"), "coupon_event", type_="primary")
    op.create_primary_key(op.f("pk_coupon_event"), "coupon_event", ["id"])
    op.create_index(op.f("ix_coupon_event_coupon_id"), "coupon_event", ["coupon_id"], unique=False)
    op.drop_constraint(op.f("uq_coupon_member_id_offer_id_ordinal"), "coupon", type_="unique")
    op.create_unique_constraint(
        op.f("uq_coupon_offer_id_member_id_ordinal"), "coupon", ["offer_id", "member_id", "ordinal"]
    )
    op.execute("CREATE INDEX ix_coupon_member ON coupon (member_id, id DESC)")
    op.execute("DROP FUNCTION refuse_if_pointed_at() CASCADE")
    for table, column, parent in KEYS:
        op.create_foreign_key(op.f(f"fk_{table}_{column}"), table, parent, [column], ["id"])
