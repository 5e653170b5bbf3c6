"""Who gets their brief by e-mail, and each day's copy of it."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, false
from sqlalchemy.orm import Mapped, mapped_column

from campaigns.channels.copies import OPEN, Copied
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


class BriefCopy(Copied, db.Model):
    """Somebody's brief of a day: the key lets it exist once, whatever repeats."""

    __tablename__ = "brief_copy"
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)

    __table_args__ = (Index("ix_brief_copy_open", "changed_at", postgresql_where=OPEN),)
