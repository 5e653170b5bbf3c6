"""Recurring pushes, approval, wordings that compete, hours, priorities and copies, through services and jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from campaigns.audiences import queries as audiences
from campaigns.channels.adapters import Outcome, Status
from campaigns.channels.models import InboxMessage
from campaigns.pushes import drain, jobs, queries, recurrence, rules, services
from campaigns.pushes.models import Delivery, DeliveryState, Run, RunState, Target
from kernel import clock as kernel_clock
from kernel import shop
from membership.members.models import Contact

from .test_jobs import gateway, states  # noqa: F401

S = DeliveryState


@pytest.fixture(autouse=True)
def noon_with_nobody_held_out(db: Any, clock: Any) -> None:
    shop.put("holdout.percent", 0)
    shop.put("contact.per_day", None)
    shop.put("contact.per_month", None)


def tick(run_jobs: Any) -> None:
    for _turn in range(3):
        jobs.wake.direct()
        run_jobs()


def runs(db: Any, push: Any) -> list[tuple[str, RunState]]:
    db.session.expire_all()
    found = db.session.execute(select(Run.occurrence, Run.state).where(Run.push_id == push.id).order_by(Run.id))
    return [(occurrence, state) for occurrence, state in found]


# ── Series ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_time_of_a_series_is_one_run(db: Any, make_member: Any, make_push: Any, run_jobs: Any, clock: Any) -> None:
    make_member("Lime")
    push, run = make_push(rrule="FREQ=DAILY", life_hours=24)
    services.schedule(run)
    tick(run_jobs)
    assert runs(db, push) == [("2026-03-03T12:00", RunState.COMPLETED), ("2026-03-04T12:00", RunState.SCHEDULED)]
    clock.move(hours=23, minutes=59)
    tick(run_jobs)
    assert len(runs(db, push)) == 2
    clock.move(minutes=2)
    tick(run_jobs)
    assert [state for _key, state in runs(db, push)] == [RunState.COMPLETED, RunState.COMPLETED, RunState.SCHEDULED]
    assert db.session.scalar(select(func.count()).select_from(InboxMessage)) == 2
    assert services.get_run(push.id).occurrence == "2026-03-04T12:00"


def test_check_g6_a_clock_that_jumps_repeats_nothing_and_names_what_was_missed(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, clock: Any
) -> None:
    make_member("Lime")
    push, run = make_push(rrule="FREQ=DAILY", life_hours=24)
    services.schedule(run)
    tick(run_jobs)
    for jump in (timedelta(hours=-1), timedelta(hours=1), timedelta(days=3, hours=5), timedelta(days=-3)):
        clock.move(seconds=jump.total_seconds())
        tick(run_jobs)
        tick(run_jobs)
    found = runs(db, push)
    assert found == [
        ("2026-03-03T12:00", RunState.COMPLETED),
        # Three days were slept through; each of them is said, and none is sent later.
        ("2026-03-04T12:00", RunState.EXPIRED),
        ("2026-03-05T12:00", RunState.EXPIRED),
        ("2026-03-06T12:00", RunState.EXPIRED),
        ("2026-03-07T12:00", RunState.SCHEDULED),
    ]
    failures = db.session.scalars(select(Run.failure).where(Run.state == RunState.EXPIRED)).all()
    assert set(failures) == {services.MISSED}
    assert db.session.scalar(select(func.count()).select_from(InboxMessage)) == 1


def test_check_g6_a_clock_in_2038_writes_few_rows_down(db: Any, make_push: Any, run_jobs: Any, clock: Any) -> None:
    push, run = make_push(rrule="FREQ=DAILY")
    services.schedule(run)
    tick(run_jobs)
    clock.move(days=365 * 12)
    tick(run_jobs)
    assert len(runs(db, push)) <= 4 + services.MISSED_AT_MOST
    assert runs(db, push)[-1][1] in (RunState.SCHEDULED, RunState.COMPLETED)
    assert push.stopped_at is None


def test_a_series_ends_by_its_rule_or_by_hand(db: Any, make_push: Any, run_jobs: Any, clock: Any) -> None:
    twice, run = make_push(rrule="FREQ=DAILY;COUNT=2")
    services.schedule(run)
    endless, other = make_push(rrule="FREQ=DAILY")
    services.schedule(other)
    tick(run_jobs)
    services.stop_series(endless)
    with pytest.raises(services.TooLate):
        services.stop_series(endless)
    clock.move(days=1, minutes=1)
    tick(run_jobs)
    assert [state for _key, state in runs(db, twice)] == [RunState.COMPLETED] * 2
    assert twice.stopped_at is not None
    assert [state for _key, state in runs(db, endless)] == [RunState.COMPLETED, RunState.CANCELLED]


def test_a_series_that_never_comes_is_refused(db: Any, make_push: Any) -> None:
    _push, run = make_push(rrule="FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30")
    with pytest.raises(recurrence.NeverComes):
        services.schedule(run)


# ── Approval ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_large_push_waits_for_a_second_person(
    db: Any, make_member: Any, make_push: Any, make_staff: Any, run_jobs: Any, clock: Any
) -> None:
    for n in range(3):
        make_member(f"P{n}")
    services.set_approval_above(2)
    writer, other, second = (make_staff(email=f"{name}@shop.example") for name in ("writer", "other", "second"))
    push, run = make_push()
    push.staff_id, push.changed_by = writer.id, other.id
    services.schedule(run, staff_id=writer.id)
    assert run.state is RunState.APPROVAL
    tick(run_jobs)
    assert run.state is RunState.APPROVAL
    for person in (writer, other):
        with pytest.raises(services.OwnWork):
            services.approve(run, person.id)
    clock.move(hours=3)
    services.approve(run, second.id)
    assert run.scheduled_at == clock.now()
    tick(run_jobs)
    assert runs(db, push) == [("once", RunState.COMPLETED)]
    services.set_approval_above(3)
    _push, small = make_push()
    services.schedule(small, staff_id=writer.id)
    assert small.state is RunState.SCHEDULED


def test_an_estimate_lets_nothing_go(
    db: Any, make_member: Any, make_push: Any, make_staff: Any, owner_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_staff(email="writer@shop.example")
    for n in range(3):
        make_member(f"P{n}")
    owner_client.post("/console/language", data={"lang": "en"})
    limits: list[int] = []

    @contextmanager
    def out_of_time(milliseconds: int) -> Iterator[None]:
        limits.append(milliseconds)
        if milliseconds <= longest:
            raise audiences.OutOfTime
        yield

    def scheduled(above: int) -> RunState:
        services.set_approval_above(above)
        push, run = make_push()
        services.schedule(run, staff_id=writer.id)
        about = "It waits for a second person: about " in owner_client.get(f"/console/pushes/{push.id}").text
        assert about == (run.state is RunState.APPROVAL)
        return run.state

    # What people wait for on a page is over, and the estimate is far off in either direction.
    longest = 5_000
    monkeypatch.setattr(audiences, "time_limit", out_of_time)
    monkeypatch.setattr(audiences, "_estimate", lambda *_asked: 1)
    assert scheduled(2) is RunState.APPROVAL
    monkeypatch.setattr(audiences, "_estimate", lambda *_asked: 1_000)
    assert scheduled(3) is RunState.SCHEDULED
    # Nobody can say within any time.
    longest = services.APPROVAL_MS
    monkeypatch.setattr(audiences, "_estimate", lambda *_asked: 1)
    assert scheduled(1_000) is RunState.APPROVAL
    assert services.APPROVAL_MS in limits


# ── Groups ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_control_group_and_the_wordings_are_those_of_the_rule(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any
) -> None:
    people = [make_member(f"P{n}") for n in range(120)]
    other = {"share": 30, "subject": "B", "body": "b", "subject_en": None, "body_en": None}
    push, run = make_push(control_percent=20, variants=[other, other | {"share": 20, "subject": "C"}])
    services.schedule(run)
    tick(run_jobs)
    rows = {d.member_id: d for d in services.deliveries_of(run.id)}
    cut, salt = rules.cut_of(20), services.salt_of(push, "control")
    held = {p.id for p in people if rules._digest(salt, p.id) < cut}
    assert {m for m, d in rows.items() if d.reason == "control"} == held
    assert 8 < len(held) < 42
    salt = services.salt_of(push, "wording")
    expected = {p.id: rules.variant_of(salt, p.id, (50, 30, 20)) for p in people if p.id not in held}
    assert {m: d.variant for m, d in rows.items() if d.state is S.ACCEPTED} == expected
    titles = dict(db.session.execute(select(InboxMessage.member_id, InboxMessage.title)).all())
    for member_id, variant in expected.items():
        assert titles[member_id].startswith(("Hello", "B", "C")[variant or 0])
    shown = queries.wordings(push, run)
    assert [one.letter for one in shown] == ["A", "B", "C"]
    assert sum(one.sent for one in shown) == len(expected)


def test_the_rest_gets_the_winner(db: Any, make_member: Any, make_push: Any, run_jobs: Any, clock: Any) -> None:
    for n in range(60):
        make_member(f"P{n}")
    other = {"share": 50, "subject": "B", "body": "b", "subject_en": None, "body_en": None}
    _push, run = make_push(variants=[other], sample_percent=40, winner_after_hours=4)
    services.schedule(run)
    tick(run_jobs)
    sent = [d for d in services.deliveries_of(run.id) if d.state is S.ACCEPTED]
    waiting = [d for d in services.deliveries_of(run.id) if d.state is S.READY]
    assert len(sent) + len(waiting) == 60
    assert min(len(sent), len(waiting)) > 5
    assert {d.variant for d in waiting} == {None}
    for one in sent:
        if one.variant == 1:
            one.clicked_at = clock.now()
    db.session.flush()
    clock.move(hours=4, minutes=1)
    tick(run_jobs)
    db.session.expire_all()
    assert (run.state, run.winner) == (RunState.COMPLETED, 1)
    assert {d.variant for d in services.deliveries_of(run.id) if d.id in {w.id for w in waiting}} == {1}
    assert db.session.scalar(select(func.count()).where(InboxMessage.title == "B")) >= len(waiting)


def test_each_member_has_their_hour(
    db: Any, make_member: Any, make_order: Any, make_push: Any, run_jobs: Any, clock: Any
) -> None:
    early, late, new = make_member("Early"), make_member("Late"), make_member("New")
    noon = clock.now()
    for days in (3, 4):
        make_order(early, placed_at=noon - timedelta(days=days, hours=3))  # 09:00, which has passed today.
        make_order(late, placed_at=noon - timedelta(days=days) + timedelta(hours=8))  # 20:00.
    make_order(late, placed_at=noon - timedelta(days=9) + timedelta(hours=1))
    make_order(late, placed_at=noon - timedelta(days=8) + timedelta(hours=8))
    _push, run = make_push(usual_hour=True, stop_when_bought=False)
    services.schedule(run)
    tick(run_jobs)
    db.session.expire_all()
    at = {d.member_id: kernel_clock.local(d.not_before).strftime("%d %H") for d in services.deliveries_of(run.id)}
    assert at == {early.id: "04 09", late.id: "03 20", new.id: "03 20"}
    assert set(states(db, run).values()) == {(S.READY, None)}
    clock.move(hours=8, minutes=1)
    tick(run_jobs)
    assert {m for m, (state, _r) in states(db, run).items() if state is S.ACCEPTED} == {late.id, new.id}
    clock.move(hours=13)
    tick(run_jobs)
    assert run.state is RunState.COMPLETED


def test_the_higher_priority_goes_first_on_an_account(
    db: Any,
    make_member: Any,
    make_push: Any,
    gateway: Any,  # noqa: F811
) -> None:
    for n in range(4):
        make_member(f"P{n}")
    account, adapter = gateway()
    planned = []
    for name, priority in (("low", 0), ("high", 1)):
        _push, run = make_push(account_id=account.id, priority=priority, subject=name)
        services.schedule(run)
        services.start(run)
        services.fan_out(run.id)
        planned.append(run)
    low, high = planned
    assert drain.drain(low.id) is False
    assert adapter.handed == []
    drain.drain(high.id)
    drain.drain(low.id)
    assert [m.subject for m in adapter.handed] == ["high"] * 4 + ["low"] * 4


# ── Copies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_missed_are_written_to_again(
    db: Any,
    make_member: Any,
    make_push: Any,
    run_jobs: Any,
    gateway: Any,  # noqa: F811
) -> None:
    lime, plum = make_member("Lime"), make_member("Plum")
    make_member("Deaf", consents=(Contact.EMAIL,))
    account, _adapter = gateway(
        lambda m: Outcome(Status.REJECTED, "no") if m.member_id == plum.id else Outcome(Status.ACCEPTED)
    )
    push, run = make_push(account_id=account.id)
    services.schedule(run)
    tick(run_jobs)
    assert states(db, run)[plum.id] == (S.FAILED, "no")
    fresh = services.copy_for_missed(push, run, None, "Again")
    again = services.get_run(fresh.id)
    assert list(db.session.scalars(select(Target.member_id).where(Target.run_id == again.id))) == [plum.id]
    services.schedule(again)
    tick(run_jobs)
    assert list(states(db, again)) == [plum.id]
    assert lime.id not in states(db, again)
    with pytest.raises(services.NothingMissed):
        db.session.execute(update(Delivery).where(Delivery.run_id == run.id).values(state=S.ACCEPTED))
        services.copy_for_missed(push, run, None, "Again")


def test_last_years_push_keeps_its_day_and_says_what_is_gone(
    db: Any, make_push: Any, make_offer: Any, run_jobs: Any, clock: Any
) -> None:
    offer = make_offer()
    push, run = make_push(offer_id=offer.id, audience={"rules": [{"kind": "tier", "ranks": [2]}]})
    services.schedule(run)
    tick(run_jobs)
    clock.move(days=300)
    fresh = services.copy_for_next_year(push, run, None, push.name)
    again = services.get_run(fresh.id)
    assert kernel_clock.local(again.scheduled_at).strftime("%Y-%m-%d %H:%M") == "2027-03-03 12:00"
    assert (fresh.audience, fresh.copied_from_id) == (push.audience, push.id)
    assert queries.lost_since(fresh) == []
    offer.state = "ended"
    fresh.audience = {"rules": [{"kind": "no such rule"}]}
    db.session.flush()
    assert queries.lost_since(fresh) == ["offer", "audience"]


def test_the_29th_of_february_becomes_the_28th(clock: Any) -> None:
    leap = kernel_clock.at(kernel_clock.today().replace(year=2028, month=2, day=28)) + timedelta(days=1)
    later = rules.next_year(leap, leap + timedelta(days=1), kernel_clock.ZONE)
    assert kernel_clock.local(later).strftime("%Y-%m-%d") == "2029-02-28"
