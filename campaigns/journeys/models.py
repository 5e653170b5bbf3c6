"""Journeys: what happens to a person after something happened to them, step by step, and where everybody stands."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class JourneyState(enum.StrEnum):
    """Whether somebody may enter. Those inside go on either way."""

    OFF = "off"
    ON = "on"


class PlaceState(enum.StrEnum):
    """Where a person's way through a journey stands."""

    ACTIVE = "active"
    DONE = "done"
    LEFT = "left"
    FAILED = "failed"


class Journey(db.Model):
    """A journey with its draft. What people walk through is a published version of it."""

    __tablename__ = "journey"
    id: Mapped[pk]
    name: Mapped[str]
    # Which ready-made journey it began as; none for one of the shop's own.
    recipe: Mapped[str | None] = mapped_column(unique=True)
    state: Mapped[JourneyState] = mapped_column(default=JourneyState.OFF)
    # A `rules.Plan`, as it is being written.
    draft: Mapped[dict[str, Any]]
    # The version that people enter, and what makes them enter it.
    version_id: Mapped[int | None]
    trigger: Mapped[str | None]
    switched_on_at: Mapped[datetime | None]
    # When it was last looked for people whom the clock brings in.
    looked_at: Mapped[datetime | None]
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("state = 'off' OR (version_id IS NOT NULL AND switched_on_at IS NOT NULL)", name="on"),
        Index("ix_journey_on", "trigger", postgresql_where=text("state = 'on'")),
    )


class JourneyVersion(db.Model):
    """A plan that people walk through. It is never changed: who is inside finishes the one they entered."""

    __tablename__ = "journey_version"
    id: Mapped[pk]
    journey_id: Mapped[int] = mapped_column(ForeignKey("journey.id"))
    # Null for a draft that somebody only tried.
    number: Mapped[int | None]
    plan: Mapped[dict[str, Any]]
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("journey_id", "number"),)


class JourneyPush(db.Model):
    """The push that sends what a step says. A step that says the same in the next version keeps it; trials have their own."""

    __tablename__ = "journey_push"
    version_id: Mapped[int] = mapped_column(ForeignKey("journey_version.id"), primary_key=True)
    step: Mapped[str] = mapped_column(primary_key=True)
    trial: Mapped[bool] = mapped_column(primary_key=True, default=False)
    push_id: Mapped[int] = mapped_column(ForeignKey("push.id"), index=True)


class JourneyMember(db.Model):
    """One person's way through a journey. They stand at exactly one step, or at none when it is over."""

    __tablename__ = "journey_member"
    id: Mapped[pk]
    journey_id: Mapped[int] = mapped_column(ForeignKey("journey.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("journey_version.id"))
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    # What brought them in (an order, a coupon, a birthday): it does so once.
    key: Mapped[str]
    # When that happened; an order from then on is one that the journey need not ask for any more.
    since: Mapped[datetime]
    entered_at: Mapped[datetime]
    state: Mapped[PlaceState] = mapped_column(default=PlaceState.ACTIVE)
    step: Mapped[str | None]
    # When the step is to be done: a wait is done when it is over.
    due_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0, server_default=text("0"))
    ended_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    trial: Mapped[bool] = mapped_column(default=False)

    __table_args__ = (
        UniqueConstraint("journey_id", "key"),
        CheckConstraint("(state = 'active') = (step IS NOT NULL AND due_at IS NOT NULL)", name="place"),
        CheckConstraint("(state = 'active') = (ended_at IS NULL)", name="ended"),
        # A person walks through a journey once at a time.
        Index(
            "uq_journey_member_live", "journey_id", "member_id", "trial",
            unique=True, postgresql_where=text("state = 'active'"),
        ),
        Index("ix_journey_member_due", "due_at", "id", postgresql_where=text("state = 'active'")),
        Index("ix_journey_member_at", "version_id", "step", "due_at", postgresql_where=text("state = 'active'")),
        Index("ix_journey_member_member", "member_id", "journey_id", text("entered_at DESC")),
        Index("ix_journey_member_journey", "journey_id", text("id DESC")),
    )  # fmt: skip


class JourneyLog(db.Model):
    """What happened on the way: entering (an empty `step`), each step passed, and the step at which somebody left."""

    __tablename__ = "journey_log"
    id: Mapped[pk]
    place_id: Mapped[int] = mapped_column(ForeignKey("journey_member.id"))
    version_id: Mapped[int]
    step: Mapped[str] = mapped_column(default="")
    # What came of it: see `labels.OUTCOMES`.
    outcome: Mapped[str]
    detail: Mapped[str | None]
    trial: Mapped[bool] = mapped_column(default=False)
    at: Mapped[datetime]

    __table_args__ = (
        # A step is passed once, whatever repeats.
        UniqueConstraint("place_id", "step"),
        Index("ix_journey_log_counts", "version_id", "trial", "step", "outcome"),
    )


class ReceivedEvent(db.Model):
    """Something that another program told of a member; `key` is the program's own and counts once."""

    __tablename__ = "received_event"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    type: Mapped[str]
    key: Mapped[str] = mapped_column(unique=True)
    at: Mapped[datetime]
    received_at: Mapped[datetime]
    payload: Mapped[dict[str, Any]]

    __table_args__ = (
        Index("ix_received_event_member", "member_id", "type", text("at DESC")),
        Index("ix_received_event_type", "type", "at"),
    )
