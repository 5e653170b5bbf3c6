"""The audit trail: who did what to which thing, from where, and what changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import g, has_request_context
from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped

from . import clock
from .db import db, pk


class AuditEntry(db.Model):
    __tablename__ = "audit_entry"
    id: Mapped[pk]
    at: Mapped[datetime]
    staff_id: Mapped[int | None]
    actor: Mapped[str]
    action: Mapped[str]
    object_kind: Mapped[str]
    object_id: Mapped[int | None]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    address: Mapped[str | None]

    __table_args__ = (
        Index("ix_audit_entry_object", "object_kind", "object_id", text("id DESC")),
        Index("ix_audit_entry_staff", "staff_id", text("id DESC")),
        Index("ix_audit_entry_action", "action", "at"),
    )


def record(
    action: str,
    object_kind: str,
    object_id: int | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Write one row in the present transaction. `action` is noun.past-participle; before and after are plain values."""
    from . import auth
    from .http import client_address

    who = auth.current_staff() if has_request_context() else None
    key = g.get("api_key") if has_request_context() else None
    db.session.add(
        AuditEntry(
            at=clock.now(),
            staff_id=who.id if who else None,
            actor=who.name if who else f"API: {key.name}" if key else "visitor" if has_request_context() else "system",
            action=action,
            object_kind=object_kind,
            object_id=object_id,
            before=before,
            after=after,
            address=client_address() if has_request_context() else None,
        )
    )
