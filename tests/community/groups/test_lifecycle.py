"""What the clock does to groups, and what staff do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from community.groups import jobs, queries, rules, services
from community.groups.models import Group, GroupKind, GroupState, Seat, SeatState, Waiting, WaitingState
from community.groups.services import Moment, Reminder
from kernel.audit import AuditEntry
from kernel.events import EventRecord
from kernel.notices import Notice


def happened(db, *names):
    return db.session.scalars(
        select(EventRecord.name).where(EventRecord.name.in_(names)).order_by(EventRecord.id)
    ).all()


def test_the_sweep_opens_and_closes_once(db, clock, make_group):
    group = make_group(
        kind=GroupKind.FLASH,
        state=GroupState.WARM_UP,
        opens_at=clock.now() + timedelta(hours=1),
        closes_at=clock.now() + timedelta(hours=2),
    )
    assert services.due() == []
    clock.move(hours=1)
    for _ in range(2):
        jobs.keep_time.direct()
    assert db.session.get(Group, group.id).state is GroupState.OPEN
    clock.move(hours=1, minutes=5)
    for _ in range(2):
        jobs.keep_time.direct()
    db.session.expire_all()
    assert group.state is GroupState.CLOSED
    assert group.closed_at == group.closes_at
    assert happened(db, "GroupOpened", "GroupClosed") == ["GroupOpened", "GroupClosed"]


def test_the_sweep_ends_holds_and_invites_the_next(db, clock, make_group, make_member):
    group, first, second = make_group(capacity=1, hold_minutes=5), make_member(), make_member()
    services.hold(group.id, first.id)
    services.join(group.id, second.id)
    clock.move(minutes=5)
    jobs.keep_time.direct()
    db.session.expire_all()
    assert queries.find_hold(group.id, second.id)
    assert db.session.scalars(select(Seat.state).order_by(Seat.id)).all() == [SeatState.LAPSED, SeatState.HELD]
    assert db.session.scalars(select(Notice.member_id)).all() == [second.id]


def test_closing_ends_holds_and_the_queue_and_tells_those_who_waited(db, clock, make_group, make_member):
    group = make_group(capacity=2)
    taken, held, waiting = make_member(), make_member(), make_member(locale="en")
    services.join(group.id, taken.id)
    services.hold(group.id, held.id)
    services.join(group.id, waiting.id)
    services.change_state(group, GroupState.CLOSED)
    assert {s.member_id: s.state for s in db.session.scalars(select(Seat))} == {
        taken.id: SeatState.TAKEN,
        held.id: SeatState.LAPSED,
    }
    assert db.session.scalars(select(Waiting.state)).all() == [WaitingState.LAPSED]
    (notice,) = db.session.scalars(select(Notice)).all()
    assert (notice.member_id, notice.title) == (waiting.id, f"“{group.name}” has closed")
    assert (group.seated, group.queued) == (1, 0)
    assert queries.in_group(taken.id, group.id)
    assert db.session.scalars(select(AuditEntry.action)).all() == ["group.closed"]


@pytest.mark.parametrize(
    ("present", "to"),
    [
        (GroupState.DRAFT, GroupState.PAUSED),
        (GroupState.OPEN, GroupState.DRAFT),
        (GroupState.OPEN, GroupState.ARCHIVED),
        (GroupState.CLOSED, GroupState.OPEN),
        (GroupState.ARCHIVED, GroupState.OPEN),
    ],
)
def test_only_listed_changes_of_state(db, clock, make_group, present, to):
    group = make_group(state=present)
    with pytest.raises(rules.Moved):
        services.change_state(group, to)
    assert group.state is present


def test_a_state_that_another_changed_meanwhile_is_not_overwritten(db, clock, make_group):
    group = make_group()
    db.session.execute(Group.__table__.update().where(Group.id == group.id).values(state="paused"))
    with pytest.raises(rules.Moved):
        services.change_state(group, GroupState.CLOSED)


def test_pausing_a_group_that_the_clock_has_closed(db, clock, make_group):
    group = make_group(closes_at=clock.now() + timedelta(hours=1))
    clock.move(hours=2)
    with pytest.raises(rules.Moved):
        services.change_state(group, GroupState.PAUSED)
    services.change_state(group, GroupState.CLOSED)
    assert group.state is GroupState.CLOSED
    assert happened(db, "GroupClosed") == ["GroupClosed"]


def test_going_on_invites_those_who_wait(db, clock, make_group, make_member):
    group, first, second = make_group(capacity=1), make_member(), make_member()
    services.join(group.id, first.id)
    services.join(group.id, second.id)
    services.change_state(group, GroupState.PAUSED)
    services.leave(group.id, first.id)
    assert queries.find_hold(group.id, second.id) is None
    services.change_state(group, GroupState.OPEN)
    assert queries.find_hold(group.id, second.id)
    assert happened(db, "GroupOpened") == []


def draft_of(group, **changes):
    return services.GroupDraft(
        **{"name": group.name, "capacity": group.capacity, "seats_each": group.seats_each, **changes}
    )


def test_more_capacity_fills_the_last_sub_group_and_invites(db, clock, make_group, make_member):
    group = make_group(capacity=3, seats_each=2)
    people = [make_member() for _ in range(6)]
    for person in people:
        services.join(group.id, person.id)
    services.edit(group, draft_of(group, capacity=5))
    assert [(s.number, s.seats, s.seated) for s in queries.sub_groups(group.id)] == [(1, 2, 2), (2, 2, 2), (3, 1, 1)]
    assert [bool(queries.find_hold(group.id, p.id)) for p in people] == [False, False, False, True, True, False]


def test_capacity_is_never_lowered_once_somebody_sits(db, clock, make_group, make_member):
    group = make_group(capacity=10, seats_each=5)
    services.edit(group, draft_of(group, capacity=8))
    services.join(group.id, make_member().id)
    with pytest.raises(rules.CapacityLowered):
        services.edit(group, draft_of(group, capacity=7))
    with pytest.raises(rules.SizeFixed):
        services.edit(group, draft_of(group, seats_each=4))
    with pytest.raises(rules.TooManySubGroups):
        services.edit(group, draft_of(group, capacity=10_000))


def live(db, clock, make_group, make_member, starts_in):
    group = make_group(kind=GroupKind.LIVE)
    person, muted, gone = make_member(locale="en"), make_member(), make_member()
    for one in (person, muted, gone):
        services.join(group.id, one.id)
    services.leave(group.id, gone.id)
    services.mute(group.id, muted.id, clock.now() + timedelta(days=30))
    start = clock.now() + starts_in
    session = services.save_session(group, None, "First flush", start, start + timedelta(hours=2))
    return group, person, session


def notices(db):
    return db.session.execute(select(Notice.member_id, Notice.title, Notice.path).order_by(Notice.id)).all()


def test_reminders_a_day_and_ten_minutes_before_once_each(db, clock, make_group, make_member):
    group, person, _session = live(db, clock, make_group, make_member, timedelta(hours=30))
    jobs.remind_of_sessions.direct()
    assert notices(db) == []
    clock.move(hours=6)
    for _ in range(2):
        jobs.remind_of_sessions.direct()
    path = f"/groups/{group.public_id}"
    assert notices(db) == [(person.id, "Live tomorrow: First flush", path)]
    clock.move(hours=23, minutes=50)
    for _ in range(2):
        jobs.remind_of_sessions.direct()
    assert notices(db)[1:] == [(person.id, "Live in ten minutes: First flush", path)]
    assert happened(db, "NoticeWritten") == ["NoticeWritten"] * 2


def test_a_session_planned_late_and_one_that_is_over(db, clock, make_group, make_member):
    _group, _person, session = live(db, clock, make_group, make_member, timedelta(minutes=5))
    jobs.remind_of_sessions.direct()
    assert [title for _, title, _ in notices(db)] == ["Live in ten minutes: First flush"]
    clock.move(minutes=6)
    assert services.remind(Reminder(session.id, Moment.DAY)) == 0


def test_moving_a_session_reminds_anew(db, clock, make_group, make_member):
    group, _person, session = live(db, clock, make_group, make_member, timedelta(hours=20))
    jobs.remind_of_sessions.direct()
    later = session.starts_at + timedelta(hours=1)
    services.save_session(group, session, session.title, later, later + timedelta(hours=1))
    jobs.remind_of_sessions.direct()
    assert len(notices(db)) == 2


def test_counting_who_is_active(db, clock, make_group, make_member):
    group, people = make_group(), [make_member() for _ in range(3)]
    for person in people:
        services.join(group.id, person.id)
    for person in people[:2]:
        services.note_visit(queries.find_seat(group.id, person.id), clock.now())
    db.session.flush()
    jobs.count_active.direct()
    db.session.refresh(group)
    assert group.active_week == 2
    clock.move(days=8)
    jobs.count_active.direct()
    db.session.refresh(group)
    assert group.active_week == 0
