"""Health: what accounts have taken and refused, and when one is paused by itself and tried again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock
from kernel.db import changed, db, transaction
from kernel.events import publish

from .. import breaker, rules
from ..adapters import Message, Outcome, Status
from ..events import ChannelPaused
from ..models import Account, ChannelFault, ChannelHour
from . import addresses

# Counts are written at most so often by a process.
FLUSH_SECONDS = 1.0
FAULTS_KEPT = 50
_COUNTED = {
    Status.ACCEPTED: "accepted",
    Status.ASSIGNED: "accepted",
    Status.REJECTED: "rejected",
    Status.RETRY: "retried",
    Status.UNKNOWN: "unknown",
}


def note_accepted(account_id: int) -> None:
    """A message was taken: whatever went wrong before is over."""
    db.session.execute(
        update(Account)
        .where(Account.id == account_id)
        .values(errors_in_row=0, retry_at=None, probes=0, last_accepted_at=clock.now())
        .execution_options(synchronize_session=False)
    )


def note_errors(account_id: int, errors: int, reason: str, down: bool = False, after: timedelta | None = None) -> bool:
    """Count errors in a row; at twenty the breaker pauses the account with the reason. Returns whether it is paused now.

    With `down` the account could not be reached at all and rests for a while, longer each time or as long as `after` says.
    """
    now = clock.now()
    reason = breaker.masked(reason)[:500]
    row = db.session.execute(
        update(Account)
        .where(Account.id == account_id)
        .values(errors_in_row=Account.errors_in_row + errors, last_error=reason, last_error_at=now)
        .returning(Account.errors_in_row, Account.paused_at, Account.probes)
        .execution_options(synchronize_session=False)
    ).one()
    values: dict[str, Any] = {}
    if down:
        values["retry_at"] = now + (after or rules.backoff(row.errors_in_row))
    if row.errors_in_row >= rules.BREAKER and row.paused_at is None:
        values |= {
            "paused_at": now,
            "pause_reason": reason,
            "tripped": True,
            "probe_at": now + breaker.probe_wait(row.probes),
        }
        audit.record("channel_account.paused", "channel_account", account_id, after={"reason": reason})
        publish(ChannelPaused(account_id=account_id, reason=reason))
    if values:
        db.session.execute(
            update(Account)
            .where(Account.id == account_id)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    return row.paused_at is not None or "paused_at" in values


# ── What every call brought ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Tally:
    counts: Counter[str] = field(default_factory=Counter)
    slowest_ms: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    written: float = 0.0


_tallies: dict[int, _Tally] = {}
_lock = threading.Lock()


def note_call(
    account_id: int, messages: Sequence[Message], outcomes: Sequence[Outcome], seconds: float, flush: bool = False
) -> None:
    """Count what a call to the other side brought, and remember addresses that are no good.

    No transaction may be open: counts are written in one of their own, at most once a second unless `flush` says otherwise.
    """
    dead = [(m, o) for m, o in zip(messages, outcomes, strict=True) if o.bounced and m.member_id]
    with _lock:
        tally = _tallies.setdefault(account_id, _Tally())
        took = round(seconds * 1000)
        tally.counts.update(_COUNTED[o.status] for o in outcomes)
        tally.counts.update(calls=1, took_ms=took)
        tally.slowest_ms = max(tally.slowest_ms, took)
        tally.reasons.update(
            breaker.masked(o.reason)[:200] for o in outcomes if o.reason and _COUNTED[o.status] != "accepted"
        )
        due = flush or bool(dead) or time.monotonic() - tally.written >= FLUSH_SECONDS
        if due:
            del _tallies[account_id]
            _tallies[account_id] = _Tally(written=time.monotonic())
    if not due:
        return
    with transaction():
        _write(account_id, tally)
        for message, outcome in dead:
            addresses.give_up(message.member_id, message.address, outcome.reason)


def _write(account_id: int, tally: _Tally) -> None:
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    names = ("calls", "accepted", "rejected", "retried", "unknown", "took_ms")
    statement = insert(ChannelHour).values(
        account_id=account_id,
        hour_at=hour,
        slowest_ms=tally.slowest_ms,
        **{name: tally.counts[name] for name in names},
    )
    excluded = statement.excluded
    db.session.execute(
        statement.on_conflict_do_update(
            index_elements=["account_id", "hour_at"],
            set_={name: getattr(ChannelHour, name) + excluded[name] for name in names}
            | {"slowest_ms": func.greatest(ChannelHour.slowest_ms, excluded.slowest_ms)},
        )
    )
    now = clock.now()
    for reason, times in sorted(tally.reasons.items()):
        fault = insert(ChannelFault).values(
            account_id=account_id, reason=reason, times=times, first_at=now, last_at=now
        )
        db.session.execute(
            fault.on_conflict_do_update(
                index_elements=["account_id", "reason"],
                set_={"times": ChannelFault.times + fault.excluded.times, "last_at": now},
            )
        )


def prune() -> None:
    """Forget hours older than 90 days, and all but the newest fifty reasons of each account."""
    db.session.execute(delete(ChannelHour).where(ChannelHour.hour_at < clock.now() - timedelta(days=90)))
    ranked = select(
        ChannelFault.account_id,
        ChannelFault.reason,
        func.row_number()
        .over(partition_by=ChannelFault.account_id, order_by=(ChannelFault.last_at.desc(), ChannelFault.reason))
        .label("place"),
    ).subquery()
    old = select(ranked.c.account_id, ranked.c.reason).where(ranked.c.place > FAULTS_KEPT)
    for account_id, reason in db.session.execute(old).all():
        db.session.execute(
            delete(ChannelFault).where(ChannelFault.account_id == account_id, ChannelFault.reason == reason)
        )


# ── Closing the breaker again ───────────────────────────────────────────────────────────────────────────────────────


def to_probe() -> list[int]:
    """The accounts that the breaker paused and whose time to be tried again has come."""
    now = clock.now()
    return list(
        db.session.scalars(
            select(Account.id)
            .where(
                Account.paused_at.is_not(None),
                Account.tripped,
                or_(Account.probe_at.is_(None), Account.probe_at <= now),
            )
            .order_by(Account.id)
        )
    )


def note_probe(account_id: int, wrong: str | None) -> bool:
    """Write down what a probe of a paused account found: None lets it go on, a reason keeps it waiting, longer each time.

    It goes on with all but one of its errors still counted, so that a single further one pauses it again at once. Returns
    whether it goes on. Somebody who paused it by hand meanwhile, or let it go on, is not overruled.
    """
    now = clock.now()
    held = Account.id == account_id, Account.paused_at.is_not(None), Account.tripped
    if wrong is not None:
        probes = db.session.scalars(select(Account.probes).where(*held).with_for_update()).one_or_none()
        if probes is not None:
            db.session.execute(
                update(Account)
                .where(*held)
                .values(
                    probes=probes + 1,
                    probe_at=now + breaker.probe_wait(probes + 1),
                    last_error=breaker.masked(wrong)[:500],
                    last_error_at=now,
                )
            )
        return False
    moved = changed(
        db.session.execute(
            update(Account)
            .where(*held)
            .values(
                paused_at=None,
                pause_reason=None,
                tripped=False,
                retry_at=None,
                probe_at=None,
                probes=Account.probes + 1,
                errors_in_row=rules.BREAKER - 1,
            )
        )
    )
    if moved:
        audit.record("channel_account.probed", "channel_account", account_id)
    return bool(moved)
