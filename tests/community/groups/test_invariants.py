"""S1–S5 of the domain, over long random lives of a group, against a small model that knows no database."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select, text

from community.groups import queries, rules, services
from community.groups.models import Group, GroupState, Seat, SeatState, SubGroup, Waiting, WaitingState
from community.groups.services import book
from community.groups.services.book import Ask, run_batch
from kernel import clock as kernel_clock
from kernel.events import EventRecord

HOLD, INVITATION = timedelta(minutes=10), timedelta(hours=1)
LIVE = (SeatState.HELD, SeatState.TAKEN)
PEOPLE = 9
people = st.integers(0, PEOPLE - 1)


class Model:
    """What ought to be: seats as member → [sub-group, held until or None when taken], and the queue in its order."""

    def __init__(self, capacity, seats_each):
        self.capacity, self.seats_each = capacity, seats_each
        self.state = GroupState.OPEN
        self.seats, self.queue, self.barred = {}, [], set()
        self.last, self.open = 0, 0

    def lowest(self):
        taken = Counter(sub_group for sub_group, _until in self.seats.values())
        for number in itertools.count(1):
            size = rules.sub_group_seats(number, self.capacity, self.seats_each)
            if size == 0:
                return None
            if taken[number] < size:
                return number
        return None

    def expire(self, now):
        self.seats = {m: s for m, s in self.seats.items() if s[1] is None or s[1] > now}

    def settle(self, now):
        self.expire(now)
        while self.state is GroupState.OPEN and self.queue and (room := self.lowest()):
            self.seats[self.queue.pop(0)[1]] = [room, now + INVITATION]

    def ask(self, member, now, only_hold=False):
        seat = self.seats.get(member)
        if seat and (only_hold or seat[1] is None):
            return "seat"
        if member in self.barred:
            return rules.Barred
        if self.state is GroupState.PAUSED and not seat:
            return rules.GroupPaused
        if seat:
            seat[1] = None
            return "seat"
        number = next((n for n, m in self.queue if m == member), None)
        if number is None and not self.queue and (room := self.lowest()):
            self.seats[member] = [room, now + HOLD if only_hold else None]
            return "seat"
        if only_hold:
            return rules.GroupFull
        if number is None:
            self.last += 1
            self.queue.append((self.last, member))
            number = self.last
        return number

    def end(self, member):
        if member not in self.seats and all(m != member for _, m in self.queue):
            return False
        self.seats.pop(member, None)
        self.queue = [(n, m) for n, m in self.queue if m != member]
        return True


def life(db, make_group, make_member, clock, *checks):
    """A state machine over one group, with the given invariants checked after every step."""

    class Life(RuleBasedStateMachine):
        @initialize(
            capacity=st.integers(1, 5), seats_each=st.integers(1, 3), early=st.lists(people, min_size=3, max_size=9)
        )
        def start(self, capacity, seats_each, early):
            self.db = db
            self.group = make_group(capacity=capacity, seats_each=seats_each, hold_minutes=10, invite_hours=1)
            self.members = [make_member().id for _ in range(PEOPLE)]
            self.model = Model(capacity, seats_each)
            # Lives begin in a group that is full or nearly so: that is where something can go wrong.
            self.act([Ask(self.group.id, self.members[who]) for who in early])

        def judge(self, answer, expected):
            if answer.refusal is not None:
                assert type(answer.refusal) is expected
            elif answer.number is not None:
                assert answer.number == expected
            else:
                assert expected == "seat"

        def act(self, asks):
            now = kernel_clock.now()
            self.model.settle(now)
            expected = [self.model.ask(ask.member_id, now, ask.only_hold) for ask in asks]
            db.session.flush()
            for answer, wanted in zip(run_batch(db.session.connection(), asks), expected, strict=True):
                self.judge(answer, wanted)
            db.session.expire_all()

        @rule(who=people)
        def join(self, who):
            self.act([Ask(self.group.id, self.members[who])])

        @rule(who=people)
        def hold(self, who):
            self.act([Ask(self.group.id, self.members[who], only_hold=True)])

        @rule(crowd=st.lists(st.tuples(people, st.booleans()), min_size=2, max_size=8))
        def join_at_once(self, crowd):
            self.act([Ask(self.group.id, self.members[who], only_hold) for who, only_hold in crowd])

        @rule(who=people)
        def leave(self, who):
            self.model.expire(kernel_clock.now())
            known = self.model.end(self.members[who])
            if known:
                services.leave(self.group.id, self.members[who])
                self.model.settle(kernel_clock.now())
            else:
                with pytest.raises(rules.NotAMember), db.session.begin_nested():
                    services.leave(self.group.id, self.members[who])

        @rule(place=people)
        def give_a_seat_up(self, place):
            self.model.expire(kernel_clock.now())
            if seated := sorted(self.model.seats):
                self.leave(self.members.index(seated[place % len(seated)]))

        @rule(who=people, barred=st.booleans())
        def remove(self, who, barred):
            self.model.expire(kernel_clock.now())
            had_seat = self.members[who] in self.model.seats
            if self.model.end(self.members[who]):
                services.remove(self.group.id, self.members[who], "spam", barred)
                if barred and had_seat:
                    self.model.barred.add(self.members[who])
                self.model.settle(kernel_clock.now())

        @rule(minutes=st.sampled_from([1, 9, 10, 59, 60, 61]))
        def wait(self, minutes):
            # No sweep: nothing is written down, and yet it counts.
            clock.move(minutes=minutes)

        @rule()
        def sweep(self):
            services.settle(self.group.id)
            self.model.settle(kernel_clock.now())

        @precondition(lambda self: self.model.capacity < 12)
        @rule(more=st.integers(1, 3))
        def grow(self, more):
            group = db.session.get(Group, self.group.id)
            draft = services.GroupDraft(
                name=group.name,
                capacity=group.capacity + more,
                seats_each=group.seats_each,
                hold_minutes=10,
                invite_hours=1,
            )
            services.edit(group, draft)
            self.model.capacity += more
            self.model.settle(kernel_clock.now())

        @rule()
        def pause_or_go_on(self):
            paused = self.model.state is GroupState.PAUSED
            self.model.state = GroupState.OPEN if paused else GroupState.PAUSED
            services.change_state(db.session.get(Group, self.group.id), self.model.state)
            if paused:
                self.model.settle(kernel_clock.now())
            else:
                self.model.expire(kernel_clock.now())

        @invariant()
        def holds(self):
            if hasattr(self, "group"):
                for check in checks:
                    check(self)

    return Life


def run(machine, **more):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            **more,
        ),
    )


def live_by_sub_group(it):
    return it.db.session.execute(
        select(SubGroup.number, SubGroup.seats, SubGroup.seated, func.count(Seat.id))
        .outerjoin(Seat, (Seat.sub_group_id == SubGroup.id) & Seat.state.in_(LIVE))
        .where(SubGroup.group_id == it.group.id)
        .group_by(SubGroup.id)
        .order_by(SubGroup.number)
    ).all()


def never_more_seated_than_seats(it):
    group = it.db.session.get(Group, it.group.id)
    rows = live_by_sub_group(it)
    assert all(live == seated <= seats for _number, seats, seated, live in rows)
    assert group.seated == sum(live for *_rest, live in rows) <= group.capacity
    assert sum(seats for _number, seats, *_rest in rows) <= group.capacity


def one_live_seat_a_member(it):
    counts = it.db.session.execute(
        select(Seat.member_id, func.count())
        .where(Seat.group_id == it.group.id, Seat.state.in_(LIVE))
        .group_by(Seat.member_id)
    ).all()
    assert all(count == 1 for _member, count in counts)
    queued = it.db.session.scalars(
        select(Waiting.member_id).where(Waiting.group_id == it.group.id, Waiting.state == WaitingState.QUEUED)
    ).all()
    assert len(set(queued)) == len(queued)
    assert not set(queued) & {member for member, _count in counts}


def nobody_is_passed_over(it):
    """The queue is the model's, number for number, and so is every seat, down to its sub-group."""
    queue = it.db.session.execute(
        select(Waiting.number, Waiting.member_id)
        .where(Waiting.group_id == it.group.id, Waiting.state == WaitingState.QUEUED)
        .order_by(Waiting.number)
    ).all()
    assert [tuple(row) for row in queue] == it.model.queue
    now = kernel_clock.now()
    seats = it.db.session.execute(
        select(Seat.member_id, SubGroup.number, Seat.state, Seat.held_until)
        .join(SubGroup, SubGroup.id == Seat.sub_group_id)
        .where(Seat.group_id == it.group.id, Seat.state.in_(LIVE))
    ).all()
    found = {
        row.member_id: [row.number, row.held_until if row.state is SeatState.HELD else None]
        for row in seats
        if row.state is SeatState.TAKEN or row.held_until > now
    }
    assert found == {m: s for m, s in it.model.seats.items() if s[1] is None or s[1] > now}
    group = it.db.session.get(Group, it.group.id)
    assert (group.queued, group.last_number) == (len(it.model.queue), it.model.last)
    numbers = it.db.session.scalars(select(Waiting.number).where(Waiting.group_id == it.group.id)).all()
    assert sorted(numbers) == list(range(1, it.model.last + 1))


def a_hold_ends_by_the_clock(it):
    now = kernel_clock.now()
    live = {m: s for m, s in it.model.seats.items() if s[1] is None or s[1] > now}
    group = it.db.session.get(Group, it.group.id)
    assert queries.seats_left(group) == (0 if it.model.queue else it.model.capacity - len(live))
    for member in it.members:
        seat = live.get(member)
        assert (queries.find_hold(group.id, member) is not None) == (seat is not None and seat[1] is not None)
    invited = it.db.session.scalars(
        select(Waiting.member_id).where(
            Waiting.group_id == group.id, Waiting.state == WaitingState.INVITED, Waiting.invited_until > now
        )
    ).all()
    assert set(invited) <= set(live)


def history_folds_to_the_roster(it):
    roster = set()
    records = it.db.session.scalars(
        select(EventRecord)
        .where(
            EventRecord.name.in_(["MemberJoinedGroup", "MemberLeftGroup"]),
            EventRecord.payload["group_id"].as_integer() == it.group.id,
        )
        .order_by(EventRecord.id)
    ).all()
    for record in records:
        if record.name == "MemberJoinedGroup":
            assert record.member_id not in roster
            roster.add(record.member_id)
        else:
            roster.remove(record.member_id)
    taken = it.db.session.scalars(
        select(Seat.member_id).where(Seat.group_id == it.group.id, Seat.state == SeatState.TAKEN)
    ).all()
    assert roster == set(taken) == {m for m, s in it.model.seats.items() if s[1] is None}
    # Rows are never reused: every stay that ended says when and why.
    ended = it.db.session.execute(
        select(Seat.ended_at, Seat.end_reason).where(Seat.group_id == it.group.id, Seat.state.not_in(LIVE))
    ).all()
    assert all(at is not None and reason for at, reason in ended)


def test_inv_s1_never_more_seated_than_seats(db, clock, make_group, make_member):
    run(life(db, make_group, make_member, clock, never_more_seated_than_seats))


def test_inv_s2_one_live_seat_a_member_and_group(db, clock, make_group, make_member):
    run(life(db, make_group, make_member, clock, one_live_seat_a_member))


def test_inv_s3_nobody_is_passed_over(db, clock, make_group, make_member):
    run(life(db, make_group, make_member, clock, nobody_is_passed_over))


def test_inv_s4_a_hold_ends_by_the_clock_with_no_sweep(db, clock, make_group, make_member):
    run(life(db, make_group, make_member, clock, a_hold_ends_by_the_clock))


def test_inv_s5_history_folds_to_the_roster(db, clock, make_group, make_member):
    run(life(db, make_group, make_member, clock, history_folds_to_the_roster))


# ── The teeth ───────────────────────────────────────────────────────────────────────────────────────────────────────


def a_seat_too_many(patch, db):
    """Every sub-group takes one more than it has; the tables' own checks, the second guard, are off."""
    for table in ("sub_group", "group"):
        db.session.execute(text(f'ALTER TABLE "{table}" DROP CONSTRAINT ck_{table}_seated'))
    patch.setattr(book._SubGroup, "room", property(lambda found: found.seats - found.seated + 1))


def nobody_is_known(patch, db):
    """The book does not look whether somebody has a seat already; nor does the index, the second guard."""
    db.session.execute(text("DROP INDEX uq_seat_live"))
    for name in ("SEATS_OF", "SEATS_AND_NUMBERS_OF"):
        found = getattr(book, name).text
        assert "WHERE (state" in found
        patch.setattr(book, name, text(found.replace("WHERE (state", "WHERE false AND (state")))


def the_last_first(patch, db):
    """A free seat goes to whoever came last."""
    patch.setattr(book, "FIRST_WAITING", text(book.FIRST_WAITING.text.replace("number LIMIT", "number DESC LIMIT")))


def holds_wait_for_a_sweep(patch, db):
    """A hold that ran out keeps its seat until somebody writes it down."""
    patch.setattr(book.Book, "_lapse", lambda self: None)


def leaving_is_not_told(patch, db):
    """A stay ends without a word in the history."""
    end = book.Book.end

    def silently(self, *rest):
        end(self, *rest)
        self._events.clear()

    patch.setattr(book.Book, "end", silently)


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        (never_more_seated_than_seats, a_seat_too_many),
        (one_live_seat_a_member, nobody_is_known),
        (nobody_is_passed_over, the_last_first),
        (a_hold_ends_by_the_clock, holds_wait_for_a_sweep),
        (history_folds_to_the_roster, leaving_is_not_told),
    ],
    ids=["s1", "s2", "s3", "s4", "s5"],
)
def test_inv_s1_to_s5_with_the_guard_off_the_same_lives_go_wrong(
    db, clock, monkeypatch, make_group, make_member, check, broken
):
    broken(monkeypatch, db)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run(
            life(db, make_group, make_member, clock, check),
            derandomize=True,
            phases=[Phase.generate],
            print_blob=False,
            report_multiple_bugs=False,
        )
