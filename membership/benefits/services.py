"""The verbs of benefits: give what a rise, a month or a birthday brings, once under its key; and what was missed, later.

Keys are reserved before anything is given, those of all benefits of a slice first: of two transactions at once the second
waits at the key and finds it taken. Whoever holds an offer or a stock never waits for a key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, exists, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from kernel import clock
from kernel.db import changed, db
from membership.coupons import services as coupons
from membership.coupons.models import Coupon
from membership.gifts import services as gifts
from membership.members import queries as members
from membership.members.models import Member
from membership.tiers import queries as tiers
from membership.tiers import rules as tier_rules
from membership.tiers import services as tier_services

from . import queries, rules
from .models import Benefit, BenefitGrant, BenefitRound, BenefitState
from .rules import COUPONS, Due

SLICE = 500
# Where a coupon came from, as the coupon's own page says it.
SOURCE = "tier"


@dataclass(frozen=True)
class Given:
    """How many benefits of a batch were given, and how many were not because nothing was left."""

    given: int = 0
    missed: int = 0


def reserve(dues: Sequence[Due]) -> list[tuple[int, Due]]:
    """Take the keys of benefits; those that were taken before are absent. Returns (id of the grant, what is due)."""
    now = clock.now()
    by_key = {(due.member_id, due.benefit, due.rank, due.period): due for due in sorted(dues)}
    if not by_key:
        return []
    rows = db.session.execute(
        insert(BenefitGrant)
        .values(
            [
                {
                    "member_id": due.member_id, "benefit": due.benefit, "rank": due.rank, "period": due.period,
                    "given_rank": due.given_rank, "state": BenefitState.MISSED, "at": now,
                    "offer_id": due.thing_id if due.benefit in COUPONS else None,
                    "gift_id": None if due.benefit in COUPONS else due.thing_id,
                }
                for due in by_key.values()
            ]
        )
        .on_conflict_do_nothing()
        .returning(BenefitGrant.id, BenefitGrant.member_id, BenefitGrant.benefit, BenefitGrant.rank, BenefitGrant.period)
    )  # fmt: skip
    return sorted((row.id, by_key[row.member_id, row.benefit, row.rank, row.period]) for row in rows)


def give(dues: Sequence[Due]) -> Given:
    """Give benefits, each once under its key, in the caller's transaction. What could not be given is kept as missed."""
    return _hand_over(reserve(dues))


def _hand_over(taken: Sequence[tuple[int, Due]]) -> Given:
    given = 0
    by_offer: dict[int, list[tuple[int, Due]]] = defaultdict(list)
    for grant_id, due in taken:
        if due.benefit in COUPONS:
            by_offer[due.thing_id].append((grant_id, due))
    for offer_id in sorted(by_offer):
        given += _grant_coupons(offer_id, by_offer[offer_id])
    for grant_id, due in sorted(taken, key=lambda one: (one[1].thing_id, one[0])):
        if due.benefit not in COUPONS:
            given += _offer_gift(grant_id, due)
    return Given(given, len(taken) - given)


def _grant_coupons(offer_id: int, taken: Sequence[tuple[int, Due]]) -> int:
    keys = {f"benefit:{grant_id}": grant_id for grant_id, _due in taken}
    coupons.grant_many(offer_id, [(due.member_id, f"benefit:{grant_id}") for grant_id, due in taken], SOURCE)
    # A member with as many of the offer as one may have is answered with a coupon of before, which has another key.
    granted = db.session.execute(select(Coupon.id, Coupon.grant_key).where(Coupon.grant_key.in_(keys))).all()
    given = 0
    for coupon_id, key in granted:
        given += _mark(keys[str(key)], coupon_id=coupon_id)
    return given


def _offer_gift(grant_id: int, due: Due) -> int:
    key = f"tier:{due.rank}" if due.benefit is Benefit.ENTRY_GIFT else "tier:birthday"
    claim = gifts.offer_gift(due.thing_id, due.member_id, key, due.period)
    return _mark(grant_id, claim_id=claim.id) if claim is not None else 0


def _mark(grant_id: int, **what: Any) -> int:
    done = update(BenefitGrant).where(BenefitGrant.id == grant_id, BenefitGrant.state == BenefitState.MISSED)
    return changed(db.session.execute(done.values(state=BenefitState.GIVEN, at=clock.now(), **what)))


def welcome(member_id: int, from_rank: int, to_rank: int) -> Given:
    """Give what a rise from one rank to another brings, with this month's coupon and a birthday gift that is near.

    Benefits count from enrolment: before it nothing is given, and nothing is owed later but by `welcome(id, 0, rank)`.
    """
    member = members.find_member(member_id)
    if member is None or member.enrolled_at is None or member.erased_at is not None:
        return Given()
    policy, today = tiers.policy(), clock.today()
    dues = rules.entry_dues(policy, member.id, from_rank, to_rank)
    dues += [
        due
        for due in (
            rules.monthly_due(policy, member.id, member.rank, today),
            rules.birthday_due(policy, member.id, member.rank, member.birthday, today),
        )
        if due is not None
    ]
    return give(dues)


# ── Rounds by the clock ─────────────────────────────────────────────────────────────────────────────────────────────


def open_round() -> BenefitRound | None:
    """This month's round, made if it is new and begun anew under another version of the rules; None when it is done."""
    policy, period = tier_services.ensure_policy(), rules.month_of(clock.today())
    db.session.execute(
        insert(BenefitRound)
        .values(period=period, policy_id=policy.id, cursor=0, total=_entitled(policy), given=0, missed=0, started_at=clock.now())
        .on_conflict_do_nothing()
    )  # fmt: skip
    found = db.session.get_one(BenefitRound, period, with_for_update=True, populate_existing=True)
    if found.policy_id != policy.id:
        found.policy_id, found.cursor, found.finished_at = policy.id or 0, 0, None
        found.total = _entitled(policy)
        db.session.flush()
    return found if found.finished_at is None else None


def _monthly_ranks(policy: tier_rules.Policy) -> list[int]:
    return [level.rank for level in policy.levels if level.monthly_offer_id is not None]


def _entitled(policy: tier_rules.Policy) -> int:
    ranks = _monthly_ranks(policy)
    if not ranks:
        return 0
    wanted = members.live().where(Member.rank.in_(ranks), Member.enrolled_at.is_not(None))
    return db.session.scalar(select(func.count()).select_from(wanted.subquery())) or 0


def give_month_slice() -> bool:
    """Give this month's coupon to the next so many members; returns whether the round goes on.

    The place reached is written with the coupons, so that a worker that dies repeats nothing.
    """
    running = open_round()
    if running is None:
        return False
    policy = tiers.policy()
    given_already = exists().where(
        BenefitGrant.member_id == Member.id,
        BenefitGrant.benefit == Benefit.MONTHLY_COUPON,
        BenefitGrant.rank == 0,
        BenefitGrant.period == running.period,
    )
    rows = db.session.execute(
        members.live()
        .with_only_columns(Member.id, Member.rank)
        .where(
            Member.rank.in_(_monthly_ranks(policy)),
            Member.enrolled_at.is_not(None),
            Member.id > running.cursor,
            ~given_already,
        )
        .order_by(Member.id)
        .limit(SLICE)
    ).all()
    if not rows:
        running.finished_at = clock.now()
        db.session.flush()
        return False
    today = clock.today()
    dues = [due for row in rows if (due := rules.monthly_due(policy, row.id, row.rank, today)) is not None]
    handed = give(dues)
    running.cursor = rows[-1].id
    running.given, running.missed = running.given + handed.given, running.missed + handed.missed
    db.session.flush()
    return True


def give_birthday_slice(after: int) -> int | None:
    """Give the birthday gifts that are due to the next so many members after an id; returns the last id, or None at the end."""
    policy, today = tiers.policy(), clock.today()
    ranks = [level.rank for level in policy.levels if level.birthday_gift_id is not None]
    if not ranks:
        return None
    days = rules.birthdays_near(today, policy.birthday_days)
    mmdd = func.to_char(Member.birthday, "MM-DD")
    given_already = exists().where(
        BenefitGrant.member_id == Member.id,
        BenefitGrant.benefit == Benefit.BIRTHDAY_GIFT,
        BenefitGrant.rank == 0,
        tuple_(mmdd, BenefitGrant.period).in_([(day, str(year)) for day, year in days]),
    )
    rows = db.session.execute(
        members.live()
        .with_only_columns(Member.id, Member.rank, Member.birthday)
        .where(
            and_(Member.birthday.is_not(None), mmdd.in_(sorted({day for day, _year in days}))),
            Member.rank.in_(ranks),
            Member.enrolled_at.is_not(None),
            Member.id > after,
            ~given_already,
        )
        .order_by(Member.id)
        .limit(SLICE)
    ).all()
    give(
        [due for row in rows if (due := rules.birthday_due(policy, row.id, row.rank, row.birthday, today)) is not None]
    )
    return rows[-1].id if rows else None


def give_missed(size: int = SLICE) -> Given:
    """Try again to give what was missed for want of stock, up to `size`; a month that is over is not made up for.

    By what the tier gives now, so that another gift or offer chosen since is the one that is given. Those that were tried
    longest ago come first, so that what cannot be given keeps nobody else waiting.
    """
    policy = tiers.policy()
    missed = db.session.scalars(
        select(BenefitGrant)
        .join(Member, Member.id == BenefitGrant.member_id)
        .where(*queries.waiting())
        .order_by(BenefitGrant.at, BenefitGrant.id)
        .limit(size)
        .with_for_update(of=BenefitGrant, skip_locked=True)
    ).all()
    now = clock.now()
    taken = []
    for one in missed:
        one.at = now
        level = policy.level(one.given_rank)
        thing_id = _thing_of(level, one.benefit)
        if thing_id is not None:
            due = Due(one.member_id, one.benefit, one.rank, one.period, one.given_rank, thing_id)
            taken.append((one.id, due))
    db.session.flush()
    return _hand_over(taken)


def _thing_of(level: tier_rules.Level | None, benefit: Benefit) -> int | None:
    if level is None:
        return None
    return {
        Benefit.ENTRY_GIFT: level.entry_gift_id,
        Benefit.ENTRY_COUPON: level.entry_offer_id,
        Benefit.BIRTHDAY_GIFT: level.birthday_gift_id,
        Benefit.MONTHLY_COUPON: level.monthly_offer_id,
    }[benefit]
