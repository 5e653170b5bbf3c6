"""Reads about points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from flask import g, has_request_context
from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, text

from kernel import clock
from kernel.db import db
from kernel.errors import NotFound
from kernel.pages import Count, Page, capped_count, keyset
from membership.coupons.models import Offer, OfferState, OfferVersion
from membership.gifts import services as gifts
from membership.gifts.models import Gift
from membership.limits import services as limits
from membership.members import queries as members
from membership.members.models import Member
from membership.orders.models import Order
from membership.tiers import queries as tiers

from . import rules
from .models import (
    AccountKind,
    Bucket,
    Kind,
    LotState,
    PointsAccount,
    PointsBatch,
    PointsEntry,
    PointsLot,
    PointsLotUse,
    PointsProgram,
    PointsRedemption,
    PointsReward,
    PointsTransaction,
)

FULL_MULTIPLIER = 1000


def as_program(row: PointsProgram) -> rules.Program:
    """A stored version as the value that rules work with."""
    return rules.Program(
        **{name: getattr(row, name) for name in rules.Program.__dataclass_fields__},
    )


def program() -> rules.Program:
    """The settings in force: the newest version, or the standard ones, switched off, before anything was saved.

    Read once a request. A job may run for long, and asks again each time.
    """
    if "points_program" not in g or not has_request_context():
        row = db.session.scalar(select(PointsProgram).order_by(PointsProgram.id.desc()).limit(1))
        g.points_program = as_program(row) if row is not None else rules.STANDARD
    return g.points_program


def program_anew() -> rules.Program:
    """The settings in force, asked of the database again: somebody else may have saved others within this request."""
    g.pop("points_program", None)
    return program()


def versions(limit: int = 20) -> Sequence[PointsProgram]:
    """The versions of the settings, newest first."""
    return db.session.scalars(select(PointsProgram).order_by(PointsProgram.id.desc()).limit(limit)).all()


def version(program_id: int) -> rules.Program:
    """One version of the settings."""
    return as_program(db.session.get_one(PointsProgram, program_id))


def multiplier_of(rank: int) -> int:
    """By how much (per mille) a tier multiplies what an order earns; 1000 below VIP1 and for tiers that are off."""
    return multipliers_of([rank])[0]


def multipliers_of(ranks: Sequence[int]) -> list[int]:
    """`multiplier_of` for several tiers, by one reading of the policy."""
    levels = map(tiers.policy().level, ranks)
    return [level.multiplier if level is not None else FULL_MULTIPLIER for level in levels]


def usable(now: datetime) -> ColumnElement[bool]:
    """Lots that can be spent by the clock, whatever a sweep has written down: `rules.state_at` as SQL."""
    begun = or_(
        PointsLot.state == LotState.ACTIVE,
        and_(PointsLot.state == LotState.PENDING, PointsLot.activates_at <= now),
    )
    return and_(PointsLot.remaining > 0, begun, or_(PointsLot.expires_at.is_(None), PointsLot.expires_at > now))


def waiting(now: datetime) -> ColumnElement[bool]:
    """Lots that cannot be spent yet, by the clock."""
    return and_(
        PointsLot.remaining > 0,
        PointsLot.state == LotState.PENDING,
        or_(PointsLot.activates_at.is_(None), PointsLot.activates_at > now),
    )


@dataclass(frozen=True)
class Balance:
    """A member's points by the clock. `active` can be spent (below zero where a claw-back may take it there), `pending` waits
    for the after-sale window, `locked` is set aside. `shortfall` is what the next earn will be netted by."""

    active: int = 0
    pending: int = 0
    locked: int = 0
    next_expiry_at: datetime | None = None
    next_expiry_points: int = 0
    shortfall: int = 0


def account_ids(member_id: int) -> list[int]:
    """The accounts that a member owns, oldest first."""
    return list(
        db.session.scalars(
            select(PointsAccount.id).where(PointsAccount.member_id == member_id).order_by(PointsAccount.id)
        )
    )


def balance_of(member_id: int) -> Balance:
    """What a member has: the sum over their accounts. Somebody without an account has nothing."""
    return balances_of([member_id]).get(member_id, Balance())


def balances_of(member_ids: Sequence[int]) -> dict[int, Balance]:
    """`balance_of` for several members, in three statements; whoever has no account is absent."""
    now = clock.now()
    accounts = db.session.execute(
        select(
            PointsAccount.member_id,
            func.sum(PointsAccount.shortfall).label("shortfall"),
            func.sum(PointsAccount.overdrawn).label("overdrawn"),
        )
        .where(PointsAccount.member_id.in_(member_ids))
        .group_by(PointsAccount.member_id)
    ).all()
    if not accounts:
        return {}
    lots = select(
        PointsAccount.member_id,
        PointsLot.remaining,
        case((usable(now), PointsLot.remaining), else_=0).label("active"),
        case((waiting(now), PointsLot.remaining), else_=0).label("pending"),
        case((usable(now), PointsLot.expires_at)).label("expires_at"),
    ).join(PointsLot, PointsLot.account_id == PointsAccount.id)
    lots = lots.where(PointsAccount.member_id.in_(member_ids), PointsLot.remaining > 0)
    inner = lots.subquery()
    first = func.min(inner.c.expires_at).over(partition_by=inner.c.member_id)
    with_first = select(inner, first.label("first")).subquery()
    sums = {
        row.member_id: row
        for row in db.session.execute(
            select(
                with_first.c.member_id,
                func.sum(with_first.c.active).label("active"),
                func.sum(with_first.c.pending).label("pending"),
                func.max(with_first.c.first).label("first"),
                func.coalesce(
                    func.sum(with_first.c.active).filter(with_first.c.expires_at == with_first.c.first), 0
                ).label("lapsing"),
            ).group_by(with_first.c.member_id)
        )
    }
    locked = dict(
        db.session.execute(
            select(PointsAccount.member_id, func.sum(PointsEntry.amount))
            .join(PointsEntry, PointsEntry.account_id == PointsAccount.id)
            .where(PointsAccount.member_id.in_(member_ids), PointsEntry.bucket == Bucket.LOCKED)
            .group_by(PointsAccount.member_id)
        ).all()
    )
    found = {}
    for row in accounts:
        sum_ = sums.get(row.member_id)
        found[row.member_id] = Balance(
            active=int(sum_.active if sum_ else 0) - int(row.overdrawn),
            pending=int(sum_.pending) if sum_ else 0,
            locked=int(locked.get(row.member_id, 0)),
            next_expiry_at=sum_.first if sum_ else None,
            next_expiry_points=int(sum_.lapsing) if sum_ else 0,
            shortfall=int(row.shortfall),
        )
    return found


def get_transaction(transaction_id: int) -> PointsTransaction:
    """One transaction; refuses with `NotFound`."""
    found = db.session.get(PointsTransaction, transaction_id)
    if found is None:
        raise NotFound
    return found


def owner_of(transaction: PointsTransaction) -> int:
    """Whose points a transaction changed: whoever owns its account now."""
    owner = db.session.scalar(select(PointsAccount.member_id).where(PointsAccount.id == transaction.account_id))
    if owner is None:
        raise NotFound
    return owner


def owners_of_lots(transaction_id: int) -> set[int]:
    """Whose lots a transaction took from."""
    rows = db.session.scalars(
        select(PointsAccount.member_id)
        .join(PointsLot, PointsLot.account_id == PointsAccount.id)
        .join(PointsLotUse, PointsLotUse.lot_id == PointsLot.id)
        .where(PointsLotUse.transaction_id == transaction_id)
        .distinct()
    )
    return {row for row in rows if row is not None}


def lots_of(member_id: int) -> Sequence[PointsLot]:
    """A member's lots that still hold points, earliest-expiring first, pending ones last."""
    return db.session.scalars(
        select(PointsLot)
        .join(PointsAccount, PointsAccount.id == PointsLot.account_id)
        .where(
            PointsAccount.member_id == member_id,
            PointsLot.remaining > 0,
            PointsLot.state.in_((LotState.PENDING, LotState.ACTIVE)),
        )
        .order_by(PointsLot.state, PointsLot.expires_at.nulls_last(), PointsLot.id)
    ).all()


# ── Lists and reports ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class LedgerFilter:
    """What the ledger is narrowed to: a member's name, phone tail or an order's number; a kind; the shop's days."""

    q: str = ""
    kind: Kind | None = None
    since: date | None = None
    until: date | None = None
    member_id: int | None = None


def _ledger(wanted: LedgerFilter) -> Select[*tuple[Any, ...]]:
    statement: Select[*tuple[Any, ...]] = (
        select(PointsTransaction, Member)
        .join(PointsAccount, PointsAccount.id == PointsTransaction.account_id)
        .join(Member, Member.id == PointsAccount.member_id)
    )
    if wanted.kind is not None:
        statement = statement.where(PointsTransaction.type == wanted.kind)
    if wanted.member_id is not None:
        statement = statement.where(PointsAccount.member_id == wanted.member_id)
    if wanted.since is not None:
        statement = statement.where(PointsTransaction.at >= clock.at(wanted.since))
    if wanted.until is not None:
        statement = statement.where(PointsTransaction.at < clock.at(wanted.until + timedelta(days=1)))
    if wanted.q:
        found = [
            Member.name.icontains(wanted.q, autoescape=True),
            Member.nickname.icontains(wanted.q, autoescape=True),
            PointsTransaction.order_id.in_(select(Order.id).where(Order.external_id == wanted.q)),
        ]
        if wanted.q.isascii() and wanted.q.isdigit() and 4 <= len(wanted.q) <= 11:
            found.append(func.reverse(Member.phone).like(wanted.q[::-1] + "%"))
        statement = statement.where(or_(*found))
    return statement


def ledger_page(wanted: LedgerFilter, cursor: str | None = None, sort: str = "") -> tuple[Page, Count]:
    """A page of what was booked, newest first (`sort=at`: oldest first), and how many there are."""
    statement = _ledger(wanted)
    order = [PointsTransaction.id] if sort == "at" else [PointsTransaction.id.desc()]
    return keyset(statement, order, cursor), capped_count(statement)


def all_ledger(wanted: LedgerFilter) -> Iterator[tuple[PointsTransaction, Member]]:
    """Everything that was booked and fits, newest first, streamed."""
    rows = _ledger(wanted).order_by(PointsTransaction.id.desc()).execution_options(yield_per=1_000)
    for row in db.session.execute(rows):
        yield row[0], row[1]


def order_numbers(transactions: Iterable[PointsTransaction]) -> dict[int, str]:
    """The numbers of the orders that transactions are about, in one statement."""
    ids = {row.order_id for row in transactions if row.order_id is not None}
    if not ids:
        return {}
    return dict(db.session.execute(select(Order.id, Order.external_id).where(Order.id.in_(ids))).all())


def history_page(member_id: int, cursor: str | None = None, size: int = 30) -> Page:
    """What happened to a member's points, newest first; becoming usable is told with the earning, not by itself."""
    statement = (
        select(PointsTransaction)
        .join(PointsAccount, PointsAccount.id == PointsTransaction.account_id)
        .where(PointsAccount.member_id == member_id, PointsTransaction.type != Kind.ACTIVATE)
    )
    return keyset(statement, [PointsTransaction.id.desc()], cursor, size)


def lots_of_transactions(ids: Sequence[int]) -> dict[int, PointsLot]:
    """The lots that transactions made."""
    rows = db.session.scalars(select(PointsLot).where(PointsLot.transaction_id.in_(list(ids))))
    return {row.transaction_id: row for row in rows}


@dataclass(frozen=True)
class Outstanding:
    """What all members hold by the clock: points usable and pending, below zero, how many members, and what refunds still
    miss."""

    active: int
    pending: int
    overdrawn: int
    shortfall: int
    members: int


def outstanding() -> Outstanding:
    """What the shop owes its members in points, at this moment."""
    now = clock.now()
    sums = db.session.execute(
        select(
            func.coalesce(func.sum(PointsLot.remaining).filter(usable(now)), 0),
            func.coalesce(func.sum(PointsLot.remaining).filter(waiting(now)), 0),
            func.count(PointsLot.account_id.distinct()),
        ).where(PointsLot.remaining > 0, PointsLot.state.in_((LotState.PENDING, LotState.ACTIVE)))
    ).one()
    debts = db.session.execute(
        select(
            func.coalesce(func.sum(PointsAccount.overdrawn), 0), func.coalesce(func.sum(PointsAccount.shortfall), 0)
        ).where(or_(PointsAccount.shortfall > 0, PointsAccount.overdrawn > 0))
    ).one()
    return Outstanding(int(sums[0]), int(sums[1]), int(debts[0]), int(debts[1]), sums[2])


def _month(column: Any) -> ColumnElement[datetime]:
    return func.date_trunc("month", func.timezone(str(clock.ZONE), column))


def by_expiry() -> list[tuple[date | None, int]]:
    """Usable points by the month in which they lapse, soonest first; those that never do under None at the end."""
    now = clock.now()
    # A lot ends with its last day: what lapses at midnight belongs to the month before.
    month = _month(PointsLot.expires_at - timedelta(seconds=1)).label("month")
    rows = db.session.execute(
        select(month, func.sum(PointsLot.remaining)).where(usable(now)).group_by(month).order_by(month.nulls_last())
    )
    return [(row[0].date() if row[0] is not None else None, int(row[1])) for row in rows]


@dataclass(frozen=True)
class Month:
    """What was booked in one month, in points; what was taken is positive here."""

    month: date
    earned: int = 0
    awarded: int = 0
    spent: int = 0
    returned: int = 0
    expired: int = 0
    clawed_back: int = 0
    adjusted: int = 0


_COLUMN_OF = {
    Kind.EARN: ("earned", 1),
    Kind.AWARD: ("awarded", 1),
    Kind.CHECK_IN: ("awarded", 1),
    Kind.BIRTHDAY: ("awarded", 1),
    Kind.PLAY: ("awarded", 1),
    Kind.SPEND: ("spent", -1),
    Kind.REDEEM: ("spent", -1),
    Kind.GIVE_BACK: ("returned", 1),
    Kind.EXPIRE: ("expired", -1),
    Kind.ERASE: ("expired", -1),
    Kind.CLAW_BACK: ("clawed_back", -1),
    Kind.RECOVER: ("clawed_back", -1),
    Kind.ADJUST: ("adjusted", 1),
}


def by_month(months: int = 12) -> list[Month]:
    """What was booked in each of the last months, oldest first, the present one included."""
    today = clock.today()
    first = date(today.year + (today.month - months) // 12, (today.month - months) % 12 + 1, 1)
    month = _month(PointsTransaction.at).label("month")
    rows = db.session.execute(
        select(month, PointsTransaction.type, func.sum(PointsTransaction.points))
        .where(PointsTransaction.at >= clock.at(first))
        .group_by(month, PointsTransaction.type)
    )
    sums: dict[date, dict[str, int]] = {}
    for at, kind, points in rows:
        if kind in _COLUMN_OF:
            name, sign = _COLUMN_OF[kind]
            one = sums.setdefault(at.date(), {})
            one[name] = one.get(name, 0) + sign * int(points)
    found = []
    begin = first
    for _number in range(months):
        found.append(Month(begin, **sums.get(begin, {})))
        begin = date(begin.year + begin.month // 12, begin.month % 12 + 1, 1)
    return found


def breakage(months: Sequence[Month]) -> tuple[int, int]:
    """How many points lapsed, and how many came to an end at all (lapsed or spent): the breakage rate is their ratio."""
    expired = sum(one.expired for one in months)
    return expired, expired + sum(one.spent - one.returned for one in months)


@dataclass(frozen=True)
class TrialLine:
    """The sum of one kind of account, by bucket."""

    kind: AccountKind
    active: int
    pending: int
    locked: int

    @property
    def total(self) -> int:
        return self.active + self.pending + self.locked


def trial_balance() -> list[TrialLine]:
    """The sums of all accounts; over everything they are zero."""
    sums = {kind: dict.fromkeys(Bucket, 0) for kind in AccountKind}
    rows = db.session.execute(
        select(PointsAccount.kind, PointsEntry.bucket, func.sum(PointsEntry.amount))
        .join(PointsAccount, PointsAccount.id == PointsEntry.account_id)
        .group_by(PointsAccount.kind, PointsEntry.bucket)
    )
    for kind, bucket, amount in rows:
        sums[kind][bucket] = int(amount)
    return [TrialLine(kind, one[Bucket.ACTIVE], one[Bucket.PENDING], one[Bucket.LOCKED]) for kind, one in sums.items()]


@dataclass(frozen=True)
class Unreconciled:
    """An account whose entries and lots say two things."""

    account_id: int
    member_id: int
    booked_active: int
    lots_active: int
    booked_pending: int
    lots_pending: int


_UNRECONCILED = text(
    """
    WITH entries AS (
        SELECT account_id, sum(amount) FILTER (WHERE bucket = 'active') AS active,
               sum(amount) FILTER (WHERE bucket = 'pending') AS pending
        FROM points_entry GROUP BY account_id
    ), lots AS (
        SELECT account_id, sum(remaining) FILTER (WHERE state = 'active') AS active,
               sum(remaining) FILTER (WHERE state = 'pending') AS pending
        FROM points_lot GROUP BY account_id
    )
    SELECT a.id AS account_id, a.member_id, COALESCE(e.active, 0) AS booked_active,
           COALESCE(l.active, 0) - a.overdrawn AS lots_active, COALESCE(e.pending, 0) AS booked_pending,
           COALESCE(l.pending, 0) AS lots_pending
    FROM points_account a LEFT JOIN entries e ON e.account_id = a.id LEFT JOIN lots l ON l.account_id = a.id
    WHERE a.member_id IS NOT NULL AND (COALESCE(e.active, 0) <> COALESCE(l.active, 0) - a.overdrawn
                                       OR COALESCE(e.pending, 0) <> COALESCE(l.pending, 0))
    ORDER BY a.id LIMIT :most
    """
)
_UNBALANCED = text(
    "SELECT transaction_id, sum(amount) AS amount FROM points_entry GROUP BY transaction_id HAVING sum(amount) <> 0 "
    "ORDER BY transaction_id LIMIT :most"
)


def unreconciled(most: int = 100) -> list[Unreconciled]:
    """The accounts whose entries and lots say two things; there should be none."""
    return [Unreconciled(*map(int, row)) for row in db.session.execute(_UNRECONCILED, {"most": most})]


def unbalanced(most: int = 100) -> list[tuple[int, int]]:
    """Transactions whose entries do not sum to zero; the database lets none in."""
    return [(row[0], int(row[1])) for row in db.session.execute(_UNBALANCED, {"most": most})]


# ── Rewards ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class RewardRow:
    """A reward with what it gives: the offer or the gift by name, how much of it is left (None: no limit), whether it runs."""

    reward: PointsReward
    thing: str
    left: int | None
    running: bool
    picture: str | None = None
    gift_kind: str = ""
    version: OfferVersion | None = None


def _reward_rows(rewards: Sequence[PointsReward]) -> list[RewardRow]:
    offers = {
        row[0].id: row
        for row in db.session.execute(
            select(Offer, OfferVersion)
            .join(OfferVersion, OfferVersion.id == Offer.version_id)
            .where(Offer.id.in_([one.offer_id for one in rewards if one.offer_id is not None]))
        )
    }
    gifts_by_id = {
        gift.id: gift
        for gift in db.session.scalars(
            select(Gift).where(Gift.id.in_([one.gift_id for one in rewards if one.gift_id is not None]))
        )
    }
    given = limits.used_of([gifts.stock_limit(gift_id) for gift_id in gifts_by_id])
    found = []
    for reward in rewards:
        if reward.offer_id is not None:
            offer, version_ = offers[reward.offer_id]
            left = None if offer.stock is None else max(offer.stock - offer.claimed, 0)
            found.append(RewardRow(reward, offer.name, left, offer.state == OfferState.ACTIVE, version=version_))
        else:
            gift = gifts_by_id[reward.gift_id or 0]
            left = None if gift.stock is None else max(gift.stock - given[gifts.stock_limit(gift.id)], 0)
            found.append(RewardRow(reward, gift.name, left, gift.active, gift.picture, gift.kind.value))
    return found


def rewards(active: bool | None = None) -> list[RewardRow]:
    """The catalogue, cheapest first."""
    statement = select(PointsReward).order_by(PointsReward.points, PointsReward.id).limit(200)
    if active is not None:
        statement = statement.where(PointsReward.active.is_(active))
    return _reward_rows(db.session.scalars(statement).all())


def reward_row(reward: PointsReward) -> RewardRow:
    """One reward with what it gives."""
    return _reward_rows([reward])[0]


def find_reward(code: str) -> PointsReward | None:
    """The reward that an address names."""
    return db.session.scalar(select(PointsReward).where(PointsReward.code == code))


def taken_counts(reward_ids: Sequence[int]) -> dict[int, int]:
    """How often each reward was taken, undone ones apart."""
    rows = db.session.execute(
        select(PointsRedemption.reward_id, func.count())
        .where(PointsRedemption.reward_id.in_(list(reward_ids)), PointsRedemption.undone_at.is_(None))
        .group_by(PointsRedemption.reward_id)
    )
    return dict.fromkeys(reward_ids, 0) | dict(rows.all())


def redemptions(reward_id: int | None = None, state: str = "", q: str = "") -> Select[*tuple[Any, ...]]:
    """Rewards that were taken, with reward and member; `q` finds a member, or is in the reward's name."""
    statement: Select[*tuple[Any, ...]] = (
        select(PointsRedemption, PointsReward, Member)
        .join(PointsReward, PointsReward.id == PointsRedemption.reward_id)
        .join(Member, Member.id == PointsRedemption.member_id)
    )
    if reward_id is not None:
        statement = statement.where(PointsRedemption.reward_id == reward_id)
    if state:
        undone = PointsRedemption.undone_at.is_not(None)
        statement = statement.where(undone if state == "undone" else ~undone)
    if q:
        statement = statement.where(or_(members.sought(q), PointsReward.name.icontains(q, autoescape=True)))
    return statement


def redemptions_page(
    reward_id: int | None = None, state: str = "", q: str = "", cursor: str | None = None
) -> tuple[Page, Count]:
    """A page of `redemptions`, newest first, and how many there are."""
    statement = redemptions(reward_id, state, q)
    return keyset(statement, [PointsRedemption.id.desc()], cursor), capped_count(statement)


def all_redemptions(reward_id: int | None, state: str, q: str) -> Iterator[Any]:
    """Every one of `redemptions`, newest first, streamed."""
    statement = redemptions(reward_id, state, q).order_by(PointsRedemption.id.desc())
    yield from db.session.execute(statement.execution_options(yield_per=1_000))


def redemption_of(member_id: int, token: str) -> PointsRedemption | None:
    """The reward that a member took with a form's token."""
    return db.session.scalar(
        select(PointsRedemption).where(PointsRedemption.member_id == member_id, PointsRedemption.token == token)
    )


def offer_choices() -> list[tuple[int, str]]:
    """The offers that a reward can give: running ones, by name."""
    rows = db.session.execute(
        select(Offer.id, Offer.name).where(Offer.state == OfferState.ACTIVE).order_by(Offer.name, Offer.id).limit(500)
    )
    return [(row[0], row[1]) for row in rows]


def gift_choices() -> list[tuple[int, str]]:
    """The gifts that a reward can give, by name."""
    rows = db.session.execute(
        select(Gift.id, Gift.name).where(Gift.active.is_(True)).order_by(Gift.name, Gift.id).limit(500)
    )
    return [(row[0], row[1]) for row in rows]


def batches(limit: int = 50) -> Sequence[PointsBatch]:
    """The files of awards, newest first."""
    return db.session.scalars(select(PointsBatch).order_by(PointsBatch.id.desc()).limit(limit)).all()


def taken_by(member_id: int, reward_ids: Sequence[int]) -> dict[int, int]:
    """How often a member has taken each reward, undone ones apart."""
    names = {reward_id: f"reward:{reward_id}:member" for reward_id in reward_ids}
    used = limits.used_of(list(names.values()), limits.subject_of(member_id))
    return {reward_id: used[name] for reward_id, name in names.items()}


def get_batch(batch_id: int) -> PointsBatch:
    """One file of awards; refuses with `NotFound`."""
    found = db.session.get(PointsBatch, batch_id)
    if found is None:
        raise NotFound
    return found


def lapsing(lots: Sequence[PointsLot], now: datetime) -> list[tuple[datetime, int]]:
    """What of a member's usable lots lapses within the program's days of notice, summed by its end, soonest first."""
    until = now + timedelta(days=max(program().notice_days, 1))
    sums: dict[datetime, int] = {}
    for lot in lots:
        state = rules.state_at(lot.state, lot.activates_at, lot.expires_at, now)
        if state is LotState.ACTIVE and lot.expires_at is not None and lot.expires_at <= until:
            sums[lot.expires_at] = sums.get(lot.expires_at, 0) + lot.remaining
    return sorted(sums.items())


def order_numbers_of(lots: Sequence[PointsLot]) -> dict[int, str]:
    """The numbers of the orders that lots came from."""
    ids = {lot.order_id for lot in lots if lot.order_id is not None}
    return dict(db.session.execute(select(Order.id, Order.external_id).where(Order.id.in_(ids))).all()) if ids else {}


def path_to(redemption: PointsRedemption) -> str | None:
    """Where the member finds what they took: their gift, or all of their coupons (None)."""
    if redemption.claim_id is None:
        return None
    return gifts.path_of(gifts.get_claim(redemption.claim_id))


def lapsing_within(span: timedelta) -> tuple[int, int]:
    """How many members lose points within a span, and how many points."""
    now = clock.now()
    row = db.session.execute(
        select(func.count(PointsLot.account_id.distinct()), func.coalesce(func.sum(PointsLot.remaining), 0)).where(
            PointsLot.state == LotState.ACTIVE,
            PointsLot.remaining > 0,
            PointsLot.expires_at > now,
            PointsLot.expires_at <= now + span,
        )
    ).one()
    return row[0], int(row[1])


def spent_by_week(now: datetime) -> tuple[int, int]:
    """Points spent in the seven days before an instant, and in the seven before those."""
    week = timedelta(days=7)
    spent = -func.coalesce(func.sum(PointsTransaction.points), 0)

    def sum_of(since: datetime, until: datetime) -> int:
        kinds = PointsTransaction.type.in_((Kind.SPEND, Kind.REDEEM, Kind.GIVE_BACK))
        between = and_(PointsTransaction.at >= since, PointsTransaction.at < until)
        return int(db.session.scalar(select(spent).where(kinds, between)) or 0)

    return sum_of(now - week, now), sum_of(now - 2 * week, now - week)


def rewards_named(words: str) -> Sequence[PointsReward]:
    """Rewards by words of their name, newest first."""
    return db.session.scalars(
        select(PointsReward)
        .where(PointsReward.name.icontains(words, autoescape=True))
        .order_by(PointsReward.id.desc())
        .limit(10)
    ).all()


def transactions_of(member_id: int, kind: Kind | None = None) -> Select[PointsTransaction]:
    """What happened to a member's points, for a list."""
    statement = (
        select(PointsTransaction)
        .join(PointsAccount, PointsAccount.id == PointsTransaction.account_id)
        .where(PointsAccount.member_id == member_id)
    )
    return statement.where(PointsTransaction.type == kind) if kind is not None else statement


def reward_statement() -> Select[PointsReward]:
    """The catalogue, for a list."""
    return select(PointsReward)


def spent_on(member_id: int, source_type: str, source_id: str) -> PointsTransaction | None:
    """What a member spent on an order, if they did."""
    return db.session.scalar(
        transactions_of(member_id, Kind.SPEND)
        .where(PointsTransaction.source_type == source_type, PointsTransaction.source_id == source_id)
        .order_by(PointsTransaction.id)
        .limit(1)
    )
