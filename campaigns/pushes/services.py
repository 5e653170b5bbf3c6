"""The verbs of pushes: write one, schedule it, start, pause, resume, cancel it, and bring what is overdue to its end."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import exists, func, select, update

from campaigns.audiences import rules as audience_rules
from campaigns.channels import registry
from campaigns.channels import services as channels
from campaigns.channels.models import Account
from kernel import audit, clock, shop
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.i18n import lazy_gettext as _l
from membership.members.models import Member

from . import ledger, rules
from .models import Delivery, DeliveryState, Push, Run, RunState, Slice

DEFAULT_LIFE = timedelta(hours=48)
# Slices that are closed in one transaction.
CLOSED_AT_ONCE = 20


class TooLate(Refusal):
    label = _l(
        "The push has moved on meanwhile and this cannot be done any more. Reload the page to see where it stands."
    )
    title = _l("Too late for this")


def move(run: Run, to: RunState, **values: Any) -> None:
    """Take a run into its next state if that may follow the present one and nobody was quicker; refuses with `TooLate`."""
    if not rules.may_follow(run.state, to):
        raise TooLate
    moved = db.session.execute(
        update(Run)
        .where(Run.id == run.id, Run.state == run.state)
        .values(state=to, **values)
        .execution_options(synchronize_session=False)
    )
    if changed(moved) != 1:
        raise TooLate
    db.session.refresh(run)


# ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def draft(staff_id: int | None, **fields: Any) -> tuple[Push, Run]:
    """Make a push with its one run, as a draft. `fields` are those of `Push`."""
    push = Push(staff_id=staff_id, created_at=clock.now(), **fields)
    db.session.add(push)
    db.session.flush()
    run = Run(push_id=push.id)
    db.session.add(run)
    db.session.flush()
    audit.record("push.drafted", "push", push.id, after={"name": push.name})
    return push, run


def change(push: Push, run: Run, **fields: Any) -> None:
    """Change a draft. Refuses with `TooLate` once it is more than that."""
    if run.state is not RunState.DRAFT:
        raise TooLate
    for name, value in fields.items():
        setattr(push, name, value)
    db.session.flush()
    audit.record("push.changed", "push", push.id, after={"name": push.name})


def copy(push: Push, staff_id: int | None, name: str) -> Push:
    """Draft a push with the audience and the words of another."""
    kept = ("contact_class", "account_id", "audience", "subject", "body", "link_url", "offer_id", "coupon_mode")
    more = ("rate_per_second", "stop_when_bought", "attribution_days")
    return draft(staff_id, name=name, **{field: getattr(push, field) for field in (*kept, *more)})[0]


def set_moment(run: Run, at: datetime | None, life: timedelta = DEFAULT_LIFE) -> None:
    """Note on a draft when it is meant to start; nothing starts by that alone."""
    if run.state is not RunState.DRAFT:
        raise TooLate
    run.scheduled_at = at
    run.expires_at = at + life if at is not None else None


# ── Going ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def schedule(run: Run, at: datetime | None = None, life: timedelta = DEFAULT_LIFE) -> None:
    """Let a draft start at a moment (now when none is given); what is unsent `life` after that expires."""
    now = clock.now()
    start = max(at or now, now)
    move(run, RunState.SCHEDULED, scheduled_at=start, expires_at=start + life)
    audit.record("push.scheduled", "push", run.push_id, after={"at": start.isoformat()})


def unschedule(run: Run) -> None:
    """Make a scheduled push a draft again."""
    move(run, RunState.DRAFT)
    audit.record("push.unscheduled", "push", run.push_id)


def start(run: Run) -> bool:
    """Freeze whom a scheduled run can reach and begin to write its deliveries. Returns whether this call did it."""
    now = clock.now()
    push = db.session.get_one(Push, run.push_id)
    window_end = audience_rules.bought_since(audience_rules.parse(push.audience), clock.today())
    started = db.session.execute(
        update(Run)
        .where(Run.id == run.id, Run.state == RunState.SCHEDULED, Run.scheduled_at <= now)
        .values(
            state=RunState.MATERIALISING,
            started_at=now,
            woken_at=now,
            bought_since=min(clock.at(window_end), now) if window_end is not None else now,
            through_id=select(func.coalesce(func.max(Member.id), 0)).scalar_subquery(),
        )
        .execution_options(synchronize_session=False)
    )
    return changed(started) == 1


def holdout() -> tuple[float, str]:
    """The hold-out in force: its percentage, and the salt of this quarter.

    The salt comes from the shop's key (the oldest one kept, so that changing the key does not mix the groups up), or from
    the setting `holdout.salt`.
    """
    settings = current_app.extensions["settings"]
    oldest = (settings.secret_key, *settings.previous_secret_keys)[-1]
    salt = shop.get("holdout.salt") or hmac.digest(oldest, b"hold-out", "sha256").hex()[:32]
    return channels.holdout_percent(), f"{salt}:{rules.quarter_of(clock.today())}:"


def fan_out(run_id: int) -> ledger.Planned:
    """Write the next chunk of a run's deliveries."""
    run = db.session.get(Run, run_id, populate_existing=True)
    if run is None or run.state is not RunState.MATERIALISING:
        return ledger.Planned(0, True)
    push = db.session.get_one(Push, run.push_id)
    contact = registry.adapter_of(db.session.get_one(Account, push.account_id)).abilities.contact
    percent, salt = holdout()
    statement = ledger.fan_out_statement(audience_rules.parse(push.audience), contact)
    return ledger.fan_out_chunk(run_id, statement, {"salt": salt, "cut": rules.holdout_cut(percent)})


def pause(run: Run) -> None:
    """Let a running push stand still; the batch under way is the last one."""
    move(run, RunState.PAUSED)
    audit.record("push.paused", "push", run.push_id)


def resume(run: Run) -> None:
    """Let a paused push go on."""
    move(run, RunState.RUNNING)
    audit.record("push.resumed", "push", run.push_id)


def cancel(run: Run) -> None:
    """End a push for good; what was not sent yet is not sent."""
    move(run, RunState.CANCELLED, **({"finished_at": clock.now()} if run.started_at is None else {}))
    audit.record("push.cancelled", "push", run.push_id)


def resend_unknown(run: Run) -> int:
    """Offer the messages in doubt again, because somebody decided to; some people may get them twice. Returns how many.

    Refuses with `TooLate` a run that was cancelled, has expired or stands still.
    """
    if run.state is RunState.COMPLETED:
        now = clock.now()
        move(run, RunState.RUNNING, finished_at=None, tally=None, expires_at=now + DEFAULT_LIFE)
    elif run.state is not RunState.RUNNING:
        raise TooLate
    people = ledger.reopen_unknown(run.id)
    audit.record("push.resent", "push", run.push_id, after={"people": people})
    return people


# ── Upkeep: what the ticker's jobs do ───────────────────────────────────────────────────────────────────────────────


def due() -> Sequence[Run]:
    """Scheduled runs whose moment has come."""
    return db.session.scalars(
        select(Run)
        .where(Run.state == RunState.SCHEDULED, Run.scheduled_at <= clock.now())
        .order_by(Run.scheduled_at, Run.id)
    ).all()


def expire_overdue() -> list[int]:
    """Expire the runs whose time is over, wherever they stand; returns their ids."""
    return list(
        db.session.scalars(
            update(Run)
            .where(
                Run.state.in_([RunState.SCHEDULED, RunState.MATERIALISING, RunState.RUNNING, RunState.PAUSED]),
                Run.expires_at <= clock.now(),
            )
            .values(state=RunState.EXPIRED)
            .returning(Run.id)
            .execution_options(synchronize_session=False)
        )
    )


def reap(limit: int = 100) -> int:
    """Take back slices whose holder gave no sign of life in time; returns how many.

    Claimed deliveries were never handed over and become ready. Those in `submitting` may have been: they are unknown, and
    are offered again, under the same key, only where the channel keeps each key once.
    """
    now = clock.now()
    found = db.session.execute(
        select(Slice.id, Slice.run_id, Slice.number, Slice.from_member, Slice.to_member, Push.account_id)
        .join(Run, Run.id == Slice.run_id)
        .join(Push, Push.id == Run.push_id)
        .where(Slice.state == "leased", Slice.leased_until < now)
        .limit(limit)
        .with_for_update(of=Slice, skip_locked=True)
    ).all()
    for part in found:
        account = db.session.get_one(Account, part.account_id)
        ledger.take_back(part, registry.adapter_of(account).abilities.idempotent)
    return len(found)


def close(run_id: int) -> bool:
    """End some unsent deliveries of a cancelled or expired run. Returns whether there may be more to end at once.

    Slices that somebody is still at work on are left: their holder notices, and the next sweep finds them.
    """
    run = db.session.get(Run, run_id, populate_existing=True)
    if run is None or run.state not in (RunState.CANCELLED, RunState.EXPIRED) or run.finished_at is not None:
        return False
    to = DeliveryState.CANCELLED if run.state is RunState.CANCELLED else DeliveryState.EXPIRED
    closed = ledger.close_slices(run_id, to, limit=CLOSED_AT_ONCE)
    return not finish(run_id) and closed == CLOSED_AT_ONCE


def finish(run_id: int) -> bool:
    """Write the final counts of a run that has nothing open any more; returns whether it has come to its end.

    Asked in a transaction of its own after each slice: of two workers that end the last two slices, the later one sees both.
    """
    open_slices = exists().where(Slice.run_id == Run.id, Slice.state != "done")
    ended = db.session.execute(
        update(Run)
        .where(
            Run.id == run_id,
            Run.state.in_([RunState.RUNNING, RunState.CANCELLED, RunState.EXPIRED]),
            Run.finished_at.is_(None),
            ~open_slices,
        )
        .values(finished_at=clock.now())
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if ended is None:
        return False
    db.session.execute(
        update(Run)
        .where(Run.id == run_id)
        .values(tally=tally(run_id), state=func.replace(Run.state, RunState.RUNNING.value, RunState.COMPLETED.value))
        .execution_options(synchronize_session=False)
    )
    return True


def tally(run_id: int) -> dict[str, int]:
    """The deliveries of a run counted by state and reason, `{"suppressed:no_consent": 120, …}`."""
    rows = db.session.execute(
        select(Delivery.state, Delivery.reason, func.count())
        .where(Delivery.run_id == run_id)
        .group_by(Delivery.state, Delivery.reason)
    )
    counts: dict[str, int] = {}
    for state, reason, people in rows:
        # A provider's own words differ from message to message; the list of who was not sent has them.
        key = (
            f"{state.value}:{reason}"
            if state in (DeliveryState.SUPPRESSED, DeliveryState.CAPPED, DeliveryState.RENDER_FAILED)
            else state.value
        )
        counts[key] = counts.get(key, 0) + people
    return counts


def fail(run_id: int, reason: str) -> None:
    """End a run that cannot be planned."""
    db.session.execute(
        update(Run)
        .where(Run.id == run_id, Run.state == RunState.MATERIALISING)
        .values(state=RunState.FAILED, failure=reason[:500], finished_at=clock.now(), tally=tally(run_id))
        .execution_options(synchronize_session=False)
    )


def get_run(push_id: int) -> Run:
    """The run of a one-off push; refuses with `NotFound`."""
    found = db.session.scalar(select(Run).where(Run.push_id == push_id).order_by(Run.id.desc()).limit(1))
    if found is None:
        raise NotFound
    return found
