"""Daily check-ins: one a member and day, wherever it was tapped."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db


class CheckIn(db.Model):
    __tablename__ = "check_in"
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), primary_key=True)
    # The day on the shop's calendar.
    on: Mapped[date] = mapped_column(primary_key=True)
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"))
    # How many days in a row, this one included.
    streak: Mapped[int]
    points: Mapped[int]
    at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("streak > 0 AND points >= 0", name="numbers"),
        Index("ix_check_in_day", text('"on" DESC'), text("streak DESC"), "member_id"),
    )
