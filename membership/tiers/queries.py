"""Reads about tiers: the policy in force, and why a member stands where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import g, has_request_context
from sqlalchemy import ColumnElement, Select, case, func, or_, select

from kernel import clock
from kernel.db import db
from kernel.errors import NotFound
from kernel.pages import Count, Page, capped_count, keyset
from kernel.ports import Port
from membership.members import queries as members
from membership.members.models import Member
from membership.orders import queries as orders
from membership.orders import rules as order_rules
from membership.orders.models import Order

from . import rules
from .models import MemberTier, Metric, TierChange, TierDraft, TierDraftMember, TierPolicy

# What higher rooms know against a policy (a gift that is gone, an offer that gives one each); filled by membership.benefits.
objections: Port[[rules.Policy], list[rules.PolicyMistake]] = Port("tiers.objections")
# What a level can give, and how many of some members (a statement of ids) have had an entry benefit; filled by
# membership.benefits. `given_before` is asked with `entry_gift` or `entry_coupon` and a rank.
things: Port[[], list[Thing]] = Port("tiers.things")
given_before: Port[[str, int, Select[int]], int] = Port("tiers.given_before")
# The groups that a level opens, as a member finds them; filled by community.groups.
group_places: Port[[int, Sequence[int]], list[GroupPlace]] = Port("tiers.group_places")


@dataclass(frozen=True)
class Thing:
    """A gift or a coupon that a level can give. `cost` is what one costs in 分, None where nobody can say; `open` whether
    it can be given now."""

    kind: str
    id: int
    name: str
    cost: int | None
    open: bool = True


@dataclass(frozen=True)
class GroupPlace:
    """A group as a member finds it: its name, where it is joined, and whether they are in it."""

    id: int
    name: str
    path: str | None
    joined: bool = False


def as_policy(row: TierPolicy) -> rules.Policy:
    """A stored version as the value that rules work with."""
    names = (
        "metric", "window", "rolling_days", "valid_days", "grace_days", "downgrade", "refund_effect", "birthday_days",
        "levels",
    )  # fmt: skip
    return rules.from_terms({name: getattr(row, name) for name in names}, row.id)


def policy() -> rules.Policy:
    """The policy in force: the newest version, or the standard one (with id None) before anything was saved.

    Read once a request. A job may run for long, and asks again each time.
    """
    if "tier_policy" not in g or not has_request_context():
        row = db.session.scalar(select(TierPolicy).order_by(TierPolicy.id.desc()).limit(1))
        g.tier_policy = as_policy(row) if row is not None else rules.STANDARD
    return g.tier_policy


def versions(limit: int = 20) -> Sequence[TierPolicy]:
    """The policy's versions, newest first."""
    return db.session.scalars(select(TierPolicy).order_by(TierPolicy.id.desc()).limit(limit)).all()


def get_version(policy_id: int) -> rules.Policy:
    """One version; refuses with `NotFound`."""
    return as_policy(get_version_row(policy_id))


def get_version_row(policy_id: int) -> TierPolicy:
    """One version with who made it when; refuses with `NotFound`."""
    row = db.session.get(TierPolicy, policy_id)
    if row is None:
        raise NotFound
    return row


def version_before(policy_id: int) -> TierPolicy | None:
    """The version that was in force before one, None for the first."""
    return db.session.scalar(
        select(TierPolicy).where(TierPolicy.id < policy_id).order_by(TierPolicy.id.desc()).limit(1)
    )


def versions_page(cursor: str | None) -> Page:
    """The versions, newest first, page by page."""
    return keyset(select(TierPolicy), [TierPolicy.id.desc()], cursor, 30)


def member(member_id: int) -> Member:
    """The member whom an explanation is about; refuses with `NotFound`."""
    return members.get_member(member_id)


def head_counts() -> dict[int, int]:
    """How many members there are of each rank 0–4."""
    rows = db.session.execute(
        select(Member.rank, func.count())
        .where(Member.merged_into_id.is_(None), Member.erased_at.is_(None))
        .group_by(Member.rank)
    )
    return dict.fromkeys((0, *rules.RANKS), 0) | dict(rows.all())


def standing_of(member_id: int) -> MemberTier | None:
    """The member's stored standing; None while they have never had a rank."""
    return db.session.get(MemberTier, member_id)


def history(member_id: int, limit: int = 50) -> Sequence[TierChange]:
    """The member's changes of rank, newest first."""
    return db.session.scalars(
        select(TierChange).where(TierChange.member_id == member_id).order_by(TierChange.id.desc()).limit(limit)
    ).all()


def changes_of(member_id: int) -> Select[TierChange]:
    """Every change of a member's rank, in no order."""
    return select(TierChange).where(TierChange.member_id == member_id)


@dataclass(frozen=True)
class ExplainedOrder:
    """One order in an explanation: amounts in 分; `at` is from when it counts, None while nobody knows."""

    order_id: int
    external_id: str
    source: str
    placed_at: datetime
    at: datetime | None
    spend: int
    refunded: int
    whole: bool


@dataclass(frozen=True)
class Explanation:
    """Why a member has their rank, and what would change it.

    `counted` are the orders in the window, `waiting` those that will count later, `totals` their sums; `missing` is what
    is missing to the next level, `to_keep` what
    is missing for keeping the present one when its end is near; `falls_at`, `falls_to` and `keep` say the same at
    any time (None and 0 where nothing falls). `refunded` is
    what refunds took from the counted orders, in 分. `progress` is per mille of the way to the next level.
    """

    rank: int
    own_rank: int
    policy: rules.Policy
    totals: rules.Totals
    counted: tuple[ExplainedOrder, ...]
    waiting: tuple[ExplainedOrder, ...]
    refunded: int
    next_level: rules.Level | None
    missing: rules.Missing | None
    to_keep: rules.Missing | None
    progress: int
    valid_until: datetime | None
    grace_until: datetime | None
    window_from: datetime | None
    manual_rank: int | None
    manual_reason: str | None
    manual_until: datetime | None
    falls_at: datetime | None
    falls_to: int
    keep: rules.Missing | None
    history: tuple[TierChange, ...]


SHOWN_ORDERS = 500
# From so long before a tier's fall on, the sentence about it says what keeps it.
NEAR_END = timedelta(days=60)


def counted_orders(member_id: int) -> list[rules.CountedOrder]:
    """A member's qualifying orders as `rules.tier_for` takes them."""
    rows = db.session.execute(orders.qualifying([member_id]))
    return [rules.CountedOrder(row.at, row.spend, row.whole) for row in rows]


def current_standing(row: MemberTier | None) -> rules.Standing:
    """A stored row as the rule's value."""
    return rules.Standing(row.own_rank, row.valid_until, row.backed_at) if row is not None else rules.Standing()


def explanation(member_id: int) -> Explanation:
    """Explain one member's tier as it is stored now; refuses with `NotFound`."""
    now = clock.now()
    member = members.get_member(member_id)
    force = policy()
    row = standing_of(member.id)
    found = db.session.scalars(
        select(Order)
        .where(Order.member_id == member.id, Order.paid_at.is_not(None), Order.state.in_(order_rules.PAID_STATES))
        .order_by(Order.placed_at.desc(), Order.id.desc())
        .limit(SHOWN_ORDERS)
    ).all()
    start = rules.window_start(force, now)
    counted, waiting = [], []
    for order in found:
        at = order_rules.qualifies_at(order.state, order.paid_at, order.delivered_at, order.completed_at)
        one = ExplainedOrder(
            order_id=order.id,
            external_id=order.external_id,
            source=order.source,
            placed_at=order.placed_at,
            at=at,
            spend=order_rules.spend_of(order.paid_amount, order.postage, order.refunded_amount),
            refunded=order.refunded_amount,
            whole=not order_rules.wholly_refunded(order.paid_amount, order.postage, order.refunded_amount),
        )
        if at is None or at > now:
            if one.whole:
                waiting.append(one)
        elif start is None or at >= start:
            counted.append(one)
    sums = rules.totals(force, counted_orders(member.id), now)
    next_level = force.next_level(member.rank)
    falls = row is not None and row.falls_at is not None and shown_after_fall(row) < member.rank
    keep = missing_of(row) if falls and row is not None else None
    near = row is not None and row.falls_at is not None and row.falls_at - now <= NEAR_END
    valid_until = row.valid_until if row is not None and row.own_rank == member.rank else None
    manual = row is not None and rules.shown_rank(0, row.manual_rank, row.manual_until, now) > 0
    return Explanation(
        rank=member.rank,
        own_rank=row.own_rank if row is not None else 0,
        policy=force,
        totals=sums,
        counted=tuple(counted),
        waiting=tuple(waiting),
        refunded=sum(one.refunded for one in counted),
        next_level=next_level,
        missing=rules.missing_to(force, next_level, sums) if next_level is not None else None,
        to_keep=keep if near else None,
        progress=rules.progress_to(force, next_level, sums) if next_level is not None else 1000,
        valid_until=valid_until,
        grace_until=valid_until + timedelta(days=force.grace_days) if valid_until is not None else None,
        window_from=start,
        manual_rank=row.manual_rank if manual and row is not None else None,
        manual_reason=row.manual_reason if manual and row is not None else None,
        manual_until=row.manual_until if manual and row is not None else None,
        falls_at=row.falls_at if falls and row is not None else None,
        falls_to=shown_after_fall(row) if falls and row is not None else 0,
        keep=keep,
        history=tuple(history(member.id)),
    )


# ── Benefits ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class MemberBenefits:
    """What a member's tier gives them now. Benefits count from enrolment: before it everything is as without a tier.

    `discount` is per mille paid (1000: none), `multiplier` points per mille.
    """

    member_id: int
    rank: int
    enrolled: bool
    level: rules.Level | None
    discount: int = rules.FULL_PRICE
    multiplier: int = rules.FULL_PRICE
    free_shipping: bool = False
    priority_service: bool = False


def benefits_of(member_id: int) -> MemberBenefits:
    """The benefits of a member, or of the one they were merged into. Refuses with `NotFound`."""
    member = members.get_member(member_id)
    level = policy().level(member.rank)
    enrolled = member.enrolled_at is not None and member.erased_at is None
    if level is None or not enrolled:
        return MemberBenefits(member.id, member.rank, enrolled, level)
    return MemberBenefits(
        member_id=member.id,
        rank=member.rank,
        enrolled=True,
        level=level,
        discount=level.discount,
        multiplier=level.multiplier,
        free_shipping=level.free_shipping,
        priority_service=level.priority_service,
    )


def discount_for(member_id: int) -> int:
    """What a member's tier lets them pay at the checkout, per mille of the price: 950 is 9.5折, 1000 none."""
    return benefits_of(member_id).discount


def free_shipping_for(member_id: int) -> bool:
    """Whether a member's tier ships free."""
    return benefits_of(member_id).free_shipping


def priority_ranks() -> list[int]:
    """The ranks whose members are served first."""
    return [level.rank for level in policy().levels if level.priority_service]


def all_things() -> list[Thing]:
    """Every gift and coupon that a level can give."""
    return [one for answer in things.call() for one in answer]


def places_of(member_id: int, group_ids: Sequence[int]) -> list[GroupPlace]:
    """The groups of a level as a member finds them."""
    return [one for answer in group_places.call(member_id, group_ids) for one in answer] if group_ids else []


# ── Tiers that are about to fall ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class FallFilter:
    """What narrows the list of upcoming falls: within how many days, of which tier, whose name or phone."""

    days: int = 30
    tier: int | None = None
    q: str = ""


def missing_of(row: MemberTier) -> rules.Missing:
    """What a member lacks for keeping their tier, as stored."""
    return rules.Missing(row.own_rank, row.keep_spend, row.keep_orders, policy().metric is Metric.ANY)


def shown_after_fall(row: MemberTier) -> int:
    """The rank that counts after the own one fell: a tier by hand that lasts longer holds it up."""
    by_hand = row.manual_rank or 0
    if row.manual_until is not None and row.falls_at is not None and row.manual_until <= row.falls_at:
        by_hand = 0
    return max(row.falls_to or 0, by_hand)


def _rank_after() -> ColumnElement[int]:
    lasting = or_(MemberTier.manual_until.is_(None), MemberTier.manual_until > MemberTier.falls_at)
    return func.greatest(MemberTier.falls_to, case((lasting, func.coalesce(MemberTier.manual_rank, 0)), else_=0))


def falling(within_days: int) -> Select[Member, MemberTier]:
    """Members whose tier falls within so many days if nothing more is bought, with their standing, the first to fall first."""
    now = clock.now()
    return (
        select(Member, MemberTier)
        .join(MemberTier, MemberTier.member_id == Member.id)
        .where(
            MemberTier.falls_at > now,
            MemberTier.falls_at <= now + timedelta(days=within_days),
            Member.rank > _rank_after(),
            Member.merged_into_id.is_(None),
            Member.erased_at.is_(None),
        )
        .order_by(MemberTier.falls_at, MemberTier.member_id)
    )


def falls(wanted: FallFilter) -> Select[Member, MemberTier]:
    """`falling`, narrowed."""
    found = falling(wanted.days)
    if wanted.tier is not None:
        found = found.where(Member.rank == wanted.tier)
    if wanted.q:
        found = found.where(members.sought(wanted.q))
    return found


def falls_page(wanted: FallFilter, cursor: str | None) -> tuple[Page, Count]:
    """One page of upcoming falls, the first to fall first, and how many there are."""
    found = falls(wanted).order_by(None)
    return keyset(found, [MemberTier.falls_at, MemberTier.member_id], cursor), capped_count(found)


def falls_export(wanted: FallFilter) -> Iterator[tuple[Member, MemberTier]]:
    """Every upcoming fall of a filter, streamed."""
    for row in db.session.execute(falls(wanted).execution_options(yield_per=1_000)):
        yield row[0], row[1]


def falls_within(days: int) -> int:
    """How many tiers fall within so many days, counted up to 10,000."""
    return capped_count(falling(days).order_by(None)).n


# ── Tiers set by hand ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ManualFilter:
    """What narrows the list of tiers set by hand."""

    tier: int | None = None
    ends: str = ""
    q: str = ""


def by_hand(wanted: ManualFilter) -> Select[Member, MemberTier]:
    """Members with a tier set by hand that lasts, with their standing."""
    now = clock.now()
    found = (
        select(Member, MemberTier)
        .join(MemberTier, MemberTier.member_id == Member.id)
        .where(
            MemberTier.manual_rank.is_not(None),
            or_(MemberTier.manual_until.is_(None), MemberTier.manual_until > now),
            Member.merged_into_id.is_(None),
        )
    )
    if wanted.tier is not None:
        found = found.where(MemberTier.manual_rank == wanted.tier)
    if wanted.ends == "soon":
        found = found.where(MemberTier.manual_until <= now + timedelta(days=30))
    elif wanted.ends == "never":
        found = found.where(MemberTier.manual_until.is_(None))
    if wanted.q:
        found = found.where(
            or_(members.sought(wanted.q), MemberTier.manual_reason.icontains(wanted.q, autoescape=True))
        )
    return found


def by_hand_page(wanted: ManualFilter, cursor: str | None) -> tuple[Page, Count]:
    """One page of tiers set by hand, the newest members first."""
    found = by_hand(wanted)
    return keyset(found, [MemberTier.member_id.desc()], cursor), capped_count(found)


def by_hand_export(wanted: ManualFilter) -> Iterator[tuple[Member, MemberTier]]:
    """Every tier set by hand of a filter, streamed."""
    found = by_hand(wanted).order_by(MemberTier.member_id.desc())
    for row in db.session.execute(found.execution_options(yield_per=1_000)):
        yield row[0], row[1]


# ── Drafts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def drafts_page(cursor: str | None) -> Page:
    """The drafts, last made first."""
    return keyset(select(TierDraft), [TierDraft.id.desc()], cursor, 30)


def open_drafts(limit: int = 5) -> Sequence[TierDraft]:
    """The newest drafts that are not in force."""
    return db.session.scalars(
        select(TierDraft).where(TierDraft.policy_id.is_(None)).order_by(TierDraft.id.desc()).limit(limit)
    ).all()


@dataclass(frozen=True)
class ConcernedFilter:
    """Which of the members that a draft concerns: who moves (from a rank, to a rank), or who would fall later."""

    falls: bool = False
    from_rank: int | None = None
    to_rank: int | None = None
    q: str = ""


def concerned(draft_id: int, wanted: ConcernedFilter) -> Select[Member, TierDraftMember]:
    """Members whom a draft concerns, with what it would do to them."""
    found = (
        select(Member, TierDraftMember)
        .join(TierDraftMember, TierDraftMember.member_id == Member.id)
        .where(TierDraftMember.draft_id == draft_id)
    )
    if wanted.falls:
        found = found.where(TierDraftMember.falls_at.is_not(None))
    else:
        found = found.where(TierDraftMember.to_rank != TierDraftMember.from_rank)
    if wanted.from_rank is not None:
        held = TierDraftMember.to_rank if wanted.falls else TierDraftMember.from_rank
        found = found.where(held == wanted.from_rank)
    if wanted.to_rank is not None:
        after = TierDraftMember.falls_to if wanted.falls else TierDraftMember.to_rank
        found = found.where(after == wanted.to_rank)
    if wanted.q:
        found = found.where(members.sought(wanted.q))
    return found


def concerned_page(draft_id: int, wanted: ConcernedFilter, cursor: str | None) -> tuple[Page, Count]:
    """One page of the members whom a draft concerns, whoever spent most first."""
    found = concerned(draft_id, wanted)
    order = [TierDraftMember.spend.desc(), TierDraftMember.member_id.desc()]
    return keyset(found, order, cursor), capped_count(found)


def concerned_export(draft_id: int, wanted: ConcernedFilter) -> Iterator[tuple[Member, TierDraftMember]]:
    """Every member whom a draft concerns, streamed."""
    found = concerned(draft_id, wanted).order_by(TierDraftMember.spend.desc(), TierDraftMember.member_id.desc())
    for row in db.session.execute(found.execution_options(yield_per=1_000)):
        yield row[0], row[1]
