"""Pure decisions about points: what an order is worth, which lots give, what a refund takes back."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .models import Bucket, Clawback, Kind, Late, LotState, Rounding

# Days end by the shop's clock (`kernel.clock.ZONE`).
ZONE = ZoneInfo("Asia/Shanghai")
# What is counted in per mille: the rate, a tier's multiplier, what a thousand points are worth.
MILLE = 1000
FEN = 100
# Points for 分: rate and multiplier are per mille, the rate is for a yuan.
DIVISOR = FEN * MILLE * MILLE
MOST_POINTS = 1_000_000_000
MOST_RATE = 100_000
MOST_DAYS = 3_650

# What other rooms may give points for, and what the shop gives by itself.
AWARDS = frozenset({Kind.AWARD, Kind.CHECK_IN, Kind.BIRTHDAY, Kind.PLAY})


class NotEnoughPoints(Refusal):
    title = _l("Not enough points")
    label = _l("%(have)s points can be used, and this takes %(wanted)s.")
    icon = "coin"


class PointsInvalid(Refusal):
    status = 422
    label = _l("A whole number of points between 1 and %(most)s.")

    def __init__(self) -> None:
        super().__init__(most=f"{MOST_POINTS:,}")


class SourceUsed(Refusal):
    """The same source was booked before with another number of points."""

    status = 422
    title = _l("Booked before")
    label = _l("This has been booked before with another number of points; nothing was changed.")


class NothingToReturn(Refusal):
    title = _l("Nothing to give back")
    label = _l("Of what was spent there, %(left)s points are left to give back.")


class ReasonMissing(Refusal):
    status = 422
    label = _l("Write a reason: it stays beside the points for good.")


class AdjustCapReached(Refusal):
    title = _l("More than you may change today")
    label = _l("You may give or take %(cap)s points a day by hand. Ask the owner for more.")
    icon = "lock"


class ProgramMistake(enum.StrEnum):
    """What is wrong with settings, by field."""

    RATE = "rate"
    PENDING_DAYS = "pending_days"
    LOT_DAYS = "lot_days"
    NOTICE_DAYS = "notice_days"
    REOPEN_DAYS = "reopen_days"
    WORTH = "worth"
    ADJUST_CAP = "adjust_cap"
    NEGATIVE_EXPIRES = "clawback"


@dataclass(frozen=True)
class Program:
    """Settings in one version (see `models.PointsProgram`); `id` is None before anything has been saved."""

    enabled: bool
    rate: int
    rounding: Rounding
    pending_days: int
    lot_days: int | None
    notice_days: int
    clawback: Clawback
    late: Late
    reopen_days: int
    worth: int
    adjust_cap: int
    effective_from: datetime
    id: int | None = None


STANDARD = Program(
    enabled=False,
    rate=MILLE,
    rounding=Rounding.DOWN,
    pending_days=7,
    lot_days=365,
    notice_days=30,
    clawback=Clawback.WITHIN_BALANCE,
    late=Late.REOPENED,
    reopen_days=7,
    worth=1_000,
    adjust_cap=500,
    effective_from=datetime(9999, 1, 1, tzinfo=UTC),
)


def mistakes_in(program: Program) -> list[ProgramMistake]:
    """What is wrong with settings; empty when they can be saved. Points that may fall below zero do not expire."""
    found = []
    if not 1 <= program.rate <= MOST_RATE:
        found.append(ProgramMistake.RATE)
    if not 0 <= program.pending_days <= 365:
        found.append(ProgramMistake.PENDING_DAYS)
    if program.lot_days is not None and not 1 <= program.lot_days <= MOST_DAYS:
        found.append(ProgramMistake.LOT_DAYS)
    if not 0 <= program.notice_days <= 365:
        found.append(ProgramMistake.NOTICE_DAYS)
    if not 1 <= program.reopen_days <= 365:
        found.append(ProgramMistake.REOPEN_DAYS)
    if not 0 <= program.worth <= 1_000_000:
        found.append(ProgramMistake.WORTH)
    if not 0 <= program.adjust_cap <= MOST_POINTS:
        found.append(ProgramMistake.ADJUST_CAP)
    if program.clawback is Clawback.ALLOW_NEGATIVE and program.lot_days is not None:
        found.append(ProgramMistake.NEGATIVE_EXPIRES)
    return found


def points_for(spend: int, rate: int, multiplier: int, rounding: Rounding) -> int:
    """Points for `spend` 分 at `rate` and `multiplier` per mille; never below zero. `earning._POINTS` says the same in SQL.

    A partial refund is this function of what remains: however a refund is split, what stays is the same number, and
    rounding is applied once, to what the order is still worth.
    """
    exact = max(spend, 0) * rate * multiplier
    match rounding:
        case Rounding.UP:
            return -(-exact // DIVISOR)
        case Rounding.NEAREST:
            return (2 * exact + DIVISOR) // (2 * DIVISOR)
        case _:
            return exact // DIVISOR


def value_of(points: int, worth: int) -> int:
    """What points stand for, in 分, rounded down; `worth` is 分 for a thousand of them."""
    return points * worth // MILLE if points >= 0 else -(-points * worth // MILLE)


def expires_at(usable_from: datetime | None, days: int | None) -> datetime | None:
    """The end of the shop's day on which points lapse that can be used for `days` days; None for never, or not known yet."""
    if usable_from is None or days is None:
        return None
    last = (usable_from + timedelta(days=days)).astimezone(ZONE).date()
    return datetime.combine(last + timedelta(days=1), time(), tzinfo=ZONE).astimezone(UTC)


@dataclass(frozen=True)
class Lot:
    """A lot as the decisions below need it."""

    id: int
    account_id: int
    remaining: int
    state: LotState
    expires_at: datetime | None = None
    order_id: int | None = None


class Take(NamedTuple):
    """So many points out of a lot."""

    lot: Lot
    amount: int


def state_at(state: LotState, activates_at: datetime | None, expires: datetime | None, now: datetime) -> LotState:
    """A lot's state by the clock, whatever a sweep has written down: pending until `activates_at`, active until `expires`."""
    if state is LotState.PENDING and activates_at is not None and activates_at <= now:
        state = LotState.ACTIVE
    if state is LotState.ACTIVE and expires is not None and expires <= now:
        state = LotState.EXPIRED
    return state


def spending_order(lots: Iterable[Lot]) -> list[Lot]:
    """Earliest-expiring first; those that never expire last."""
    endless = datetime.max.replace(tzinfo=UTC)
    return sorted(lots, key=lambda lot: (lot.expires_at or endless, lot.id))


def taken_from(lots: Sequence[Lot], points: int) -> list[Take]:
    """Up to `points` out of lots, in their order."""
    takes = []
    for lot in lots:
        part = min(lot.remaining, points)
        if part > 0:
            takes.append(Take(lot, part))
            points -= part
    return takes


def spent_from(lots: Iterable[Lot], points: int, overdrawn: int = 0) -> list[Take]:
    """Which active lots pay for something. Refuses with `NotEnoughPoints`: all or nothing."""
    if not 1 <= points <= MOST_POINTS:
        raise PointsInvalid
    ordered = spending_order(lot for lot in lots if lot.state is LotState.ACTIVE)
    have = sum(lot.remaining for lot in ordered) - overdrawn
    if have < points:
        raise NotEnoughPoints(have=f"{have:,}", wanted=f"{points:,}")
    return taken_from(ordered, points)


@dataclass(frozen=True)
class ClawedBack:
    """What a claw-back takes, what it leaves as a shortfall, and how far it takes the balance below zero."""

    takes: tuple[Take, ...]
    shortfall: int = 0
    overdraw: int = 0


def clawed_back(points: int, lots: Iterable[Lot], order_id: int, policy: Clawback) -> ClawedBack:
    """What `points` that an order has earned are taken from, when it is refunded.

    Its own pending lots first. Unless only pending points may be taken, then its own active ones, then the others
    earliest-expiring first; pending points of other orders are never touched. What is missing then is a shortfall that the
    next earn is netted by, or takes the balance below zero where the policy says so.
    """
    lots = list(lots)
    own = [lot for lot in lots if lot.order_id == order_id]
    sources = spending_order(lot for lot in own if lot.state is LotState.PENDING)
    if policy is not Clawback.ONLY_PENDING:
        sources += spending_order(lot for lot in own if lot.state is LotState.ACTIVE)
        sources += spending_order(lot for lot in lots if lot.order_id != order_id and lot.state is LotState.ACTIVE)
    takes = taken_from(sources, points)
    missing = points - sum(take.amount for take in takes)
    if policy is Clawback.ALLOW_NEGATIVE:
        return ClawedBack(tuple(takes), overdraw=missing)
    return ClawedBack(tuple(takes), shortfall=missing)


def collects_on_return(policy: Clawback) -> bool:
    """Whether points that are given back pay a shortfall first: they are the very points that a refund could not take."""
    return policy is not Clawback.ONLY_PENDING


def bucket_of(state: LotState) -> Bucket:
    """The bucket that a lot's points are in."""
    return Bucket.PENDING if state is LotState.PENDING else Bucket.ACTIVE


class Returned(NamedTuple):
    """Points back into a lot: `kept` of them usable until `expires_at`, `lost` expired meanwhile."""

    lot_id: int
    kept: int
    lost: int
    expires_at: datetime | None


def returned_to(
    amount: int, uses: Sequence[tuple[int, int, datetime | None]], late: Late, reopen_days: int, now: datetime
) -> list[Returned]:
    """Spread points that are given back over the lots they came from, latest-expiring last taken first.

    `uses` are (lot id, still out, the lot's expiry) in the order in which they were taken; the last taken is filled first,
    so that a part given back is worth most. A lot keeps its expiry. One that has expired meanwhile is lost, or is opened
    again for `reopen_days`.
    """
    back = []
    for lot_id, out, expires in reversed(uses):
        part = min(out, amount)
        if part <= 0:
            continue
        amount -= part
        if expires is None or expires > now:
            back.append(Returned(lot_id, part, 0, expires))
        elif late is Late.LOST:
            back.append(Returned(lot_id, 0, part, expires))
        else:
            back.append(Returned(lot_id, part, 0, expires_at(now, reopen_days)))
    return back
