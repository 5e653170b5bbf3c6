"""Reads of touchpoints: the list, how each did, the matrix, and what came after it. Each number is one set-wise statement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, Select, and_, cast, extract, func, literal, or_, select, text

from campaigns.results import funnel as funnels
from community.groups.models import Seat
from kernel.db import db
from kernel.errors import NotFound
from kernel.i18n import LOCALES, forced_locale
from kernel.pages import once_a_request
from membership.coupons.models import Coupon
from membership.members.models import Consent, Member, Purpose
from membership.orders import queries as orders
from membership.orders.models import Order

from . import counts, labels, rules
from .catalogue import BY_KEY, READY, Ready
from .meetings import Ways, met, ways_of
from .models import CountKind, Stage, TouchKind, Touchpoint

OWN = "own-"
WEEK = timedelta(days=7)


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Listed:
    """A touchpoint as it stands in the list: a ready-made one with what the shop has said of it, or one of its own."""

    ref: str
    name: str
    kind: TouchKind
    stage: Stage
    active: bool = True
    owner_id: int | None = None
    importance: int | None = None
    notes: str = ""
    sources: tuple[str, ...] = ()
    answer: rules.Answer | None = None
    own: bool = False
    row_id: int | None = None

    @property
    def recorded(self) -> bool:
        """Whether Siyu can see who met it."""
        return not self.takes_links or bool(self.sources)

    @property
    def takes_links(self) -> bool:
        """Whether it is met through links that staff name."""
        return self.own or bool(BY_KEY[self.ref].sources)

    @property
    def met_means(self) -> Any:
        return labels.MET_OWN if self.own else labels.MET[self.ref]


def _own(row: Touchpoint) -> Listed:
    return Listed(
        f"{OWN}{row.id}", row.name, row.kind, row.stage, row.active, row.owner_id, row.importance, row.notes,
        tuple(row.sources), rules.Answer.COME, True, row.id,
    )  # fmt: skip


def _ready(ready: Ready, row: Touchpoint | None) -> Listed:
    name = str(labels.NAMES[ready.key])
    if row is None:
        return Listed(ready.key, name, ready.kind, ready.stage, sources=ready.sources, answer=ready.answer)
    return Listed(
        ready.key, row.name or name, ready.kind, row.stage, row.active, row.owner_id, row.importance, row.notes,
        tuple(row.sources) if ready.sources else (), ready.answer, False, row.id,
    )  # fmt: skip


def names_of(key: str) -> set[str]:
    """What a ready-made touchpoint is called by itself, in each language."""
    found = set()
    for locale in LOCALES:
        with forced_locale(locale):
            found.add(str(labels.NAMES[key]))
    return found


def listed_now() -> list[Listed]:
    """Every touchpoint in the order of the seven actions; the ready-made ones first, then the shop's own by name."""
    rows = list(db.session.scalars(select(Touchpoint).order_by(Touchpoint.name, Touchpoint.id)))
    by_key = {row.key: row for row in rows if row.key is not None}
    found = [_ready(ready, by_key.get(ready.key)) for ready in READY]
    found += [_own(row) for row in rows if row.key is None]
    return sorted(found, key=lambda one: list(Stage).index(one.stage))


# What several pieces of a page need.
everything = once_a_request(listed_now)


def get_listed(ref: str) -> Listed:
    """The touchpoint of an address, or `NotFound`."""
    return _one_of(everything(), ref)


def listed_anew(ref: str) -> Listed:
    """The touchpoint of an address as it stands now, whatever this request has read before; or `NotFound`."""
    return _one_of(listed_now(), ref)


def _one_of(touchpoints: list[Listed], ref: str) -> Listed:
    found = next((one for one in touchpoints if one.ref == ref), None)
    if found is None:
        raise NotFound
    return found


def get_row(ref: str, lock: bool = False) -> Touchpoint | None:
    """The row behind a touchpoint; None for a ready-made one of which nobody has said anything. `NotFound` for no such."""
    statement = select(Touchpoint)
    if lock:
        statement = statement.with_for_update()
    if ref in BY_KEY:
        return db.session.scalar(statement.where(Touchpoint.key == ref))
    number = _own_number(ref)
    row = None
    if number is not None:
        row = db.session.scalar(statement.where(Touchpoint.id == number, Touchpoint.key.is_(None)))
    if row is None:
        raise NotFound
    return row


def _own_number(ref: str) -> int | None:
    """The number of the row that an address of one of the shop's own names."""
    number = ref.removeprefix(OWN)
    return int(number) if number != ref and number.isascii() and number.isdigit() and len(number) <= 18 else None


def lock_rows(refs: Collection[str]) -> dict[str, Touchpoint]:
    """The rows behind touchpoints by their refs, locked lowest first; what has no row is left out."""
    own = [number for ref in refs if (number := _own_number(ref)) is not None]
    rows = db.session.scalars(
        select(Touchpoint)
        .where(or_(Touchpoint.key.in_(refs), and_(Touchpoint.key.is_(None), Touchpoint.id.in_(own))))
        .order_by(Touchpoint.id)
        .with_for_update()
    )
    return {row.key or f"{OWN}{row.id}": row for row in rows}


def count_own() -> int:
    """How many touchpoints of its own the shop has."""
    return db.session.scalar(select(func.count()).select_from(Touchpoint).where(Touchpoint.key.is_(None))) or 0


@once_a_request
def ways() -> Ways:
    """The links that touchpoints name."""
    return ways_of({name: one.ref for one in everything() if one.active for name in one.sources})


# ── How they did ────────────────────────────────────────────────────────────────────────────────────────────────────


def tallies(since: datetime, until: datetime, keys: Sequence[str] | None = None) -> dict[str, list[rules.Tally]]:
    """The meetings of each touchpoint by weeks of seven days that end with the period, the latest last.

    A week that the period holds only in part is the first one.
    """
    count = -(-int((until - since).total_seconds()) // int(WEEK.total_seconds()))
    if (known := counts.kept(CountKind.DAY, since, until, counts.mark_of(ways()))) is not None:
        return {key: one for key, one in counts.by_weeks(known, until, count).items() if keys is None or key in keys}
    here = met(since, until, ways(), keys)
    back = func.floor(extract("epoch", literal(until) - here.c.at) / int(WEEK.total_seconds()))
    week = cast(func.least(back, count - 1), Integer).label("week")
    rows = db.session.execute(
        select(
            here.c.key,
            week,
            func.count(),
            func.count().filter(here.c.answered),
            func.count(here.c.stars),
            func.coalesce(func.sum(here.c.stars), 0),
        ).group_by(here.c.key, week)
    )
    found: dict[str, list[rules.Tally]] = defaultdict(lambda: [rules.Tally()] * count)
    for key, back_, *numbers in rows:
        found[key][count - 1 - max(back_, 0)] = rules.Tally(*map(int, numbers))
    return dict(found)


def counted_at(since: datetime, until: datetime) -> datetime | None:
    """When the kept figures of `[since, until)` were counted; None where they are counted as they are asked for."""
    known = counts.kept(CountKind.DAY, since, until, counts.mark_of(ways()))
    return known.counted_at if known is not None else None


def people_of(since: datetime, until: datetime, keys: Sequence[str] | None = None) -> dict[str, int]:
    """How many members met each touchpoint."""
    here = met(since, until, ways(), keys)
    pairs = select(here.c.key, here.c.member_id).distinct().subquery()
    return {key: people for key, people in db.session.execute(select(pairs.c.key, func.count()).group_by(pairs.c.key))}  # noqa: C416


def picked(member_id: Any, one_in: int) -> ColumnElement[bool]:
    """Whether a member is among those who are looked at where only one in so many is: the same ones each time.

    The number of the member is spread by Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4), so that who is picked
    has nothing to do with when they came.
    """
    if one_in == 1:
        return member_id.is_not(None)
    spread = (member_id * literal(2_654_435_761, BigInteger)) % literal(1 << 32, BigInteger)
    return spread < literal((1 << 32) // one_in, BigInteger)


def size_of_shop() -> int:
    """About how many members there are, as the database last took stock; 0 while it never has."""
    size = select(func.greatest(text("reltuples"), 0)).select_from(text("pg_class"))
    return int(db.session.scalar(size.where(text("oid = 'member'::regclass"))) or 0)


@dataclass(frozen=True)
class Shares:
    """Of the members who ordered, how many had met each touchpoint in the 30 days before; counted for one member in `one_in`
    and multiplied."""

    buyers: int
    met: dict[str, int]
    one_in: int = 1

    def most(self, refs: Iterable[str]) -> int:
        """The largest number among these touchpoints."""
        return max((self.met.get(ref, 0) for ref in refs), default=0)


def shares(since: datetime, until: datetime) -> Shares:
    """As `count_shares`, of what is kept where it is fresh."""
    if (known := counts.kept(CountKind.BEFORE, since, until, counts.mark_of(ways()))) is not None:
        [figures] = known.figures.values()
        return Shares(figures["buyers"], figures["met"], figures["one_in"])
    return count_shares(since, until)


def count_shares(since: datetime, until: datetime) -> Shares:
    """Who met what in the 30 days before their first order in `[since, until)` that was paid and not wholly refunded.

    In a shop of very many members it is an estimate from an even part of them.
    """
    one_in = rules.one_in(size_of_shop(), rules.SURVEYED)
    first = (
        select(Order.member_id, func.min(Order.placed_at).label("at"))
        .where(picked(Order.member_id, one_in), Order.placed_at >= since, Order.placed_at < until, orders.counts())
        .group_by(Order.member_id)
        .cte("first")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    here = met(since - rules.BEFORE, until, ways())
    pairs = (
        select(here.c.key, here.c.member_id)
        .join(
            first,
            and_(
                first.c.member_id == here.c.member_id,
                here.c.at < first.c.at,
                here.c.at >= first.c.at - literal(rules.BEFORE),
            ),
        )
        .where(picked(here.c.member_id, one_in))
        .distinct()
        .subquery()
    )
    buyers = db.session.scalar(select(func.count()).select_from(first)) or 0
    rows = db.session.execute(select(pairs.c.key, func.count()).group_by(pairs.c.key))
    return Shares(one_in * buyers, {key: one_in * people for key, people in rows}, one_in)


# ── The matrix ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Point:
    """A touchpoint in the matrix, with where its place comes from."""

    number: int
    listed: Listed
    tally: rules.Tally
    usual: float | None
    performance: rules.Performance
    buyers: int
    measured: float | None
    importance: float | None
    quadrant: rules.Quadrant | None = None

    @property
    def placed(self) -> bool:
        return self.importance is not None and self.performance.score is not None


@dataclass(frozen=True)
class Matrix:
    points: list[Point]
    lines: rules.Lines
    buyers: int
    entered: bool
    # Of how many members one was looked at for who had met what.
    one_in: int = 1

    def of(self, quadrant: rules.Quadrant) -> list[Point]:
        """The touchpoints of a quadrant, by the quadrant or by its name."""
        return [point for point in self.points if point.quadrant == quadrant]

    @property
    def placed(self) -> list[Point]:
        return [point for point in self.points if point.placed]


def matrix(since: datetime, until: datetime, entered: bool = True) -> Matrix:
    """Importance against performance of every active touchpoint in `[since, until)`.

    Importance is what the staff entered, or what was measured where they said nothing; without `entered`, what was measured
    for all. Rates are compared with those of the twelve weeks that end with the period, or of the whole period if it is longer.
    """
    earlier = min(since, until - rules.WEEKS * WEEK)
    weeks = tallies(earlier, until)
    here = weeks if earlier == since else tallies(since, until)
    sums = {key: sum(found, rules.Tally()) for key, found in here.items()}
    by_answer: dict[rules.Answer, list[rules.Tally]] = defaultdict(list)
    answers = {one.ref: one.answer for one in everything()}
    for key, found in weeks.items():
        if (answer := answers.get(key)) is not None:
            by_answer[answer] += found
    usual = {answer: rules.usual_rate(found) for answer, found in by_answer.items()}
    share = shares(since, until)
    shown = [one for one in everything() if one.active]
    most = share.most(one.ref for one in shown)
    points = []
    for number, one in enumerate(shown, 1):
        tally = sums.get(one.ref, rules.Tally())
        rate = usual.get(one.answer) if one.answer else None
        buyers = share.met.get(one.ref, 0)
        measured = rules.measured_importance(buyers, most) if one.recorded else None
        said = float(one.importance) if one.importance is not None and entered else None
        points.append(
            Point(
                number, one, tally, rate, rules.performance(tally, one.answer, rate, one.recorded), buyers, measured,
                said if said is not None else measured,
            )
        )  # fmt: skip
    at = rules.lines([(p.importance, p.performance.score) for p in points if p.placed])  # type: ignore[misc]
    return Matrix([_in_quadrant(point, at) for point in points], at, share.buyers, entered, share.one_in)


def _in_quadrant(point: Point, at: rules.Lines) -> Point:
    if point.importance is None or point.performance.score is None:
        return point
    found = rules.quadrant(point.importance, point.performance.score, at)
    return replace(point, quadrant=found)


# ── One touchpoint ──────────────────────────────────────────────────────────────────────────────────────────────────


def met_by(ref: str, since: datetime, until: datetime, one_in: int = 1) -> Select[Any]:
    """The ids of the members who met a touchpoint (or of one in so many of them), as a statement that is worked out once
    however often it is asked."""
    here = met(since, until, ways(), [ref])
    met_it = select(here.c.member_id).where(picked(here.c.member_id, one_in)).distinct()
    those = met_it.cte("those").prefix_with("MATERIALIZED", dialect="postgresql")
    return select(those.c.member_id)


@dataclass(frozen=True)
class After:
    """What the members who met a touchpoint did in the 30 days after they first did in the period."""

    people: int = 0
    ordered: int = 0
    orders: int = 0
    money: int = 0
    took: int = 0
    joined: int = 0
    opted_out: int = 0


def after(ref: str, since: datetime, until: datetime, one_in: int = 1) -> After:
    """What followed a touchpoint: members who ordered, took a coupon, joined a group or opted out, and the orders with their
    money net of refunds (分), counted for one member in `one_in` and multiplied. It says what came after, not what came of it."""
    here = met(since, until, ways(), [ref])
    first = (
        select(here.c.member_id, func.min(here.c.at).label("at"))
        .where(picked(here.c.member_id, one_in))
        .group_by(here.c.member_id)
        .cte("first")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )

    def soon(member_id: Any, at: Any) -> Any:
        return and_(member_id == first.c.member_id, at > first.c.at, at <= first.c.at + literal(rules.BEFORE))

    def people(member_id: Any, at: Any, *more: Any) -> Any:
        found = select(func.count(member_id.distinct())).select_from(first).join(member_id.table, soon(member_id, at))
        return found.where(*more).scalar_subquery()

    bought = (
        select(
            func.count(Order.member_id.distinct()).label("people"),
            func.count().label("orders"),
            func.coalesce(func.sum(Order.paid_amount - Order.refunded_amount), 0).label("money"),
        )
        .select_from(first)
        .join(Order, soon(Order.member_id, Order.placed_at))
        .where(orders.counts())
        .subquery()
    )
    row = db.session.execute(
        select(
            select(func.count()).select_from(first).scalar_subquery(),
            bought.c.people,
            bought.c.orders,
            cast(bought.c.money, BigInteger),
            people(Coupon.member_id, Coupon.issued_at, Coupon.grant_key.is_(None)),
            people(Seat.member_id, Seat.joined_at, Seat.joined_at.is_not(None)),
            people(Consent.member_id, Consent.at, Consent.granted.is_(False), Consent.purpose == Purpose.MARKETING),
        )
    ).one()
    return After(*(one_in * int(n) for n in row))


def steps(ref: str, since: datetime, until: datetime, one_in: int = 1) -> list[funnels.Step]:
    """The seven actions of those who met a touchpoint in the period, by the same funnel as everywhere; counted for one member in
    `one_in` and multiplied."""
    found = funnels.funnel(funnels.Among(members=met_by(ref, since, until, one_in)), since, until)
    return [replace(step, people=one_in * step.people, after_former=one_in * step.after_former) for step in found]


def members_who(ref: str, action: str, since: datetime, until: datetime) -> Select[Any]:
    """Members who met a touchpoint in the period; with an action of the seven, those who did it as well."""
    theirs = met_by(ref, since, until)
    found = select(Member).where(Member.id.in_(theirs))
    if action in funnels.ACTIONS:
        found = found.where(
            Member.id.in_(funnels.members_who(funnels.Among(members=theirs), action, since, until))  # type: ignore[arg-type]
        )
    return found


MEMBER_ORDER = [Member.id.desc()]
