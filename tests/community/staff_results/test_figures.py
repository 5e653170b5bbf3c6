"""Every figure equals a slow recount in plain Python, each is one statement, and its rows add up to it."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from statistics import median
from typing import Any

import pytest
from sqlalchemy import select, text

from community.conversations.models import Conversation, Ending, Sender, TalkState
from community.desk.models import CallReason, CallState, CallTask
from community.groups.models import Seat, SeatState, SubGroup
from community.posts.models import Post, PostGroup, PostKind, PostState
from community.staff_results import queries, services
from community.staff_results.rules import NOTHING, Figure, Part
from community.tickets.models import Ticket, TicketKind, TicketSource, TicketState
from kernel import clock as kernel_clock
from kernel.auth import Role
from membership.members.services import erasure
from membership.orders import rules as order_rules
from membership.orders.models import Order, OrderState
from tests.community.posts.conftest import make_group, make_member, order

__all__ = ["make_group", "make_member", "order"]
DAY = timedelta(days=1)
LIVE = (CallState.OPEN, CallState.RETRY)


@pytest.fixture
def busy(db, clock, make_member, make_group, make_staff, order) -> Callable[[int], list[int]]:
    """`busy(seed)` fills two months with what four colleagues did and what their customers did after it; who they are."""

    def make(seed: int) -> list[int]:
        dice = random.Random(seed)
        now = clock.now()
        staff = [make_staff(Role.SERVICE, f"s{i}@shop.example", f"Staff {i}").id for i in range(4)]
        people = [make_member().id for _ in range(14)]
        groups = [make_group() for _ in range(3)]
        parts = {row.group_id: row.id for row in db.session.scalars(select(SubGroup))}

        def at(days: float = 60) -> datetime:
            return now - timedelta(minutes=dice.randrange(round(days * 24 * 60)))

        def somebody() -> int | None:
            return dice.choice([*staff, None])

        for group in groups:
            for member_id in people:
                came = at()
                for _ in range(dice.randrange(3)):
                    state = dice.choice(list(SeatState))
                    over = state not in (SeatState.HELD, SeatState.TAKEN)
                    db.session.add(
                        Seat(
                            group_id=group.id,
                            sub_group_id=parts[group.id],
                            member_id=member_id,
                            state=state,
                            source=dice.choice(["call", "moved", "poster"]),
                            staff_id=somebody(),
                            held_at=came,
                            held_until=came if state is SeatState.HELD else None,
                            joined_at=None if state in (SeatState.HELD, SeatState.LAPSED) else came,
                            ended_at=came + DAY if over else None,
                        )
                    )
                    db.session.flush()
                    if not over:
                        break
                    came += DAY
        for member_id in people:
            for _ in range(dice.randrange(6)):
                made, done = at(), dice.random() < 0.8
                closed = made + timedelta(hours=dice.randrange(72))
                db.session.add(
                    CallTask(
                        member_id=member_id,
                        reason=CallReason.FOLLOW_UP,
                        state=dice.choice([s for s in CallState if s not in LIVE]) if done else CallState.RETRY,
                        due_at=made + timedelta(hours=dice.randrange(48)),
                        assignee_id=somebody(),
                        satisfaction=dice.choice([None, 1, 4, 5]) if done else None,
                        closed_at=closed if done else None,
                        closed_by_id=somebody() if done else None,
                        created_at=made,
                    )
                )
                db.session.flush()
                if not done:
                    break
            for _ in range(dice.randrange(4)):
                _ticket(db, dice, member_id, at(), somebody)
                _talk(db, dice, member_id, at(), somebody)
            for _ in range(dice.randrange(5)):
                money = dice.randrange(100, 9_000)
                order(
                    db.session.get_one(queries.Member, member_id),
                    at(),
                    paid_amount=money,
                    refunded_amount=dice.choice([0, 0, 50, money]),
                    state=dice.choice([OrderState.COMPLETED, OrderState.PLACED, OrderState.REFUSED]),
                )
        for _ in range(12):
            shown = at()
            post = Post(
                kind=PostKind.TIP,
                title="t",
                body="b",
                author_id=somebody(),
                automatic=dice.random() < 0.1,
                state=dice.choice([PostState.DRAFT, PostState.SCHEDULED, PostState.PUBLISHED, PostState.ARCHIVED]),
                publish_at=shown + dice.choice([0, 90]) * DAY,
                created_at=shown,
            )
            if post.state in (PostState.PUBLISHED, PostState.ARCHIVED):
                post.published_at = shown
            db.session.add(post)
            db.session.flush()
            for group in groups[: dice.randrange(3)]:
                saw = dice.randrange(90)
                db.session.add(PostGroup(post_id=post.id, group_id=group.id, seen=saw, bought=dice.randrange(saw + 1)))
        db.session.flush()
        for table, key in (("sub_group", "sub_group_id"), ('"group"', "group_id")):
            live = f"SELECT count(*) FROM seat WHERE seat.{key} = {table}.id AND seat.state IN ('held', 'taken')"
            db.session.execute(text(f"UPDATE {table} SET seated = ({live})"))
        db.session.expire_all()
        return staff

    return make


def _ticket(db: Any, dice: random.Random, member_id: int, opened: datetime, somebody: Callable[[], int | None]) -> None:
    answered, minutes = dice.random() < 0.8, dice.randrange(200)
    rated = dice.random() < 0.5
    db.session.add(
        Ticket(
            public_id=f"t{dice.random()}",
            member_id=member_id,
            kind=TicketKind.RETURN,
            subject="",
            source=TicketSource.MEMBER,
            state=TicketState.RESOLVED,
            opened_at=opened,
            answer_minutes=100,
            resolve_minutes=900,
            first_answered_at=opened + timedelta(minutes=minutes) if answered else None,
            first_answered_by_id=somebody() if answered else None,
            answered_minutes=minutes if answered else None,
            resolved_at=opened + DAY,
            resolved_by_id=somebody(),
            satisfaction=dice.randint(1, 5) if rated else None,
            rated_at=opened + DAY if rated else None,
            last_entry_at=opened,
        )
    )


def _talk(db: Any, dice: random.Random, member_id: int, opened: datetime, somebody: Callable[[], int | None]) -> None:
    answered, seconds = dice.random() < 0.8, dice.randrange(700)
    rated = dice.random() < 0.5
    db.session.add(
        Conversation(
            public_id=f"c{dice.random()}",
            member_id=member_id,
            state=TalkState.CLOSED,
            assignee_id=somebody(),
            opened_at=opened,
            first_answered_at=opened + timedelta(seconds=seconds) if answered else None,
            first_answered_by_id=somebody() if answered else None,
            answer_seconds=seconds if answered else None,
            last_from=Sender.MEMBER,
            last_at=opened,
            closed_at=opened + DAY,
            closed_by=Ending.MEMBER,
            satisfaction=dice.randint(1, 5) if rated else None,
            rated_at=opened + DAY if rated else None,
        )
    )


# ── The slow recount ────────────────────────────────────────────────────────────────────────────────────────────────

Counted = dict[int, list[tuple[int, int, int, int, float | None]]]


def every(db: Any, model: Any) -> list[Any]:
    return list(db.session.scalars(select(model).order_by(model.id)))


def invitations(db: Any) -> Iterator[tuple[Seat, Seat]]:
    """Each first stay that a colleague's name is on, with the last stay of the same person in the same group."""
    stays: dict[tuple[int, int], list[Seat]] = defaultdict(list)
    for seat in every(db, Seat):
        if seat.joined_at is not None:
            stays[seat.group_id, seat.member_id].append(seat)
    for found in stays.values():
        if found[0].staff_id is not None and found[0].source != "moved":
            yield found[0], found[-1]


def counts(found: Order) -> bool:
    return (
        found.state in order_rules.PAID_STATES
        and found.paid_at is not None
        and not (found.refunded_amount > 0 and found.refunded_amount >= found.paid_amount - found.postage)
    )


def touches(db: Any) -> list[tuple[int, int, datetime]]:
    found = [(s.staff_id, s.member_id, s.joined_at) for s, _last in invitations(db)]
    for call in every(db, CallTask):
        if call.state is CallState.REACHED and call.closed_by_id is not None:
            found.append((call.closed_by_id, call.member_id, call.closed_at))
    return found


def recount(db: Any, figure: Figure, since: datetime, until: datetime) -> dict[int, Part]:
    """The figure by plain loops over every row."""
    rows: Counted = defaultdict(list)

    def during(at: datetime | None) -> bool:
        return at is not None and since <= at < until

    def add(who: int | None, n: int, good: int, pieces: int = 1, total: int = 0, value: float | None = None) -> None:
        if who is not None:
            rows[who].append((n, good, pieces, total, value))

    midnight = kernel_clock.at(kernel_clock.today())
    match figure:
        case Figure.JOINED:
            for first, last in invitations(db):
                if during(first.joined_at):
                    add(first.staff_id, 1, last.state not in (SeatState.LEFT, SeatState.REMOVED))
        case Figure.CALLS:
            for call in every(db, CallTask):
                promised = kernel_clock.at(kernel_clock.local(call.due_at).date() + DAY)
                if during(call.closed_at):
                    add(call.closed_by_id, 1, call.closed_at < promised)
                elif call.closed_at is None and during(call.due_at) and call.due_at < midnight:
                    add(call.assignee_id, 1, 0, 0)
        case Figure.TICKETS:
            for one in every(db, Ticket):
                if during(one.first_answered_at):
                    add(
                        one.first_answered_by_id,
                        1,
                        one.answered_minutes <= one.answer_minutes,
                        value=one.answered_minutes,
                    )
        case Figure.TALKS:
            for one in every(db, Conversation):
                if during(one.first_answered_at):
                    add(one.first_answered_by_id, 1, one.answer_seconds <= 300, value=one.answer_seconds)
        case Figure.STARS:
            rated = [(t.resolved_by_id, t.rated_at, t.satisfaction) for t in every(db, Ticket)]
            rated += [(t.assignee_id, t.rated_at, t.satisfaction) for t in every(db, Conversation)]
            rated += [(t.closed_by_id, t.closed_at, t.satisfaction) for t in every(db, CallTask)]
            for who, at, stars in rated:
                if during(at) and stars is not None:
                    add(who, 1, stars >= 4, total=stars)
        case Figure.POSTS:
            for post in every(db, Post):
                shown = post.published_at or post.publish_at
                is_shown = post.state in (PostState.PUBLISHED, PostState.ARCHIVED) or (
                    post.state is PostState.SCHEDULED and shown <= kernel_clock.now()
                )
                if is_shown and not post.automatic and during(shown):
                    here = db.session.scalars(select(PostGroup).where(PostGroup.post_id == post.id)).all()
                    add(post.author_id, sum(p.seen for p in here), sum(p.bought for p in here))
        case Figure.ORDERS:
            mine: dict[tuple[int, int], list[int]] = defaultdict(list)
            far = timedelta(days=14)
            known = touches(db)
            for who, member_id, at in known:
                if since - far <= at < until:
                    mine[who, member_id] += []
            for one in every(db, Order):
                if not counts(one) or not during(one.placed_at):
                    continue
                before = [t for t in known if t[1] == one.member_id and t[2] <= one.placed_at < t[2] + far]
                if before:
                    last = max(before, key=lambda t: (t[2], -t[0]))
                    mine[last[0], one.member_id].append(max(one.paid_amount - one.postage - one.refunded_amount, 0))
            for (who, _member), money in mine.items():
                add(who, 1, bool(money), len(money), sum(money))
    timed = figure in (Figure.TICKETS, Figure.TALKS)
    return {
        who: Part(
            *(sum(int(row[i]) for row in found) for i in range(4)),
            median([row[4] for row in found]) if timed else None,
        )
        for who, found in rows.items()
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_figure_equals_a_slow_recount_and_is_one_statement(db, clock, busy, statements, seed):
    staff = busy(seed)
    for first, last in ((60, 0), (20, 3), (3, 0)):
        since, until = (
            kernel_clock.at(kernel_clock.today() - first * DAY),
            kernel_clock.at(kernel_clock.today() - last * DAY + DAY),
        )
        over = queries.stretch(since, until)
        for figure in Figure:
            with statements(1):
                found = queries.parts(figure, over)
            assert found == recount(db, figure, since, until), figure
            for who in staff:
                _page, lines = queries.page_of(figure, who, over)
                lines = queries.export_of(figure, who, over)
                part = found.get(who, NOTHING)
                if figure is Figure.ORDERS:
                    assert (len(lines), sum(one.total for one in lines)) == (part.pieces, part.total)
                    assert len({one.member_id for one in lines}) == part.good
                else:
                    added = [sum(getattr(one, name) for one in lines) for name in ("n", "good", "pieces", "total")]
                    assert added == [part.n, part.good, part.pieces, part.total]
    assert any(found.values())


def test_a_page_reads_each_figure_once_however_many_people_there_are(db, clock, busy, statements):
    staff = busy(4)
    today = kernel_clock.today()
    first, last = today - 60 * DAY, today
    # Seven figures, the days with work, the people.
    with statements(9):
        found = services.board(first, last)
    assert {row.person.id for row in found.rows} == set(staff)
    # Both periods, the days, and what waits.
    with statements(16):
        services.own_page(staff[0], first, last)
    days = {row.person.id: row.days for row in found.rows}
    by_hand: dict[int, set[Any]] = defaultdict(set)
    over = services.stretch_of(first, last)
    acts = [(c.closed_by_id, c.closed_at) for c in every(db, CallTask)]
    acts += [(t.first_answered_by_id, t.first_answered_at) for t in every(db, Ticket)]
    acts += [(t.resolved_by_id, t.resolved_at) for t in every(db, Ticket)]
    acts += [(t.first_answered_by_id, t.first_answered_at) for t in every(db, Conversation)]
    acts += [(p.author_id, p.published_at) for p in every(db, Post) if not p.automatic]
    for who, at in acts:
        if who is not None and at is not None and over.since <= at < over.until:
            by_hand[who].add(kernel_clock.local(at).date())
    assert days == {who: len(by_hand[who]) for who in staff}


def test_what_was_done_for_somebody_who_was_erased_still_counts(db, clock, busy):
    staff = busy(5)
    over = services.stretch_of(kernel_clock.today() - 60 * DAY, kernel_clock.today())
    before = queries.every_part(over)
    people = select(Seat.member_id).where(Seat.joined_at.is_not(None)).distinct().order_by(Seat.member_id).limit(3)
    for member_id in db.session.scalars(people).all():
        erasure.erase(member_id, str(member_id))
    after = queries.every_part(over)
    # An erasure ends stays, calls and conversations; what had been done is counted as before.
    for figure in (Figure.TICKETS, Figure.TALKS, Figure.STARS, Figure.POSTS, Figure.ORDERS):
        assert after[figure] == before[figure], figure
    for who in staff:
        assert after[Figure.JOINED].get(who, NOTHING).n == before[Figure.JOINED].get(who, NOTHING).n
        assert after[Figure.CALLS].get(who, NOTHING).pieces >= before[Figure.CALLS].get(who, NOTHING).pieces
