"""What members did with pushes, for the rules of audiences."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from campaigns.audiences.clauses import deeds

from .models import Click


@deeds.fill
def clicked(deed: str) -> Any:
    """Who clicked in a push, and when."""
    return select(Click.member_id, Click.at.label("at")) if deed == "clicked" else None
