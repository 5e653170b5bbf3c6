"""Lay the tables of every room.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_key_token_hash")),
    )
    op.create_table(
        "audience",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("definition", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audience")),
    )
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=True),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entry")),
    )
    op.create_index(
        "ix_audit_entry_object", "audit_entry", ["object_kind", "object_id", sa.literal_column("id DESC")], unique=False
    )
    op.create_index("ix_audit_entry_staff", "audit_entry", ["staff_id", sa.literal_column("id DESC")], unique=False)
    op.create_table(
        "channel_account",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("inbox", "email", "webhook", name="channelkind", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.Column("rate_per_second", sa.BigInteger(), nullable=True),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("tokens_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("errors_in_row", sa.BigInteger(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_error_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column("tested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tested_to", sa.Text(), nullable=True),
        sa.Column("test_outcome", sa.Text(), nullable=True),
        sa.Column("test_passed", sa.Boolean(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("rate_per_second > 0", name=op.f("ck_channel_account_rate")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channel_account")),
    )
    op.create_index(
        "uq_channel_account_inbox", "channel_account", ["kind"], unique=True, postgresql_where=sa.text("kind = 'inbox'")
    )
    op.create_table(
        "contact_ledger",
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month_on", sa.Date(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("day_on", sa.Date(), nullable=False),
        sa.Column("day_total", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "total >= 0 AND day_total >= 0 AND day_total <= total", name=op.f("ck_contact_ledger_counts")
        ),
        sa.PrimaryKeyConstraint("member_id", "month_on", name=op.f("pk_contact_ledger")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("slice_number", sa.BigInteger(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "ready",
                "claimed",
                "submitting",
                "accepted",
                "suppressed",
                "capped",
                "control",
                "failed",
                "cancelled",
                "expired",
                "render_failed",
                "unknown",
                name="deliverystate",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("contacted_on", sa.Date(), nullable=True),
        sa.Column("coupon_id", sa.BigInteger(), nullable=True),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("clicked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("run_id", "member_id", name=op.f("uq_delivery_run_id_member_id")),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index("ix_delivery_member", "delivery", ["member_id", sa.literal_column("id DESC")], unique=False)
    op.create_index("ix_delivery_slice", "delivery", ["run_id", "slice_number"], unique=False)
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=True),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    op.create_index("ix_event_name", "event", ["name", "id"], unique=False)
    op.create_index(
        "ix_event_timeline",
        "event",
        ["member_id", sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("member_id IS NOT NULL"),
    )
    op.create_table(
        "gift",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("physical", "digital", "red_packet", name="giftkind", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("picture", sa.Text(), nullable=True),
        sa.Column("stock", sa.BigInteger(), nullable=True),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("claim_days", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gift")),
    )
    op.create_table(
        "idempotency_record",
        sa.Column("api_key_id", sa.BigInteger(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("api_key_id", "route", "key", name=op.f("pk_idempotency_record")),
    )
    op.create_index(op.f("ix_idempotency_record_created_at"), "idempotency_record", ["created_at"], unique=False)
    op.create_table(
        "import_run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("file_key", sa.Text(), nullable=False),
        sa.Column("encoding", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("waiting", "running", "done", "failed", name="runstate", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("failure", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("rows_total", sa.BigInteger(), nullable=False),
        sa.Column("rows_in", sa.BigInteger(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("duplicate", sa.BigInteger(), nullable=False),
        sa.Column("rejected", sa.BigInteger(), nullable=False),
        sa.Column("orders_new", sa.BigInteger(), nullable=False),
        sa.Column("orders_changed", sa.BigInteger(), nullable=False),
        sa.Column("members_new", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("staff_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_run")),
    )
    op.create_index(
        "ix_import_run_running",
        "import_run",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "limit_counter",
        sa.Column("limit_name", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("window_name", sa.Text(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("used >= 0", name=op.f("ck_limit_counter_used")),
        sa.PrimaryKeyConstraint("limit_name", "subject", "window_name", name=op.f("pk_limit_counter")),
    )
    op.create_table(
        "member",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("nickname", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("birthday", sa.Date(), nullable=True),
        sa.Column(
            "customer_type",
            sa.Enum(
                "rational",
                "irritable",
                "haggler",
                "pressing",
                "no_sayer",
                name="customertype",
                native_enum=False,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("hobbies", sa.Text(), nullable=False),
        sa.Column("city", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column(
            "stage",
            sa.Enum(
                "lead", "customer", "member", "active", "dormant", "lost", name="stage", native_enum=False, length=32
            ),
            nullable=False,
        ),
        sa.Column("stage_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("enrolled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("orders_count", sa.BigInteger(), nullable=False),
        sa.Column("spend", sa.BigInteger(), nullable=False),
        sa.Column("first_order_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_order_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("merged_into_id", sa.BigInteger(), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("rank BETWEEN 0 AND 4", name=op.f("ck_member_rank")),
        sa.ForeignKeyConstraint(["merged_into_id"], ["member.id"], name=op.f("fk_member_merged_into_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_member")),
        sa.UniqueConstraint("email", name=op.f("uq_member_email")),
        sa.UniqueConstraint("phone", name=op.f("uq_member_phone")),
    )
    op.create_index(
        "ix_member_last_order",
        "member",
        [
            sa.literal_column("COALESCE(last_order_at, '1970-01-01 00:00:00+00'::timestamp with time zone) DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
    )
    op.create_index(
        "ix_member_list",
        "member",
        [sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("merged_into_id IS NULL"),
    )
    op.create_index(
        "ix_member_phone_tail", "member", [sa.literal_column("reverse(phone) text_pattern_ops")], unique=False
    )
    op.create_index(
        "ix_member_rank",
        "member",
        ["rank", sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("merged_into_id IS NULL"),
    )
    op.create_index("ix_member_source", "member", ["source"], unique=False)
    op.create_index(
        "ix_member_spend",
        "member",
        [sa.literal_column("spend DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("merged_into_id IS NULL"),
    )
    op.create_table(
        "notice",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice")),
    )
    op.create_index(op.f("ix_notice_member_id"), "notice", ["member_id"], unique=False)
    op.create_table(
        "offer",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("draft", "active", "paused", "ended", name="offerstate", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("version_id", sa.BigInteger(), nullable=True),
        sa.Column("stock", sa.BigInteger(), nullable=True),
        sa.Column("claimed", sa.BigInteger(), nullable=False),
        sa.Column("per_member", sa.BigInteger(), nullable=True),
        sa.Column("per_day", sa.BigInteger(), nullable=True),
        sa.Column("claimed_on", sa.Date(), nullable=True),
        sa.Column("claimed_today", sa.BigInteger(), nullable=False),
        sa.Column("claim_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claim_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("open_to_new", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("claimed >= 0 AND (stock IS NULL OR claimed <= stock)", name=op.f("ck_offer_stock")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_offer")),
    )
    op.create_table(
        "opt_out",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("address_hash", sa.Text(), nullable=False),
        sa.Column(
            "channel",
            sa.Enum("inbox", "email", "sms", "call", name="contact", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opt_out")),
        sa.UniqueConstraint("address_hash", "channel", name=op.f("uq_opt_out_address_hash_channel")),
    )
    op.create_table(
        "product",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("list_price", sa.BigInteger(), nullable=True),
        sa.Column("cost", sa.BigInteger(), nullable=True),
        sa.Column("days_of_use", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product")),
        sa.UniqueConstraint("source", "sku", name=op.f("uq_product_source_sku")),
    )
    op.create_table(
        "script",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column(
            "reason",
            sa.Enum(
                "delivered",
                "refused_parcel",
                "wrong_address",
                "follow_up",
                name="callreason",
                native_enum=False,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column(
            "customer_type",
            sa.Enum(
                "rational",
                "irritable",
                "haggler",
                "pressing",
                "no_sayer",
                name="customertype",
                native_enum=False,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("voice", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_script")),
    )
    op.create_table(
        "shop_setting",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_shop_setting")),
    )
    op.create_table(
        "sign_in_code",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=True),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_code")),
        sa.UniqueConstraint("nonce", name=op.f("uq_sign_in_code_nonce")),
    )
    op.create_table(
        "sign_in_try",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_try")),
    )
    op.create_index("ix_sign_in_try_account", "sign_in_try", ["account", "at"], unique=False)
    op.create_table(
        "staff",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "owner",
                "manager",
                "marketer",
                "service",
                "assistant",
                "viewer",
                name="role",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff")),
    )
    op.create_index("uq_staff_email_lower", "staff", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "tag",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tag")),
        sa.UniqueConstraint("name", name=op.f("uq_tag_name")),
    )
    op.create_table(
        "tier_policy",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column(
            "metric",
            sa.Enum("any", "all", "spend", "orders", name="metric", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column(
            "window",
            sa.Enum("lifetime", "rolling", "calendar", name="window", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("rolling_days", sa.BigInteger(), nullable=True),
        sa.Column("valid_days", sa.BigInteger(), nullable=False),
        sa.Column("grace_days", sa.BigInteger(), nullable=False),
        sa.Column(
            "downgrade",
            sa.Enum("none", "one_level", "reassess", name="downgrade", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column(
            "refund_effect",
            sa.Enum("immediate", "at_review", name="refundeffect", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("levels", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tier_policy")),
    )
    op.create_table(
        "visitor_session",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("identified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_visitor_session")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_visitor_session_token_hash")),
    )
    op.create_index(op.f("ix_visitor_session_member_id"), "visitor_session", ["member_id"], unique=False)
    op.create_table(
        "claim_link",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("offer_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["offer_id"], ["offer.id"], name=op.f("fk_claim_link_offer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claim_link")),
        sa.UniqueConstraint("token", name=op.f("uq_claim_link_token")),
    )
    op.create_index(op.f("ix_claim_link_offer_id"), "claim_link", ["offer_id"], unique=False)
    op.create_table(
        "click",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_click_delivery_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_click")),
    )
    op.create_index("ix_click_delivery", "click", ["delivery_id", sa.literal_column("id DESC")], unique=False)
    op.create_index("ix_click_member", "click", ["member_id", sa.literal_column("at DESC")], unique=False)
    op.create_index("ix_click_run", "click", ["run_id"], unique=False)
    op.create_table(
        "consent",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "channel",
            sa.Enum("inbox", "email", "sms", "call", name="contact", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column(
            "purpose", sa.Enum("marketing", "service", name="purpose", native_enum=False, length=32), nullable=False
        ),
        sa.Column("granted", sa.Boolean(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("text_version", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_consent_member_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent")),
    )
    op.create_index(
        "ix_consent_latest", "consent", ["member_id", "channel", "purpose", sa.literal_column("id DESC")], unique=False
    )
    op.create_table(
        "event_delivery",
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("subscriber", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dead_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["event_id"], ["event.id"], name=op.f("fk_event_delivery_event_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_id", "subscriber", name=op.f("pk_event_delivery")),
    )
    op.create_index(
        "ix_event_delivery_due",
        "event_delivery",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("delivered_at IS NULL AND dead_at IS NULL"),
    )
    op.create_table(
        "feed_entry",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("cancellation", "book_keeping", name="entrykind", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("buyer", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["import_run.id"], name=op.f("fk_feed_entry_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_entry")),
        sa.UniqueConstraint("source", "external_id", name=op.f("uq_feed_entry_source_external_id")),
    )
    op.create_table(
        "gift_claim",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("gift_id", sa.BigInteger(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "offered",
                "claimed",
                "address_pending",
                "queued",
                "shipped",
                "delivered",
                "forfeited",
                "cancelled",
                "failed",
                "returned",
                name="giftstate",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("benefit", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=True),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column("tracking_number", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("offered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claim_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("shipped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("benefit <> ''", name=op.f("ck_gift_claim_benefit")),
        sa.ForeignKeyConstraint(["gift_id"], ["gift.id"], name=op.f("fk_gift_claim_gift_id")),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_gift_claim_member_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gift_claim")),
        sa.UniqueConstraint("member_id", "benefit", "period", name=op.f("uq_gift_claim_member_id_benefit_period")),
    )
    op.create_index(
        "ix_gift_claim_deadline",
        "gift_claim",
        ["claim_until"],
        unique=False,
        postgresql_where=sa.text("state IN ('offered', 'address_pending')"),
    )
    op.create_index("ix_gift_claim_gift", "gift_claim", ["gift_id", sa.literal_column("id DESC")], unique=False)
    op.create_index("ix_gift_claim_member", "gift_claim", ["member_id", sa.literal_column("id DESC")], unique=False)
    op.create_index("ix_gift_claim_open", "gift_claim", ["state", sa.literal_column("id DESC")], unique=False)
    op.create_table(
        "group",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "flash", "live", "vip", "regular", "member", "interest", name="groupkind", native_enum=False, length=32
            ),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum(
                "draft",
                "warm_up",
                "open",
                "paused",
                "closed",
                "archived",
                name="groupstate",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("intro", sa.Text(), nullable=False),
        sa.Column("announcement", sa.Text(), nullable=False),
        sa.Column("cover", sa.Text(), nullable=True),
        sa.Column("capacity", sa.BigInteger(), nullable=False),
        sa.Column("seats_each", sa.BigInteger(), nullable=False),
        sa.Column("seated", sa.BigInteger(), nullable=False),
        sa.Column("queued", sa.BigInteger(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.Column("active_week", sa.BigInteger(), nullable=False),
        sa.Column("hold_minutes", sa.BigInteger(), nullable=False),
        sa.Column("invite_hours", sa.BigInteger(), nullable=False),
        sa.Column("opens_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("join_rule", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("open_to_new", sa.Boolean(), nullable=False),
        sa.Column("welcome_gift_id", sa.BigInteger(), nullable=True),
        sa.Column("welcome_post", sa.Text(), nullable=False),
        sa.Column("successor_id", sa.BigInteger(), nullable=True),
        sa.Column("owner_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("capacity > 0 AND seats_each > 0", name=op.f("ck_group_sizes")),
        sa.CheckConstraint("closes_at > opens_at", name=op.f("ck_group_times")),
        sa.CheckConstraint("queued >= 0 AND last_number >= 0", name=op.f("ck_group_queued")),
        sa.CheckConstraint("seated >= 0 AND seated <= capacity", name=op.f("ck_group_seated")),
        sa.CheckConstraint("successor_id <> id", name=op.f("ck_group_successor")),
        sa.ForeignKeyConstraint(["owner_id"], ["staff.id"], name=op.f("fk_group_owner_id")),
        sa.ForeignKeyConstraint(["successor_id"], ["group.id"], name=op.f("fk_group_successor_id")),
        sa.ForeignKeyConstraint(["welcome_gift_id"], ["gift.id"], name=op.f("fk_group_welcome_gift_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_group")),
        sa.UniqueConstraint("public_id", name=op.f("uq_group_public_id")),
    )
    op.create_index(
        "ix_group_clock",
        "group",
        ["state"],
        unique=False,
        postgresql_where=sa.text("state IN ('warm_up', 'open', 'paused')"),
    )
    op.create_table(
        "import_reject",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("column", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("row", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["import_run.id"], name=op.f("fk_import_reject_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_reject")),
    )
    op.create_index(op.f("ix_import_reject_run_id"), "import_reject", ["run_id"], unique=False)
    op.create_table(
        "inbox_message",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_inbox_message_member_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox_message")),
        sa.UniqueConstraint("key", name=op.f("uq_inbox_message_key")),
    )
    op.create_index(
        "ix_inbox_message_member", "inbox_message", ["member_id", sa.literal_column("id DESC")], unique=False
    )
    op.create_index(
        "ix_inbox_message_unread",
        "inbox_message",
        ["member_id"],
        unique=False,
        postgresql_where=sa.text("read_at IS NULL"),
    )
    op.create_table(
        "member_identity",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "channel",
            sa.Enum(
                "taobao",
                "tmall",
                "douyin",
                "shop",
                "counter",
                "wecom",
                "wechat",
                "phone",
                "email",
                name="channel",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_member_identity_member_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_member_identity")),
        sa.UniqueConstraint("channel", "external_id", name=op.f("uq_member_identity_channel_external_id")),
    )
    op.create_index(op.f("ix_member_identity_member_id"), "member_identity", ["member_id"], unique=False)
    op.create_table(
        "member_note",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=True),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_member_note_member_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_member_note")),
    )
    op.create_index(op.f("ix_member_note_member_id"), "member_note", ["member_id"], unique=False)
    op.create_table(
        "member_tag",
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("tag_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_member_tag_member_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tag_id"], ["tag.id"], name=op.f("fk_member_tag_tag_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("member_id", "tag_id", name=op.f("pk_member_tag")),
    )
    op.create_index(op.f("ix_member_tag_tag_id"), "member_tag", ["tag_id"], unique=False)
    op.create_table(
        "member_tier",
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("own_rank", sa.BigInteger(), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("backed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("spend", sa.BigInteger(), nullable=False),
        sa.Column("orders", sa.BigInteger(), nullable=False),
        sa.Column("manual_rank", sa.BigInteger(), nullable=True),
        sa.Column("manual_reason", sa.Text(), nullable=True),
        sa.Column("manual_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("policy_id", sa.BigInteger(), nullable=False),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id"], ["member.id"], name=op.f("fk_member_tier_member_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["policy_id"], ["tier_policy.id"], name=op.f("fk_member_tier_policy_id")),
        sa.PrimaryKeyConstraint("member_id", name=op.f("pk_member_tier")),
    )
    op.create_index(
        "ix_member_tier_due",
        "member_tier",
        ["valid_until"],
        unique=False,
        postgresql_where=sa.text("valid_until IS NOT NULL"),
    )
    op.create_index(
        "ix_member_tier_manual",
        "member_tier",
        ["manual_until"],
        unique=False,
        postgresql_where=sa.text("manual_until IS NOT NULL"),
    )
    op.create_table(
        "offer_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("offer_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "amount",
                "percent",
                "fixed_price",
                "gift_item",
                "free_shipping",
                name="couponkind",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("discount_cap", sa.BigInteger(), nullable=True),
        sa.Column("min_spend", sa.BigInteger(), nullable=False),
        sa.Column("skus", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("item_title", sa.Text(), nullable=False),
        sa.Column("usable_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("usable_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("valid_days", sa.BigInteger(), nullable=True),
        sa.Column("min_rank", sa.BigInteger(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=True),
        sa.Column("channels", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("stack_group", sa.Text(), nullable=False),
        sa.Column("exclusive", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["offer_id"], ["offer.id"], name=op.f("fk_offer_version_offer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_offer_version")),
        sa.UniqueConstraint("offer_id", "number", name=op.f("uq_offer_version_offer_id_number")),
    )
    op.create_index(op.f("ix_offer_version_offer_id"), "offer_version", ["offer_id"], unique=False)
    op.create_table(
        "order",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "placed",
                "paid",
                "shipped",
                "delivered",
                "completed",
                "closed",
                "refused",
                name="orderstate",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "payment", sa.Enum("online", "on_delivery", name="payment", native_enum=False, length=32), nullable=False
        ),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("shipped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paid_amount", sa.BigInteger(), nullable=False),
        sa.Column("postage", sa.BigInteger(), nullable=False),
        sa.Column("discount", sa.BigInteger(), nullable=False),
        sa.Column("reported_refund", sa.BigInteger(), nullable=False),
        sa.Column("refunded_amount", sa.BigInteger(), nullable=False),
        sa.Column("buyer", sa.Text(), nullable=True),
        sa.Column("version_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version_mark", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("paid_amount >= 0 AND postage >= 0 AND refunded_amount >= 0", name=op.f("ck_order_amounts")),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_order_member_id")),
        sa.ForeignKeyConstraint(["run_id"], ["import_run.id"], name=op.f("fk_order_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order")),
        sa.UniqueConstraint("source", "external_id", name=op.f("uq_order_source_external_id")),
    )
    op.create_index(
        "ix_order_buyer", "order", ["source", "buyer"], unique=False, postgresql_where=sa.text("buyer IS NOT NULL")
    )
    op.create_index(
        "ix_order_completed",
        "order",
        ["completed_at"],
        unique=False,
        postgresql_where=sa.text("completed_at IS NOT NULL"),
    )
    op.create_index(
        "ix_order_delivered",
        "order",
        ["delivered_at"],
        unique=False,
        postgresql_where=sa.text("delivered_at IS NOT NULL"),
    )
    op.create_index(
        "ix_order_expected", "order", ["delivered_at"], unique=False, postgresql_where=sa.text("state = 'shipped'")
    )
    op.create_index("ix_order_member", "order", ["member_id", sa.literal_column("placed_at DESC")], unique=False)
    op.create_index(
        "ix_order_number", "order", ["external_id"], unique=False, postgresql_ops={"external_id": "text_pattern_ops"}
    )
    op.create_index(
        "ix_order_placed", "order", [sa.literal_column("placed_at DESC"), sa.literal_column("id DESC")], unique=False
    )
    op.create_index("ix_order_run", "order", ["run_id"], unique=False)
    op.create_table(
        "post",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "tip",
                "mistake",
                "new_product",
                "promotion",
                "live",
                "short_video",
                "survey",
                "announcement",
                name="postkind",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("picture", sa.Text(), nullable=True),
        sa.Column("link_url", sa.Text(), nullable=False),
        sa.Column("link_label", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("draft", "scheduled", "published", "archived", name="poststate", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("publish_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["staff.id"], name=op.f("fk_post_author_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_post")),
    )
    op.create_index(
        "ix_post_due", "post", ["publish_at"], unique=False, postgresql_where=sa.text("state = 'scheduled'")
    )
    op.create_index(
        "ix_post_list", "post", [sa.literal_column("created_at DESC"), sa.literal_column("id DESC")], unique=False
    )
    op.create_table(
        "push",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "contact_class",
            sa.Enum("repurchase", "broadcast", name="contactclass", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("audience", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("link_url", sa.Text(), nullable=True),
        sa.Column("offer_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "coupon_mode", sa.Enum("link", "grant", name="couponmode", native_enum=False, length=32), nullable=False
        ),
        sa.Column("rate_per_second", sa.BigInteger(), nullable=True),
        sa.Column("stop_when_bought", sa.Boolean(), nullable=False),
        sa.Column("attribution_days", sa.BigInteger(), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("rate_per_second > 0", name=op.f("ck_push_rate")),
        sa.ForeignKeyConstraint(["account_id"], ["channel_account.id"], name=op.f("fk_push_account_id")),
        sa.ForeignKeyConstraint(["offer_id"], ["offer.id"], name=op.f("fk_push_offer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push")),
    )
    op.create_table(
        "staff_session",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_staff_session_staff_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff_session")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_staff_session_token_hash")),
    )
    op.create_index(op.f("ix_staff_session_staff_id"), "staff_session", ["staff_id"], unique=False)
    op.create_table(
        "tier_change",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("from_rank", sa.BigInteger(), nullable=False),
        sa.Column("to_rank", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("spend", sa.BigInteger(), nullable=False),
        sa.Column("orders", sa.BigInteger(), nullable=False),
        sa.Column("policy_id", sa.BigInteger(), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id"], ["member.id"], name=op.f("fk_tier_change_member_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["policy_id"], ["tier_policy.id"], name=op.f("fk_tier_change_policy_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tier_change")),
    )
    op.create_index("ix_tier_change_member", "tier_change", ["member_id", sa.literal_column("id DESC")], unique=False)
    op.create_table(
        "call_task",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "reason",
            sa.Enum(
                "delivered",
                "refused_parcel",
                "wrong_address",
                "follow_up",
                name="callreason",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "open", "retry", "reached", "refused", "unreachable", name="callstate", native_enum=False, length=32
            ),
            nullable=False,
        ),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("assignee_id", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("called_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome_note", sa.Text(), nullable=False),
        sa.Column("satisfaction", sa.BigInteger(), nullable=True),
        sa.Column("invited_group_id", sa.BigInteger(), nullable=True),
        sa.Column("invited_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("invited_by_id", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by_id", sa.BigInteger(), nullable=True),
        sa.Column("opened_by_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(closed_at IS NULL) = (state IN ('open', 'retry'))", name=op.f("ck_call_task_closed")),
        sa.CheckConstraint("satisfaction BETWEEN 1 AND 5", name=op.f("ck_call_task_satisfaction")),
        sa.ForeignKeyConstraint(["assignee_id"], ["staff.id"], name=op.f("fk_call_task_assignee_id")),
        sa.ForeignKeyConstraint(["invited_group_id"], ["group.id"], name=op.f("fk_call_task_invited_group_id")),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_call_task_member_id")),
        sa.ForeignKeyConstraint(["order_id"], ["order.id"], name=op.f("fk_call_task_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_call_task")),
    )
    op.create_index(
        "ix_call_task_closed",
        "call_task",
        [sa.literal_column("closed_at DESC")],
        unique=False,
        postgresql_where=sa.text("closed_at IS NOT NULL"),
    )
    op.create_index(
        "ix_call_task_due",
        "call_task",
        ["due_at", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('open', 'retry')"),
    )
    op.create_index("ix_call_task_member", "call_task", ["member_id", sa.literal_column("id DESC")], unique=False)
    op.create_index(
        "uq_call_task_live",
        "call_task",
        ["member_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('open', 'retry')"),
    )
    op.create_table(
        "coupon",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("offer_id", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "issued",
                "reserved",
                "redeemed",
                "expired",
                "revoked",
                "transferred",
                "frozen",
                name="couponstate",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("grant_key", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("usable_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("usable_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reserved_source", sa.Text(), nullable=True),
        sa.Column("reserved_order", sa.Text(), nullable=True),
        sa.Column("reserved_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("usable_from <= usable_until", name=op.f("ck_coupon_interval")),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_coupon_member_id")),
        sa.ForeignKeyConstraint(["offer_id"], ["offer.id"], name=op.f("fk_coupon_offer_id")),
        sa.ForeignKeyConstraint(["version_id"], ["offer_version.id"], name=op.f("fk_coupon_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coupon")),
        sa.UniqueConstraint("offer_id", "member_id", "ordinal", name=op.f("uq_coupon_offer_id_member_id_ordinal")),
    )
    op.create_index(
        "ix_coupon_expiring", "coupon", ["usable_until"], unique=False, postgresql_where=sa.text("state = 'issued'")
    )
    op.create_index("ix_coupon_issued", "coupon", ["issued_at"], unique=False, postgresql_using="brin")
    op.create_index("ix_coupon_member", "coupon", ["member_id", sa.literal_column("id DESC")], unique=False)
    op.create_index("ix_coupon_offer", "coupon", ["offer_id", sa.literal_column("id DESC")], unique=False)
    op.create_index(
        "ix_coupon_reserved", "coupon", ["reserved_until"], unique=False, postgresql_where=sa.text("state = 'reserved'")
    )
    op.create_index("uq_coupon_code_lower", "coupon", [sa.literal_column("lower(code)")], unique=True)
    op.create_index(
        "uq_coupon_grant_key", "coupon", ["grant_key"], unique=True, postgresql_where=sa.text("grant_key IS NOT NULL")
    )
    op.create_table(
        "join_link",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=True),
        sa.Column("opened", sa.BigInteger(), nullable=False),
        sa.Column("joined", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["group.id"], name=op.f("fk_join_link_group_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_join_link")),
        sa.UniqueConstraint("token", name=op.f("uq_join_link_token")),
    )
    op.create_index(op.f("ix_join_link_group_id"), "join_link", ["group_id"], unique=False)
    op.create_table(
        "live_session",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("watch_url", sa.Text(), nullable=False),
        sa.Column("replay_url", sa.Text(), nullable=False),
        sa.Column("reminded_day_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reminded_soon_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_live_session_times")),
        sa.ForeignKeyConstraint(["group_id"], ["group.id"], name=op.f("fk_live_session_group_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_session")),
    )
    op.create_index(op.f("ix_live_session_group_id"), "live_session", ["group_id"], unique=False)
    op.create_index("ix_live_session_next", "live_session", ["starts_at"], unique=False)
    op.create_table(
        "order_line",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("product_id", sa.BigInteger(), nullable=True),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("unit_price", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("refunded_quantity", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["order.id"], name=op.f("fk_order_line_order_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["product_id"], ["product.id"], name=op.f("fk_order_line_product_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_line")),
        sa.UniqueConstraint("order_id", "position", name=op.f("uq_order_line_order_id_position")),
    )
    op.create_index("ix_order_line_product", "order_line", ["product_id", "order_id"], unique=False)
    op.create_table(
        "post_group",
        sa.Column("post_id", sa.BigInteger(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("liked", sa.BigInteger(), nullable=False),
        sa.Column("clicked", sa.BigInteger(), nullable=False),
        sa.Column("commented", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["group.id"], name=op.f("fk_post_group_group_id")),
        sa.ForeignKeyConstraint(["post_id"], ["post.id"], name=op.f("fk_post_group_post_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("post_id", "group_id", name=op.f("pk_post_group")),
    )
    op.create_index(
        "ix_post_group_feed",
        "post_group",
        ["group_id", sa.literal_column("published_at DESC"), sa.literal_column("post_id DESC")],
        unique=False,
    )
    op.create_table(
        "push_run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("push_id", sa.BigInteger(), nullable=False),
        sa.Column("occurrence", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "draft",
                "scheduled",
                "materialising",
                "running",
                "paused",
                "completed",
                "cancelled",
                "expired",
                "failed",
                name="runstate",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("through_id", sa.BigInteger(), nullable=True),
        sa.Column("slices", sa.BigInteger(), nullable=False),
        sa.Column("planned", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("tokens_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("woken_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bought_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("tally", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(["push_id"], ["push.id"], name=op.f("fk_push_run_push_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_run")),
        sa.UniqueConstraint("push_id", "occurrence", name=op.f("uq_push_run_push_id_occurrence")),
    )
    op.create_index(
        "ix_push_run_due", "push_run", ["scheduled_at"], unique=False, postgresql_where=sa.text("state = 'scheduled'")
    )
    op.create_index(
        "ix_push_run_live",
        "push_run",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state IN ('materialising', 'running', 'paused')"),
    )
    op.create_table(
        "reaction",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("post_id", sa.BigInteger(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("seen", "liked", "clicked", name="reactionkind", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["group.id"], name=op.f("fk_reaction_group_id")),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_reaction_member_id")),
        sa.ForeignKeyConstraint(["post_id"], ["post.id"], name=op.f("fk_reaction_post_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reaction")),
        sa.UniqueConstraint(
            "post_id", "group_id", "member_id", "kind", name=op.f("uq_reaction_post_id_group_id_member_id_kind")
        ),
    )
    op.create_index("ix_reaction_member", "reaction", ["member_id"], unique=False)
    op.create_table(
        "returned_line",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("buyer", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("unit_price", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("unmatched", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["feed_entry.id"], name=op.f("fk_returned_line_entry_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_returned_line")),
        sa.UniqueConstraint("entry_id", "position", name=op.f("uq_returned_line_entry_id_position")),
    )
    op.create_index("ix_returned_line_buyer", "returned_line", ["source", "buyer", "sku"], unique=False)
    op.create_table(
        "sub_group",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seats", sa.BigInteger(), nullable=False),
        sa.Column("seated", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("seated >= 0 AND seated <= seats", name=op.f("ck_sub_group_seated")),
        sa.ForeignKeyConstraint(["group_id"], ["group.id"], name=op.f("fk_sub_group_group_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sub_group")),
        sa.UniqueConstraint("group_id", "number", name=op.f("uq_sub_group_group_id_number")),
    )
    op.create_table(
        "waiting",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("queued", "invited", "seated", "lapsed", name="waitingstate", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("invited_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("invited_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'invited') <= (invited_until IS NOT NULL)", name=op.f("ck_waiting_invited")),
        sa.CheckConstraint("(state IN ('queued', 'invited')) = (ended_at IS NULL)", name=op.f("ck_waiting_ended")),
        sa.ForeignKeyConstraint(["group_id"], ["group.id"], name=op.f("fk_waiting_group_id")),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_waiting_member_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waiting")),
        sa.UniqueConstraint("group_id", "number", name=op.f("uq_waiting_group_id_number")),
    )
    op.create_index("ix_waiting_member", "waiting", ["member_id"], unique=False)
    op.create_index(
        "ix_waiting_queue",
        "waiting",
        ["group_id", "number"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "uq_waiting_live",
        "waiting",
        ["group_id", "member_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('queued', 'invited')"),
    )
    op.create_table(
        "attribution",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Enum("direct", "influenced", name="kind", native_enum=False, length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["order.id"], name=op.f("fk_attribution_order_id")),
        sa.ForeignKeyConstraint(["run_id"], ["push_run.id"], name=op.f("fk_attribution_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attribution")),
        sa.UniqueConstraint("order_id", "kind", name=op.f("uq_attribution_order_id_kind")),
    )
    op.create_index("ix_attribution_run", "attribution", ["run_id", "kind"], unique=False)
    op.create_table(
        "call_task_order",
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "reason",
            sa.Enum(
                "delivered",
                "refused_parcel",
                "wrong_address",
                "follow_up",
                name="callreason",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["order.id"], name=op.f("fk_call_task_order_order_id")),
        sa.ForeignKeyConstraint(
            ["task_id"], ["call_task.id"], name=op.f("fk_call_task_order_task_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("order_id", "reason", name=op.f("pk_call_task_order")),
    )
    op.create_index(op.f("ix_call_task_order_task_id"), "call_task_order", ["task_id"], unique=False)
    op.create_table(
        "coupon_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("coupon_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "from_state",
            sa.Enum(
                "issued",
                "reserved",
                "redeemed",
                "expired",
                "revoked",
                "transferred",
                "frozen",
                name="couponstate",
                native_enum=False,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column(
            "to_state",
            sa.Enum(
                "issued",
                "reserved",
                "redeemed",
                "expired",
                "revoked",
                "transferred",
                "frozen",
                name="couponstate",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["coupon_id"], ["coupon.id"], name=op.f("fk_coupon_event_coupon_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coupon_event")),
    )
    op.create_index(op.f("ix_coupon_event_coupon_id"), "coupon_event", ["coupon_id"], unique=False)
    op.create_table(
        "push_slice",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("unsent", sa.BigInteger(), nullable=False),
        sa.Column("unknown", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('ready', 'leased', 'done')", name=op.f("ck_push_slice_state")),
        sa.CheckConstraint(
            "accepted >= 0 AND unsent >= 0 AND unknown >= 0 AND accepted + unsent + unknown <= total",
            name=op.f("ck_push_slice_counts"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["push_run.id"], name=op.f("fk_push_slice_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_slice")),
        sa.UniqueConstraint("run_id", "number", name=op.f("uq_push_slice_run_id_number")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(
        "ix_push_slice_leased",
        "push_slice",
        ["leased_until"],
        unique=False,
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_index(
        "ix_push_slice_open",
        "push_slice",
        ["run_id", "number"],
        unique=False,
        postgresql_where=sa.text("state <> 'done'"),
    )
    op.create_index(
        "ix_push_slice_unknown", "push_slice", ["run_id"], unique=False, postgresql_where=sa.text("unknown > 0")
    )
    op.create_table(
        "redemption",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("coupon_id", sa.BigInteger(), nullable=False),
        sa.Column("offer_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("order_external_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("discount", sa.BigInteger(), nullable=False),
        sa.Column("shares", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rolled_back_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rollback_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("discount >= 0", name=op.f("ck_redemption_discount")),
        sa.ForeignKeyConstraint(["coupon_id"], ["coupon.id"], name=op.f("fk_redemption_coupon_id")),
        sa.ForeignKeyConstraint(["offer_id"], ["offer.id"], name=op.f("fk_redemption_offer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_redemption")),
    )
    op.create_index(op.f("ix_redemption_offer_id"), "redemption", ["offer_id"], unique=False)
    op.create_index("ix_redemption_order", "redemption", ["source", "order_external_id"], unique=False)
    op.create_index(
        "uq_redemption_live",
        "redemption",
        ["coupon_id"],
        unique=True,
        postgresql_where=sa.text("rolled_back_at IS NULL"),
    )
    op.create_table(
        "refund",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("order_external_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("returned_line_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["order.id"], name=op.f("fk_refund_order_id")),
        sa.ForeignKeyConstraint(["returned_line_id"], ["returned_line.id"], name=op.f("fk_refund_returned_line_id")),
        sa.ForeignKeyConstraint(["run_id"], ["import_run.id"], name=op.f("fk_refund_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refund")),
        sa.UniqueConstraint("source", "external_id", name=op.f("uq_refund_source_external_id")),
    )
    op.create_index(op.f("ix_refund_order_id"), "refund", ["order_id"], unique=False)
    op.create_index(op.f("ix_refund_returned_line_id"), "refund", ["returned_line_id"], unique=False)
    op.create_index(
        "ix_refund_waiting",
        "refund",
        ["source", "order_external_id"],
        unique=False,
        postgresql_where=sa.text("order_id IS NULL"),
    )
    op.create_table(
        "seat",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("sub_group_id", sa.BigInteger(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "held", "taken", "left", "removed", "moved", "lapsed", name="seatstate", native_enum=False, length=32
            ),
            nullable=False,
        ),
        sa.Column(
            "role", sa.Enum("owner", "admin", "member", name="seatrole", native_enum=False, length=32), nullable=False
        ),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("inviter_id", sa.BigInteger(), nullable=True),
        sa.Column("staff_id", sa.BigInteger(), nullable=True),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=True),
        sa.Column("barred", sa.Boolean(), nullable=False),
        sa.Column("muted_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'held') <= (held_until IS NOT NULL)", name=op.f("ck_seat_held")),
        sa.CheckConstraint("(state = 'taken') <= (joined_at IS NOT NULL)", name=op.f("ck_seat_taken")),
        sa.CheckConstraint("(state IN ('held', 'taken')) = (ended_at IS NULL)", name=op.f("ck_seat_ended")),
        sa.ForeignKeyConstraint(["group_id"], ["group.id"], name=op.f("fk_seat_group_id")),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_seat_member_id")),
        sa.ForeignKeyConstraint(["sub_group_id"], ["sub_group.id"], name=op.f("fk_seat_sub_group_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_seat")),
    )
    op.create_index(
        "ix_seat_active", "seat", ["group_id", "seen_at"], unique=False, postgresql_where=sa.text("state = 'taken'")
    )
    op.create_index(
        "ix_seat_barred", "seat", ["group_id", "member_id"], unique=False, postgresql_where=sa.text("barred")
    )
    op.create_index(
        "ix_seat_hold", "seat", ["group_id", "held_until"], unique=False, postgresql_where=sa.text("state = 'held'")
    )
    op.create_index(
        "ix_seat_joined", "seat", ["joined_at"], unique=False, postgresql_where=sa.text("joined_at IS NOT NULL")
    )
    op.create_index("ix_seat_member", "seat", ["member_id", sa.literal_column("id DESC")], unique=False)
    op.create_index(
        "ix_seat_roster",
        "seat",
        ["group_id", sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'taken'"),
    )
    op.create_index(op.f("ix_seat_sub_group_id"), "seat", ["sub_group_id"], unique=False)
    op.create_index(
        "uq_seat_live",
        "seat",
        ["group_id", "member_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('held', 'taken')"),
    )


def downgrade() -> None:
    op.drop_index("uq_seat_live", table_name="seat", postgresql_where=sa.text("state IN ('held', 'taken')"))
    op.drop_index(op.f("ix_seat_sub_group_id"), table_name="seat")
    op.drop_index("ix_seat_roster", table_name="seat", postgresql_where=sa.text("state = 'taken'"))
    op.drop_index("ix_seat_member", table_name="seat")
    op.drop_index("ix_seat_joined", table_name="seat", postgresql_where=sa.text("joined_at IS NOT NULL"))
    op.drop_index("ix_seat_hold", table_name="seat", postgresql_where=sa.text("state = 'held'"))
    op.drop_index("ix_seat_barred", table_name="seat", postgresql_where=sa.text("barred"))
    op.drop_index("ix_seat_active", table_name="seat", postgresql_where=sa.text("state = 'taken'"))
    op.drop_table("seat")
    op.drop_index("ix_refund_waiting", table_name="refund", postgresql_where=sa.text("order_id IS NULL"))
    op.drop_index(op.f("ix_refund_returned_line_id"), table_name="refund")
    op.drop_index(op.f("ix_refund_order_id"), table_name="refund")
    op.drop_table("refund")
    op.drop_index("uq_redemption_live", table_name="redemption", postgresql_where=sa.text("rolled_back_at IS NULL"))
    op.drop_index("ix_redemption_order", table_name="redemption")
    op.drop_index(op.f("ix_redemption_offer_id"), table_name="redemption")
    op.drop_table("redemption")
    op.drop_index("ix_push_slice_unknown", table_name="push_slice", postgresql_where=sa.text("unknown > 0"))
    op.drop_index("ix_push_slice_open", table_name="push_slice", postgresql_where=sa.text("state <> 'done'"))
    op.drop_index("ix_push_slice_leased", table_name="push_slice", postgresql_where=sa.text("state = 'leased'"))
    op.drop_table("push_slice")
    op.drop_index(op.f("ix_coupon_event_coupon_id"), table_name="coupon_event")
    op.drop_table("coupon_event")
    op.drop_index(op.f("ix_call_task_order_task_id"), table_name="call_task_order")
    op.drop_table("call_task_order")
    op.drop_index("ix_attribution_run", table_name="attribution")
    op.drop_table("attribution")
    op.drop_index("uq_waiting_live", table_name="waiting", postgresql_where=sa.text("state IN ('queued', 'invited')"))
    op.drop_index("ix_waiting_queue", table_name="waiting", postgresql_where=sa.text("state = 'queued'"))
    op.drop_index("ix_waiting_member", table_name="waiting")
    op.drop_table("waiting")
    op.drop_table("sub_group")
    op.drop_index("ix_returned_line_buyer", table_name="returned_line")
    op.drop_table("returned_line")
    op.drop_index("ix_reaction_member", table_name="reaction")
    op.drop_table("reaction")
    op.drop_index(
        "ix_push_run_live",
        table_name="push_run",
        postgresql_where=sa.text("state IN ('materialising', 'running', 'paused')"),
    )
    op.drop_index("ix_push_run_due", table_name="push_run", postgresql_where=sa.text("state = 'scheduled'"))
    op.drop_table("push_run")
    op.drop_index("ix_post_group_feed", table_name="post_group")
    op.drop_table("post_group")
    op.drop_index("ix_order_line_product", table_name="order_line")
    op.drop_table("order_line")
    op.drop_index("ix_live_session_next", table_name="live_session")
    op.drop_index(op.f("ix_live_session_group_id"), table_name="live_session")
    op.drop_table("live_session")
    op.drop_index(op.f("ix_join_link_group_id"), table_name="join_link")
    op.drop_table("join_link")
    op.drop_index("uq_coupon_grant_key", table_name="coupon", postgresql_where=sa.text("grant_key IS NOT NULL"))
    op.drop_index("uq_coupon_code_lower", table_name="coupon")
    op.drop_index("ix_coupon_reserved", table_name="coupon", postgresql_where=sa.text("state = 'reserved'"))
    op.drop_index("ix_coupon_offer", table_name="coupon")
    op.drop_index("ix_coupon_member", table_name="coupon")
    op.drop_index("ix_coupon_issued", table_name="coupon", postgresql_using="brin")
    op.drop_index("ix_coupon_expiring", table_name="coupon", postgresql_where=sa.text("state = 'issued'"))
    op.drop_table("coupon")
    op.drop_index("uq_call_task_live", table_name="call_task", postgresql_where=sa.text("state IN ('open', 'retry')"))
    op.drop_index("ix_call_task_member", table_name="call_task")
    op.drop_index("ix_call_task_due", table_name="call_task", postgresql_where=sa.text("state IN ('open', 'retry')"))
    op.drop_index("ix_call_task_closed", table_name="call_task", postgresql_where=sa.text("closed_at IS NOT NULL"))
    op.drop_table("call_task")
    op.drop_index("ix_tier_change_member", table_name="tier_change")
    op.drop_table("tier_change")
    op.drop_index(op.f("ix_staff_session_staff_id"), table_name="staff_session")
    op.drop_table("staff_session")
    op.drop_table("push")
    op.drop_index("ix_post_list", table_name="post")
    op.drop_index("ix_post_due", table_name="post", postgresql_where=sa.text("state = 'scheduled'"))
    op.drop_table("post")
    op.drop_index("ix_order_run", table_name="order")
    op.drop_index("ix_order_placed", table_name="order")
    op.drop_index("ix_order_number", table_name="order", postgresql_ops={"external_id": "text_pattern_ops"})
    op.drop_index("ix_order_member", table_name="order")
    op.drop_index("ix_order_expected", table_name="order", postgresql_where=sa.text("state = 'shipped'"))
    op.drop_index("ix_order_delivered", table_name="order", postgresql_where=sa.text("delivered_at IS NOT NULL"))
    op.drop_index("ix_order_completed", table_name="order", postgresql_where=sa.text("completed_at IS NOT NULL"))
    op.drop_index("ix_order_buyer", table_name="order", postgresql_where=sa.text("buyer IS NOT NULL"))
    op.drop_table("order")
    op.drop_index(op.f("ix_offer_version_offer_id"), table_name="offer_version")
    op.drop_table("offer_version")
    op.drop_index(
        "ix_member_tier_manual", table_name="member_tier", postgresql_where=sa.text("manual_until IS NOT NULL")
    )
    op.drop_index("ix_member_tier_due", table_name="member_tier", postgresql_where=sa.text("valid_until IS NOT NULL"))
    op.drop_table("member_tier")
    op.drop_index(op.f("ix_member_tag_tag_id"), table_name="member_tag")
    op.drop_table("member_tag")
    op.drop_index(op.f("ix_member_note_member_id"), table_name="member_note")
    op.drop_table("member_note")
    op.drop_index(op.f("ix_member_identity_member_id"), table_name="member_identity")
    op.drop_table("member_identity")
    op.drop_index("ix_inbox_message_unread", table_name="inbox_message", postgresql_where=sa.text("read_at IS NULL"))
    op.drop_index("ix_inbox_message_member", table_name="inbox_message")
    op.drop_table("inbox_message")
    op.drop_index(op.f("ix_import_reject_run_id"), table_name="import_reject")
    op.drop_table("import_reject")
    op.drop_index(
        "ix_group_clock", table_name="group", postgresql_where=sa.text("state IN ('warm_up', 'open', 'paused')")
    )
    op.drop_table("group")
    op.drop_index("ix_gift_claim_open", table_name="gift_claim")
    op.drop_index("ix_gift_claim_member", table_name="gift_claim")
    op.drop_index("ix_gift_claim_gift", table_name="gift_claim")
    op.drop_index(
        "ix_gift_claim_deadline",
        table_name="gift_claim",
        postgresql_where=sa.text("state IN ('offered', 'address_pending')"),
    )
    op.drop_table("gift_claim")
    op.drop_table("feed_entry")
    op.drop_index(
        "ix_event_delivery_due",
        table_name="event_delivery",
        postgresql_where=sa.text("delivered_at IS NULL AND dead_at IS NULL"),
    )
    op.drop_table("event_delivery")
    op.drop_index("ix_consent_latest", table_name="consent")
    op.drop_table("consent")
    op.drop_index("ix_click_run", table_name="click")
    op.drop_index("ix_click_member", table_name="click")
    op.drop_index("ix_click_delivery", table_name="click")
    op.drop_table("click")
    op.drop_index(op.f("ix_claim_link_offer_id"), table_name="claim_link")
    op.drop_table("claim_link")
    op.drop_index(op.f("ix_visitor_session_member_id"), table_name="visitor_session")
    op.drop_table("visitor_session")
    op.drop_table("tier_policy")
    op.drop_table("tag")
    op.drop_index("uq_staff_email_lower", table_name="staff")
    op.drop_table("staff")
    op.drop_index("ix_sign_in_try_account", table_name="sign_in_try")
    op.drop_table("sign_in_try")
    op.drop_table("sign_in_code")
    op.drop_table("shop_setting")
    op.drop_table("script")
    op.drop_table("product")
    op.drop_table("opt_out")
    op.drop_table("offer")
    op.drop_index(op.f("ix_notice_member_id"), table_name="notice")
    op.drop_table("notice")
    op.drop_index("ix_member_spend", table_name="member", postgresql_where=sa.text("merged_into_id IS NULL"))
    op.drop_index("ix_member_source", table_name="member")
    op.drop_index("ix_member_rank", table_name="member", postgresql_where=sa.text("merged_into_id IS NULL"))
    op.drop_index("ix_member_phone_tail", table_name="member")
    op.drop_index("ix_member_list", table_name="member", postgresql_where=sa.text("merged_into_id IS NULL"))
    op.drop_index("ix_member_last_order", table_name="member")
    op.drop_table("member")
    op.drop_table("limit_counter")
    op.drop_index("ix_import_run_running", table_name="import_run", postgresql_where=sa.text("state = 'running'"))
    op.drop_table("import_run")
    op.drop_index(op.f("ix_idempotency_record_created_at"), table_name="idempotency_record")
    op.drop_table("idempotency_record")
    op.drop_table("gift")
    op.drop_index("ix_event_timeline", table_name="event", postgresql_where=sa.text("member_id IS NOT NULL"))
    op.drop_index("ix_event_name", table_name="event")
    op.drop_table("event")
    op.drop_index("ix_delivery_slice", table_name="delivery")
    op.drop_index("ix_delivery_member", table_name="delivery")
    op.drop_table("delivery")
    op.drop_table("contact_ledger")
    op.drop_index("uq_channel_account_inbox", table_name="channel_account", postgresql_where=sa.text("kind = 'inbox'"))
    op.drop_table("channel_account")
    op.drop_index("ix_audit_entry_staff", table_name="audit_entry")
    op.drop_index("ix_audit_entry_object", table_name="audit_entry")
    op.drop_table("audit_entry")
    op.drop_table("audience")
    op.drop_table("api_key")
