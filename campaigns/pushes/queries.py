"""Reads about pushes: lists, progress, what became of whom, and what a draft would do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, false, func, literal, not_, or_, select, text, true
from sqlalchemy.exc import OperationalError

from campaigns.audiences import queries as audiences
from campaigns.audiences.rules import Definition
from campaigns.channels import registry
from campaigns.channels import rules as channel_rules
from campaigns.channels import services as channels
from campaigns.channels.models import Account, ContactLedger
from kernel import clock
from kernel.db import db
from kernel.errors import NotFound
from membership.coupons.models import Offer, OfferState
from membership.members import queries as members
from membership.members.models import Member, Purpose

from . import ledger, rules, services
from .models import Delivery, DeliveryState, Push, Run, RunState, Slice

LIVE = (RunState.SCHEDULED, RunState.MATERIALISING, RunState.RUNNING, RunState.PAUSED)
S = DeliveryState


def get_push(push_id: int) -> tuple[Push, Run]:
    """A push with its run; refuses with `NotFound`."""
    push = db.session.get(Push, push_id)
    if push is None:
        raise NotFound
    return push, services.get_run(push_id)


def listed(wanted: str = "", state: RunState | None = None) -> Any:
    """Pushes with their runs, for the list."""
    statement = select(Run, Push).join(Push, Push.id == Run.push_id)
    if wanted:
        escaped = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        statement = statement.where(or_(Push.name.ilike(f"%{escaped}%"), Push.subject.ilike(f"%{escaped}%")))
    if state is not None:
        statement = statement.where(Run.state == state)
    return statement


def found(wanted: str) -> list[tuple[Run, Push]]:
    """At most ten pushes by name or title, the newest first."""
    rows = db.session.execute(listed(wanted).order_by(Run.id.desc()).limit(10))
    return [(run, push) for run, push in rows]


def begun_between(since: datetime, until: datetime) -> Any:
    """Pushes with their runs that began in `[since, until)`."""
    return listed().where(Run.started_at >= since, Run.started_at < until)


def account_of(push: Push) -> Account:
    return db.session.get_one(Account, push.account_id)


def offer_of(push: Push) -> Offer | None:
    return db.session.get(Offer, push.offer_id) if push.offer_id else None


def offer_choices(present: int | None = None) -> list[tuple[int, str]]:
    """The offers whose coupons a push may carry: those that run, and the one it carries already."""
    rows = db.session.execute(
        select(Offer.id, Offer.name)
        .where(or_(Offer.state == OfferState.ACTIVE, Offer.id == present))
        .order_by(Offer.id.desc())
    )
    return [(row.id, row.name) for row in rows]


# ── Progress ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Progress:
    """How far a run has come. `total` counts those who may be sent to; the others were decided while planning."""

    planned: int
    total: int
    accepted: int
    unsent: int
    unknown: int

    @property
    def done(self) -> int:
        return self.accepted + self.unsent + self.unknown

    @property
    def left(self) -> int:
        return self.total - self.done


def progress_of(runs: Sequence[Run]) -> dict[int, Progress]:
    """The progress of several runs, from the counts beside their slices."""
    rows = db.session.execute(
        select(
            Slice.run_id,
            func.sum(Slice.total),
            func.sum(Slice.accepted),
            func.sum(Slice.unsent),
            func.sum(Slice.unknown),
        )
        .where(Slice.run_id.in_([run.id for run in runs]))
        .group_by(Slice.run_id)
    )
    sums = {row[0]: tuple(int(n) for n in row[1:]) for row in rows}
    return {run.id: Progress(run.planned, *sums.get(run.id, (0, 0, 0, 0))) for run in runs}


def progress(run: Run) -> Progress:
    return progress_of([run])[run.id]


@dataclass(frozen=True)
class Outcome:
    """How many deliveries came to one end for one reason."""

    state: DeliveryState
    reason: str | None
    people: int


_ORDER = list(S)


def outcomes(run: Run) -> list[Outcome]:
    """Every end and how many came to it; with those still open they are all that were planned."""
    counts = run.tally if run.tally is not None else services.tally(run.id)
    found = []
    for key, people in counts.items():
        state, _colon, reason = key.partition(":")
        found.append(Outcome(S(state), reason or None, people))
    return sorted(found, key=lambda o: (_ORDER.index(o.state), -o.people))


def deliveries(run_id: int, state: DeliveryState | None = None, reason: str | None = None, unsent: bool = False) -> Any:
    """The deliveries of a run with their members; `unsent` leaves out what was sent."""
    statement = select(Delivery, Member).join(Member, Member.id == Delivery.member_id).where(Delivery.run_id == run_id)
    if state is not None:
        statement = statement.where(Delivery.state == state)
    if reason:
        statement = statement.where(Delivery.reason == reason)
    if unsent:
        statement = statement.where(Delivery.state != S.ACCEPTED)
    return statement


def streamed(statement: Any) -> Iterator[Any]:
    """The rows of a statement, fetched a thousand at a time."""
    yield from db.session.execute(statement.execution_options(yield_per=1_000))


def of_member(member_id: int, limit: int = 5) -> Sequence[Any]:
    """The latest pushes that concerned a member, with what became of each."""
    return db.session.execute(
        select(Delivery, Push, Run)
        .join(Run, Run.id == Delivery.run_id)
        .join(Push, Push.id == Run.push_id)
        .where(Delivery.member_id == member_id)
        .order_by(Delivery.id.desc())
        .limit(limit)
    ).all()


def running() -> list[tuple[Run, Push]]:
    """What is being sent, is about to be, or stands still."""
    rows = db.session.execute(
        select(Run, Push)
        .join(Push, Push.id == Run.push_id)
        .where(Run.state.in_([RunState.MATERIALISING, RunState.RUNNING, RunState.PAUSED]))
        .order_by(Run.id)
    )
    return [(run, push) for run, push in rows]


def in_doubt(since: datetime) -> list[tuple[Push, int]]:
    """Pushes begun since an instant with messages of which nobody knows whether they arrived."""
    rows = db.session.execute(
        select(Push, func.sum(Slice.unknown))
        .join(Run, Run.push_id == Push.id)
        .join(Slice, Slice.run_id == Run.id)
        .where(Slice.unknown > 0, Run.started_at >= since)
        .group_by(Push.id)
        .order_by(Push.id.desc())
    )
    return [(push, int(count)) for push, count in rows]


def waiting_drafts() -> list[tuple[Push, Run]]:
    """Drafts that have a moment set which has passed, or comes today, and were never scheduled."""
    until = clock.day_bounds(clock.today())[1]
    rows = db.session.execute(
        select(Push, Run)
        .join(Run, Run.push_id == Push.id)
        .where(Run.state == RunState.DRAFT, Run.scheduled_at < until)
        .order_by(Run.scheduled_at)
        .limit(5)
    )
    return [(push, run) for push, run in rows]


# ── What a draft would do ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Check:
    """Whom a push would reach now, and who would be left out and why. The contact budget is judged when it is sent."""

    people: int = 0
    reachable: int = 0
    no_address: int = 0
    no_consent: int = 0
    held_out: int = 0
    day: int = 0
    month: int = 0
    estimated: bool = False

    @property
    def sent(self) -> int:
        """How many would be sent if it began this minute."""
        return self.reachable - self.held_out - self.day - self.month


def check(definition: Definition, account: Account) -> Check:
    """Count what would become of an audience over an account, within two seconds; else an estimate of its size alone."""
    able = registry.adapter_of(account).abilities
    address = ledger.ADDRESS.get(able.contact)
    has_address: ColumnElement[bool] = true() if address is None else address.is_not(None)
    percent, salt = services.holdout()
    caps, today = channels.budget(), clock.today()
    month = and_(ContactLedger.total >= caps.per_month) if caps.per_month is not None else false()
    day = (
        and_(ContactLedger.day_on == today, ContactLedger.day_total >= caps.per_day)
        if caps.per_day is not None
        else false()
    )
    kind = case(
        (not_(has_address), "no_address"),
        (not_(members.consented(able.contact, Purpose.MARKETING)), "no_consent"),
        (ledger.held_out(literal(salt), literal(rules.holdout_cut(percent))), "held_out"),
        (month, "month"),
        (day, "day"),
        else_="sent",
    )
    each = (
        select(kind.label("kind"))
        .select_from(Member)
        .outerjoin(
            ContactLedger,
            and_(ContactLedger.member_id == Member.id, ContactLedger.month_on == channel_rules.month_of(today)),
        )
        .where(*audiences.conditions(definition))
        .subquery()
    )
    try:
        with db.session.begin_nested():
            db.session.execute(text(f"SET LOCAL statement_timeout = {audiences.LIMIT_MS}"))
            rows = db.session.execute(select(each.c.kind, func.count()).group_by(each.c.kind)).all()
            db.session.execute(text("SET LOCAL statement_timeout = DEFAULT"))
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", "") != "57014":
            raise
        people = audiences.count(definition).people
        return Check(people=people, reachable=people, estimated=True)
    found = {row[0]: row[1] for row in rows}
    sent = found.pop("sent", 0)
    reachable = sent + sum(found.get(name, 0) for name in ("held_out", "day", "month"))
    return Check(people=sent + sum(found.values()), reachable=reachable, **found)


def somebody(definition: Definition, account: Account) -> Member | None:
    """A real member of the audience whom the account reaches, for the preview."""
    able = registry.adapter_of(account).abilities
    address = ledger.ADDRESS.get(able.contact)
    statement = (
        select(Member)
        .where(
            *audiences.conditions(definition),
            members.consented(able.contact, Purpose.MARKETING),
            *([] if address is None else [address.is_not(None)]),
        )
        .order_by(Member.last_order_at.desc().nulls_last(), Member.id)
        .limit(1)
    )
    try:
        with db.session.begin_nested():
            db.session.execute(text(f"SET LOCAL statement_timeout = {audiences.LIMIT_MS}"))
            found = db.session.scalar(statement)
            db.session.execute(text("SET LOCAL statement_timeout = DEFAULT"))
            return found
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", "") != "57014":
            raise
        return None
