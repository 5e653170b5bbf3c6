"""The tier policy in its versions, and every member's way through the tiers."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk
from kernel.guards import points_at


class Metric(enum.StrEnum):
    ANY = "any"
    ALL = "all"
    SPEND = "spend"
    ORDERS = "orders"


class Window(enum.StrEnum):
    LIFETIME = "lifetime"
    ROLLING = "rolling"
    CALENDAR = "calendar"


class Downgrade(enum.StrEnum):
    NONE = "none"
    ONE_LEVEL = "one_level"
    REASSESS = "reassess"


class RefundEffect(enum.StrEnum):
    IMMEDIATE = "immediate"
    AT_REVIEW = "at_review"


class TierPolicy(db.Model):
    """One version; the one with the greatest id is in force, and none is ever changed. `levels` lists, for ranks 1–4 that
    are on, the fields of `rules.Level`. `note` is the name of the draft it came from."""

    __tablename__ = "tier_policy"
    id: Mapped[pk]
    metric: Mapped[Metric]
    window: Mapped[Window]
    rolling_days: Mapped[int | None]
    valid_days: Mapped[int]
    grace_days: Mapped[int]
    downgrade: Mapped[Downgrade]
    refund_effect: Mapped[RefundEffect]
    birthday_days: Mapped[int] = mapped_column(server_default=text("7"))
    levels: Mapped[list[Any]]
    note: Mapped[str] = mapped_column(default="", server_default=text("''"))
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]


class MemberTier(db.Model):
    """Where a member stands. `member.rank` is the same number as `rank`, kept there for lists and rules.

    `own_rank`, `valid_until` and `backed_at` are what `rules.tier_for` says; `rank` is lifted by a manual tier while that
    lasts. `backed_at` is the instant as at which orders reached `own_rank`: a refund of those orders may take it back.
    `falls_at`, `falls_to`, `keep_spend` and `keep_orders` are what `rules.outlook` says: when the own rank falls and to
    which if nothing more is bought, and what is missing then; null where it does not fall.

    `policy_id`, here and in `TierChange`, is no foreign key: a key would lock the version in force for each of the thousands of
    rows that a file or a review writes. None is ever deleted (`kernel.guards`), and tests hold that each is there.
    """

    __tablename__ = "member_tier"
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id", ondelete="CASCADE"), primary_key=True)
    rank: Mapped[int]
    since: Mapped[datetime]
    own_rank: Mapped[int]
    valid_until: Mapped[datetime | None]
    backed_at: Mapped[datetime | None]
    spend: Mapped[int]
    orders: Mapped[int]
    manual_rank: Mapped[int | None]
    manual_reason: Mapped[str | None]
    manual_until: Mapped[datetime | None]
    policy_id: Mapped[int] = mapped_column(info=points_at("tier_policy", kept=True))
    reviewed_at: Mapped[datetime]
    falls_at: Mapped[datetime | None]
    falls_to: Mapped[int | None]
    keep_spend: Mapped[int | None]
    keep_orders: Mapped[int | None]
    manual_staff_id: Mapped[int | None]
    manual_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_member_tier_falls", "falls_at", "member_id", postgresql_where=text("falls_at IS NOT NULL")),
        Index("ix_member_tier_by_hand", "member_id", postgresql_where=text("manual_rank IS NOT NULL")),
        Index("ix_member_tier_due", "valid_until", postgresql_where=text("valid_until IS NOT NULL")),
        Index("ix_member_tier_manual", "manual_until", postgresql_where=text("manual_until IS NOT NULL")),
    )


class TierChange(db.Model):
    __tablename__ = "tier_change"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id", ondelete="CASCADE"))
    from_rank: Mapped[int]
    to_rank: Mapped[int]
    reason: Mapped[str]
    spend: Mapped[int]
    orders: Mapped[int]
    policy_id: Mapped[int] = mapped_column(info=points_at("tier_policy", kept=True))
    staff_id: Mapped[int | None]
    at: Mapped[datetime]

    __table_args__ = (Index("ix_tier_change_member", "member_id", text("id DESC")),)


class TierWarning(db.Model):
    """That a member was told `days` days ahead that their tier falls; once a tier's end and a step."""

    __tablename__ = "tier_warning"
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id", ondelete="CASCADE"), primary_key=True)
    # The end of validity that the warning is about: it moves only when the tier is earned anew.
    valid_until: Mapped[datetime] = mapped_column(primary_key=True)
    days: Mapped[int] = mapped_column(primary_key=True)
    told_at: Mapped[datetime]


class SimulationState(enum.StrEnum):
    NONE = "none"
    RUNNING = "running"
    DONE = "done"


class TierDraft(db.Model):
    """A policy that somebody is thinking about, and what it would do: `result` adds up what `cursor` has passed.

    `terms` are the fields of `rules.Policy`. A new run takes a new number, so that a worker of the former one stops.
    """

    __tablename__ = "tier_draft"
    id: Mapped[pk]
    name: Mapped[str]
    terms: Mapped[dict[str, Any]]
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    # The version it has become.
    policy_id: Mapped[int | None] = mapped_column(ForeignKey("tier_policy.id"))
    state: Mapped[SimulationState] = mapped_column(default=SimulationState.NONE)
    run: Mapped[int] = mapped_column(default=0)
    # The version that was in force when the run began, with which it compares.
    compared_id: Mapped[int | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    # When a worker last got on with it: the sweep takes up what has rested for long.
    worked_at: Mapped[datetime | None]
    cursor: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)


class TierDraftMember(db.Model):
    """A member for whom a draft would change something: another rank at once, or a fall at a later review."""

    __tablename__ = "tier_draft_member"
    draft_id: Mapped[int] = mapped_column(ForeignKey("tier_draft.id", ondelete="CASCADE"), primary_key=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id", ondelete="CASCADE"), primary_key=True)
    from_rank: Mapped[int]
    to_rank: Mapped[int]
    # What they spent in the last twelve months, in 分.
    spend: Mapped[int]
    falls_at: Mapped[datetime | None]
    falls_to: Mapped[int | None]
    # Whether the policy in force lets them fall by then too.
    falls_anyway: Mapped[bool] = mapped_column(default=False)
