"""The inbox: messages that lie on the member's own page."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

from kernel import clock, links
from kernel.cli import standing_rows
from kernel.db import changed, db
from kernel.i18n import gettext as _

from ..models import InboxMessage
from .accounts import inbox_account

_LINK = re.compile(r"https?://[^\s<>\"'，。！？；：、）】》]+")


@standing_rows.fill
def open_inbox() -> None:
    """Have the inbox's account there before the first page shows it."""
    inbox_account()


def put_into_inbox(member_id: int, key: str, kind: str, title: str, body: str, path: str | None = None) -> bool:
    """Write one message to a member's page; returns False when one with this key lies there already."""
    written = db.session.scalar(
        insert(InboxMessage)
        .values(member_id=member_id, key=key, kind=kind, title=title, body=body, path=path, sent_at=clock.now())
        .on_conflict_do_nothing(index_elements=[InboxMessage.key])
        .returning(InboxMessage.id)
    )
    return written is not None


def mark_read(member_id: int, message_ids: Iterable[int] | None = None) -> int:
    """Mark a member's messages as read, all of them or those given; returns how many were unread."""
    statement = (
        update(InboxMessage)
        .where(InboxMessage.member_id == member_id, InboxMessage.read_at.is_(None))
        .values(read_at=clock.now())
        .execution_options(synchronize_session=False)
    )
    if message_ids is not None:
        statement = statement.where(InboxMessage.id.in_(list(message_ids)))
    return changed(db.session.execute(statement))


def in_parts(text: str) -> list[tuple[str, str | None]]:
    """A message's text in pieces: (words, None), and (words, address) for each link in it.

    A link of the message's own says what it is; its address is long and means nothing to anybody.
    """
    own = links.absolute("/l/")
    pieces: list[tuple[str, str | None]] = []
    at = 0
    for found in _LINK.finditer(text):
        if found.start() > at:
            pieces.append((text[at : found.start()], None))
        pieces.append((str(_("Open the link")) if found[0].startswith(own) else found[0], found[0]))
        at = found.end()
    if at < len(text):
        pieces.append((text[at:], None))
    return pieces
