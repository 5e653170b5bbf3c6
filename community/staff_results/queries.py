"""Reads: what each of the staff did in a period. A figure is one statement over everybody, and its rows are the same statement.

Each `_figure` below selects rows of one shape (`COLUMNS`): whose it is, which row it stands for, when it counts, and what it
adds to a `rules.Part`. Sums and lists are both made of it, so that a number and the rows behind it cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    Integer,
    Numeric,
    Select,
    Subquery,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.orm import aliased

from community.conversations.models import Conversation
from community.desk.models import CallState, CallTask
from community.desk.rules import LIVE
from community.groups.models import Group, Seat, SeatState
from community.posts.models import Post, PostGroup, PostState
from community.tickets.models import Ticket
from kernel import clock
from kernel.db import db
from kernel.pages import Page, keyset
from kernel.staff.models import Staff
from membership.members.models import Member
from membership.orders import queries as orders
from membership.orders.models import Order

from . import rules
from .rules import Figure, Part

# What the seat of somebody says whom staff moved from one group to another: nobody invited them there.
MOVED = "moved"


@dataclass(frozen=True)
class Stretch:
    """The instants `[since, until)`, and the midnight with which today began."""

    since: datetime
    until: datetime
    today: datetime


def stretch(since: datetime, until: datetime) -> Stretch:
    return Stretch(since, until, clock.day_bounds(clock.today())[0])


def _during(column: Any, over: Stretch) -> ColumnElement[bool]:
    return and_(column >= over.since, column < over.until)


def _one(condition: Any) -> Any:
    return cast(case((condition, 1), else_=0), Integer)


def _row(
    staff_id: Any,
    source: str,
    row_id: Any,
    member_id: Any,
    at: Any,
    *,
    n: Any = 1,
    good: Any = 0,
    pieces: Any = 1,
    total: Any = 0,
    value: Any = None,
) -> Select[Any]:
    found: Select[Any] = select(
        staff_id.label("staff_id"),
        literal(source).label("source"),
        row_id.label("row_id"),
        cast(null() if member_id is None else member_id, BigInteger).label("member_id"),
        at.label("at"),
        cast(n, BigInteger).label("n"),
        cast(good, BigInteger).label("good"),
        cast(pieces, BigInteger).label("pieces"),
        cast(total, BigInteger).label("total"),
        cast(null() if value is None else value, Numeric).label("value"),
    )
    return found


def _invited(since: Any, until: Any) -> list[ColumnElement[bool]]:
    """Seats that count as somebody's invitation: the first stay of a person in a group, with a colleague's name on it."""
    earlier = aliased(Seat)
    return [
        Seat.joined_at >= since,
        Seat.joined_at < until,
        Seat.staff_id.is_not(None),
        Seat.source != MOVED,
        ~exists().where(
            earlier.group_id == Seat.group_id,
            earlier.member_id == Seat.member_id,
            earlier.joined_at.is_not(None),
            earlier.id < Seat.id,
        ),
    ]


def _joined(over: Stretch) -> Select[Any]:
    """Joined by an invitation; good is who has not left since (the last stay counts; going on to the next group is no leaving)."""
    later = aliased(Seat)
    last = (
        select(later.state)
        .where(later.group_id == Seat.group_id, later.member_id == Seat.member_id, later.joined_at.is_not(None))
        .order_by(later.id.desc())
        .limit(1)
        .correlate(Seat)
        .scalar_subquery()
    )
    stays = last.not_in((SeatState.LEFT, SeatState.REMOVED))
    return _row(Seat.staff_id, "seat", Seat.id, Seat.member_id, Seat.joined_at, good=_one(stays)).where(
        *_invited(over.since, over.until)
    )


def _promised(column: Any) -> Any:
    """The midnight after the shop's day on which something was promised."""
    return func.date_trunc("day", column, str(clock.ZONE), type_=column.type) + timedelta(days=1)


def _calls(over: Stretch) -> Select[Any]:
    """Calls that were closed, and those that should have been by now; good is what was closed on the promised day or before."""
    made = _row(
        CallTask.closed_by_id,
        "call",
        CallTask.id,
        CallTask.member_id,
        CallTask.closed_at,
        good=_one(CallTask.closed_at < _promised(CallTask.due_at)),
    ).where(_during(CallTask.closed_at, over), CallTask.closed_by_id.is_not(None))
    owed = _row(CallTask.assignee_id, "call", CallTask.id, CallTask.member_id, CallTask.due_at, pieces=0).where(
        CallTask.state.in_(LIVE),
        CallTask.assignee_id.is_not(None),
        _during(CallTask.due_at, over),
        CallTask.due_at < over.today,
    )
    return _both(made, owed)


def _both(*parts: Select[Any]) -> Select[Any]:
    every = union_all(*parts).subquery()
    return select(*every.c)


def _tickets(over: Stretch) -> Select[Any]:
    """Tickets somebody answered first; good is within what was promised when they were opened."""
    return _row(
        Ticket.first_answered_by_id,
        "ticket",
        Ticket.id,
        Ticket.member_id,
        Ticket.first_answered_at,
        good=_one(Ticket.answered_minutes <= Ticket.answer_minutes),
        value=Ticket.answered_minutes,
    ).where(_during(Ticket.first_answered_at, over), Ticket.first_answered_by_id.is_not(None))


def _talks(over: Stretch) -> Select[Any]:
    """Conversations somebody answered first; good is within `rules.TALK_SECONDS`."""
    return _row(
        Conversation.first_answered_by_id,
        "talk",
        Conversation.id,
        Conversation.member_id,
        Conversation.first_answered_at,
        good=_one(Conversation.answer_seconds <= rules.TALK_SECONDS),
        value=Conversation.answer_seconds,
    ).where(_during(Conversation.first_answered_at, over), Conversation.first_answered_by_id.is_not(None))


def _stars(over: Stretch) -> Select[Any]:
    """Stars for tickets (who resolved them), conversations (who had them) and calls (who held them); good is four or five."""

    def rated(staff_id: Any, source: str, model: Any, at: Any) -> Select[Any]:
        return _row(
            staff_id,
            source,
            model.id,
            model.member_id,
            at,
            good=_one(model.satisfaction >= rules.CONTENT),
            total=model.satisfaction,
            value=model.satisfaction,
        ).where(_during(at, over), model.satisfaction.is_not(None), staff_id.is_not(None))

    return _both(
        rated(Ticket.resolved_by_id, "ticket", Ticket, Ticket.rated_at),
        rated(Conversation.assignee_id, "talk", Conversation, Conversation.rated_at),
        rated(CallTask.closed_by_id, "call", CallTask, CallTask.closed_at),
    )


def _posts(over: Stretch) -> Select[Any]:
    """Posts somebody wrote that showed; `n` saw them and `good` of those ordered within five days, as posts count it: a member
    counts in each group where they saw it."""

    def members(column: Any) -> Any:
        counted = select(func.sum(column)).where(PostGroup.post_id == Post.id).correlate(Post).scalar_subquery()
        return func.coalesce(counted, 0)

    shown = func.coalesce(Post.published_at, Post.publish_at, type_=Post.publish_at.type)
    due = and_(Post.state == PostState.SCHEDULED, Post.publish_at <= clock.now())
    return _row(
        Post.author_id, "post", Post.id, None, shown, n=members(PostGroup.seen), good=members(PostGroup.bought)
    ).where(
        Post.author_id.is_not(None),
        Post.automatic.is_(False),
        or_(Post.state.in_((PostState.PUBLISHED, PostState.ARCHIVED)), due),
        _during(shown, over),
    )


def _touches(since: datetime, until: datetime) -> Subquery:
    """When a colleague brought somebody into a group or reached them by phone: what an order can have followed."""
    joins = select(
        Seat.staff_id.label("staff_id"),
        Seat.member_id.label("member_id"),
        Seat.joined_at.label("at"),
        Seat.id.label("id"),
    ).where(*_invited(since, until))
    calls = select(CallTask.closed_by_id, CallTask.member_id, CallTask.closed_at, CallTask.id).where(
        CallTask.state == CallState.REACHED,
        CallTask.closed_by_id.is_not(None),
        CallTask.closed_at >= since,
        CallTask.closed_at < until,
    )
    return union_all(joins, calls).subquery()


def _within() -> timedelta:
    return timedelta(days=rules.TOUCH_DAYS)


def _micros(at: Any) -> Any:
    return cast(func.extract("epoch", at) * 1_000_000, BigInteger)


def _orders(over: Stretch) -> Select[Any]:
    """Orders of the period, each once, for whoever touched the buyer last within the days before it.

    Touches and orders of each member are laid in one line by the clock, and the latest touch is carried along it: sorting
    once stays quick where looking for each order's touch would not. A touch is an array so that the latest is the greatest;
    of two at one instant the colleague with the lower number has it.
    """
    touch = _touches(over.since - _within(), over.until)
    mark = array([_micros(touch.c.at), -touch.c.staff_id, touch.c.id])
    line = union_all(
        select(
            touch.c.member_id.label("member_id"),
            touch.c.at.label("at"),
            cast(mark, ARRAY(BigInteger)).label("mark"),
            cast(null(), BigInteger).label("row_id"),
            cast(null(), BigInteger).label("money"),
        ),
        select(
            Order.member_id,
            Order.placed_at,
            cast(null(), ARRAY(BigInteger)),
            Order.id,
            cast(orders.spend(), BigInteger),
        ).where(_during(Order.placed_at, over), Order.member_id.is_not(None), orders.counts()),
    ).subquery()
    last: Any = func.max(line.c.mark, type_=ARRAY(BigInteger)).over(
        partition_by=line.c.member_id, order_by=(line.c.at, line.c.row_id.nulls_first()), rows=(None, 0)
    )
    found = select(line.c.row_id, line.c.member_id, line.c.at, line.c.money, last.label("mark")).subquery()
    return _row(
        -found.c.mark[2],
        "order",
        found.c.row_id,
        found.c.member_id,
        found.c.at,
        good=1,
        total=found.c.money,
        value=found.c.money,
    ).where(
        found.c.row_id.is_not(None),
        found.c.mark[1] > _micros(found.c.at) - round(_within().total_seconds() * 1_000_000),
    )


def _people(over: Stretch) -> Select[Any]:
    """Everybody whom a colleague touched so lately that an order of the period could follow, with what they ordered."""
    touch = _touches(over.since - _within(), over.until)
    found = _orders(over).subquery()
    bought = (
        select(
            found.c.staff_id,
            found.c.member_id,
            func.count().label("pieces"),
            func.sum(found.c.total).label("total"),
        )
        .group_by(found.c.staff_id, found.c.member_id)
        .subquery()
    )
    touched = select(touch.c.staff_id, touch.c.member_id).distinct().subquery()
    pair = and_(bought.c.staff_id == touched.c.staff_id, bought.c.member_id == touched.c.member_id)
    return _row(
        touched.c.staff_id,
        "member",
        touched.c.member_id,
        touched.c.member_id,
        literal(over.since),
        good=_one(bought.c.pieces > 0),
        pieces=func.coalesce(bought.c.pieces, 0),
        total=func.coalesce(bought.c.total, 0),
    ).select_from(touched.outerjoin(bought, pair))


_ROWS: dict[Figure, Callable[[Stretch], Select[Any]]] = {
    Figure.JOINED: _joined,
    Figure.CALLS: _calls,
    Figure.TICKETS: _tickets,
    Figure.TALKS: _talks,
    Figure.STARS: _stars,
    Figure.POSTS: _posts,
    Figure.ORDERS: _orders,
}
# Shares of orders are of the people who were touched, and not of the orders.
_SUMS = _ROWS | {Figure.ORDERS: _people}


# ── What everybody did ──────────────────────────────────────────────────────────────────────────────────────────────


def parts(figure: Figure, over: Stretch) -> dict[int, Part]:
    """What each of the staff did of a figure, in one statement; who did nothing is not in it."""
    rows = _SUMS[figure](over).subquery()
    found = db.session.execute(
        select(
            rows.c.staff_id,
            func.sum(rows.c.n),
            func.sum(rows.c.good),
            func.sum(rows.c.pieces),
            func.sum(rows.c.total),
            func.percentile_cont(0.5).within_group(rows.c.value),
        ).group_by(rows.c.staff_id)
    )
    return {
        staff_id: Part(
            int(n), int(good), int(pieces), int(total), None if middle is None or not _timed(figure) else float(middle)
        )
        for staff_id, n, good, pieces, total, middle in found
    }


def _timed(figure: Figure) -> bool:
    return figure in (Figure.TICKETS, Figure.TALKS)


def every_part(over: Stretch) -> dict[Figure, dict[int, Part]]:
    """All figures, a statement each."""
    return {figure: parts(figure, over) for figure in Figure}


def days_with_work(over: Stretch) -> dict[int, int]:
    """On how many of the shop's days each of the staff closed a call, answered somebody first, or published a post.

    Hours are kept nowhere, so this is how part of a week is told from a whole one.
    """
    acts: list[Any] = [
        (CallTask.closed_by_id, CallTask.closed_at, []),
        (Ticket.first_answered_by_id, Ticket.first_answered_at, []),
        (Ticket.resolved_by_id, Ticket.resolved_at, []),
        (Conversation.first_answered_by_id, Conversation.first_answered_at, []),
        (Post.author_id, Post.published_at, [Post.automatic.is_(False)]),
    ]
    every = union_all(
        *(
            select(who.label("staff_id"), cast(func.timezone(str(clock.ZONE), at), Date).label("day")).where(
                who.is_not(None), _during(at, over), *more
            )
            for who, at, more in acts
        )
    ).subquery()
    rows = db.session.execute(select(every.c.staff_id, func.count(every.c.day.distinct())).group_by(every.c.staff_id))
    return {row[0]: row[1] for row in rows}


def people(also: Sequence[int] = ()) -> list[Staff]:
    """The staff who can sign in, and whoever else has a result, by name."""
    return list(
        db.session.scalars(
            select(Staff)
            .where(or_(Staff.disabled_at.is_(None), Staff.id.in_(list(also))))
            .order_by(Staff.name, Staff.id)
        )
    )


# ── The rows behind a number ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Line:
    """One row behind a number: what it is (`source`, `row_id`), when and for whom, whether it went well, and its value.

    `about` is a name where the row has one (a group, a post), `about_id` where it leads when that is another row.
    """

    source: str
    row_id: int
    at: datetime
    member_id: int | None
    member: str
    n: int
    good: int
    pieces: int
    total: int
    value: float | None
    about: str = ""
    about_id: int | None = None


def _rows_of(figure: Figure, staff_id: int, over: Stretch) -> tuple[Any, list[Any]]:
    rows = _ROWS[figure](over).subquery()
    at: Any = rows.c.at
    statement = (
        select(
            rows.c.source,
            rows.c.row_id,
            rows.c.at,
            rows.c.member_id,
            func.coalesce(func.nullif(Member.nickname, ""), Member.name, "").label("member"),
            rows.c.n,
            rows.c.good,
            rows.c.pieces,
            rows.c.total,
            rows.c.value,
        )
        .select_from(rows.outerjoin(Member, Member.id == rows.c.member_id))
        .where(rows.c.staff_id == staff_id)
    )
    return statement, [at.desc(), rows.c.source.desc(), rows.c.row_id.desc()]


def page_of(figure: Figure, staff_id: int, over: Stretch, cursor: str | None = None) -> tuple[Page, list[Line]]:
    """One page of the rows behind somebody's number, newest first."""
    statement, order = _rows_of(figure, staff_id, over)
    page = keyset(statement, order, cursor)
    return page, _lines(page.rows)


def export_of(figure: Figure, staff_id: int, over: Stretch, most: int = 20_000) -> list[Line]:
    """All rows behind somebody's number (no more than `most`), for a file."""
    statement, order = _rows_of(figure, staff_id, over)
    return _lines(db.session.execute(statement.order_by(*order).limit(most)).all())


def _lines(rows: Sequence[Any]) -> list[Line]:
    names = {"seat": _groups_of, "post": _titles_of, "order": _numbers_of}
    about: dict[tuple[str, int], tuple[str, int | None]] = {}
    for source, find in names.items():
        if ids := [row[1] for row in rows if row[0] == source]:
            about |= {(source, row_id): said for row_id, said in find(ids).items()}
    return [_line(row, *about.get((row[0], row[1]), ("", None))) for row in rows]


def _line(row: Any, about: str, about_id: int | None) -> Line:
    source, row_id, at, member_id, member, n, good, pieces, total, value = row[:10]
    measured = None if value is None else float(value)
    return Line(source, row_id, at, member_id, member, n, good, pieces, total, measured, about, about_id)


def _groups_of(seat_ids: Sequence[int]) -> dict[int, tuple[str, int | None]]:
    rows = db.session.execute(
        select(Seat.id, Group.name, Group.id).join(Group, Group.id == Seat.group_id).where(Seat.id.in_(seat_ids))
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def _titles_of(post_ids: Sequence[int]) -> dict[int, tuple[str, int | None]]:
    rows = db.session.execute(select(Post.id, Post.title).where(Post.id.in_(post_ids)))
    return {row[0]: (row[1], None) for row in rows}


def _numbers_of(order_ids: Sequence[int]) -> dict[int, tuple[str, int | None]]:
    rows = db.session.execute(select(Order.id, Order.external_id).where(Order.id.in_(order_ids)))
    return {row[0]: (row[1], None) for row in rows}
