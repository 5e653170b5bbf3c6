"""Who gets their brief by e-mail, and each day's copy of it."""

from __future__ import annotations

import enum
from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, false, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db


class BriefMail(db.Model):
    """That somebody of the staff wants their brief by e-mail; without a row nothing goes."""

    __tablename__ = "brief_mail"
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"), primary_key=True)
    # The hour of the shop's day, 0 to 23.
    hour: Mapped[int] = mapped_column(SmallInteger)
    also_empty: Mapped[bool] = mapped_column(default=False, server_default=false())
    locale: Mapped[str]
    # Since when in this way: an hour that was over by then is the next day's.
    since: Mapped[datetime]

    __table_args__ = (CheckConstraint("hour BETWEEN 0 AND 23", name="hour"),)


class CopyState(enum.StrEnum):
    """Where a day's copy stands. What was handed over when the sender was stopped is in doubt, and stays so."""

    WAITING = "waiting"
    SUBMITTING = "submitting"
    SENT = "sent"
    NOTHING = "nothing"  # Nothing was due, and then no mail is wanted.
    FAILED = "failed"
    UNKNOWN = "unknown"


class BriefCopy(db.Model):
    """Somebody's brief of a day: the key lets it exist once, whatever repeats."""

    __tablename__ = "brief_copy"
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    state: Mapped[CopyState] = mapped_column(default=CopyState.WAITING)
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0, server_default=text("0"))
    retry_at: Mapped[datetime | None]
    failure: Mapped[str | None]
    changed_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_brief_copy_open", "changed_at", postgresql_where=text("state IN ('waiting', 'submitting')")),
    )
