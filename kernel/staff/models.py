"""Staff and their sessions. A session is a row: signing out, a new password and disabling end it at once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, false, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..auth import Role
from ..db import db, pk


class Staff(db.Model):
    __tablename__ = "staff"
    id: Mapped[pk]
    name: Mapped[str]
    email: Mapped[str]
    role: Mapped[Role]
    password_hash: Mapped[str]
    # How this person signs what they send (客服, 小编, 小助手 …) and the tone the scripts take for them.
    signature: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]

    __table_args__ = (Index("uq_staff_email_lower", text("lower(email)"), unique=True),)


class StaffSession(db.Model):
    __tablename__ = "staff_session"
    id: Mapped[pk]
    token_hash: Mapped[str] = mapped_column(unique=True)
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    address: Mapped[str]
    staff: Mapped[Staff] = relationship(lazy="raise")


class SignInTry(db.Model):
    """A failed sign-in, under the account or, from a browser that is known, account and device (`guessing.py`)."""

    __tablename__ = "sign_in_try"
    id: Mapped[pk]
    account: Mapped[str]
    at: Mapped[datetime]

    __table_args__ = (Index("ix_sign_in_try_account", "account", "at"),)


class HandOver(db.Model):
    """What one person of the staff had in hand went to others, for good or while they are away. What went is in the items."""

    __tablename__ = "hand_over"
    id: Mapped[pk]
    from_id: Mapped[int] = mapped_column(ForeignKey("staff.id"), index=True)
    by_id: Mapped[int | None]
    note: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime]
    returned_at: Mapped[datetime | None]
    returned_by_id: Mapped[int | None]


class HandOverItem(db.Model):
    """One row that went, by its area and number; `returned` once it has been moved back."""

    __tablename__ = "hand_over_item"
    hand_over_id: Mapped[int] = mapped_column(ForeignKey("hand_over.id", ondelete="CASCADE"), primary_key=True)
    area: Mapped[str] = mapped_column(primary_key=True)
    row_id: Mapped[int] = mapped_column(primary_key=True)
    to_id: Mapped[int]
    returned: Mapped[bool] = mapped_column(default=False, server_default=false())
