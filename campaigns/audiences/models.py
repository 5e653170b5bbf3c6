"""Saved audiences: rules over members, or a list of members that was written down."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, false, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class Audience(db.Model):
    """`definition` is what a push or a grant takes over. A frozen audience's says "who is in this audience", and its members
    are rows of `AudienceMember`; `source` holds the rules that they are refreshed from, null where a file named them.
    """

    __tablename__ = "audience"
    id: Mapped[pk]
    name: Mapped[str]
    # {"rules": [{"kind": "tier", "ranks": [2, 3]}, {"kind": "last_order", "from_days": 30, "to_days": 90}, …]}, all of which hold.
    definition: Mapped[dict[str, Any]]
    frozen: Mapped[bool] = mapped_column(default=False, server_default=false())
    source: Mapped[dict[str, Any] | None]
    # The name of the file that named its members.
    filename: Mapped[str | None]
    # When its members were written down, and since when somebody waits for that to be done anew.
    frozen_at: Mapped[datetime | None]
    refresh_asked_at: Mapped[datetime | None]
    # The last count, and whether it was an estimate.
    people: Mapped[int | None]
    estimated: Mapped[bool] = mapped_column(default=False, server_default=false())
    counted_at: Mapped[datetime | None]
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime | None]
    # Put away: nothing offers it any more, and it can be brought back.
    archived_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_audience_waiting", "refresh_asked_at", postgresql_where=text("refresh_asked_at IS NOT NULL")),
    )


class AudienceMember(db.Model):
    """Somebody on a frozen audience's list."""

    __tablename__ = "audience_member"
    audience_id: Mapped[int] = mapped_column(ForeignKey("audience.id", ondelete="CASCADE"), primary_key=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), primary_key=True, index=True)
