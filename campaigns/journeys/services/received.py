"""What other programs tell of a member: kept once under its key, and told to whoever listens."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from kernel import clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l

from ..events import EventReceived
from ..models import ReceivedEvent


class EventKeyReused(Refusal):
    status = 409
    label = _l("This key was used before for another event. Give each event a key of its own.")


def receive(member_id: int, type: str, key: str, at: datetime, payload: dict[str, Any]) -> tuple[ReceivedEvent, bool]:
    """Keep an event of a member; returns it and whether it is new. The same key again changes nothing.

    Publishes `EventReceived`. Refuses with `EventKeyReused` when the key stands for an event of another type or member.
    """
    fresh = db.session.scalar(
        insert(ReceivedEvent)
        .values(member_id=member_id, type=type, key=key, at=at, received_at=clock.now(), payload=payload)
        .on_conflict_do_nothing(index_elements=[ReceivedEvent.key])
        .returning(ReceivedEvent.id)
    )
    found = db.session.scalars(select(ReceivedEvent).where(ReceivedEvent.key == key)).one()
    if fresh is None:
        if (found.type, found.member_id) != (type, member_id):
            raise EventKeyReused
        return found, False
    publish(EventReceived(member_id=member_id, received_id=found.id, type=type))
    return found, True
