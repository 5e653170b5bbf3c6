"""Reads about accounts, the inbox and the contact budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select

from kernel import clock
from kernel.db import db

from . import rules
from .models import Account, ContactLedger, InboxMessage


def messages_of(member_id: int) -> Any:
    """A member's messages, as a statement for paging."""
    return select(InboxMessage).where(InboxMessage.member_id == member_id)


def latest(member_id: int, limit: int = 2) -> Sequence[InboxMessage]:
    """The newest messages of a member that were not read yet."""
    return db.session.scalars(
        messages_of(member_id).where(InboxMessage.read_at.is_(None)).order_by(InboxMessage.id.desc()).limit(limit)
    ).all()


def unread(member_id: int) -> int:
    """How many messages a member has not read yet, counted no further than a hundred."""
    inner = (
        select(InboxMessage.id).where(InboxMessage.member_id == member_id, InboxMessage.read_at.is_(None)).limit(100)
    )
    return db.session.scalar(select(func.count()).select_from(inner.subquery())) or 0


def budget_use() -> tuple[int, int]:
    """How many members were written to today, and how many this month."""
    today = clock.today()
    row = db.session.execute(
        select(
            func.count().filter(ContactLedger.day_on == today, ContactLedger.day_total > 0),
            func.count().filter(ContactLedger.total > 0),
        ).where(ContactLedger.month_on == rules.month_of(today))
    ).one()
    return row[0], row[1]


def troubled() -> Sequence[Account]:
    """The accounts that are paused or rest after failed connections."""
    return db.session.scalars(
        select(Account).where(Account.paused_at.is_not(None) | (Account.retry_at > clock.now())).order_by(Account.id)
    ).all()
