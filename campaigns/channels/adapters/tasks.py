"""Contact tasks: a person of the shop calls the member, or writes to them as they usually do, and says what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.dialects.postgresql import insert

from kernel import clock
from kernel.db import db, transaction
from membership.members.models import Contact

from ..models import ChannelKind, ContactTask, TaskState
from . import Abilities, Message, Outcome, Status


class Tasks:
    """Writes a task a message, keyed by it; offering the same again finds the task that is there."""

    def __init__(self, account_id: int, days: int = 2) -> None:
        self.account_id = account_id
        self.days = days
        self.abilities = Abilities(
            kind=ChannelKind.TASK, contact=Contact.CALL, idempotent=True, silent=True, human=True, batch_size=200
        )

    def submit(self, batch: Sequence[Message]) -> list[Outcome]:
        now = clock.now()
        with transaction():
            for m in batch:
                db.session.execute(
                    insert(ContactTask)
                    .values(
                        account_id=self.account_id,
                        key=m.key,
                        delivery_id=m.delivery_id,
                        member_id=m.member_id,
                        title=m.subject,
                        words=m.text,
                        state=TaskState.OPEN,
                        note="",
                        made_at=now,
                        due_at=now + timedelta(days=self.days),
                    )
                    .on_conflict_do_nothing(index_elements=[ContactTask.key])
                )
        return [Outcome(Status.ASSIGNED, provider_id=m.key) for m in batch]

    def probe(self) -> str | None:
        """It is our own table."""
        return None

    def close(self) -> None:
        return None
