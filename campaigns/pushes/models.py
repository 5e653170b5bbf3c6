"""Pushes and their delivery ledger: one row a target and run, from planned to its end."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from campaigns.channels.models import ContactClass
from kernel.db import db, pk


class Origin(enum.StrEnum):
    """Who wrote a push: a person at the console, or a step of a journey, whose pushes are shown with the journey."""

    MARKETER = "marketer"
    JOURNEY = "journey"


class CouponMode(enum.StrEnum):
    """How a push's coupon gets to the member."""

    LINK = "link"  # They take it with one tap; stock is used by those who do.
    GRANT = "grant"  # It lies in their coupons already when the message arrives.


class RunState(enum.StrEnum):
    DRAFT = "draft"
    APPROVAL = "approval"
    SCHEDULED = "scheduled"
    MATERIALISING = "materialising"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"


class DeliveryState(enum.StrEnum):
    READY = "ready"
    CLAIMED = "claimed"
    SUBMITTING = "submitting"
    # A person has it in hand and says later whether it was done.
    ASSIGNED = "assigned"
    ACCEPTED = "accepted"
    SUPPRESSED = "suppressed"
    CAPPED = "capped"
    CONTROL = "control"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    RENDER_FAILED = "render_failed"
    UNKNOWN = "unknown"


# Who a message to a whole group (a chat, a feed) goes to, in the place of a member.
NOBODY = 0
OPEN_STATES = (DeliveryState.READY, DeliveryState.CLAIMED, DeliveryState.SUBMITTING)


class Push(db.Model):
    """What is to be said to whom, and when. `audience` is copied in, so that it stays what was seen."""

    __tablename__ = "push"
    id: Mapped[pk]
    name: Mapped[str]
    origin: Mapped[Origin] = mapped_column(default=Origin.MARKETER, server_default="marketer")
    contact_class: Mapped[ContactClass] = mapped_column(default=ContactClass.REPURCHASE)
    account_id: Mapped[int] = mapped_column(ForeignKey("channel_account.id"))
    audience: Mapped[dict[str, Any]]
    # The words in Chinese, and in English for members who read English; without them everybody reads the former.
    subject: Mapped[str]
    body: Mapped[str]
    subject_en: Mapped[str | None]
    body_en: Mapped[str | None]
    # Up to three other wordings that compete with the first: `{"share": 50, "subject", "body", "subject_en", "body_en"}`.
    variants: Mapped[list[Any]] = mapped_column(default=list, server_default=text("'[]'"))
    # The percentage among whom the wordings compete; the rest waits and gets the winner. Null: all compete.
    sample_percent: Mapped[int | None] = mapped_column(SmallInteger)
    winner_after_hours: Mapped[int | None] = mapped_column(SmallInteger)
    # Held out of this push alone, beside the hold-out of all pushes.
    control_percent: Mapped[int] = mapped_column(SmallInteger, default=0, server_default=text("0"))
    # Where {link} leads: a path of this site or an https address.
    link_url: Mapped[str | None]
    offer_id: Mapped[int | None] = mapped_column(ForeignKey("offer.id"))
    coupon_mode: Mapped[CouponMode] = mapped_column(default=CouponMode.LINK)
    # Messages a second for this push; null leaves it to the account.
    rate_per_second: Mapped[int | None]
    # Whoever has bought meanwhile is not asked to buy again.
    stop_when_bought: Mapped[bool] = mapped_column(default=True)
    attribution_days: Mapped[int] = mapped_column(default=14)
    # Of two pushes over one account the one with the higher number goes first.
    priority: Mapped[int] = mapped_column(SmallInteger, default=0, server_default=text("0"))
    # Each member at the hour at which they usually order or click.
    usual_hour: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    # What is unsent so many hours after the start stays unsent.
    life_hours: Mapped[int] = mapped_column(SmallInteger, default=48, server_default=text("48"))
    # An RRULE (RFC 5545) on the shop's wall clock; null is a push that goes once.
    rrule: Mapped[str | None]
    stopped_at: Mapped[datetime | None]
    # What links are marked with: `{"source", "medium", "campaign"}`.
    utm: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    # Up to three products shown below the text: `{"product_id", "url"}`.
    cards: Mapped[list[Any]] = mapped_column(default=list, server_default=text("'[]'"))
    staff_id: Mapped[int | None]
    # Who wrote what it says last; whoever did cannot approve it.
    changed_by: Mapped[int | None]
    copied_from_id: Mapped[int | None] = mapped_column(ForeignKey("push.id"))
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("rate_per_second > 0", name="rate"),
        Index("ix_push_series", "id", postgresql_where=text("rrule IS NOT NULL AND stopped_at IS NULL")),
    )


class Run(db.Model):
    __tablename__ = "push_run"
    id: Mapped[pk]
    push_id: Mapped[int] = mapped_column(ForeignKey("push.id"))
    # Which time of a recurring push, by the shop's wall clock; a one-off has "once", a journey its step and batch.
    occurrence: Mapped[str] = mapped_column(default="once")
    state: Mapped[RunState] = mapped_column(default=RunState.DRAFT)
    scheduled_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    # Fan-out goes by member id; everything up to the cursor has its rows, and who comes after `through_id` is too late.
    cursor: Mapped[int] = mapped_column(default=0)
    through_id: Mapped[int | None]
    slices: Mapped[int] = mapped_column(default=0)
    planned: Mapped[int] = mapped_column(default=0)
    tokens: Mapped[float] = mapped_column(default=0.0)
    tokens_at: Mapped[datetime | None]
    woken_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    # An order from here on means "has bought meanwhile": the end of the audience's window, else the start.
    bought_since: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    failure: Mapped[str | None]
    # Final counts by state and reason, written once the last delivery has come to its end.
    tally: Mapped[dict[str, Any] | None]
    # It goes to those listed in `push_target` and not to the push's audience.
    listed: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    asked_by: Mapped[int | None]
    approved_by: Mapped[int | None]
    approved_at: Mapped[datetime | None]
    # When the winning wording is chosen, and which one it is.
    decide_at: Mapped[datetime | None]
    winner: Mapped[int | None] = mapped_column(SmallInteger)
    # The shop's best hour when the run began, for members without an hour of their own.
    best_hour: Mapped[int | None] = mapped_column(SmallInteger)
    # How its result is measured, fixed when it begins, whatever the shop changes later: see `results.rules.Terms`.
    terms: Mapped[dict[str, Any] | None]

    __table_args__ = (
        UniqueConstraint("push_id", "occurrence"),
        Index("ix_push_run_due", "scheduled_at", postgresql_where=text("state = 'scheduled'")),
        Index("ix_push_run_live", "id", postgresql_where=text("state IN ('materialising', 'running', 'paused')")),
    )


class Target(db.Model):
    """A member to whom a listed run goes."""

    __tablename__ = "push_target"
    run_id: Mapped[int] = mapped_column(ForeignKey("push_run.id"), primary_key=True, autoincrement=False)
    member_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    __table_args__ = (Index("ix_push_target_member", "member_id"),)


class Slice(db.Model):
    """A stretch of a run's deliveries that one worker leases at a time.

    Every change of its deliveries first moves this row under the holder's token, which both fences a holder that comes
    back too late and keeps the counts beside the rows they count.
    """

    __tablename__ = "push_slice"
    id: Mapped[pk]
    run_id: Mapped[int] = mapped_column(ForeignKey("push_run.id"))
    number: Mapped[int]
    # The members, from the first to the last one inclusive, whose deliveries of this number it holds.
    from_member: Mapped[int]
    to_member: Mapped[int]
    state: Mapped[str] = mapped_column(default="ready")  # ready | leased | done
    token: Mapped[str | None]
    leased_until: Mapped[datetime | None]
    # Not to be leased before this moment (a retry, the end of quiet hours, new tokens).
    due_at: Mapped[datetime | None]
    total: Mapped[int]
    accepted: Mapped[int] = mapped_column(default=0)
    # Came to an end without having been sent.
    unsent: Mapped[int] = mapped_column(default=0)
    unknown: Mapped[int] = mapped_column(default=0)
    # In the hands of people who have not said yet what became of it.
    assigned: Mapped[int] = mapped_column(default=0, server_default=text("0"))

    __table_args__ = (
        UniqueConstraint("run_id", "number"),
        CheckConstraint("state IN ('ready', 'leased', 'done')", name="state"),
        CheckConstraint(
            "accepted >= 0 AND unsent >= 0 AND unknown >= 0 AND accepted + unsent + unknown <= total", name="counts"
        ),
        Index("ix_push_slice_open", "run_id", "number", postgresql_where=text("state <> 'done'")),
        # Few rows at a time; without the moment itself, so that prolonging a lease touches no index.
        Index("ix_push_slice_leased", "run_id", postgresql_where=text("state = 'leased'")),
        Index("ix_push_slice_unknown", "run_id", postgresql_where=text("unknown > 0")),
        Index("ix_push_slice_assigned", "run_id", postgresql_where=text("assigned > 0")),
        {"postgresql_with": {"fillfactor": 50}},
    )


class Delivery(db.Model):
    """One message to one member.

    No index holds the state, so that the way from ready to accepted rewrites rows in their own pages (HOT) and touches no
    index, unless the other side gives its messages names of its own. There are no foreign keys to run and member: rows come
    from these very tables in one INSERT … SELECT, members and runs are never deleted, and checking would lock each member's
    row.
    """

    __tablename__ = "delivery"
    id: Mapped[pk]
    run_id: Mapped[int]
    member_id: Mapped[int]
    # 0: decided while planning (held out, no consent, no address); the others are sent by slice.
    slice_number: Mapped[int] = mapped_column(default=0)
    state: Mapped[DeliveryState]
    reason: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0, server_default=text("0"))
    not_before: Mapped[datetime | None]
    # The business date on which it took its part of the contact budget, while it holds it.
    contacted_on: Mapped[date | None]
    # Which wording it has, 0 being the first; null while it waits for the winner, or where there is one wording only.
    variant: Mapped[int | None] = mapped_column(SmallInteger)
    # The consent that the claim relied on.
    consent_id: Mapped[int | None]
    coupon_id: Mapped[int | None]
    provider_id: Mapped[str | None]
    accepted_at: Mapped[datetime | None]
    clicked_at: Mapped[datetime | None]
    # What the channel reported after it had taken the message: that it arrived, or that it did not.
    delivered_at: Mapped[datetime | None]
    undelivered_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("run_id", "member_id"),
        Index("ix_delivery_member", "member_id", text("id DESC")),
        # What the other side calls a message, where it says so: some receipts name nothing else.
        Index("ix_delivery_provider", "provider_id", postgresql_where=text("provider_id IS NOT NULL")),
        # Claiming rewrites every row of a page at once, and the new versions are to find their place beside the old.
        {"postgresql_with": {"fillfactor": 50}},
    )
