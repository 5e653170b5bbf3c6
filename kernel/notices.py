"""A port for lower floors that must tell a member something: a row in the same transaction, sent from above.

`campaigns.channels` subscribes to `NoticeWritten` and puts the notice into the member's inbox and other channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from . import clock
from .db import db, pk
from .events import Event, publish


class Notice(db.Model):
    __tablename__ = "notice"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(index=True)
    kind: Mapped[str]
    title: Mapped[str]
    body: Mapped[str]
    path: Mapped[str | None]
    created_at: Mapped[datetime]


@dataclass(frozen=True, kw_only=True)
class NoticeWritten(Event):
    notice_id: int


def tell(member_id: int, kind: str, title: str, body: str, path: str | None = None) -> None:
    """Write a notice to a member: service messages only (a seat, a coupon about to expire), never marketing."""
    notice = Notice(member_id=member_id, kind=kind, title=title, body=body, path=path, created_at=clock.now())
    db.session.add(notice)
    db.session.flush()
    publish(NoticeWritten(notice_id=notice.id))
