"""The delivery ledger: every step of a run's deliveries as one short piece of work in the caller's transaction.

The statements are built once and go to the database as Core, whole sets at a time. A step that changes deliveries of a
slice first moves the slice's row under the holder's token (`fence`): that row's lock and the token together keep a holder
that comes back too late, the reaper and the console's buttons apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Date,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    false,
    func,
    insert,
    literal,
    not_,
    null,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from campaigns.audiences import queries as audiences
from campaigns.audiences import rules as audience_rules
from campaigns.channels import queries as channel_queries
from campaigns.channels import services as channels
from campaigns.channels.models import ContactClass
from kernel import clock
from kernel.db import UtcDateTime, changed, db, transaction
from membership.members import queries as members
from membership.members.models import Consent, Contact, Member, Purpose
from membership.orders.models import Order

from . import rules
from .models import OPEN_STATES, Delivery, DeliveryState, Push, Run, RunState, Slice, Target

# Statements that write go to the tables themselves, past the mapper.
_delivery, _slice, _run = (model.__table__ for model in (Delivery, Slice, Run))
_ids = bindparam("ids", type_=ARRAY(BigInteger))


# A slice's deliveries: a stretch of the unique key, so that no index of their own is needed.
_in_slice = and_(
    Delivery.run_id == bindparam("of_run"),
    Delivery.member_id.between(bindparam("from_member"), bindparam("to_member")),
    Delivery.slice_number == bindparam("of_number"),
)


def place_of(part: Any) -> dict[str, int]:
    """Where the deliveries of a slice or a lease lie, as parameters of `_in_slice`."""
    return {
        "of_run": part.run_id,
        "of_number": part.number,
        "from_member": part.from_member,
        "to_member": part.to_member,
    }


class LeaseLost(Exception):
    """Somebody else holds the slice by now; whatever its former holder still wants to write is refused."""


# ── Fan-out ─────────────────────────────────────────────────────────────────────────────────────────────────────────

ADDRESS = {contact: address for contact in Contact if (address := channel_queries.address_of(contact)) is not None}


@dataclass(frozen=True)
class Basis:
    """What a message relies on: the member's consent to a channel for a purpose."""

    contact: Contact
    purpose: Purpose = Purpose.MARKETING

    @property
    def has_address(self) -> Any:
        """Whether a member has the address that the channel needs."""
        address = ADDRESS.get(self.contact)
        return true() if address is None else address.is_not(None)

    @property
    def consented(self) -> Any:
        """Whether a member's last word on it is yes."""
        return members.consented(self.contact, self.purpose)

    def last_word(self) -> Any:
        """The consent row that rules for `member`, to be joined beside it."""
        return (
            select(Consent.id, Consent.granted)
            .where(Consent.member_id == Member.id, Consent.channel == self.contact, Consent.purpose == self.purpose)
            .order_by(Consent.id.desc())
            .limit(1)
            .correlate(Member)
            .lateral("last_word")
        )


def basis_of(contact: Contact, contact_class: ContactClass) -> Basis:
    """What a push of a class relies on over a channel."""
    return Basis(contact, Purpose.MARKETING if contact_class.budgeted else Purpose.SERVICE)


@dataclass(frozen=True)
class Planned:
    """What a chunk of the fan-out wrote."""

    rows: int
    done: bool


def held_out(salt: Any, cut: Any) -> Any:
    """`rules.held_out` as SQL over `member`: the hash of salt and id lies below the bound."""
    return _hash(salt, Member.id) < cut


def _hash(salt: Any, member_id: Any) -> Any:
    return func.sha256(func.convert_to(salt + cast(member_id, Text), literal("UTF8", Text)), type_=LargeBinary)


def _variant(plan: Plan, member_id: Any) -> Any:
    """`rules.variant_of` as SQL."""
    salt = bindparam("variant_salt", type_=Text)
    reached, below = 0, []
    for number, share in enumerate(plan.shares[:-1]):
        reached += share
        below.append((_hash(salt + "variant:", member_id) < literal(rules.cut_of(reached)), number))
    competing = case(*below, else_=len(plan.shares) - 1)
    if plan.sample_percent is None:
        return competing
    return case(
        (_hash(salt + "sample:", member_id) < literal(rules.cut_of(plan.sample_percent)), competing), else_=None
    )


def _usual_hour(picked: Any) -> Any:
    """The hour of the shop's day in which a member ordered or clicked most often; null for one who never did."""
    zone = literal(str(clock.ZONE), Text)
    ordered = (
        select(func.date_part("hour", func.timezone(zone, Order.placed_at)).label("hour"))
        .where(Order.member_id == picked.c.member_id)
        .correlate(picked)
    )
    clicked = (
        select(func.date_part("hour", func.timezone(zone, _delivery.c.clicked_at)))
        .where(_delivery.c.member_id == picked.c.member_id, _delivery.c.clicked_at.is_not(None))
        .correlate(picked)
    )
    each = union_all(ordered, clicked).lateral("hours_of_one")
    return select(func.mode().within_group(each.c.hour)).correlate(picked).scalar_subquery()


def _not_before(plan: Plan, picked: Any, variant: Any) -> Any:
    """When a delivery may go at the earliest: at the member's hour, and not before the winner is known; null is at once."""
    wait = bindparam("decide_at", type_=UtcDateTime)
    if not plan.usual_hour:
        return case((variant.is_(None), wait), else_=None)
    hours = select(
        func.unnest(bindparam("hours", type_=ARRAY(Integer))).label("hour"),
        func.unnest(bindparam("moments", type_=ARRAY(UtcDateTime))).label("at"),
    ).subquery("hours")
    best = bindparam("best_hour", type_=Integer)
    at = (
        select(hours.c.at)
        .where(hours.c.hour == func.coalesce(_usual_hour(picked), best))
        .correlate(picked)
        .scalar_subquery()
    )
    if plan.sample_percent is None:
        return at
    return case((variant.is_(None), func.greatest(at, wait)), else_=at)


@dataclass(frozen=True)
class Plan:
    """How a run is planned: whom it reaches and on what they agreed, and what is measured with it.

    `definition` is the audience; None stands for those listed in `push_target`.
    """

    basis: Basis
    definition: audience_rules.Definition | None
    # Whether the hold-out of all pushes concerns it.
    holds_out: bool = True
    # Whether it has a control group of its own.
    controls: bool = False
    # Percentages of the wordings, the first one's included; empty where there is one wording only.
    shares: tuple[int, ...] = ()
    # Those beyond this percentage wait for the winner.
    sample_percent: int | None = None
    usual_hour: bool = False


def _whom(plan: Plan) -> tuple[Any, list[Any]]:
    """From where a plan's members come, and under which conditions."""
    if plan.definition is not None:
        return Member.__table__, audiences.conditions(plan.definition)
    listed = Member.__table__.join(Target.__table__, Target.member_id == Member.id)
    return listed, [Target.run_id == bindparam("of_run", type_=BigInteger)]


def fan_out_statement(plan: Plan) -> Any:
    """One statement that writes the next chunk: deliveries of everybody in the audience, and the slices of those to be sent.

    Who has no address or no consent, and who is held out, gets a row as well, so that the audience adds up.
    """
    source, conditions = _whom(plan)
    reasons: list[tuple[Any, str]] = [(not_(plan.basis.has_address), "no_address")]
    if plan.definition is None:
        reasons.insert(0, (or_(Member.merged_into_id.is_not(None), Member.erased_at.is_not(None)), "gone"))
    reasons.append((not_(plan.basis.consented), "no_consent"))
    if plan.holds_out:
        held = held_out(bindparam("salt", type_=Text), bindparam("cut", type_=LargeBinary))
        reasons.append((held, "held_out"))
    if plan.controls:
        own = held_out(bindparam("control_salt", type_=Text), bindparam("control_cut", type_=LargeBinary))
        reasons.append((own, "control"))
    picked = (
        select(Member.id.label("member_id"), case(*reasons, else_=None).label("reason"))
        .select_from(source)
        .where(*conditions, Member.id > bindparam("after"), Member.id <= bindparam("through"))
        .order_by(Member.id)
        .limit(rules.CHUNK)
        .cte("picked")
    )
    # Their running number, in the order in which they come anyway; whole numbers divide without a detour.
    running = func.count().filter(picked.c.reason.is_(None)).over(order_by=picked.c.member_id, rows=(None, 0))
    number = bindparam("slices", type_=BigInteger) + (running - 1).op("/", precedence=8)(rules.SLICE) + 1
    run_id = bindparam("of_run", type_=BigInteger)
    rows = select(
        run_id,
        picked.c.member_id,
        case((picked.c.reason.is_(None), number), else_=0),
        case(
            (picked.c.reason.is_(None), literal(DeliveryState.READY.value, Text)),
            (picked.c.reason.in_(["held_out", "control"]), literal(DeliveryState.CONTROL.value, Text)),
            else_=literal(DeliveryState.SUPPRESSED.value, Text),
        ),
        picked.c.reason,
    ).order_by(picked.c.member_id)
    columns = ["run_id", "member_id", "slice_number", "state", "reason"]
    # Only what a run needs is asked for, so that the usual one costs nothing more.
    if plan.shares:
        variant = _variant(plan, picked.c.member_id)
        rows, columns = rows.add_columns(variant), [*columns, "variant"]
    if plan.usual_hour or plan.sample_percent is not None:
        waiting = _not_before(plan, picked, variant if plan.shares else null())
        rows = rows.add_columns(case((picked.c.reason.is_(None), waiting), else_=None))
        columns = [*columns, "not_before"]
    inserted = (
        insert(_delivery)
        .from_select(columns, rows, include_defaults=False)
        .returning(Delivery.member_id, Delivery.slice_number)
        .cte("inserted")
    )
    stretches: Any = (
        select(
            run_id,
            inserted.c.slice_number,
            func.min(inserted.c.member_id),
            func.max(inserted.c.member_id),
            literal("ready", Text),
            func.count(),
            *(literal(0),) * 3,
        )
        .where(inserted.c.slice_number > 0)
        .group_by(inserted.c.slice_number)
    )
    made = (
        insert(_slice)
        .from_select(
            ["run_id", "number", "from_member", "to_member", "state", "total", "accepted", "unsent", "unknown"],
            stretches,
            include_defaults=False,
        )
        .returning(Slice.number)
        .cte("made")
    )
    return select(
        func.count(inserted.c.member_id),
        func.max(inserted.c.member_id),
        select(func.count()).select_from(made).scalar_subquery(),
    )


def fan_out_chunk(run_id: int, statement: Any, holdout: Mapping[str, Any]) -> Planned:
    """Write the next chunk and move the cursor, in one transaction; a crash between two chunks loses and repeats nothing."""
    run = db.session.execute(
        select(Run.cursor, Run.through_id, Run.slices)
        .where(Run.id == run_id, Run.state == RunState.MATERIALISING)
        .with_for_update()
    ).one_or_none()
    if run is None:
        return Planned(0, True)
    rows, last, slices = db.session.execute(
        statement,
        {"of_run": run_id, "after": run.cursor, "through": run.through_id, "slices": run.slices, **holdout},
    ).one()
    done = rows < rules.CHUNK
    values: dict[str, Any] = {"planned": Run.planned + rows, "slices": Run.slices + slices, "woken_at": clock.now()}
    values["cursor"] = run.through_id if done else last
    if done:
        values["state"] = RunState.RUNNING
    db.session.execute(update(_run).where(Run.id == run_id).values(**values))
    return Planned(rows, done)


# ── Leasing a slice ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Lease:
    """A slice that this process holds until the time has run out or somebody took it away."""

    slice_id: int
    run_id: int
    number: int
    from_member: int
    to_member: int
    token: str

    @property
    def place(self) -> dict[str, int]:
        """Where its deliveries lie, as parameters."""
        return place_of(self)


_open_slice = (
    select(Slice.id)
    .where(
        Slice.run_id == bindparam("of_run"),
        Slice.state == "ready",
        or_(Slice.due_at.is_(None), Slice.due_at <= bindparam("now", type_=UtcDateTime)),
        exists()
        .where(
            Run.id == Slice.run_id,
            Run.state == RunState.RUNNING,
            or_(Run.expires_at.is_(None), Run.expires_at > bindparam("now", type_=UtcDateTime)),
        )
        .correlate(Slice),
    )
    .order_by(Slice.number)
    .limit(1)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_LEASE = (
    update(_slice)
    .where(Slice.id == _open_slice)
    .values(state="leased", token=bindparam("holder"), leased_until=bindparam("until", type_=UtcDateTime))
    .returning(Slice.id, Slice.run_id, Slice.number, Slice.from_member, Slice.to_member)
)


def lease(run_id: int, holder: str, hold: timedelta) -> Lease | None:
    """Take the first free slice of a running run for so long; None when there is none at this moment."""
    now = clock.now()
    row = db.session.execute(
        _LEASE, {"of_run": run_id, "now": now, "holder": holder, "until": now + hold}
    ).one_or_none()
    return Lease(*row, holder) if row is not None else None


_FENCE = (
    update(_slice)
    .where(Slice.id == bindparam("slice_id"), Slice.token == bindparam("holder"), Slice.state == "leased")
    .values(
        leased_until=bindparam("until", type_=UtcDateTime),
        accepted=Slice.accepted + bindparam("more_accepted", type_=BigInteger),
        unsent=Slice.unsent + bindparam("more_unsent", type_=BigInteger),
        unknown=Slice.unknown + bindparam("more_unknown", type_=BigInteger),
        assigned=Slice.assigned + bindparam("more_assigned", type_=BigInteger),
    )
)


def fence(
    held: Lease, hold: timedelta, accepted: int = 0, unsent: int = 0, unknown: int = 0, assigned: int = 0
) -> None:
    """Prolong a lease, lock its row for this transaction and move its counts. Raises `LeaseLost` when it is not ours."""
    touched = db.session.execute(
        _FENCE,
        {
            "slice_id": held.slice_id,
            "holder": held.token,
            "until": clock.now() + hold,
            "more_accepted": accepted,
            "more_unsent": unsent,
            "more_unknown": unknown,
            "more_assigned": assigned,
        },
    )
    if changed(touched) != 1:
        raise LeaseLost


# ── The claim ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery whose conditions hold at this moment, with what its message needs."""

    id: int
    member_id: int
    nickname: str
    rank: int
    locale: str
    address: str
    attempts: int
    variant: int = 0


@cache
def claim_statement(basis: Basis, competing: bool = False) -> Any:
    """The next deliveries of a slice with everything that decides about them, members and consents as they are now.

    Where wordings are `competing`, those who get the winner are left alone until it is known.
    """
    address = ADDRESS.get(basis.contact)
    bought = bindparam("bought_since", type_=UtcDateTime)
    last_word = basis.last_word()
    return (
        select(
            Delivery.id,
            Delivery.member_id,
            Delivery.attempts,
            Delivery.contacted_on,
            Delivery.variant,
            Member.nickname,
            Member.name,
            Member.rank,
            Member.locale,
            (literal("", Text) if address is None else address).label("address"),
            last_word.c.id.label("consent_id"),
            case(
                (or_(Member.merged_into_id.is_not(None), Member.erased_at.is_not(None)), "gone"),
                (false() if address is None else address.is_(None), "no_address"),
                (not_(func.coalesce(last_word.c.granted, false())), "no_consent"),
                (Member.last_order_at >= bought, "bought"),
                else_=None,
            ).label("obstacle"),
        )
        .join(Member, Member.id == Delivery.member_id)
        .outerjoin(last_word, true())
        .where(
            _in_slice,
            Delivery.state == DeliveryState.READY,
            or_(Delivery.not_before.is_(None), Delivery.not_before <= bindparam("now", type_=UtcDateTime)),
            *([Delivery.variant.is_not(None)] if competing else []),
        )
        .order_by(Delivery.member_id)
        .limit(bindparam("wanted"))
    )


_END = (
    update(_delivery)
    .where(Delivery.id == func.any(_ids), Delivery.state == bindparam("from_state", type_=Delivery.state.type))
    .values(state=bindparam("to_state", type_=Delivery.state.type), reason=bindparam("why", type_=Text))
)
_taken = select(
    func.unnest(_ids).label("id"),
    func.unnest(bindparam("consents", type_=ARRAY(BigInteger))).label("consent_id"),
    func.unnest(bindparam("days", type_=ARRAY(Date))).label("day"),
).subquery("taken")
_CLAIM = (
    update(_delivery)
    .where(_delivery.c.id == _taken.c.id, _delivery.c.state == DeliveryState.READY)
    .values(
        state=DeliveryState.CLAIMED,
        contacted_on=_taken.c.day,
        consent_id=_taken.c.consent_id,
        reason=None,
        variant=func.coalesce(_delivery.c.variant, bindparam("winner", type_=SmallInteger)),
    )
)


def end(ids: Sequence[int], since: DeliveryState, to: DeliveryState, reason: str | None) -> int:
    """Take deliveries from one state to another with a reason; returns how many were in the first."""
    if not ids:
        return 0
    return changed(db.session.execute(_END, {"ids": list(ids), "from_state": since, "to_state": to, "why": reason}))


@dataclass(frozen=True)
class Claim:
    """What a claim found: who may be written to now, out of how many."""

    rows: list[Claimed]
    looked_at: int


def claim(
    held: Lease,
    hold: timedelta,
    statement: Any,
    wanted: int,
    bought_since: datetime | None,
    caps: Any,
    contact_class: ContactClass,
    winner: int | None = None,
) -> Claim:
    """Decide about up to `wanted` deliveries of a slice and claim those that may be sent now.

    Consent, membership, "has bought meanwhile" and the contact budget are judged here and not when the run was planned;
    who falls through gets the reason. The budget is reserved in this very transaction.
    """
    fence(held, hold)
    now = clock.now()
    found = db.session.execute(
        statement,
        {**held.place, "now": now, "wanted": wanted, "bought_since": bought_since},
    ).all()
    stopped: dict[tuple[DeliveryState, str], list[int]] = {}
    for row in found:
        if row.obstacle is not None:
            stopped.setdefault((DeliveryState.SUPPRESSED, row.obstacle), []).append(row.id)
    able = [row for row in found if row.obstacle is None]
    days: dict[int, date | None] = {row.member_id: None for row in able}
    if contact_class.budgeted:
        today = clock.local(now).date()
        contacts = channels.reserve_contacts({row.member_id: row.rank for row in able}, today, caps, contact_class)
        # A claimer whose clock lags behind midnight is counted on the later day.
        days = {**contacts.granted}
        for row in able:
            if row.member_id in contacts.refused:
                stopped.setdefault((DeliveryState.CAPPED, contacts.refused[row.member_id]), []).append(row.id)
    ended = sum(end(ids, DeliveryState.READY, state, reason) for (state, reason), ids in stopped.items())
    if ended:
        fence(held, hold, unsent=ended)
    free = [row for row in able if row.member_id in days]
    taken = {
        "ids": [row.id for row in free],
        "consents": [row.consent_id for row in free],
        "days": [days[row.member_id] for row in free],
        "winner": winner,
    }
    if free and changed(db.session.execute(_CLAIM, taken)) != len(free):
        raise LeaseLost
    return Claim(
        [
            Claimed(
                row.id,
                row.member_id,
                row.nickname or row.name,
                row.rank,
                row.locale,
                row.address or "",
                row.attempts,
                row.variant if row.variant is not None else winner or 0,
            )
            for row in free
        ],
        len(found),
    )


_pairs = select(
    func.unnest(_ids).label("id"), func.unnest(bindparam("coupons", type_=ARRAY(BigInteger))).label("coupon_id")
).subquery("pairs")
_COUPONS = update(_delivery).where(_delivery.c.id == _pairs.c.id).values(coupon_id=_pairs.c.coupon_id)


def attach_coupons(given: Mapping[int, int]) -> None:
    """Write which coupon went with which delivery."""
    if given:
        db.session.execute(_COUPONS, {"ids": list(given), "coupons": list(given.values())})


# ── Intent and outcome ──────────────────────────────────────────────────────────────────────────────────────────────


def _still_may_go(basis: Basis) -> list[Any]:
    """Conditions on `delivery`: claimed, the run runs, and the member's last word is not a no by now.

    The word is looked up member by member in the index that answers without the rows, so that one plan serves however many
    words come in. The run is asked once and on its own: joined, it would tempt the planner to read the whole run's index
    for each batch.
    """
    last_word = (
        select(Consent.granted)
        .where(
            Consent.member_id == _delivery.c.member_id,
            Consent.channel == basis.contact,
            Consent.purpose == basis.purpose,
        )
        .order_by(Consent.id.desc())
        .limit(1)
        .correlate(_delivery)
        .scalar_subquery()
    )
    return [
        _delivery.c.id == func.any(bindparam("next_ids", type_=ARRAY(BigInteger))),
        _delivery.c.state == DeliveryState.CLAIMED,
        exists().where(_run.c.id == bindparam("of_run"), _run.c.state == RunState.RUNNING),
        last_word.is_not(false()),
    ]


@cache
def intent_statement(basis: Basis, to: DeliveryState) -> Any:
    """Move claimed deliveries on if the run still runs and the member still agrees; returns the ids that moved."""
    values: dict[str, Any] = {"state": to}
    if to is DeliveryState.ACCEPTED:
        values["accepted_at"] = bindparam("moment", type_=UtcDateTime)
    return update(_delivery).where(*_still_may_go(basis)).values(**values).returning(_delivery.c.id)


def intend(run_id: int, ids: Sequence[int], statement: Any) -> set[int]:
    """Carry an intent statement out; its answer is what may be handed over now."""
    values = {"of_run": run_id, "next_ids": list(ids), "moment": clock.now()}
    return set(db.session.execute(statement, values).scalars())


_given = select(
    func.unnest(_ids).label("id"), func.unnest(bindparam("texts", type_=ARRAY(Text))).label("words")
).subquery("given")
_ASSIGN = (
    update(_delivery)
    .where(Delivery.id == _given.c.id, Delivery.state == bindparam("from_state", type_=Delivery.state.type))
    .values(state=DeliveryState.ASSIGNED, provider_id=_given.c.words, reason=None)
)
_ACCEPT = (
    update(_delivery)
    .where(Delivery.id == _given.c.id, Delivery.state == bindparam("from_state", type_=Delivery.state.type))
    .values(
        state=DeliveryState.ACCEPTED,
        provider_id=_given.c.words,
        accepted_at=bindparam("now", type_=UtcDateTime),
        reason=None,
    )
)
# The same where the other side gave nothing a name: one walk along the key instead of a look-up for each.
_ACCEPT_UNNAMED = (
    update(_delivery)
    .where(Delivery.id == func.any(_ids), Delivery.state == bindparam("from_state", type_=Delivery.state.type))
    .values(state=DeliveryState.ACCEPTED, accepted_at=bindparam("now", type_=UtcDateTime), reason=None)
)
_AGAIN = (
    update(_delivery)
    .where(Delivery.id == func.any(_ids), Delivery.state == bindparam("from_state", type_=Delivery.state.type))
    .values(
        state=DeliveryState.READY,
        reason=bindparam("why", type_=Text),
        attempts=Delivery.attempts + bindparam("tries"),
        not_before=bindparam("later", type_=UtcDateTime),
        contacted_on=None,
    )
)
_HELD_CONTACTS = select(Delivery.member_id, Delivery.contacted_on).where(
    Delivery.id == func.any(_ids), Delivery.contacted_on.is_not(None)
)
_DROP_CONTACTS = update(_delivery).where(Delivery.id == func.any(_ids)).values(contacted_on=None)


def free_contacts(ids: Sequence[int], contact_class: ContactClass) -> None:
    """Give the contact budget of deliveries back that will not, or not now, be sent."""
    if ids and contact_class.budgeted:
        held = db.session.execute(_HELD_CONTACTS, {"ids": list(ids)}).all()
        channels.release_contacts({member: day for member, day in held if day is not None}, contact_class)
        db.session.execute(_DROP_CONTACTS, {"ids": list(ids)})


def record(
    held: Lease,
    hold: timedelta,
    verdicts: Mapping[int, rules.Verdict],
    since: DeliveryState,
    contact_class: ContactClass,
) -> None:
    """Write down what became of deliveries that were handed over; `since` is the state they were left in.

    The whole is refused with `LeaseLost` when the slice or one of the deliveries is no longer ours to speak of.
    """
    kinds: dict[DeliveryState, int] = {}
    for v in verdicts.values():
        kinds[v.state] = kinds.get(v.state, 0) + 1
    fence(
        held,
        hold,
        accepted=kinds.get(DeliveryState.ACCEPTED, 0),
        unsent=kinds.get(DeliveryState.FAILED, 0),
        unknown=kinds.get(DeliveryState.UNKNOWN, 0),
        assigned=kinds.get(DeliveryState.ASSIGNED, 0),
    )
    if not verdicts:
        return
    touched = 0
    now = clock.now()
    for state, statement in ((DeliveryState.ACCEPTED, _ACCEPT), (DeliveryState.ASSIGNED, _ASSIGN)):
        taken = {i: v.provider_id for i, v in verdicts.items() if v.state is state}
        if taken:
            values = {"ids": list(taken), "texts": list(taken.values()), "now": now, "from_state": since}
            touched += changed(db.session.execute(statement, values))
    others: dict[rules.Verdict, list[int]] = {}
    for i, v in verdicts.items():
        if v.state not in (DeliveryState.ACCEPTED, DeliveryState.ASSIGNED):
            others.setdefault(v, []).append(i)
    free_contacts([i for v, ids in others.items() if v.state is not DeliveryState.UNKNOWN for i in ids], contact_class)
    for v, ids in others.items():
        if v.state is DeliveryState.READY:
            values = {"ids": ids, "from_state": since, "why": v.reason, "tries": int(v.tried), "later": v.later}
            touched += changed(db.session.execute(_AGAIN, values))
        else:
            touched += end(ids, since, v.state, v.reason)
    if touched != len(verdicts):
        raise LeaseLost


@contextmanager
def at_once() -> Iterator[Connection | None]:
    """A connection on which each statement is a transaction of its own; None where the session has been given one to keep to."""
    if db.session().bind is not None:
        yield None
        return
    with db.engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


@cache
def step_statement(basis: Basis, named: bool) -> Any:
    """The usual case in one statement: under the lease, a batch was accepted and the next one is about to be handed over.

    `named` says whether the other side gave messages names of its own, which are kept. It is a transaction of its own, and all
    of it happens or nothing: whoever holds the lease when it begins is the only one who moves the slice's deliveries, and
    the slice counts those that were really moved.
    """
    ours = (
        select(_slice.c.id)
        .where(_slice.c.id == bindparam("slice_id"), _slice.c.token == bindparam("holder"), _slice.c.state == "leased")
        .with_for_update()
        .cte("ours")
    )
    held = select(ours.c.id).exists()
    accepted = (_ACCEPT if named else _ACCEPT_UNNAMED).where(held).returning(_delivery.c.id).cte("accepted")
    recorded = select(func.count()).select_from(accepted).scalar_subquery()
    fenced = (
        update(_slice)
        .where(_slice.c.id == ours.c.id)
        .values(leased_until=bindparam("until", type_=UtcDateTime), accepted=_slice.c.accepted + recorded)
        .returning(_slice.c.id)
        .cte("fenced")
    )
    going = (
        update(_delivery)
        .where(*_still_may_go(basis), held)
        .values(state=DeliveryState.SUBMITTING)
        .returning(_delivery.c.id)
        .cte("going")
    )
    return select(
        select(func.count()).select_from(fenced).scalar_subquery(),
        recorded,
        func.array(select(going.c.id).scalar_subquery(), type_=ARRAY(BigInteger)),
    )


def step(
    connection: Connection | None,
    held: Lease,
    hold: timedelta,
    basis: Basis,
    accepted: Mapping[int, str | None],
    next_ids: Sequence[int],
) -> set[int]:
    """`record` for a batch that was accepted as a whole, and `intend` for the next one, in one statement, and committed.

    It lies between two calls of the channel: over a `connection` from `at_once` the server is asked once, and not for the
    beginning and the end of a transaction as well.
    """
    now = clock.now()
    names = list(accepted.values())
    named = any(name is not None for name in names)
    values = {
        **({"texts": names} if named else {}),
        "slice_id": held.slice_id,
        "holder": held.token,
        "until": now + hold,
        "ids": list(accepted),
        "now": now,
        "from_state": DeliveryState.SUBMITTING,
        "of_run": held.run_id,
        "next_ids": list(next_ids),
    }
    statement = step_statement(basis, named)
    if connection is not None:
        fenced, recorded, going = connection.execute(statement, values).one()
    else:
        with transaction():
            fenced, recorded, going = db.session.execute(statement, values).one()
    if fenced != 1 or recorded != len(accepted):
        raise LeaseLost
    return set(going)


# ── Giving a slice back ─────────────────────────────────────────────────────────────────────────────────────────────

_OF_STATE = select(Delivery.id, Delivery.attempts).where(
    _in_slice, Delivery.state == bindparam("from_state", type_=Delivery.state.type)
)
_OPEN = select(
    func.count(),
    func.min(Delivery.not_before),
    func.count().filter(Delivery.not_before.is_(None)),
    func.array_agg(Delivery.id).filter(Delivery.state == DeliveryState.CLAIMED),
).where(_in_slice, Delivery.state.in_(OPEN_STATES))
_GIVE_BACK = (
    update(_slice)
    .where(Slice.id == bindparam("slice_id"))
    .values(
        state=bindparam("to_state", type_=String),
        token=None,
        leased_until=None,
        due_at=bindparam("due", type_=UtcDateTime),
    )
)


def ids_in(part: Any, state: DeliveryState) -> dict[int, int]:
    """The deliveries of a slice in a state, with their attempts."""
    rows = db.session.execute(_OF_STATE, {**place_of(part), "from_state": state})
    return {row.id: row.attempts for row in rows}


def class_of(run_id: int) -> ContactClass:
    """What kind of contact a run's messages are."""
    return db.session.execute(
        select(Push.contact_class).join(Run, Run.push_id == Push.id).where(Run.id == run_id)
    ).scalar_one()


def settle(slice_id: int, part: Any, contact_class: ContactClass, due: datetime | None = None) -> bool:
    """Free a slice whose row this transaction has locked: done when nothing in it is open, else ready. Returns whether done.

    What is claimed in it was never handed over: it is ready again, and its budget is given back.
    """
    left, earliest, at_once, claimed = db.session.execute(_OPEN, place_of(part)).one()
    if claimed:
        free_contacts(claimed, contact_class)
        end(claimed, DeliveryState.CLAIMED, DeliveryState.READY, None)
    due = due or (earliest if not at_once else None)
    db.session.execute(
        _GIVE_BACK, {"slice_id": slice_id, "to_state": "ready" if left else "done", "due": due if left else None}
    )
    return not left


def give_back(held: Lease, hold: timedelta, contact_class: ContactClass, due: datetime | None = None) -> bool:
    """End a lease in good order. Returns whether the slice is done."""
    fence(held, hold)
    return settle(held.slice_id, held, contact_class, due)


# ── What people have in hand ────────────────────────────────────────────────────────────────────────────────────────

_CONFIRM = (
    update(_slice)
    .where(Slice.run_id == bindparam("of_run"), Slice.number == bindparam("of_number"))
    .values(
        assigned=Slice.assigned - bindparam("fewer_assigned", type_=BigInteger),
        accepted=Slice.accepted + bindparam("more_accepted", type_=BigInteger),
        unsent=Slice.unsent + bindparam("more_unsent", type_=BigInteger),
    )
)
_DONE = (
    update(_delivery)
    .where(Delivery.id == func.any(_ids), Delivery.state == DeliveryState.ASSIGNED)
    .values(state=DeliveryState.ACCEPTED, accepted_at=bindparam("now", type_=UtcDateTime), reason=None)
)


def confirm(
    run_id: int, number: int, said: Mapping[int, bool], contact_class: ContactClass, reason: str | None = None
) -> bool:
    """Bring assigned deliveries of one slice to their end: done, or not. Returns False when one is in nobody's hands.

    The slice's row is locked first, as everywhere. A run that has its final counts already has them moved along.
    """
    run = db.session.execute(select(Run.tally).where(Run.id == run_id).with_for_update()).one()
    place = {"of_run": run_id, "of_number": number}
    done = [i for i, well in said.items() if well]
    left = [i for i, well in said.items() if not well]
    moved = {"fewer_assigned": len(said), "more_accepted": len(done), "more_unsent": len(left)}
    db.session.execute(_CONFIRM, {**place, **moved})
    touched = changed(db.session.execute(_DONE, {"ids": done, "now": clock.now()})) if done else 0
    free_contacts(left, contact_class)
    to = DeliveryState.EXPIRED if reason == "not_confirmed" else DeliveryState.FAILED
    touched += end(left, DeliveryState.ASSIGNED, to, reason or "not_done")
    if touched != len(said):
        return False
    if run.tally is not None:
        counts = dict(run.tally)
        for key, people in (("assigned", -len(said)), ("accepted", len(done)), (to.value, len(left))):
            counts[key] = counts.get(key, 0) + people
        db.session.execute(
            update(_run).where(Run.id == run_id).values(tally={key: n for key, n in counts.items() if n})
        )
    return True


# ── Upkeep ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_COUNT = (
    update(_slice)
    .where(Slice.id == bindparam("slice_id"))
    .values(
        unsent=Slice.unsent + bindparam("more_unsent", type_=BigInteger),
        unknown=Slice.unknown + bindparam("more_unknown", type_=BigInteger),
    )
)


def take_back(part: Any, idempotent: bool, contact_class: ContactClass) -> None:
    """Put a slice in order whose holder is gone; its row is given and locked by the caller."""
    doubtful = ids_in(part, DeliveryState.SUBMITTING)
    again = [i for i, attempts in doubtful.items() if idempotent and attempts + 1 < rules.ATTEMPTS]
    if again:
        free_contacts(again, contact_class)
        values = {"ids": again, "from_state": DeliveryState.SUBMITTING, "why": "resent", "tries": 1, "later": None}
        db.session.execute(_AGAIN, values)
    lost = [i for i in doubtful if i not in set(again)]
    unknown = end(lost, DeliveryState.SUBMITTING, DeliveryState.UNKNOWN, "sender_stopped")
    if unknown:
        db.session.execute(_COUNT, {"slice_id": part.id, "more_unsent": 0, "more_unknown": unknown})
    settle(part.id, part, contact_class)


_PLACE = (Slice.id, Slice.run_id, Slice.number, Slice.from_member, Slice.to_member)


def close_slices(run_id: int, to: DeliveryState, limit: int) -> int:
    """End what is ready in slices that nobody holds; returns how many slices were closed."""
    found = db.session.execute(
        select(*_PLACE)
        .where(Slice.run_id == run_id, Slice.state == "ready")
        .order_by(Slice.number)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    contact_class = class_of(run_id)
    for part in found:
        ended = end(list(ids_in(part, DeliveryState.READY)), DeliveryState.READY, to, None)
        db.session.execute(_COUNT, {"slice_id": part.id, "more_unsent": ended, "more_unknown": 0})
        settle(part.id, part, contact_class)
    return len(found)


def doubt_open(run_id: int, reason: str) -> int:
    """Bring everything open of a run that nobody sends any more in doubt, as if each had been handed over; returns how many."""
    found = db.session.execute(
        select(*_PLACE).where(Slice.run_id == run_id, Slice.state != "done").order_by(Slice.number).with_for_update()
    ).all()
    people, contact_class = 0, class_of(run_id)
    for part in found:
        doubtful = sum(
            end(list(ids_in(part, state)), state, DeliveryState.UNKNOWN, reason)
            for state in (DeliveryState.SUBMITTING, DeliveryState.CLAIMED, DeliveryState.READY)
        )
        db.session.execute(_COUNT, {"slice_id": part.id, "more_unsent": 0, "more_unknown": doubtful})
        settle(part.id, part, contact_class)
        people += doubtful
    return people


_UNREPORTED = _OF_STATE.where(Delivery.delivered_at.is_(None))
# A delivery in doubt of a slice, of which the channel has not reported meanwhile that it arrived.
still_doubtful = and_(
    Delivery.run_id == Slice.run_id,
    Delivery.member_id.between(Slice.from_member, Slice.to_member),
    Delivery.slice_number == Slice.number,
    Delivery.state == DeliveryState.UNKNOWN,
    Delivery.delivered_at.is_(None),
)


def still_in_doubt(run_id: int) -> int:
    """How many messages of a run may not have arrived: those in doubt without those that were reported delivered meanwhile."""
    found = select(func.count()).select_from(Slice).join(Delivery, still_doubtful)
    return db.session.scalar(found.where(Slice.run_id == run_id, Slice.unknown > 0)) or 0


def reopen_unknown(run_id: int) -> int:
    """Make the doubtful deliveries of a run ready again, slice by slice; returns how many there were.

    What the channel has reported delivered meanwhile is no longer to be sent: it stays as it is.
    """
    found = db.session.execute(
        select(*_PLACE)
        .where(Slice.run_id == run_id, Slice.unknown > 0, Slice.state != "leased")
        .order_by(Slice.number)
        .with_for_update()
    ).all()
    people, contact_class = 0, class_of(run_id)
    for part in found:
        ids = list(db.session.scalars(_UNREPORTED, {**place_of(part), "from_state": DeliveryState.UNKNOWN}))
        free_contacts(ids, contact_class)
        again = end(ids, DeliveryState.UNKNOWN, DeliveryState.READY, "resent")
        db.session.execute(_COUNT, {"slice_id": part.id, "more_unsent": 0, "more_unknown": -again})
        settle(part.id, part, contact_class)
        people += again
    return people
