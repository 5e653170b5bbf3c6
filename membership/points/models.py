"""The ledger of points: accounts, transactions whose entries sum to zero, and lots with their expiry."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class Clawback(enum.StrEnum):
    """What is taken back when an order is refunded."""

    ONLY_PENDING = "only_pending"
    WITHIN_BALANCE = "within_balance"
    ALLOW_NEGATIVE = "allow_negative"


class Rounding(enum.StrEnum):
    """What becomes of a part of a point."""

    DOWN = "down"
    NEAREST = "nearest"
    UP = "up"


class Late(enum.StrEnum):
    """What becomes of points that are given back after they have expired."""

    LOST = "lost"
    REOPENED = "reopened"


class AccountKind(enum.StrEnum):
    """Whose account it is. Beside the members' there is one of each kind:

    `promotion` gives what members earn, `liability` takes what they spend (the shop has honoured it), `breakage` what
    expires and what erased members leave, `adjustment` stands against what staff give and take by hand.
    """

    MEMBER = "member"
    LIABILITY = "liability"
    BREAKAGE = "breakage"
    PROMOTION = "promotion"
    ADJUSTMENT = "adjustment"


class Bucket(enum.StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    LOCKED = "locked"


class Kind(enum.StrEnum):
    """What a transaction is. With its source it is unique in an account: nothing is booked twice."""

    EARN = "earn"
    ACTIVATE = "activate"
    CLAW_BACK = "claw_back"
    RECOVER = "recover"
    AWARD = "award"
    CHECK_IN = "check_in"
    BIRTHDAY = "birthday"
    PLAY = "play"
    ADJUST = "adjust"
    SPEND = "spend"
    REDEEM = "redeem"
    GIVE_BACK = "give_back"
    EXPIRE = "expire"
    ERASE = "erase"


class LotState(enum.StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class PointsProgram(db.Model):
    """One version of the settings; the one with the greatest id is in force.

    `rate` is points per ¥1 in per mille (1000: one point a yuan), `worth` what a thousand points stand for in 分.
    `pending_days` is the after-sale window, `lot_days` how long points can be used (null: for ever). Orders paid from
    `effective_from` on earn. `adjust_cap` is how many points a colleague other than the owner may give or take a day.
    """

    __tablename__ = "points_program"
    id: Mapped[pk]
    enabled: Mapped[bool]
    rate: Mapped[int]
    rounding: Mapped[Rounding]
    pending_days: Mapped[int]
    lot_days: Mapped[int | None]
    notice_days: Mapped[int]
    clawback: Mapped[Clawback]
    late: Mapped[Late]
    reopen_days: Mapped[int]
    worth: Mapped[int]
    adjust_cap: Mapped[int]
    effective_from: Mapped[datetime]
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]


class PointsAccount(db.Model):
    """A member may own several: after a merge `member_id` of the absorbed one's account names the survivor, and nothing else
    has changed. `origin_id` is for whom it was opened, so that two callers at once open one.

    `shortfall` is what a claw-back could not take (the next earn is netted by it), `overdrawn` how far the active balance is
    below zero where the program allows that; while it is above zero no lot holds an active point.
    """

    __tablename__ = "points_account"
    id: Mapped[pk]
    kind: Mapped[AccountKind]
    member_id: Mapped[int | None] = mapped_column(ForeignKey("member.id"))
    origin_id: Mapped[int | None] = mapped_column(unique=True)
    shortfall: Mapped[int] = mapped_column(default=0, server_default="0")
    overdrawn: Mapped[int] = mapped_column(default=0, server_default="0")
    opened_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("(kind = 'member') = (member_id IS NOT NULL)", name="owner"),
        CheckConstraint("shortfall >= 0 AND overdrawn >= 0", name="debts"),
        Index("uq_points_account_program", "kind", unique=True, postgresql_where=text("member_id IS NULL")),
        Index("ix_points_account_member", "member_id", postgresql_where=text("member_id IS NOT NULL")),
        Index("ix_points_account_shortfall", "id", postgresql_where=text("shortfall > 0 OR overdrawn > 0")),
    )


class PointsTransaction(db.Model):
    """What happened to a member's points, once. `points` is what it did to them, signed."""

    __tablename__ = "points_transaction"
    id: Mapped[pk]
    type: Mapped[Kind]
    account_id: Mapped[int] = mapped_column(ForeignKey("points_account.id"))
    points: Mapped[int]
    # What a claw-back could not take: part of the account's shortfall from then on.
    missing: Mapped[int] = mapped_column(default=0, server_default="0")
    source_type: Mapped[str]
    source_id: Mapped[str]
    reverses_id: Mapped[int | None] = mapped_column(ForeignKey("points_transaction.id"))
    order_id: Mapped[int | None]
    reason: Mapped[str] = mapped_column(default="", server_default="")
    staff_id: Mapped[int | None]
    at: Mapped[datetime]
    # Whether the call that handed it out found it booked already; not kept.
    replayed = False

    __table_args__ = (
        UniqueConstraint("account_id", "type", "source_type", "source_id"),
        Index("ix_points_transaction_account", "account_id", text("id DESC")),
        Index("ix_points_transaction_type", "type", text("id DESC")),
        Index("ix_points_transaction_at", "at", postgresql_using="brin"),
        Index("ix_points_transaction_order", "order_id", postgresql_where=text("order_id IS NOT NULL")),
        Index("ix_points_transaction_reverses", "reverses_id", postgresql_where=text("reverses_id IS NOT NULL")),
    )


# Every transaction's entries are written by one statement, so the sum can be held where the rows are: whatever code, program
# or person writes them, a statement that leaves a transaction unbalanced fails.
BALANCED = """
CREATE OR REPLACE FUNCTION points_entries_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong bigint;
BEGIN
    SELECT transaction_id INTO wrong FROM fresh GROUP BY transaction_id HAVING sum(amount) <> 0 LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'the entries of points transaction % do not sum to zero', wrong USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$
"""
BALANCED_TRIGGER = """
CREATE TRIGGER points_entries_balance AFTER INSERT ON points_entry
REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION points_entries_balance()
"""


class PointsEntry(db.Model):
    """One leg of a transaction. Never changed."""

    __tablename__ = "points_entry"
    id: Mapped[pk]
    transaction_id: Mapped[int] = mapped_column(ForeignKey("points_transaction.id"), index=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("points_account.id"))
    bucket: Mapped[Bucket]
    amount: Mapped[int]

    __table_args__ = (
        CheckConstraint("amount <> 0", name="amount"),
        Index("ix_points_entry_account", "account_id", "bucket"),
        {
            "info": {
                "after_create": [BALANCED, BALANCED_TRIGGER],
                "after_drop": ["DROP FUNCTION points_entries_balance()"],
            }
        },
    )


class PointsLot(db.Model):
    """Points that came together and expire together. `remaining` = `original` − Σ (used − returned).

    A pending lot becomes usable at `activates_at` (null: nobody knows yet when), and an active one ends at `expires_at`:
    the clock decides, the state only writes it down. `days` is how long it can be used, as promised when it was earned.
    """

    __tablename__ = "points_lot"
    id: Mapped[pk]
    account_id: Mapped[int] = mapped_column(ForeignKey("points_account.id"))
    transaction_id: Mapped[int] = mapped_column(ForeignKey("points_transaction.id"), index=True)
    order_id: Mapped[int | None]
    original: Mapped[int]
    remaining: Mapped[int]
    state: Mapped[LotState]
    days: Mapped[int | None]
    activates_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    noticed_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("original > 0 AND remaining >= 0 AND remaining <= original", name="remaining"),
        Index("ix_points_lot_account", "account_id", "id"),
        Index("ix_points_lot_order", "order_id", postgresql_where=text("order_id IS NOT NULL")),
        Index("ix_points_lot_activating", "activates_at", postgresql_where=text("state = 'pending'")),
        Index("ix_points_lot_expiring", "expires_at", postgresql_where=text("state = 'active' AND remaining > 0")),
    )


class PointsLotUse(db.Model):
    """What a transaction took from a lot, and how much of that has been given back."""

    __tablename__ = "points_lot_use"
    lot_id: Mapped[int] = mapped_column(ForeignKey("points_lot.id"), primary_key=True)
    transaction_id: Mapped[int] = mapped_column(ForeignKey("points_transaction.id"), primary_key=True, index=True)
    amount: Mapped[int]
    returned: Mapped[int] = mapped_column(default=0, server_default="0")

    __table_args__ = (CheckConstraint("amount > 0 AND returned >= 0 AND returned <= amount", name="returned"),)


class PointsOrder(db.Model):
    """What an order has brought an account, net of what was taken back, and by which terms: rate, tier multiplier and rounding
    stay as they were at the earning. One account at a time holds an order's points."""

    __tablename__ = "points_order"
    order_id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("points_account.id"), primary_key=True, index=True)
    points: Mapped[int]
    # How many transactions of this order there have been in this account: part of the next one's source.
    step: Mapped[int]
    program_id: Mapped[int] = mapped_column(ForeignKey("points_program.id"))
    multiplier: Mapped[int]

    __table_args__ = (
        CheckConstraint("points >= 0", name="points"),
        Index("uq_points_order_live", "order_id", unique=True, postgresql_where=text("points > 0")),
    )


class PointsReward(db.Model):
    """Something that members get for points: a coupon of an offer, or a gift. Its stock is the offer's or the gift's."""

    __tablename__ = "points_reward"
    id: Mapped[pk]
    # In addresses that members see.
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="", server_default="")
    points: Mapped[int]
    offer_id: Mapped[int | None] = mapped_column(ForeignKey("offer.id"), index=True)
    gift_id: Mapped[int | None] = mapped_column(ForeignKey("gift.id"), index=True)
    min_rank: Mapped[int] = mapped_column(default=0, server_default="0")
    # Held by membership.limits under "reward:<id>:member"; null is unlimited.
    per_member: Mapped[int | None]
    active: Mapped[bool] = mapped_column(default=True, server_default="true")
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("points > 0", name="points"),
        CheckConstraint("(offer_id IS NULL) <> (gift_id IS NULL)", name="thing"),
    )


class PointsRedemption(db.Model):
    """A reward that a member took. `token` is the form's: pressing twice takes once."""

    __tablename__ = "points_redemption"
    id: Mapped[pk]
    reward_id: Mapped[int] = mapped_column(ForeignKey("points_reward.id"))
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    token: Mapped[str]
    points: Mapped[int]
    transaction_id: Mapped[int | None] = mapped_column(ForeignKey("points_transaction.id"))
    coupon_id: Mapped[int | None]
    claim_id: Mapped[int | None]
    at: Mapped[datetime]
    undone_at: Mapped[datetime | None]
    undone_reason: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("member_id", "token"),
        Index("ix_points_redemption_reward", "reward_id", text("id DESC")),
        Index("ix_points_redemption_member", "member_id", text("id DESC")),
    )


class PointsBatch(db.Model):
    """A file of awards: `rows_in` = accepted + rejected + duplicate. `rejects` lists {"line", "fault", "row"}
    with what the fault's sentence needs."""

    __tablename__ = "points_batch"
    id: Mapped[pk]
    filename: Mapped[str]
    digest: Mapped[str]
    rows_in: Mapped[int] = mapped_column(default=0)
    accepted: Mapped[int] = mapped_column(default=0)
    duplicate: Mapped[int] = mapped_column(default=0)
    rejected: Mapped[int] = mapped_column(default=0)
    points: Mapped[int] = mapped_column(default=0)
    rejects: Mapped[list[Any]] = mapped_column(default=list)
    staff_id: Mapped[int | None]
    at: Mapped[datetime]


__all__ = [
    "AccountKind",
    "Bucket",
    "Clawback",
    "Kind",
    "Late",
    "LotState",
    "PointsAccount",
    "PointsBatch",
    "PointsEntry",
    "PointsLot",
    "PointsLotUse",
    "PointsOrder",
    "PointsProgram",
    "PointsRedemption",
    "PointsReward",
    "PointsTransaction",
    "Rounding",
]
