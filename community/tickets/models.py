"""After-sale tickets: what a customer wants put right, its steps, what was said, the saved answers, and who is on."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class TicketKind(enum.StrEnum):
    FEEDBACK = "feedback"
    RETURN = "return"
    EXCHANGE = "exchange"
    COMPLAINT = "complaint"
    WRONG_ADDRESS = "wrong_address"
    REFUSED_PARCEL = "refused_parcel"
    SURVEY = "survey"


class TicketState(enum.StrEnum):
    OPEN = "open"
    WAITING = "waiting"
    RESOLVED = "resolved"
    CLOSED = "closed"


class TicketSource(enum.StrEnum):
    STAFF = "staff"
    MEMBER = "member"
    PROGRAM = "program"
    CALL = "call"
    CONVERSATION = "conversation"


class EntryKind(enum.StrEnum):
    """What stands in a ticket. Members read `CUSTOMER` and `ANSWER`; a note and the rest are for the staff."""

    CUSTOMER = "customer"
    ANSWER = "answer"
    NOTE = "note"
    STEP = "step"
    STATE = "state"
    ASSIGNED = "assigned"
    REMINDER = "reminder"


class Ticket(db.Model):
    """Something a customer wants put right. Times are counted in minutes of the desk's own hours (`rules.Hours`).

    `answer_minutes` and `resolve_minutes` are what was promised when it was opened; a changed setting changes no promise.
    The resolution clock runs while the state is open: `spent_minutes` were used before `running_since`. A due time that has
    passed stays, so that a breach is not forgotten by waiting for the customer.
    """

    __tablename__ = "ticket"
    id: Mapped[pk]
    public_id: Mapped[str] = mapped_column(unique=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    order_id: Mapped[int | None] = mapped_column(ForeignKey("order.id"))
    kind: Mapped[TicketKind]
    state: Mapped[TicketState] = mapped_column(default=TicketState.OPEN)
    subject: Mapped[str]
    # The version of the steps that it was opened with, and which it finishes; none is the standard (`rules.WORKFLOWS`).
    workflow_id: Mapped[int | None] = mapped_column(ForeignKey("ticket_workflow.id"))
    # The key of the step that is to be done next; empty once all are done.
    step: Mapped[str] = mapped_column(default="")
    source: Mapped[TicketSource]
    # What it was opened for ("call:12"): the same thing opens no second ticket.
    source_key: Mapped[str | None] = mapped_column(unique=True)
    assignee_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    assigned_at: Mapped[datetime | None]
    # Who gave it back last: it is handed to others first.
    released_by_id: Mapped[int | None]
    opened_by_id: Mapped[int | None]
    opened_at: Mapped[datetime]
    answer_minutes: Mapped[int]
    resolve_minutes: Mapped[int]
    answer_due_at: Mapped[datetime | None]
    first_answered_at: Mapped[datetime | None]
    first_answered_by_id: Mapped[int | None]
    answered_minutes: Mapped[int | None]
    spent_minutes: Mapped[int] = mapped_column(default=0)
    running_since: Mapped[datetime | None]
    resolve_due_at: Mapped[datetime | None]
    # The earlier of what is due, by which the list is sorted; none while nothing is.
    due_at: Mapped[datetime | None]
    resolved_at: Mapped[datetime | None]
    resolved_by_id: Mapped[int | None]
    resolution_minutes: Mapped[int | None]
    closed_at: Mapped[datetime | None]
    reopened: Mapped[int] = mapped_column(default=0)
    # By when the parcel of a return should be back, and when the desk was reminded that it is not.
    return_due_at: Mapped[datetime | None]
    return_reminded_at: Mapped[datetime | None]
    satisfaction: Mapped[int | None]
    satisfaction_note: Mapped[str] = mapped_column(default="")
    rated_at: Mapped[datetime | None]
    last_entry_at: Mapped[datetime]
    # The last entry that the customer has looked at, as far as the shop knows.
    seen_entry_id: Mapped[int] = mapped_column(default=0, server_default=text("0"))

    __table_args__ = (
        CheckConstraint("satisfaction BETWEEN 1 AND 5", name="satisfaction"),
        CheckConstraint("(running_since IS NOT NULL) = (state = 'open')", name="clock"),
        CheckConstraint("(closed_at IS NOT NULL) = (state = 'closed')", name="closed"),
        CheckConstraint("(resolved_at IS NOT NULL) = (state IN ('resolved', 'closed'))", name="resolved"),
        Index("ix_ticket_member", "member_id", text("id DESC")),
        Index("ix_ticket_live", "due_at", "id", postgresql_where=text("state IN ('open', 'waiting')")),
        Index("ix_ticket_assignee", "assignee_id", postgresql_where=text("state IN ('open', 'waiting')")),
        Index("ix_ticket_opened", text("opened_at DESC"), text("id DESC")),
        Index("ix_ticket_resolved", "resolved_at", postgresql_where=text("state = 'resolved'")),
        Index("ix_ticket_first_answered", "first_answered_at", postgresql_where=text("first_answered_at IS NOT NULL")),
        Index("ix_ticket_rated", "rated_at", postgresql_where=text("rated_at IS NOT NULL")),
        Index("ix_ticket_return", "return_due_at", postgresql_where=text("return_due_at IS NOT NULL")),
    )

    @property
    def live(self) -> bool:
        return self.state in (TicketState.OPEN, TicketState.WAITING)


class TicketEntry(db.Model):
    """A line of a ticket's history. `about` is a plain word: the step, the state it went to, the name of who has it now."""

    __tablename__ = "ticket_entry"
    id: Mapped[pk]
    ticket_id: Mapped[int] = mapped_column(ForeignKey("ticket.id", ondelete="CASCADE"))
    kind: Mapped[EntryKind]
    staff_id: Mapped[int | None]
    about: Mapped[str] = mapped_column(default="")
    body: Mapped[str] = mapped_column(default="")
    pictures: Mapped[list[str]]
    at: Mapped[datetime]

    __table_args__ = (
        Index("ix_ticket_entry_ticket", "ticket_id", "id"),
        Index("ix_ticket_entry_pictures", "pictures", postgresql_using="gin"),
    )


class TicketStep(db.Model):
    """A step that is done, with what was asked for; `answers` is none where it was skipped."""

    __tablename__ = "ticket_step"
    ticket_id: Mapped[int] = mapped_column(ForeignKey("ticket.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[str] = mapped_column(primary_key=True)
    answers: Mapped[dict[str, Any] | None]
    staff_id: Mapped[int | None]
    done_at: Mapped[datetime]


class Workflow(db.Model):
    """A version of what a kind of ticket asks for, as the shop has written it: `steps` are those of `rules.steps_to`.

    The latest version of a kind counts for what is opened from then on. One without steps says that the standard counts again.
    """

    __tablename__ = "ticket_workflow"
    id: Mapped[pk]
    kind: Mapped[TicketKind]
    version: Mapped[int]
    steps: Mapped[list[Any]]
    made_by_id: Mapped[int | None]
    made_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("version > 0", name="version"),
        Index("uq_ticket_workflow_version", "kind", "version", unique=True),
    )


class Macro(db.Model):
    """A saved answer; `{nickname}`-like places are filled for the customer at hand. Without an owner it is everybody's."""

    __tablename__ = "macro"
    id: Mapped[pk]
    title: Mapped[str]
    body: Mapped[str]
    kind: Mapped[TicketKind | None]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    used: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]


class AgentPresence(db.Model):
    """Whether somebody of the staff is on, and how much they take at a time (none: what the desk's settings say)."""

    __tablename__ = "agent_presence"
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"), primary_key=True)
    is_on: Mapped[bool]
    changed_at: Mapped[datetime]
    ticket_cap: Mapped[int | None]
    talk_cap: Mapped[int | None]
