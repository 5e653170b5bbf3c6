"""Events: written with their cause, delivered at least once, applied exactly once, given up after eight tries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from kernel import events
from kernel.audit import AuditEntry
from kernel.db import rollback
from kernel.events import (
    ATTEMPTS,
    Event,
    EventDelivery,
    EventRecord,
    describe,
    describes,
    publish,
    publish_all,
    subscribe,
)


@dataclass(frozen=True, kw_only=True)
class KernelProbed(Event):
    member_id: int
    text: str = ""
    at: datetime | None = None
    numbers: tuple[int, ...] | list[int] = ()


@dataclass(frozen=True, kw_only=True)
class NobodyCared(Event):
    number: int


failing: set[str] = set()


def note(db, who, event):
    db.session.add(AuditEntry(at=event.at, actor=who, action="probe", object_kind="probe", object_id=event.member_id))


@subscribe(KernelProbed)
def first(event: KernelProbed) -> None:
    from kernel.db import db

    note(db, "first", event)
    db.session.flush()
    if "first" in failing:
        raise RuntimeError("first fell over")


@subscribe(KernelProbed)
def second(event: KernelProbed) -> None:
    from kernel.db import db

    note(db, "second", event)


@pytest.fixture(autouse=True)
def none_failing():
    failing.clear()
    yield
    failing.clear()


def applied(db):
    return db.session.scalars(
        select(AuditEntry.actor).where(AuditEntry.action == "probe").order_by(AuditEntry.id)
    ).all()


def deliveries(db):
    rows = db.session.scalars(
        select(EventDelivery).order_by(EventDelivery.subscriber).execution_options(populate_existing=True)
    )
    return {row.subscriber.rpartition(".")[2]: row for row in rows}


def test_each_subscriber_is_told_once(db, clock, run_jobs):
    publish(KernelProbed(member_id=7, text="你好", at=clock.now(), numbers=[1, 2]))
    assert applied(db) == []
    assert run_jobs() == ["kernel.events.deliver_events"]
    assert sorted(applied(db)) == ["first", "second"]
    events.deliver_events.direct()
    assert sorted(applied(db)) == ["first", "second"]
    assert all(row.delivered_at == clock.now() and row.attempts == 1 for row in deliveries(db).values())


def test_what_was_published_comes_back_as_it_was(db, clock):
    sent = KernelProbed(member_id=7, text="引号\"'\\ 和 {花括号} \u2028", at=clock.now(), numbers=[1, 2])
    publish(sent)
    record = db.session.scalars(select(EventRecord)).one()
    assert (record.name, record.member_id, record.occurred_at) == ("KernelProbed", 7, clock.now())
    assert events.decode(record.name, record.payload) == sent


def test_a_row_of_a_type_that_is_gone_or_has_lost_a_field_is_no_fault(db):
    assert events.decode("ForgottenLongAgo", {"x": 1}) is None
    assert events.decode("KernelProbed", {"member_id": 1, "former": 2}) == KernelProbed(member_id=1)


def test_an_event_without_subscribers_is_kept_and_wakes_nobody(app, db):
    publish(NobodyCared(number=1))
    db.session.commit()
    assert db.session.scalars(select(EventRecord.name)).all() == ["NobodyCared"]
    assert deliveries(db) == {}
    assert app.extensions["collected_jobs"] == []


def test_nothing_is_told_of_what_was_rolled_back(app, db, clock, run_jobs):
    publish(KernelProbed(member_id=7, at=clock.now()))
    rollback()
    assert run_jobs() == []
    assert applied(db) == []


def test_many_are_published_in_one_statement(db, clock, queries, run_jobs):
    with queries(1):
        publish_all(KernelProbed(member_id=i, at=clock.now()) for i in range(120))
    publish_all([])
    run_jobs()
    assert len(applied(db)) == 240
    order = db.session.scalars(select(EventRecord.member_id).order_by(EventRecord.id)).all()
    assert order == list(range(120))


def test_two_types_cannot_share_a_name():
    with pytest.raises(TypeError):
        subscribe(type("KernelProbed", (Event,), {}))


def test_a_subscriber_that_fails_is_tried_again_later_and_holds_nobody_up(db, clock, run_jobs):
    failing.add("first")
    publish(KernelProbed(member_id=7, at=clock.now()))
    run_jobs()
    assert applied(db) == ["second"]
    row = deliveries(db)["first"]
    assert (row.attempts, row.delivered_at, row.error) == (1, None, "RuntimeError: first fell over")
    assert row.due_at == clock.now() + timedelta(seconds=2)
    events.deliver_events.direct()
    assert deliveries(db)["first"].attempts == 1
    failing.clear()
    clock.move(seconds=2)
    events.deliver_events.direct()
    assert sorted(applied(db)) == ["first", "second"]
    assert (deliveries(db)["first"].attempts, deliveries(db)["first"].error) == (2, None)


def test_the_waits_grow_and_the_eighth_failure_is_the_last(db, clock, run_jobs):
    failing.add("first")
    publish(KernelProbed(member_id=7, at=clock.now()))
    run_jobs()
    waits = []
    while (row := deliveries(db)["first"]).dead_at is None:
        waits.append((row.due_at - clock.now()).total_seconds())
        clock.at(row.due_at)
        events.deliver_events.direct()
    assert waits == [2, 4, 8, 16, 32, 64, 128]
    assert row.attempts == ATTEMPTS
    assert [dead.subscriber for dead in events.dead()] == [row.subscriber]
    clock.move(days=9)
    events.deliver_events.direct()
    assert deliveries(db)["first"].attempts == ATTEMPTS
    assert events.waiting() == 0


def test_a_dead_delivery_is_revived(db, clock, run_jobs):
    failing.add("first")
    publish(KernelProbed(member_id=7, at=clock.now()))
    run_jobs()
    row = deliveries(db)["first"]
    row.attempts, row.dead_at = ATTEMPTS, clock.now()
    db.session.commit()
    failing.clear()
    events.revive(row.event_id, row.subscriber)
    run_jobs()
    assert sorted(applied(db)) == ["first", "second"]
    assert events.dead() == []


def test_what_was_delivered_is_not_revived(db, clock, run_jobs):
    publish(KernelProbed(member_id=7, at=clock.now()))
    run_jobs()
    row = deliveries(db)["first"]
    events.revive(row.event_id, row.subscriber)
    run_jobs()
    assert len(applied(db)) == 2


def test_a_worker_that_died_leaves_the_delivery_for_another_a_minute_later(db, clock, run_jobs):
    publish(KernelProbed(member_id=7, at=clock.now()))
    db.session.commit()
    # Leased, and never heard of again.
    assert len(events._lease(10)) == 2
    db.session.commit()
    run_jobs()
    assert applied(db) == []
    clock.move(seconds=60)
    events.deliver_events.direct()
    assert sorted(applied(db)) == ["first", "second"]


def test_a_delivery_over_which_eight_workers_died_is_given_up(db, clock):
    publish(KernelProbed(member_id=7, at=clock.now()))
    db.session.commit()
    for row in deliveries(db).values():
        row.attempts = ATTEMPTS
    db.session.commit()
    events.deliver_events.direct()
    assert applied(db) == []
    db.session.expire_all()
    assert {row.error for row in events.dead()} == {"the worker died each time"}


def test_the_sentence_of_an_event(db, clock):
    publish_all([KernelProbed(member_id=7, text="hello", at=clock.now()), NobodyCared(number=1)])
    probed, nobody = db.session.scalars(select(EventRecord).order_by(EventRecord.id))
    assert describe(nobody) is None
    describes(KernelProbed)(lambda event: f"said {event.text}")
    assert describe(probed) == "said hello"
