"""Pushes over a shared place: one message to a chat or to the feed of the shop's groups, which goes to no member.

Such a run has one delivery, to `NOBODY`, and takes the same way through the ledger as any other: lease, claim, intent,
outcome. What concerns members alone (consent, contact budget, hold-out, "has bought meanwhile") is not asked.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Sequence

from sqlalchemy import exists, insert, or_, select, update

from campaigns.channels.adapters import Message
from campaigns.channels.models import Account
from kernel import clock
from kernel.db import db, transaction
from kernel.i18n import LOCALES

from . import drain, ledger, rules
from .models import NOBODY, Delivery, DeliveryState, Push, Run, RunState, Slice

log = logging.getLogger(__name__)


def is_shared(run_id: int) -> bool:
    """Whether a run goes to a chat or a feed, and not to members."""
    kind = db.session.scalar(
        select(Account.kind)
        .join(Push, Push.account_id == Account.id)
        .join(Run, Run.push_id == Push.id)
        .where(Run.id == run_id)
    )
    return kind is not None and kind.shared


def plan(run_id: int) -> ledger.Planned:
    """Write the one delivery of a run and let it go. Repeated, or by two at once, it is written once."""
    run = db.session.scalar(
        select(Run)
        .where(Run.id == run_id, Run.state == RunState.MATERIALISING)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if run is None:
        return ledger.Planned(0, True)
    db.session.execute(
        insert(Delivery).values(run_id=run_id, member_id=NOBODY, slice_number=1, state=DeliveryState.READY)
    )
    db.session.execute(
        insert(Slice).values(run_id=run_id, number=1, from_member=NOBODY, to_member=NOBODY, total=1, state="ready")
    )
    run.state, run.planned, run.slices, run.woken_at = RunState.RUNNING, 1, 1, clock.now()
    db.session.flush()
    return ledger.Planned(1, True)


def say(run_id: int, budget_seconds: float = drain.BUDGET_SECONDS) -> bool:
    """Say what a run has to say in its place. Returns whether to come again."""
    until = time.monotonic() + budget_seconds
    with transaction():
        work = drain.load(run_id)
        if work is None or work.quiet_until() is not None:
            return False
        held = ledger.lease(run_id, secrets.token_hex(12), work.hold)
    if held is None:
        return False
    try:
        Saying(work, held, until, threading.Lock()).run()
    except ledger.LeaseLost:
        # Whoever has it now has already put everything in order.
        log.warning("lease of slice %s of run %s lost", held.number, run_id)
    return True


class Saying(drain.Sending):
    """The work on the slice of a shared place."""

    most = 1

    def portion(self) -> bool:
        """Claim the one delivery if the rates allow it, and hand it over."""
        granted = self.tokens()
        with transaction():
            rows = self.claimed()
        self.put_back(granted - len(rows))
        messages, attempts = self.rendered(rows)
        if self.work.adapter.abilities.transactional:
            self.write(messages)
        elif messages:
            self.hand_over(messages, attempts)
        return False

    def claimed(self) -> list[ledger.Claimed]:
        """The delivery if it is ready, claimed under the lease."""
        ledger.fence(self.held, self.work.hold)
        rows = db.session.execute(
            update(Delivery)
            .where(
                Delivery.run_id == self.work.run_id,
                Delivery.member_id == NOBODY,
                Delivery.state == DeliveryState.READY,
                or_(Delivery.not_before.is_(None), Delivery.not_before <= clock.now()),
            )
            .values(state=DeliveryState.CLAIMED, reason=None)
            .returning(Delivery.id, Delivery.attempts)
            .execution_options(synchronize_session=False)
        )
        return [ledger.Claimed(row.id, NOBODY, "", 0, LOCALES[0], "", row.attempts) for row in rows]

    def write(self, messages: Sequence[Message]) -> None:
        """A feed of our own: the post and its mark in one transaction; one that is refused ends with the reason."""
        if not messages:
            return
        with transaction():
            ledger.fence(self.held, self.work.hold)
            going = db.session.scalars(
                update(Delivery)
                .where(
                    Delivery.id.in_([m.delivery_id for m in messages]),
                    Delivery.state == DeliveryState.CLAIMED,
                    exists().where(Run.id == self.work.run_id, Run.state == RunState.RUNNING),
                )
                .values(state=DeliveryState.SUBMITTING)
                .returning(Delivery.id)
                .execution_options(synchronize_session=False)
            ).all()
            if not going:
                raise drain.Stop
            outcomes = self.work.adapter.submit(messages)
            now = clock.now()
            verdicts = {
                m.delivery_id: rules.verdict(outcome, 0, now, self.work.adapter.abilities.idempotent)
                for m, outcome in zip(messages, outcomes, strict=True)
            }
            ledger.record(self.held, self.work.hold, verdicts, DeliveryState.SUBMITTING, self.work.contact_class)
        self.sent_any = True
