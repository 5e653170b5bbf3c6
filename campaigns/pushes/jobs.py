"""Jobs of pushes. Each is found again from the tables by `wake`, so that an emptied queue loses nothing."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import replace
from datetime import datetime, timedelta

from flask import current_app
from redis import RedisError
from sqlalchemy import func, or_, select, update

from campaigns.audiences.rules import AudienceInvalid
from campaigns.channels import registry
from campaigns.channels import services as channels
from campaigns.channels.models import Account, ChannelKind
from kernel import audit, clock, jobs, restoring
from kernel.db import db, transaction
from kernel.i18n import gettext as _
from kernel.jobs import every, job
from membership.members.models import Member

from . import drain, message, places, services
from .models import Push, Run, RunState, Slice

log = logging.getLogger(__name__)
# A run that gave no sign for so long is woken again.
SILENT = timedelta(seconds=5)
FAN_OUT_SECONDS = 12.0


@job(queue="bulk", own_transactions=True, endless=True)
def fan_out(run_id: int) -> None:
    """Write a run's deliveries, chunk by chunk."""
    until = time.monotonic() + FAN_OUT_SECONDS
    while time.monotonic() < until:
        try:
            with transaction():
                planned = services.fan_out(run_id)
        except AudienceInvalid as refusal:
            with transaction():
                services.fail(run_id, str(refusal))
            return
        if planned.done:
            with transaction():
                if not services.finish(run_id):
                    wake_run(run_id)
            return
    with transaction():
        fan_out.later(run_id=run_id)


@job(queue="bulk", own_transactions=True, endless=True)
def send(run_id: int) -> None:
    """Hand over slices of a run for a few seconds, then let other runs have their turn."""
    with transaction():
        shared = places.is_shared(run_id)
    more = places.say(run_id) if shared else drain.drain(run_id, lanes=drain.lanes_for(run_id))
    with transaction():
        if more:
            send.later(run_id=run_id)
        else:
            services.finish(run_id)


@job(queue="bulk", own_transactions=True, endless=True)
def close(run_id: int) -> None:
    """End what a cancelled or expired run has not sent."""
    with transaction():
        if services.close(run_id):
            close.later(run_id=run_id)


@job(own_transactions=True)
def send_test(push_id: int, member_id: int | None, address: str, variant: int = 0) -> None:
    """Hand one message of a push over to a colleague, as a member would read it. No row of the ledger comes of it."""
    with transaction():
        push = db.session.get_one(Push, push_id)
        account = db.session.get_one(Account, push.account_id)
        reader = db.session.get(Member, member_id) if member_id is not None else None
        written = message.example(push, account, reader, variant)
        if written is None:
            return
        adapter = registry.adapter_of(account)
        test = replace(
            written,
            key=f"test:{push_id}.{secrets.token_hex(8)}",
            member_id=int(address) if account.kind is ChannelKind.INBOX else 0,
            address="" if account.kind is ChannelKind.INBOX else address,
            subject=str(_("Test: %(subject)s", subject=written.subject)),
            unsubscribe=None,
            path=None,
            kind="test",
        )
        if adapter.abilities.transactional:
            adapter.submit([test])
    if not adapter.abilities.transactional:
        outcome = adapter.submit([test])[0]
        with transaction():
            audit.record("push.test_answered", "push", push_id, after={"to": address, "answer": outcome.status.value})


def wake_run(run_id: int) -> None:
    """Let as many workers take part in a run as there are free slices for, after the commit of the caller."""
    settings = current_app.extensions["settings"]
    now = clock.now()
    free = db.session.scalar(
        select(func.count())
        .select_from(Slice)
        .where(Slice.run_id == run_id, Slice.state == "ready", or_(Slice.due_at.is_(None), Slice.due_at <= now))
    )
    held = db.session.scalar(
        select(func.count())
        .select_from(Slice)
        .where(Slice.run_id == run_id, Slice.state == "leased", Slice.leased_until > now)
    )
    places = settings.bulk_workers - (held or 0)
    if places < 1 and _queue_is_empty():
        # Holders may have died, and some leases outlast them by more than a minute: whoever lives is not to be idle for that.
        places = 1
    for _turn in range(min(free or 0, places)):
        send.later(run_id=run_id)
    db.session.execute(
        update(Run).where(Run.id == run_id).values(woken_at=now).execution_options(synchronize_session=False)
    )


def _queue_is_empty() -> bool:
    """Whether no work of this kind waits. Of a queue that does not answer nothing is known."""
    collected = current_app.extensions.get("collected_jobs")
    if collected is not None:
        return not collected
    try:
        return jobs.queue("bulk", current_app.extensions["settings"]).count == 0
    except RedisError as error:
        log.warning("the queue does not answer (%s)", error)
        return False


def _queue_is_full() -> bool:
    """Whether enough work waits already. A queue that does not answer, or has been emptied, is not full."""
    settings = current_app.extensions["settings"]
    if "collected_jobs" in current_app.extensions:
        return False
    try:
        return jobs.queue("bulk", settings).count > 4 * settings.bulk_workers
    except RedisError as error:
        log.warning("the queue does not answer (%s)", error)
        return False


def _may_send(account: Account, now: datetime, quiet: bool) -> bool:
    """Whether anything can be handed over through an account at this moment."""
    if account.paused_at is not None or channels.rests_until(account, now) is not None:
        return False
    return not quiet or registry.adapter_of(account).abilities.silent


@every(3)
@job(own_transactions=True)
def wake() -> None:
    """Start what is due, expire what is overdue, and wake workers for whatever has work: the tables decide, not the queue."""
    with transaction():
        # First, so that what was found far too late is never begun.
        for run_id in services.expire_overdue():
            close.later(run_id=run_id)
        services.lapse_assigned()
        if restoring.held():
            return
        services.plan_series()
        for run in services.due():
            if services.start(run):
                fan_out.later(run_id=run.id)
    if _queue_is_full():
        return
    with transaction():
        now = clock.now()
        quiet = channels.quiet_until(now) is not None
        live = db.session.execute(
            select(Run.id, Run.state, Account)
            .join(Push, Push.id == Run.push_id)
            .join(Account, Account.id == Push.account_id)
            .where(
                Run.finished_at.is_(None),
                or_(
                    Run.state.in_([RunState.MATERIALISING, RunState.RUNNING]),
                    Run.state.in_([RunState.CANCELLED, RunState.EXPIRED]) & Run.started_at.is_not(None),
                ),
                or_(Run.woken_at.is_(None), Run.woken_at < now - SILENT),
            )
            .order_by(Push.priority.desc(), Run.id)
        ).all()
        for run_id, state, account in live:
            if state is RunState.MATERIALISING:
                fan_out.later(run_id=run_id)
            elif state is not RunState.RUNNING:
                close.later(run_id=run_id)
            elif services.finish(run_id):
                continue
            elif _may_send(account, now, quiet):
                wake_run(run_id)


@every(60)
@job()
def match_receipts() -> None:
    """Take up reports that came before the message they speak of was written down."""
    services.match_receipts(clock.now() - timedelta(hours=1))


@every(10)
@job(own_transactions=True)
def reap() -> None:
    """Take back what dead workers held."""
    with transaction():
        services.reap()
