"""The one mechanism for limits: a counter per (limit, subject, window) that one conditional upsert moves."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db


class LimitCounter(db.Model):
    __tablename__ = "limit_counter"
    # e.g. "offer:12:member", "gift:3:stock", "contact:marketing"
    limit: Mapped[str] = mapped_column("limit_name", primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    window: Mapped[str] = mapped_column("window_name", primary_key=True)
    used: Mapped[int]

    __table_args__ = (
        CheckConstraint("used >= 0", name="used"),
        # What one person has used of everything: merging and erasing look for it.
        Index("ix_limit_counter_subject", "subject", postgresql_where=text("subject <> ''")),
    )
