"""The audit trail: who did what to which thing, from where, and what changed."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from flask import g, has_request_context
from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped

from . import clock
from .db import db, pk

if TYPE_CHECKING:
    from .staff.models import Staff


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


# A phone as people write it, and an e-mail address. In dates and ranges that were chosen there is nothing to hide.
_NUMBER = re.compile(r"(?<![0-9])\+?[0-9](?:[ ().-]*[0-9]){6,}(?![0-9])")
_MAIL = re.compile(r"([^\s@])[^\s@]*@([^\s@]+)")
_PLAIN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9.]*-[0-9.]*")


def without_contacts(words: str) -> str:
    """What somebody searched for, with whatever may be a phone or an e-mail address masked; the trail outlives the person."""
    said = unicodedata.normalize("NFKC", words)
    masked = _NUMBER.sub(lambda found: "****" + re.sub(r"[^0-9]", "", found[0])[-4:], _MAIL.sub(r"\1****@\2", said))
    return masked if masked != said else words


def _shown(filter_: Any) -> Any:
    """A list's filter as the trail keeps it: the query of an address, or its arguments."""

    def mask(key: str, value: Any) -> Any:
        chosen = not isinstance(value, str) or (key != "q" and _PLAIN.fullmatch(value))
        return value if chosen else without_contacts(value)

    if isinstance(filter_, dict):
        return {key: mask(key, value) for key, value in filter_.items()}
    pairs = parse_qsl(str(filter_), keep_blank_values=True)
    shown = [(key, mask(key, value)) for key, value in pairs]
    return filter_ if shown == pairs else urlencode(shown, safe="*@")


def record(
    action: str,
    object_kind: str,
    object_id: int | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    by: Staff | None = None,
) -> None:
    """Write one row in the present transaction. `action` is noun.past-participle; before and after are plain values.

    `by` names somebody of the staff who is not signed in yet; else it is who is, a program, a visitor or the system itself.
    `after["filter"]` is what a list was narrowed to; whatever in it may be a phone or an e-mail address is masked.
    """
    from . import auth
    from .http import client_address

    if after and "filter" in after:
        after = {**after, "filter": _shown(after["filter"])}
    who = by or (auth.current_staff() if has_request_context() else None)
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
