"""Reads about pushes: lists, progress, what became of whom, and what a draft would do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import case, false, func, literal, not_, or_, select

from campaigns.audiences import clauses
from campaigns.audiences import queries as audiences
from campaigns.audiences.rules import AudienceInvalid, Definition
from campaigns.audiences.rules import parse as parse_audience
from campaigns.channels import registry
from campaigns.channels import rules as channel_rules
from campaigns.channels import services as channels
from campaigns.channels.models import Account, ContactClass, ContactCount
from kernel import clock
from kernel.db import db, escaped
from kernel.errors import NotFound
from kernel.pages import order_by
from membership.coupons.models import Offer, OfferState
from membership.members import queries as members
from membership.members.models import Member
from membership.products.models import Product

from . import ledger, message, recurrence, rules, services
from .models import Delivery, DeliveryState, Origin, Push, Run, RunState, Slice

LIVE = (RunState.SCHEDULED, RunState.MATERIALISING, RunState.RUNNING, RunState.PAUSED)
S = DeliveryState


def get_push(push_id: int, run_id: int | None = None) -> tuple[Push, Run]:
    """A push with its latest run, or with the one asked for; refuses with `NotFound`."""
    push = db.session.get(Push, push_id)
    if push is None:
        raise NotFound
    return push, services.get_run(push_id, run_id)


def listed(wanted: str = "", state: RunState | None = None) -> Any:
    """Pushes with their runs, for the list; those of journeys are shown with the journey."""
    statement = select(Run, Push).join(Push, Push.id == Run.push_id).where(Push.origin == Origin.MARKETER)
    if wanted:
        pattern = f"%{escaped(wanted)}%"
        statement = statement.where(or_(Push.name.ilike(pattern), Push.subject.ilike(pattern)))
    if state is not None:
        statement = statement.where(Run.state == state)
    return statement


def order_of(sort: str) -> list[Any]:
    """The columns of a sort (`name`, `when`, each with a minus for the other way), the last one unique; unknown ones mean the
    newest first."""
    columns: dict[str, Any] = {
        "name": Push.name,
        "when": func.coalesce(Run.finished_at, Run.started_at, Run.scheduled_at, Push.created_at),
    }
    return order_by(sort, columns, [Run.id], [Run.id.desc()])


def exported(statement: Any, order: list[Any]) -> list[tuple[Run, Push]]:
    """Every row of a listing (no more than 20,000), for a file."""
    return [(run, push) for run, push in db.session.execute(statement.order_by(*order).limit(20_000))]


def found(wanted: str) -> list[tuple[Run, Push]]:
    """At most ten pushes by name or title, the newest first."""
    rows = db.session.execute(listed(wanted).order_by(Run.id.desc()).limit(10))
    return [(run, push) for run, push in rows]


def begun_between(since: datetime, until: datetime) -> Any:
    """Pushes with their runs that began in `[since, until)`."""
    return listed().where(Run.started_at >= since, Run.started_at < until)


def account_of(push: Push) -> Account:
    return db.session.get_one(Account, push.account_id)


def linked(push: Push) -> bool:
    """Whether it can be told who opened a link of a push's message."""
    return message.counts_clicks(push, registry.adapter_of(account_of(push)).abilities.contact)


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


def product_choices(limit: int = 200) -> list[tuple[str, str]]:
    """The latest products, for the cards of a push."""
    rows = db.session.execute(select(Product.id, Product.title).order_by(Product.id.desc()).limit(limit))
    return [(str(row.id), row.title) for row in rows]


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


def deliveries(
    run_id: int, state: DeliveryState | None = None, reason: str | None = None, unsent: bool = False, q: str = ""
) -> Any:
    """The deliveries of a run with their members, None for a whole group; `unsent` leaves out what was sent, `q` finds a member."""
    statement = (
        select(Delivery, Member).outerjoin(Member, Member.id == Delivery.member_id).where(Delivery.run_id == run_id)
    )
    if state is not None:
        statement = statement.where(Delivery.state == state)
    if reason:
        statement = statement.where(Delivery.reason == reason)
    if unsent:
        statement = statement.where(Delivery.state != S.ACCEPTED)
    if q:
        statement = statement.where(members.sought_or_numbered(q))
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


def failed(since: datetime) -> list[tuple[Run, Push]]:
    """Pushes that broke off since an instant, the latest first."""
    rows = db.session.execute(
        select(Run, Push)
        .join(Push, Push.id == Run.push_id)
        .where(Run.state == RunState.FAILED, Run.finished_at >= since)
        .order_by(Run.finished_at.desc(), Run.id.desc())
        .limit(5)
    )
    return [(run, push) for run, push in rows]


def in_doubt(since: datetime) -> list[tuple[Push, int]]:
    """Pushes begun since an instant with messages of which nobody knows whether they arrived."""
    rows = db.session.execute(
        select(Push, func.count())
        .join(Run, Run.push_id == Push.id)
        .join(Slice, Slice.run_id == Run.id)
        .join(Delivery, ledger.still_doubtful)
        .where(Slice.unknown > 0, Run.started_at >= since)
        .group_by(Push.id)
        .order_by(Push.id.desc())
    )
    return [(push, count) for push, count in rows]


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


def waiting_approvals(staff_id: int) -> list[tuple[Push, Run]]:
    """Pushes that wait for a second person and that this one may approve."""
    rows = db.session.execute(
        select(Push, Run)
        .join(Run, Run.push_id == Push.id)
        .where(
            Run.state == RunState.APPROVAL,
            *(or_(who.is_(None), who != staff_id) for who in (Push.staff_id, Push.changed_by, Run.asked_by)),
        )
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
    week: int = 0
    month: int = 0
    estimated: bool = False
    # Of those who are left, so many in a hundred get nothing, so that this push can be measured by itself.
    control_percent: int = 0

    @property
    def control(self) -> int:
        """How many go into the push's own control group: about, since chance draws them when it starts."""
        return round(self._left * self.control_percent / 100)

    @property
    def sent(self) -> int:
        """How many would be sent if it began this minute."""
        return self._left - self.control

    @property
    def about(self) -> bool:
        """Whether `sent` is not exact."""
        return self.estimated or self.control_percent > 0

    @property
    def _left(self) -> int:
        return self.reachable - self.held_out - self.day - self.week - self.month


# How long people wait for these counts and then for the same of a sample, and for somebody to show the words to: they ask
# every member for consents and counts, which takes longer than a count of people alone.
CHECK_MS = 1_500


def check(definition: Definition, account: Account, contact_class: ContactClass = ContactClass.REPURCHASE) -> Check:
    """Count what would become of an audience over an account; an estimate by a sample of the members when that takes
    too long, and when the sample does too, how many there are and how many of them it reaches, as the planner expects."""
    basis = ledger.basis_of(registry.adapter_of(account).abilities.contact, contact_class)
    reasons: list[tuple[Any, str]] = [(not_(basis.has_address), "no_address"), (not_(basis.consented), "no_consent")]
    if contact_class.budgeted:
        percent, salt = services.holdout()
        reasons.append((ledger.held_out(literal(salt), literal(rules.holdout_cut(percent))), "held_out"))
        reasons += channels.at_the_cap(contact_class, Member.rank)
    kind = case(*reasons, else_="sent")
    each = select(kind.label("kind")).select_from(Member).outerjoin(ContactCount, ContactCount.member_id == Member.id)
    try:
        with audiences.time_limit(CHECK_MS):
            return _checked(_kinds(each.where(*audiences.conditions(definition))))
    except audiences.OutOfTime:
        pass
    try:
        with audiences.time_limit(CHECK_MS):
            some = audiences.sampled()
            within = audiences.conditions(definition, clauses.these(some.ids))
            found = _kinds(each.where(Member.id == func.any(some.ids), *within))
            return _checked({kind: some.all_of(people) for kind, people in found.items()}, estimated=True)
    except audiences.OutOfTime:
        people = audiences.guess(definition)
        reachable = min(people, audiences.guess(definition, basis.consented, basis.has_address))
        return Check(people=people, reachable=reachable, estimated=True)


def _kinds(each: Any) -> dict[str, int]:
    """How many rows there are of each `kind`."""
    one = each.subquery()
    return {row[0]: row[1] for row in db.session.execute(select(one.c.kind, func.count()).group_by(one.c.kind))}


def _checked(found: dict[str, int], estimated: bool = False) -> Check:
    capped = sum(found.get(window, 0) for window in channel_rules.WINDOWS)
    reachable = found.get("sent", 0) + found.get("held_out", 0) + capped
    reasons = {kind: people for kind, people in found.items() if kind != "sent"}
    return Check(people=sum(found.values()), reachable=reachable, estimated=estimated, **reasons)


def somebody(
    definition: Definition, account: Account, contact_class: ContactClass = ContactClass.REPURCHASE
) -> Member | None:
    """A real member of the audience whom the account reaches, for the preview; None when finding one takes too long."""
    basis = ledger.basis_of(registry.adapter_of(account).abilities.contact, contact_class)
    statement = (
        select(Member)
        .where(*audiences.conditions(definition), basis.consented, basis.has_address)
        .order_by(Member.last_order_at.desc().nulls_last(), Member.id)
        .limit(1)
    )
    try:
        with audiences.time_limit(CHECK_MS):
            return db.session.scalar(statement)
    except audiences.OutOfTime:
        return None


# ── The contact budget ──────────────────────────────────────────────────────────────────────────────────────────────


def at_cap(window: str | None = None) -> Any:
    """Members who may get no more marketing messages in a window (`day`, `week`, `month`; any of them), with their counts."""
    full = [said for said, name in channels.at_the_cap(None, Member.rank) if window in (None, name)]
    return (
        select(Member, ContactCount)
        .join(ContactCount, ContactCount.member_id == Member.id)
        .where(or_(*full) if full else false(), Member.merged_into_id.is_(None), Member.erased_at.is_(None))
    )


def count_at_cap() -> dict[str, int]:
    """How many members are at the cap of each window."""
    found: dict[str, int] = {}
    for window in channel_rules.WINDOWS:
        found[window] = db.session.scalar(select(func.count()).select_from(at_cap(window).subquery())) or 0
    return found


# ── A series, and the calendar ──────────────────────────────────────────────────────────────────────────────────────


def runs_of(push: Push) -> Sequence[Run]:
    """Every run of a push, the latest first, a hundred at most."""
    return db.session.scalars(
        select(Run)
        .where(Run.push_id == push.id)
        .order_by(Run.scheduled_at.desc().nulls_first(), Run.id.desc())
        .limit(100)
    ).all()


@dataclass(frozen=True)
class Entry:
    """A push on a day of the calendar; without a run it is a time of a series that is not planned yet."""

    at: datetime
    push: Push
    run: Run | None


def between(since: datetime, until: datetime) -> list[Entry]:
    """What goes, went or is meant to go in `[since, until)`, by the clock, with the times of series still to come."""
    moment = func.coalesce(Run.started_at, Run.scheduled_at)
    rows = db.session.execute(listed().where(moment >= since, moment < until).order_by(moment).limit(500))
    found = [Entry(run.started_at or run.scheduled_at, push, run) for run, push in rows]
    series = db.session.execute(
        select(Push, func.min(Run.scheduled_at), func.max(Run.scheduled_at))
        .join(Run, Run.push_id == Push.id)
        .where(Push.rrule.is_not(None), Push.stopped_at.is_(None), Run.state != RunState.DRAFT)
        .group_by(Push.id)
    )
    for push, first, latest in series:
        if first is None or latest is None:
            continue
        after = max(latest, since - timedelta(seconds=1))
        for one in islice(recurrence.occurrences(push.rrule or "", first, clock.ZONE, after), 31):
            if one.at >= until:
                break
            found.append(Entry(one.at, push, None))
    return sorted(found, key=lambda entry: entry.at)


# ── Trying one out ──────────────────────────────────────────────────────────────────────────────────────────────────


def own_member(email: str) -> Member | None:
    """The member that a colleague is, by their e-mail address."""
    return db.session.scalar(
        select(Member).where(Member.email == email.lower(), Member.merged_into_id.is_(None), Member.erased_at.is_(None))
    )


def reader_of(push: Push, account: Account) -> Member | None:
    """Somebody of a push's own audience, to read it as."""
    try:
        return somebody(parse_audience(push.audience), account, push.contact_class)
    except AudienceInvalid:
        return None


def readers(wanted: str, limit: int) -> Sequence[Member]:
    """Members by their number, name or the tail of their phone, to read a push as."""
    return db.session.scalars(
        members.live().where(members.sought(wanted)).order_by(Member.id.desc()).limit(limit)
    ).all()


@dataclass(frozen=True)
class Wording:
    """How one wording of a push has done."""

    letter: str
    subject: str
    sent: int
    clicked: int
    bought: int


def wordings(push: Push, run: Run) -> list[Wording]:
    """The competing wordings with what came of each; empty where there is one only."""
    if not push.variants:
        return []
    rows = db.session.execute(
        select(
            Delivery.variant,
            func.count(),
            func.count(Delivery.clicked_at),
            func.count().filter(Member.last_order_at > Delivery.accepted_at),
        )
        .join(Member, Member.id == Delivery.member_id)
        .where(Delivery.run_id == run.id, Delivery.state == S.ACCEPTED, Delivery.variant.is_not(None))
        .group_by(Delivery.variant)
    )
    counts = {row[0]: row[1:] for row in rows}
    subjects = [push.subject, *(variant["subject"] for variant in push.variants)]
    return [
        Wording(rules.LETTERS[number], subject, *counts.get(number, (0, 0, 0)))
        for number, subject in enumerate(subjects)
    ]


def lost_since(push: Push) -> list[str]:
    """What a push speaks of that is not there any more or stands still: `offer`, `account`, `products`, `audience`."""
    lost: list[str] = []
    if push.offer_id is not None:
        offer = db.session.get(Offer, push.offer_id)
        if offer is None or offer.state is not OfferState.ACTIVE:
            lost.append("offer")
    ids = {card["product_id"] for card in push.cards}
    if ids and db.session.scalar(select(func.count()).where(Product.id.in_(ids))) != len(ids):
        lost.append("products")
    if account_of(push).paused_at is not None:
        lost.append("account")
    try:
        parse_audience(push.audience)
    except AudienceInvalid:
        lost.append("audience")
    return lost
