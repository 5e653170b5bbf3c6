"""What the ways of sending text messages have in common: one message at a time, none that carriers would drop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from kernel.errors import Refusal
from membership.members.models import Contact

from .. import sms
from ..models import ChannelKind
from . import Abilities, Message, Outcome, Status, wire

# No new message is begun after so long in one batch.
BATCH_SECONDS = 15.0


class Texting:
    """Sends text messages; `one` hands a single message over."""

    def __init__(self, terms: sms.Terms, line: wire.Line, idempotent: bool = False) -> None:
        self.terms = terms
        self.line = line
        self.abilities = Abilities(
            kind=ChannelKind.SMS,
            contact=Contact.SMS,
            idempotent=idempotent,
            batch_size=50,
            gradual=True,
            constant_links=True,
            receipts=True,
            longest=timedelta(seconds=BATCH_SECONDS + 2 * line.seconds),
        )

    def submit(self, batch: Sequence[Message]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        until = time.monotonic() + BATCH_SECONDS
        for message in batch:
            if time.monotonic() >= until:
                outcomes.append(Outcome(Status.RETRY, "the gateway is slow", after=timedelta(0)))
                continue
            outcome = self._checked(message)
            outcomes.append(outcome)
            if outcome.down:
                rest = len(batch) - len(outcomes)
                return outcomes + [Outcome(Status.RETRY, outcome.reason, after=outcome.after, down=True)] * rest
        return outcomes

    def _checked(self, message: Message) -> Outcome:
        try:
            sms.check(message.body, self.terms, marketing=message.kind in ("push", "test"))
        except Refusal as refusal:
            return Outcome(Status.REJECTED, refusal.code)
        try:
            return self.one(message)
        except wire.NotSent as error:
            return Outcome(Status.RETRY, str(error), down=True)
        except wire.NoAnswer as error:
            return Outcome(Status.UNKNOWN, str(error))

    def one(self, message: Message) -> Outcome:
        """Hand one message over. Raises `wire.NotSent` and `wire.NoAnswer`."""
        raise NotImplementedError

    def probe(self) -> str | None:
        """Whether somebody listens there: None, or what is wrong."""
        return self.line.trouble()

    def close(self) -> None:
        self.line.close()
