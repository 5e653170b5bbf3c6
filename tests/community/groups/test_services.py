"""Taking seats and giving them up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from community.groups import queries, rules, services
from community.groups.models import GroupState, Seat, SeatState, SubGroup, Waiting, WaitingState
from kernel.events import EventRecord
from kernel.notices import Notice


def roster(db, group):
    """The taken seats as (member, sub-group number), in the order of joining."""
    rows = db.session.execute(
        select(Seat.member_id, SubGroup.number)
        .join(SubGroup, SubGroup.id == Seat.sub_group_id)
        .where(Seat.group_id == group.id, Seat.state == SeatState.TAKEN)
        .order_by(Seat.id)
    )
    return [tuple(row) for row in rows]


def queue(db, group):
    return db.session.execute(
        select(Waiting.member_id, Waiting.number, Waiting.state)
        .where(Waiting.group_id == group.id)
        .order_by(Waiting.number)
    ).all()


def published(db, name):
    return db.session.scalars(
        select(EventRecord.payload).where(EventRecord.name == name).order_by(EventRecord.id)
    ).all()


def test_joining_takes_the_lowest_sub_group_with_room_and_opens_the_next(db, clock, make_group, make_member):
    group, people = make_group(capacity=5, seats_each=2), [make_member() for _ in range(6)]
    answers = [services.join(group.id, p.id, source="counter") for p in people]
    assert roster(db, group) == [(p.id, n) for p, n in zip(people, [1, 1, 2, 2, 3], strict=False)]
    assert [(s.number, s.seats, s.seated) for s in queries.sub_groups(group.id)] == [(1, 2, 2), (2, 2, 2), (3, 1, 1)]
    assert answers[-1] == services.Waiting(1, True)
    db.session.refresh(group)
    assert (group.seated, group.queued, queries.seats_left(group)) == (5, 1, 0)
    assert [e["member_id"] for e in published(db, "MemberJoinedGroup")] == [p.id for p in people[:5]]
    assert published(db, "MemberQueued") == [{"member_id": people[5].id, "group_id": group.id, "number": 1}]


def test_joining_again_changes_nothing(db, clock, make_group, make_member):
    group, person, other = make_group(capacity=1), make_member(), make_member()
    first, again = services.join(group.id, person.id), services.join(group.id, person.id)
    assert (first.seat_id, first.fresh, again.fresh) == (again.seat_id, True, False)
    assert services.join(group.id, other.id) == services.Waiting(1, True)
    assert services.join(group.id, other.id) == services.Waiting(1, False)
    assert roster(db, group) == [(person.id, 1)]
    assert len(published(db, "MemberJoinedGroup")) == 1


def test_many_at_once_in_one_batch(db, clock, make_group, make_member):
    group, people = make_group(capacity=5, seats_each=2), [make_member().id for _ in range(8)]
    assert services.join_many(group.id, [*people, people[0], people[7]], source="file") == 5
    assert [m for m, _ in roster(db, group)] == people[:5]
    assert queue(db, group) == [(m, n, WaitingState.QUEUED) for n, m in enumerate(people[5:], 1)]


def test_a_hold_counts_until_the_clock_ends_it_with_no_sweep(db, clock, make_group, make_member):
    group, first, second = make_group(capacity=1, hold_minutes=10), make_member(), make_member()
    held = services.hold(group.id, first.id)
    assert held.held_until == clock.now() + timedelta(minutes=10)
    with pytest.raises(rules.GroupFull):
        services.hold(group.id, second.id)
    db.session.refresh(group)
    assert queries.seats_left(group) == 0
    clock.move(minutes=10)
    assert queries.seats_left(group) == 1
    assert queries.find_hold(group.id, first.id) is None
    assert isinstance(services.join(group.id, second.id), services.Joined)
    assert services.join(group.id, first.id) == services.Waiting(1, True)


def test_joining_takes_the_held_seat(db, clock, make_group, make_member):
    group, person = make_group(capacity=1), make_member()
    held = services.hold(group.id, person.id)
    again = services.hold(group.id, person.id)
    assert (again.seat_id, again.fresh) == (held.seat_id, False)
    joined = services.join(group.id, person.id, source="counter")
    assert (joined.seat_id, joined.fresh) == (held.seat_id, True)
    assert services.hold(group.id, person.id) == services.Joined(held.seat_id, 1, False)
    assert published(db, "MemberJoinedGroup")[0]["source"] == "counter"


def test_leaving_keeps_the_seat_for_the_next_in_the_queue_and_tells_them(db, clock, make_group, make_member):
    group = make_group(capacity=1, invite_hours=2)
    first, second, third, newcomer = (make_member() for _ in range(4))
    for person in (first, second, third):
        services.join(group.id, person.id)
    services.leave(group.id, first.id)
    assert [(n.member_id, n.path) for n in db.session.scalars(select(Notice))] == [
        (second.id, f"/groups/{group.public_id}")
    ]
    assert queries.find_hold(group.id, second.id).held_until == clock.now() + timedelta(hours=2)
    # Neither a newcomer nor a later number gets the seat that is kept.
    assert services.join(group.id, newcomer.id) == services.Waiting(3, True)
    assert services.join(group.id, third.id) == services.Waiting(2, False)
    assert isinstance(services.join(group.id, second.id), services.Joined)
    assert [state for _, _, state in queue(db, group)] == [
        WaitingState.SEATED,
        WaitingState.QUEUED,
        WaitingState.QUEUED,
    ]


def test_an_invitation_that_runs_out_passes_to_the_next(db, clock, make_group, make_member):
    group = make_group(capacity=1, invite_hours=1)
    first, second, third = (make_member() for _ in range(3))
    for person in (first, second, third):
        services.join(group.id, person.id)
    services.leave(group.id, first.id)
    clock.move(hours=1)
    # The third taps before any sweep ran: the clock has ended the second's hold, and the third is next.
    assert isinstance(services.join(group.id, third.id), services.Joined)
    assert [state for _, _, state in queue(db, group)] == [WaitingState.LAPSED, WaitingState.SEATED]
    assert services.join(group.id, second.id) == services.Waiting(3, True)


def test_coming_back_is_a_new_row(db, clock, make_group, make_member):
    group, person = make_group(), make_member()
    services.join(group.id, person.id)
    services.leave(group.id, person.id)
    services.join(group.id, person.id)
    states = db.session.scalars(select(Seat.state).order_by(Seat.id)).all()
    assert states == [SeatState.LEFT, SeatState.TAKEN]
    db.session.refresh(group)
    assert group.seated == 1


def test_leaving_the_queue(db, clock, make_group, make_member):
    group, first, second, third = make_group(capacity=1), make_member(), make_member(), make_member()
    for person in (first, second, third):
        services.join(group.id, person.id)
    services.leave(group.id, second.id)
    services.leave(group.id, first.id)
    assert queries.find_hold(group.id, third.id)
    with pytest.raises(rules.NotAMember):
        services.leave(group.id, second.id)


def test_a_removed_member_may_be_barred_and_let_back(db, clock, make_group, make_member):
    group, person = make_group(), make_member()
    services.join(group.id, person.id)
    services.remove(group.id, person.id, "spam", barred=True)
    with pytest.raises(rules.Barred):
        services.join(group.id, person.id)
    assert published(db, "MemberLeftGroup") == [{"member_id": person.id, "group_id": group.id, "reason": "spam"}]
    services.let_back(group.id, person.id)
    assert isinstance(services.join(group.id, person.id), services.Joined)


@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        (GroupState.DRAFT, rules.GroupNotOpenYet),
        (GroupState.WARM_UP, rules.GroupNotOpenYet),
        (GroupState.PAUSED, rules.GroupPaused),
        (GroupState.CLOSED, rules.GroupClosed),
        (GroupState.ARCHIVED, rules.GroupClosed),
    ],
)
def test_only_an_open_group_is_joined(db, clock, make_group, make_member, state, refusal):
    group, person = make_group(state=state), make_member()
    with pytest.raises(refusal):
        services.join(group.id, person.id)
    assert roster(db, group) == []


def test_the_clock_opens_and_closes_with_no_sweep(db, clock, make_group, make_member):
    group = make_group(
        state=GroupState.WARM_UP, opens_at=clock.now() + timedelta(hours=1), closes_at=clock.now() + timedelta(hours=2)
    )
    first, second = make_member(), make_member()
    with pytest.raises(rules.GroupNotOpenYet):
        services.join(group.id, first.id)
    clock.move(hours=1)
    assert isinstance(services.join(group.id, first.id), services.Joined)
    clock.move(hours=1)
    with pytest.raises(rules.GroupClosed):
        services.join(group.id, second.id)
    assert services.join(group.id, first.id).fresh is False


def test_a_pause_leaves_a_held_seat_to_its_holder(db, clock, make_group, make_member):
    group, person, other = make_group(capacity=5), make_member(), make_member()
    services.hold(group.id, person.id)
    group.state = GroupState.PAUSED
    with pytest.raises(rules.GroupPaused):
        services.join(group.id, other.id)
    assert isinstance(services.join(group.id, person.id), services.Joined)


@pytest.mark.parametrize("words", ['a "b" \\c, {d}', "NULL", "", "直播间", "{}", "\\", " ", "it's; --"])
def test_where_somebody_came_from_is_kept_to_the_letter(db, clock, make_group, make_member, words):
    group, member = make_group(), make_member()
    services.join(group.id, member.id, words, together=True)
    services.remove(group.id, member.id, words)
    seat = db.session.scalars(select(Seat).where(Seat.member_id == member.id)).one()
    assert (seat.source, seat.end_reason) == (words, words or "removed")
