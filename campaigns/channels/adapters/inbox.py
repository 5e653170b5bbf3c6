"""The inbox: messages on the member's own page. It is our own table, so that a message and its mark commit together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy.dialects.postgresql import insert

from kernel import clock
from kernel.db import db
from membership.members.models import Contact

from ..models import ChannelKind, InboxMessage
from . import Abilities, Card, Message, Outcome, Status

_INSERT = insert(InboxMessage.__table__).on_conflict_do_nothing(index_elements=[InboxMessage.key])


class Inbox:
    """Writes into `inbox_message` in the caller's transaction: truly once, keyed by the message."""

    abilities = Abilities(
        kind=ChannelKind.INBOX,
        contact=Contact.INBOX,
        idempotent=True,
        transactional=True,
        silent=True,
        batch_size=200,
        longest=timedelta(seconds=20),
    )

    def submit(self, batch: Sequence[Message]) -> list[Outcome]:
        now = clock.now()
        if batch:
            db.session.execute(
                _INSERT,
                [
                    {
                        "member_id": m.member_id,
                        "key": m.key,
                        "kind": m.kind,
                        "title": m.subject,
                        "body": m.body,
                        "path": m.path,
                        "sent_at": now,
                        **({"cards": [_kept(card) for card in m.cards]} if m.cards else {}),
                    }
                    for m in batch
                ],
            )
        return [Outcome(Status.ACCEPTED, provider_id=m.key) for m in batch]

    def probe(self) -> str | None:
        """It is our own table."""
        return None

    def close(self) -> None:
        return None


def _kept(card: Card) -> dict[str, Any]:
    return {"title": card.title, "price": card.price, "url": card.url, "picture": card.picture}
