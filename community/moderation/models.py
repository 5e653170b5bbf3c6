"""What members wrote and somebody has to look at, what they may not do for a while, and the words that stop a text."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class CaseState(enum.StrEnum):
    OPEN = "open"
    UPHELD = "upheld"
    DISMISSED = "dismissed"


class CaseReason(enum.StrEnum):
    REPORTED = "reported"
    WORDS = "words"
    LINK = "link"
    APPROVAL = "approval"


class Ground(enum.StrEnum):
    """Why a member reports something."""

    ADVERTISING = "advertising"
    ABUSE = "abuse"
    FALSE = "false"
    PRIVATE = "private"
    OTHER = "other"


class Case(db.Model):
    """Something a member wrote that staff decide about. `kind` and `subject_id` name it: see `subjects.py`."""

    __tablename__ = "moderation_case"
    id: Mapped[pk]
    kind: Mapped[str]
    subject_id: Mapped[int]
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"))
    # Who wrote it.
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    reason: Mapped[CaseReason]
    # The word that stopped it, if one did.
    word: Mapped[str] = mapped_column(default="")
    # Whether nobody sees the subject until it is decided.
    held: Mapped[bool]
    state: Mapped[CaseState] = mapped_column(default=CaseState.OPEN)
    opened_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    decided_by_id: Mapped[int | None]
    note: Mapped[str] = mapped_column(default="")

    __table_args__ = (
        Index("uq_moderation_case_open", "kind", "subject_id", unique=True, postgresql_where=text("state = 'open'")),
        Index("ix_moderation_case_queue", "id", postgresql_where=text("state = 'open'")),
        Index("ix_moderation_case_decided", text("decided_at DESC"), text("id DESC")),
        Index("ix_moderation_case_member", "member_id", "state"),
        CheckConstraint("(state = 'open') = (decided_at IS NULL)", name="decided"),
    )


class Complaint(db.Model):
    """One member's report of a case's subject."""

    __tablename__ = "complaint"
    id: Mapped[pk]
    case_id: Mapped[int] = mapped_column(ForeignKey("moderation_case.id", ondelete="CASCADE"))
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    ground: Mapped[Ground]
    note: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("case_id", "member_id"),)


class SanctionKind(enum.StrEnum):
    SILENCE = "silence"
    BAN = "ban"


class Sanction(db.Model):
    """What a member may not do: write (silence) or be in the shop's groups at all (ban). Time ends it, or staff do."""

    __tablename__ = "sanction"
    id: Mapped[pk]
    kind: Mapped[SanctionKind]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    # Empty: in every group.
    group_id: Mapped[int | None] = mapped_column(ForeignKey("group.id"))
    # Empty: until staff lift it.
    until: Mapped[datetime | None]
    reason: Mapped[str]
    # Empty: the rule did it.
    staff_id: Mapped[int | None]
    at: Mapped[datetime]
    lifted_at: Mapped[datetime | None]
    lifted_by_id: Mapped[int | None]

    __table_args__ = (
        Index("ix_sanction_member", "member_id", postgresql_where=text("lifted_at IS NULL")),
        Index("ix_sanction_list", text("id DESC")),
        CheckConstraint("until > at", name="span"),
        CheckConstraint("kind <> 'ban' OR group_id IS NULL", name="ban_is_everywhere"),
    )


class WordEffect(enum.StrEnum):
    HOLD = "hold"
    REFUSE = "refuse"


class StopWord(db.Model):
    __tablename__ = "stop_word"
    id: Mapped[pk]
    word: Mapped[str]
    effect: Mapped[WordEffect]
    created_at: Mapped[datetime]

    __table_args__ = (Index("uq_stop_word", text("lower(word)"), unique=True),)
