"""What the pages and numbers of operations are told: pushes on their way, messages in doubt, channels that stand still."""

from __future__ import annotations

from datetime import timedelta

from flask import url_for
from sqlalchemy import func, select

from campaigns.channels import labels as channel_labels
from campaigns.channels import queries as channels
from campaigns.channels import services as channel_services
from campaigns.channels.models import Account
from kernel import clock, operations
from kernel.auth import may
from kernel.db import db

from . import labels, queries, rules
from .models import Push, Run, RunState, Slice


def sendings() -> list[operations.Sending]:
    """The runs under way, with their rate since they began and the time that the rest takes at it."""
    rows = queries.running()
    progress = queries.progress_of([run for run, _push in rows])
    found = []
    for run, push in rows:
        done = progress[run.id]
        rate, left = 0.0, None
        if run.state is RunState.RUNNING and run.started_at is not None:
            rate, left = rules.time_left(done.done, done.total, run.started_at, clock.now())
        found.append(
            operations.Sending(
                label=push.name,
                url=url_for("pushes_console.show", push_id=push.id) if may("pushes.view") else "",
                done=done.done,
                total=done.total,
                rate=rate,
                left=left,
                state=labels.RUN_STATES[run.state],
            )
        )
    return found


def doubts() -> list[operations.Concern]:
    """Pushes of the last thirty days with messages in doubt."""
    return [
        operations.Concern(push.name, url_for("pushes_console.show", push_id=push.id), count=people)
        for push, people in queries.in_doubt(clock.now() - timedelta(days=30))
    ]


def halted() -> list[operations.Concern]:
    """Channels that stand still."""
    return [
        operations.Concern(
            channel_services.shown_name(account),
            url_for("channels_console.edit", account_id=account.id),
            channel_labels.health(account)[1],
        )
        for account in channels.troubled()
    ]


def families() -> list[operations.Family]:
    """Messages by what became of them, and by account; from the counts beside the slices, never from the rows."""
    totals = db.session.execute(
        select(
            func.coalesce(func.sum(Slice.accepted), 0),
            func.coalesce(func.sum(Slice.unsent), 0),
            func.coalesce(func.sum(Slice.unknown), 0),
            func.coalesce(func.sum(Slice.assigned), 0),
            func.coalesce(func.sum(Slice.total), 0),
        )
    ).one()
    accepted, unsent, unknown, assigned, total = (int(n) for n in totals)
    states = {
        "accepted": accepted,
        "unsent": unsent,
        "unknown": unknown,
        "assigned": assigned,
        "open": total - accepted - unsent - unknown - assigned,
    }
    by_account = db.session.execute(
        select(Account.id, Account.kind, func.sum(Slice.accepted))
        .join(Push, Push.account_id == Account.id)
        .join(Run, Run.push_id == Push.id)
        .join(Slice, Slice.run_id == Run.id)
        .group_by(Account.id)
        .order_by(Account.id)
    ).all()
    live = db.session.execute(
        select(Run.state, func.count())
        .where(Run.state.in_([RunState.MATERIALISING, RunState.RUNNING, RunState.PAUSED]))
        .group_by(Run.state)
    ).all()
    paused = db.session.scalar(select(func.count()).select_from(Account).where(Account.paused_at.is_not(None))) or 0
    return [
        operations.Family(
            "siyu_deliveries",
            "gauge",
            "Messages of all pushes by what became of them; those held out or without consent are not among them.",
            [({"state": state}, n) for state, n in states.items()],
        ),
        operations.Family(
            "siyu_account_accepted_total",
            "counter",
            "Messages that a channel's account has taken.",
            [({"account": str(row[0]), "kind": row[1].value}, int(row[2])) for row in by_account],
        ),
        operations.Family(
            "siyu_pushes",
            "gauge",
            "Pushes on their way, by state.",
            [({"state": row[0].value}, row[1]) for row in live],
        ),
        operations.Family("siyu_accounts_paused", "gauge", "Accounts of channels that stand still.", [({}, paused)]),
    ]


def init() -> None:
    """Fill the ports of operations."""
    operations.sendings.fill(sendings)
    operations.doubts.fill(doubts)
    operations.halted.fill(halted)
    operations.families.fill(families)
