"""What members did with messages, for the rules of audiences."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from campaigns.audiences.clauses import deeds

from .models import InboxMessage


@deeds.fill
def opened(deed: str) -> Any:
    """Who opened a push on their page, and when."""
    if deed != "opened":
        return None
    return select(InboxMessage.member_id, InboxMessage.read_at.label("at")).where(
        InboxMessage.read_at.is_not(None), InboxMessage.key.startswith("delivery:")
    )
