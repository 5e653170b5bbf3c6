"""Reads about tiers: the policy in force, and why a member stands where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import g
from sqlalchemy import func, select

from kernel import clock
from kernel.db import db
from kernel.staff.models import Staff
from membership.members import queries as members
from membership.members.models import Member
from membership.orders import queries as orders
from membership.orders import rules as order_rules
from membership.orders.models import Order

from . import rules
from .models import MemberTier, TierChange, TierPolicy


def as_policy(row: TierPolicy) -> rules.Policy:
    """A stored version as the value that rules work with."""
    return rules.Policy(
        id=row.id,
        metric=row.metric,
        window=row.window,
        rolling_days=row.rolling_days,
        valid_days=row.valid_days,
        grace_days=row.grace_days,
        downgrade=row.downgrade,
        refund_effect=row.refund_effect,
        levels=tuple(sorted((rules.Level(**level) for level in row.levels), key=lambda level: level.rank)),
    )


def policy() -> rules.Policy:
    """The policy in force: the newest version, or the standard one (with id None) before anything was saved."""
    if "tier_policy" not in g:
        row = db.session.scalar(select(TierPolicy).order_by(TierPolicy.id.desc()).limit(1))
        g.tier_policy = as_policy(row) if row is not None else rules.STANDARD
    return g.tier_policy


def versions(limit: int = 20) -> Sequence[TierPolicy]:
    """The policy's versions, newest first."""
    return db.session.scalars(select(TierPolicy).order_by(TierPolicy.id.desc()).limit(limit)).all()


def authors() -> dict[int, str]:
    """Who saved the policy's versions: names by staff id."""
    return dict(db.session.execute(select(Staff.id, Staff.name)).all())


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
    is missing to the next level, `to_keep` what is missing for keeping the present one at the next review. `refunded` is
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
    history: tuple[TierChange, ...]


SHOWN_ORDERS = 500


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
    own = force.level(row.own_rank) if row is not None else None
    to_keep = rules.missing_to(force, own, sums) if own is not None and not rules.reaches(force, own, sums) else None
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
        to_keep=to_keep,
        progress=rules.progress_to(force, next_level, sums) if next_level is not None else 1000,
        valid_until=valid_until,
        grace_until=valid_until + timedelta(days=force.grace_days) if valid_until is not None else None,
        window_from=start,
        manual_rank=row.manual_rank if manual and row is not None else None,
        manual_reason=row.manual_reason if manual and row is not None else None,
        manual_until=row.manual_until if manual and row is not None else None,
        history=tuple(history(member.id)),
    )
