"""The verbs of pushes: write one, schedule it, start, pause, resume, cancel it, and bring what is overdue to its end."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import BigInteger, bindparam, case, exists, func, literal, literal_column, select, true, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from campaigns.audiences import queries as audiences
from campaigns.audiences import rules as audience_rules
from campaigns.channels import registry
from campaigns.channels import services as channels
from campaigns.channels.models import NUMBERED, Account, ChannelKind, ContactClass, Receipt
from kernel import audit, clock, shop
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.i18n import lazy_gettext as _l
from kernel.ports import Port
from membership.members.models import Member
from membership.orders.models import Order

from . import ledger, places, recurrence, rules
from .message import longest, texts_of
from .models import Delivery, DeliveryState, Push, Run, RunState, Slice, Target

DEFAULT_LIFE = timedelta(hours=48)
# Slices that are closed in one transaction.
CLOSED_AT_ONCE = 20
# Reports that are taken up together when they came before their message's number, and how long looking for them may take.
MATCHED_AT_ONCE, MATCHING_MS = 1_000, 30_000


# Of a long gap in a series so many missed times are written down, the latest ones.
MISSED_AT_MOST = 20
# What a run says that went at none of its moments.
MISSED = "missed"
# The failure of a run that a restore has taken out of its way: it may have gone out since the backup.
RESTORED = "restored"
APPROVAL_ABOVE = "push.approval_above"
# How long it may take to find out whether an audience is larger than that; an estimate decides nothing.
APPROVAL_MS = 10_000
# How the result of a push that begins now is measured; asked once, when a run begins.
fixed_terms: Port[[Push], dict[str, Any]] = Port("pushes.terms")


class OwnWork(Refusal):
    status = 403
    label = _l("You wrote this push or asked for its approval. Somebody else has to approve it.")
    title = _l("A second person is needed")


class NothingMissed(Refusal):
    status = 409
    label = _l("Everybody of this push was reached, or cannot be.")


class ForOneGroup(Refusal):
    status = 422
    label = _l(
        "A message to a whole group has one wording and no coupon of its own. Write a public link to the offer instead."
    )


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


def write(staff_id: int | None, **fields: Any) -> Push:
    """Make a push without a run, as a journey's step does; `run_for` sends it. `fields` are those of `Push`."""
    push = Push(staff_id=staff_id, changed_by=staff_id, created_at=clock.now(), **fields)
    db.session.add(push)
    db.session.flush()
    check_texts(push)
    return push


def check_texts(push: Push) -> None:
    """Refuse a push with a text that may not go over its channel, as `channels.check` does.

    What goes to a whole group speaks to nobody by name, carries no coupon of anybody's own and has one wording: refuses with
    `rules.NobodysOwn` and `ForOneGroup`.
    """
    account = db.session.get_one(Account, push.account_id)
    if account.kind.shared:
        if push.offer_id is not None or push.variants:
            raise ForOneGroup
        rules.check_for_all(push.subject)
        rules.check_for_all(push.body)
    for _subject, body, _subject_en, body_en in texts_of(push):
        for text in (body, body_en):
            if text:
                channels.check(account, text, ContactClass(push.contact_class).budgeted)
    whole = longest(push, account) if account.kind is ChannelKind.ROBOT else None
    if whole is not None:
        channels.check_whole(account, whole)


def draft(staff_id: int | None, **fields: Any) -> tuple[Push, Run]:
    """Make a push with its one run, as a draft. `fields` are those of `Push`."""
    push = write(staff_id, **fields)
    run = Run(push_id=push.id)
    db.session.add(run)
    db.session.flush()
    audit.record("push.drafted", "push", push.id, after={"name": push.name})
    return push, run


def change(push: Push, run: Run, staff_id: int | None = None, **fields: Any) -> None:
    """Change a draft. Refuses with `TooLate` once it is more than that."""
    if run.state is not RunState.DRAFT:
        raise TooLate
    push.changed_by = staff_id or push.changed_by
    for name, value in fields.items():
        setattr(push, name, value)
    db.session.flush()
    check_texts(push)
    audit.record("push.changed", "push", push.id, after={"name": push.name})


# What a copy takes over: whom, what and how; not the moment, and not what was found out meanwhile.
_COPIED = (
    "contact_class",
    "account_id",
    "audience",
    "subject",
    "body",
    "subject_en",
    "body_en",
    "variants",
    "sample_percent",
    "winner_after_hours",
    "control_percent",
    "link_url",
    "offer_id",
    "coupon_mode",
    "rate_per_second",
    "stop_when_bought",
    "attribution_days",
    "priority",
    "usual_hour",
    "life_hours",
    "rrule",
    "utm",
    "cards",
)


def copy(push: Push, staff_id: int | None, name: str, **other: Any) -> Push:
    """Draft a push with the audience and the words of another; `other` fields stand in the place of its own."""
    fields = {field: getattr(push, field) for field in _COPIED} | other
    return draft(staff_id, name=name, copied_from_id=push.id, **fields)[0]


def copy_for_next_year(push: Push, run: Run, staff_id: int | None, name: str) -> Push:
    """Draft a push again for the same day and hour of the year that comes, with its dates and its audience."""
    fresh = copy(push, staff_id, name)
    moment = run.scheduled_at or run.started_at
    if moment is not None:
        set_moment(
            get_run(fresh.id), rules.next_year(moment, clock.now(), clock.ZONE), timedelta(hours=push.life_hours)
        )
    return fresh


# Who may be reached by trying again; the others said no, were held out, or have it.
MISSED_STATES = (
    DeliveryState.FAILED,
    DeliveryState.CAPPED,
    DeliveryState.EXPIRED,
    DeliveryState.CANCELLED,
    DeliveryState.RENDER_FAILED,
)


def copy_for_missed(push: Push, run: Run, staff_id: int | None, name: str) -> Push:
    """Draft a copy that goes to those alone whom a run did not reach: failed, at their cap, expired, cancelled.

    The list is frozen; whoever bought, said no or was held out is not on it. Refuses with `NothingMissed` an empty list,
    and with `TooLate` a run that is still on its way.
    """
    if run.finished_at is None:
        raise TooLate
    missed = select(Delivery.member_id, Delivery.run_id).where(
        Delivery.run_id == run.id, Delivery.state.in_(MISSED_STATES)
    )
    if not db.session.scalar(select(missed.exists())):
        raise NothingMissed
    fresh = copy(push, staff_id, name, rrule=None, variants=[], sample_percent=None, control_percent=0)
    again = get_run(fresh.id)
    again.listed = True
    db.session.flush()
    rows = missed.with_only_columns(Delivery.member_id, literal(again.id))
    db.session.execute(insert(Target.__table__).from_select(["member_id", "run_id"], rows))
    return fresh


def set_moment(run: Run, at: datetime | None, life: timedelta = DEFAULT_LIFE) -> None:
    """Note on a draft when it is meant to start; nothing starts by that alone."""
    if run.state is not RunState.DRAFT:
        raise TooLate
    run.scheduled_at = at
    run.expires_at = at + life if at is not None else None


# ── Going ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def note_test(push: Push, address: str) -> None:
    """Write down that a test of a push was asked for."""
    audit.record("push.tested", "push", push.id, after={"to": address})


def approval_above() -> int | None:
    """Above how many people a second person has to approve a push; None where nobody has to."""
    found = shop.get(APPROVAL_ABOVE)
    return int(found) if found is not None else None


def set_approval_above(people: int | None) -> None:
    """Set above how many people a push needs a second person; None for never."""
    before = approval_above()
    shop.put(APPROVAL_ABOVE, people)
    audit.record("push.approval_changed", "shop", None, {"above": before}, {"above": people})


def known_size(push: Push, run: Run) -> int | None:
    """The people in the groups or the chat that a run goes to, or on its list; None where it asks an audience, or nobody
    can say."""
    account = db.session.get_one(Account, push.account_id)
    if account.kind.shared:
        return channels.people_in(account)
    if run.listed:
        return db.session.scalar(select(func.count()).select_from(Target).where(Target.run_id == run.id)) or 0
    return None


def needs_approval(push: Push, run: Run) -> bool:
    """Whether a second person has to approve a run before it may go.

    One to a chat of unknown size counts as large, and so does an audience that cannot be counted within `APPROVAL_MS`.
    """
    above = approval_above()
    if above is None:
        return False
    people = known_size(push, run)
    if people is not None:
        return people > above
    if db.session.get_one(Account, push.account_id).kind.shared:
        return True
    return audiences.more_than(audience_rules.parse(push.audience), above, APPROVAL_MS) is not False


def schedule(run: Run, at: datetime | None = None, life: timedelta | None = None, staff_id: int | None = None) -> None:
    """Let a draft start at a moment (now when none is given); what is unsent `life` after that expires.

    A recurring push starts at the first time of its rule from then on; refuses with `NeverComes` one that has none. Where
    the size asks for it, the run waits for a second person; `staff_id` is who asks, and None is no person at all.
    """
    now = clock.now()
    push = db.session.get_one(Push, run.push_id)
    # What the channel asks of a text may have changed since it was saved.
    check_texts(push)
    life = life or timedelta(hours=push.life_hours)
    start = max(at or now, now)
    values: dict[str, Any] = {}
    if push.rrule is not None:
        first = recurrence.next_after(push.rrule, start, clock.ZONE)
        if first is None:
            raise recurrence.NeverComes
        start, values["occurrence"] = first.at, first.key
    values |= {"scheduled_at": start, "expires_at": start + life, "asked_by": staff_id}
    waits = staff_id is not None and needs_approval(push, run)
    move(run, RunState.APPROVAL if waits else RunState.SCHEDULED, **values)
    audit.record("push.approval_asked" if waits else "push.scheduled", "push", push.id, after={"at": start.isoformat()})


def approve(run: Run, staff_id: int) -> None:
    """Let a push go that waited for a second person. Refuses with `OwnWork` whoever wrote it or asked.

    Its moment may have passed meanwhile: then it goes at once, and has as long as it would have had.
    """
    push = db.session.get_one(Push, run.push_id)
    if staff_id in (push.staff_id, push.changed_by, run.asked_by):
        raise OwnWork
    now = clock.now()
    start = max(run.scheduled_at or now, now) if push.rrule is None else run.scheduled_at or now
    life = timedelta(hours=push.life_hours)
    move(
        run,
        RunState.SCHEDULED,
        scheduled_at=start,
        expires_at=start + life,
        approved_by=staff_id,
        approved_at=now,
    )
    audit.record("push.approved", "push", push.id, after={"at": start.isoformat()})


def unschedule(run: Run) -> None:
    """Make a scheduled push a draft again, or decline one that waits for approval. A series that has begun is stopped instead."""
    push = db.session.get_one(Push, run.push_id)
    others = select(Run.id).where(Run.push_id == push.id, Run.id != run.id).exists()
    if push.rrule is not None and db.session.scalar(select(others)):
        raise TooLate
    move(run, RunState.DRAFT, occurrence="once", approved_by=None, approved_at=None)
    audit.record("push.unscheduled", "push", run.push_id)


def stop_series(push: Push) -> None:
    """End a recurring push: what is planned does not go, what runs comes to its end. Refuses with `TooLate` one that has ended."""
    if push.rrule is None or push.stopped_at is not None:
        raise TooLate
    push.stopped_at = clock.now()
    db.session.flush()
    for run in db.session.scalars(
        select(Run).where(Run.push_id == push.id, Run.state.in_([RunState.APPROVAL, RunState.SCHEDULED]))
    ):
        move(run, RunState.CANCELLED, finished_at=clock.now())
    audit.record("push.stopped", "push", push.id)


def plan_series() -> int:
    """Plan the next time of every recurring push that has none ahead; returns how many runs were written.

    What was missed is written down as expired and never sent later. Each time of a push is one run, whoever plans it.
    """
    now, planned = clock.now(), 0
    ahead = select(Run.id).where(
        Run.push_id == Push.id, Run.state.in_([RunState.DRAFT, RunState.APPROVAL, RunState.SCHEDULED])
    )
    found = db.session.scalars(
        select(Push).where(Push.rrule.is_not(None), Push.stopped_at.is_(None), ~ahead.exists()).order_by(Push.id)
    ).all()
    for push in found:
        times = select(func.min(Run.scheduled_at), func.max(Run.scheduled_at), func.max(Run.approved_by))
        first, latest, approved_by = db.session.execute(times.where(Run.push_id == push.id)).one()
        if first is None or latest is None or push.rrule is None:
            continue
        missed, coming = recurrence.overdue(push.rrule, first, clock.ZONE, latest, now, MISSED_AT_MOST)
        life = timedelta(hours=push.life_hours)
        rows: list[dict[str, Any]] = [
            {
                "state": RunState.EXPIRED,
                "failure": MISSED,
                "finished_at": now,
                "occurrence": one.key,
                "scheduled_at": one.at,
                "expires_at": one.at + life,
            }
            for one in missed
        ]
        if coming is None:
            push.stopped_at = now
        else:
            row = {"state": RunState.SCHEDULED, "failure": None, "finished_at": None, "occurrence": coming.key}
            rows.append(row | {"scheduled_at": coming.at, "expires_at": coming.at + life})
        for row in rows:
            written = db.session.execute(
                insert(Run)
                .values(push_id=push.id, approved_by=approved_by, **_ZERO, **row)
                .on_conflict_do_nothing(index_elements=[Run.push_id, Run.occurrence])
            )
            planned += changed(written)
    return planned


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
            decide_at=now + timedelta(hours=push.winner_after_hours or 0) if push.sample_percent is not None else None,
            best_hour=best_hour() if push.usual_hour else None,
            terms=next(iter(fixed_terms.call(push)), None),
        )
        .execution_options(synchronize_session=False)
    )
    return changed(started) == 1


def holdout() -> tuple[float, str]:
    """The hold-out in force: its percentage, and the salt of this quarter.

    The salt comes from the shop's key (the oldest one kept, so that changing the key does not mix the groups up), or from
    the setting `holdout.salt`.
    """
    return channels.holdout_percent(), f"{_secret_salt()}:{rules.quarter_of(clock.today())}:"


def _secret_salt() -> str:
    settings = current_app.extensions["settings"]
    oldest = (settings.secret_key, *settings.previous_secret_keys)[-1]
    return shop.get("holdout.salt") or hmac.digest(oldest, b"hold-out", "sha256").hex()[:32]


def fan_out(run_id: int) -> ledger.Planned:
    """Write the next chunk of a run's deliveries."""
    run = db.session.get(Run, run_id, populate_existing=True)
    if run is None or run.state is not RunState.MATERIALISING:
        return ledger.Planned(0, True)
    push = db.session.get_one(Push, run.push_id)
    account = db.session.get_one(Account, push.account_id)
    if account.kind.shared:
        return places.plan(run_id)
    contact = registry.adapter_of(account).abilities.contact
    plan = ledger.Plan(
        ledger.basis_of(contact, push.contact_class),
        None if run.listed else audience_rules.parse(push.audience),
        holds_out=push.contact_class.budgeted,
        controls=push.control_percent > 0,
        shares=rules.shares_of(push.variants),
        sample_percent=push.sample_percent if push.variants else None,
        usual_hour=push.usual_hour,
    )
    return ledger.fan_out_chunk(run_id, ledger.fan_out_statement(plan), _planned_with(plan, push, run))


def _planned_with(plan: ledger.Plan, push: Push, run: Run) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if plan.holds_out:
        percent, values["salt"] = holdout()
        values["cut"] = rules.holdout_cut(percent)
    if plan.controls:
        values |= {"control_salt": salt_of(push, "control"), "control_cut": rules.cut_of(push.control_percent)}
    if plan.shares:
        values["variant_salt"] = salt_of(push, "wording")
    if plan.sample_percent is not None:
        values["decide_at"] = run.decide_at
    if plan.usual_hour:
        moments = rules.at_hours(run.started_at or clock.now(), clock.ZONE)
        values |= {"hours": list(range(24)), "moments": moments, "best_hour": run.best_hour}
    return values


def salt_of(push: Push, what: str) -> str:
    """The salt of a push's own groups: other people for each push, the same ones at each time of a series."""
    return f"{_secret_salt()}:{what}:{push.id}:"


def best_hour() -> int:
    """The hour of the day in which most of the latest 10,000 clicks were made, or else orders; 10 where there are neither."""
    zone = literal(str(clock.ZONE))
    for moment, latest in ((Delivery.clicked_at, Delivery.id), (Order.placed_at, Order.id)):
        recent = select(moment.label("at")).where(moment.is_not(None)).order_by(latest.desc()).limit(10_000).subquery()
        found = db.session.scalar(
            select(func.mode().within_group(func.date_part("hour", func.timezone(zone, recent.c.at))))
        )
        if found is not None:
            return int(found)
    return 10


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

    Refuses with `TooLate` a run that was cancelled, has expired or stands still, and with `NothingMissed` one of which every
    doubtful message was reported delivered meanwhile.
    """
    if run.state in (RunState.COMPLETED, RunState.RUNNING) and not ledger.still_in_doubt(run.id):
        raise NothingMissed
    if run.state is RunState.COMPLETED:
        now = clock.now()
        move(run, RunState.RUNNING, finished_at=None, tally=None, expires_at=now + DEFAULT_LIFE)
    elif run.state is not RunState.RUNNING:
        raise TooLate
    people = ledger.reopen_unknown(run.id)
    audit.record("push.resent", "push", run.push_id, after={"people": people})
    return people


# ── For a list of members ───────────────────────────────────────────────────────────────────────────────────────────


def run_for(push: Push, occurrence: str, member_ids: Sequence[int]) -> Run:
    """Let a push go to the members given, in the caller's transaction and once under each `occurrence` of the push.

    The run takes the same way as any other: consent, "has bought meanwhile", hold-out, contact budget and quiet hours are
    asked, and everybody listed gets a row with what became of it. The ticker starts it within seconds. Called again with
    an occurrence that is there already, it returns that run and adds nobody.
    """
    now = clock.now()
    made = db.session.scalar(
        insert(Run)
        .values(
            push_id=push.id,
            occurrence=occurrence,
            state=RunState.SCHEDULED,
            listed=True,
            scheduled_at=now,
            expires_at=now + timedelta(hours=push.life_hours),
            **_ZERO,
        )
        .on_conflict_do_nothing(index_elements=[Run.push_id, Run.occurrence])
        .returning(Run.id)
    )
    if made is None:
        return db.session.scalars(select(Run).where(Run.push_id == push.id, Run.occurrence == occurrence)).one()
    list_members(made, member_ids)
    return db.session.get_one(Run, made)


# What a run that is inserted past the mapper begins with.
_ZERO: dict[str, Any] = {"cursor": 0, "slices": 0, "planned": 0, "tokens": 0.0}


def list_members(run_id: int, member_ids: Sequence[int]) -> None:
    """Put members on the list of a listed run; who is on it already stays there once."""
    ids = select(func.unnest(bindparam("ids", sorted(set(member_ids)), type_=ARRAY(BigInteger))))
    rows = ids.add_columns(literal(run_id)).subquery()
    db.session.execute(
        insert(Target.__table__).from_select(["member_id", "run_id"], select(*rows.c)).on_conflict_do_nothing()
    )


# ── What people do ──────────────────────────────────────────────────────────────────────────────────────────────────


def confirm(delivery_id: int, done: bool, staff_id: int | None = None, reason: str | None = None) -> None:
    """Write down what became of a message that a person had in hand: it reached the member, or it will not.

    What was not done gives its part of the contact budget back. Refuses with `TooLate` a delivery that is in nobody's
    hands, and `NotFound` one that is not there.
    """
    row = db.session.execute(
        select(Delivery.run_id, Delivery.slice_number, Delivery.member_id, Run.push_id, Push.contact_class)
        .join(Run, Run.id == Delivery.run_id)
        .join(Push, Push.id == Run.push_id)
        .where(Delivery.id == delivery_id)
    ).one_or_none()
    if row is None:
        raise NotFound
    if not ledger.confirm(row.run_id, row.slice_number, {delivery_id: done}, row.contact_class, reason):
        raise TooLate
    audit.record(
        "delivery.confirmed", "delivery", delivery_id, after={"done": done, "push": row.push_id, "staff": staff_id}
    )


# Of what a report may speak: it may come before our own note that the message was taken, or after a doubt.
_REPORTED_STATES = (DeliveryState.SUBMITTING, DeliveryState.ACCEPTED, DeliveryState.UNKNOWN)


def note_report(account_id: int, delivery_id: int, delivered: bool) -> bool:
    """Write down what a channel reported of a message that it had taken; returns whether this was news.

    Reports come late, twice and in any order: one that says delivered stands, whatever comes beside it. A report over
    another account than the push's is none.
    """
    column = Delivery.delivered_at if delivered else Delivery.undelivered_at
    over = select(Run.id).join(Push, Push.id == Run.push_id).where(Push.account_id == account_id)
    noted = db.session.execute(
        update(Delivery)
        .where(
            Delivery.id == delivery_id,
            Delivery.state.in_(_REPORTED_STATES),
            column.is_(None),
            Delivery.run_id.in_(over),
        )
        .values({column.key: clock.now()})
        .execution_options(synchronize_session=False)
    )
    return changed(noted) == 1


def note_numbered(account_id: int, number: str, delivered: bool) -> bool:
    """The same for a report that knows a message by the other side's own number alone (Aliyun's `BizId`, a gateway's
    message id); returns whether this was news. A number that several messages share says nothing of any of them."""
    found = select(Delivery.id).join(Run, Run.id == Delivery.run_id).join(Push, Push.id == Run.push_id)
    ids = db.session.scalars(found.where(Delivery.provider_id == number, Push.account_id == account_id).limit(2)).all()
    return len(ids) == 1 and note_report(account_id, ids[0], delivered)


def match_receipts(since: datetime) -> int:
    """Note the reports since an instant that came by number before the message had its number here; returns how many."""
    noted_at = case((Receipt.delivered, Delivery.delivered_at), else_=Delivery.undelivered_at)
    # What can never be matched is no row of the answer: it would come back each time and keep others from their turn.
    one = (
        select(func.min(Delivery.id).label("delivery_id"))
        .join(Run, Run.id == Delivery.run_id)
        .join(Push, Push.id == Run.push_id)
        .where(Delivery.provider_id == Receipt.key, Push.account_id == Receipt.account_id)
        .having(
            func.count() == 1, func.bool_and(noted_at.is_(None)), func.bool_and(Delivery.state.in_(_REPORTED_STATES))
        )
        .correlate(Receipt)
        .lateral("one")
    )
    with audiences.time_limit(MATCHING_MS):
        rows = db.session.execute(
            select(Receipt.account_id, one.c.delivery_id, Receipt.delivered)
            .join(one, true())
            .where(Receipt.at >= since, literal_column(NUMBERED))
            .order_by(Receipt.at.desc(), Receipt.id.desc())
            .limit(MATCHED_AT_ONCE)
        ).all()
    return sum(note_report(row.account_id, row.delivery_id, row.delivered) for row in rows)


# ── Upkeep: what the ticker's jobs do ───────────────────────────────────────────────────────────────────────────────


def due() -> Sequence[Run]:
    """Scheduled runs whose moment has come."""
    return db.session.scalars(
        select(Run)
        .where(Run.state == RunState.SCHEDULED, Run.scheduled_at <= clock.now())
        .order_by(Run.scheduled_at, Run.id)
    ).all()


def expire_overdue() -> list[int]:
    """Expire the runs whose time is over, wherever they stand; returns their ids.

    A time of a series that nobody started within the hour was missed, and is skipped.
    """
    now = clock.now()
    series = select(Push.id).where(Push.rrule.is_not(None))
    db.session.execute(
        update(Run)
        .where(Run.state == RunState.SCHEDULED, Run.scheduled_at < now - recurrence.LATE, Run.push_id.in_(series))
        .values(state=RunState.EXPIRED, failure=MISSED, finished_at=now)
        .execution_options(synchronize_session=False)
    )
    return list(
        db.session.scalars(
            update(Run)
            .where(
                Run.state.in_([RunState.SCHEDULED, RunState.MATERIALISING, RunState.RUNNING, RunState.PAUSED]),
                Run.expires_at <= now,
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
        select(
            Slice.id,
            Slice.run_id,
            Slice.number,
            Slice.from_member,
            Slice.to_member,
            Push.account_id,
            Push.contact_class,
        )
        .join(Run, Run.id == Slice.run_id)
        .join(Push, Push.id == Run.push_id)
        .where(Slice.state == "leased", Slice.leased_until < now)
        .limit(limit)
        .with_for_update(of=Slice, skip_locked=True)
    ).all()
    for part in found:
        account = db.session.get_one(Account, part.account_id)
        ledger.take_back(part, registry.adapter_of(account).abilities.idempotent, part.contact_class)
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


def lapse_assigned(limit: int = 20) -> int:
    """End what people had in hand when the time of their run was over; returns how many slices were looked at."""
    found = db.session.execute(
        select(Slice.run_id, Slice.number, Slice.from_member, Slice.to_member, Push.contact_class)
        .join(Run, Run.id == Slice.run_id)
        .join(Push, Push.id == Run.push_id)
        .where(Slice.assigned > 0, Slice.state == "done", Run.expires_at <= clock.now())
        .order_by(Slice.run_id, Slice.number)
        .limit(limit)
    ).all()
    for part in found:
        held = ledger.ids_in(part, DeliveryState.ASSIGNED)
        if held:
            ledger.confirm(part.run_id, part.number, dict.fromkeys(held, False), part.contact_class, "not_confirmed")
    return len(found)


def deliveries_of(run_id: int) -> Sequence[Delivery]:
    """Every delivery of a run, by member."""
    return db.session.scalars(select(Delivery).where(Delivery.run_id == run_id).order_by(Delivery.member_id)).all()


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


def get_run(push_id: int, run_id: int | None = None) -> Run:
    """The run of a push, of a series the latest one that has begun, or the one asked for; refuses with `NotFound`."""
    statement = select(Run).where(Run.push_id == push_id)
    if run_id is not None:
        statement = statement.where(Run.id == run_id)
    found = db.session.scalar(statement.order_by(Run.started_at.is_(None), Run.id.desc()).limit(1))
    if found is None:
        raise NotFound
    return found
