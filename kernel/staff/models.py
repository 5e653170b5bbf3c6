"""Staff and their sessions. A session is a row: signing out, a new password and disabling end it at once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, text
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
