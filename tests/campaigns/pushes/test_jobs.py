"""A push from its schedule to its end, through the jobs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from campaigns.channels import registry
from campaigns.channels import services as channels
from campaigns.channels.adapters import Abilities, Message, Outcome, Status
from campaigns.channels.models import Account, ChannelKind, ContactClass, ContactCount, InboxMessage
from campaigns.pushes import drain, jobs, ledger, queries, rules, services
from campaigns.pushes.models import CouponMode, Delivery, DeliveryState, Run, RunState, Slice
from kernel import clock as kernel_clock
from kernel import shop
from kernel.db import transaction
from membership.coupons.models import Coupon
from membership.members.models import Contact, Member
from tests.campaigns.conftest import agree
from tests.conftest import settle

S = DeliveryState
REPURCHASE = ContactClass.REPURCHASE
CLAIM = ledger.claim_statement(ledger.Basis(Contact.INBOX))


class Scripted:
    """An adapter that answers what the test tells it, and remembers what it was handed."""

    def __init__(self, answer: Callable[[Message], Outcome] | None = None, **abilities: Any) -> None:
        values = {"kind": ChannelKind.WEBHOOK, "contact": Contact.INBOX, "batch_size": 2}
        self.abilities = Abilities(**(values | abilities))
        self.answer = answer or (lambda m: Outcome(Status.ACCEPTED, provider_id=f"p-{m.member_id}"))
        self.handed: list[Message] = []
        self.meanwhile: dict[int, Callable[[], Any]] = {}

    def submit(self, batch: Any) -> list[Outcome]:
        # What somebody else does while a batch is under way, in a transaction of their own.
        act = self.meanwhile.pop(len(self.handed), None)
        if act is not None:
            with transaction():
                act()
        self.handed += batch
        return [self.answer(m) for m in batch]

    def close(self) -> None:
        return None


@pytest.fixture
def gateway(db: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Account, Scripted]]:
    """`gateway(answer, **abilities)` makes an account whose adapter answers by script."""

    def make(answer: Any = None, rate: int | None = None, **abilities: Any) -> tuple[Account, Scripted]:
        account = Account(
            name="Gateway",
            kind=ChannelKind.WEBHOOK,
            settings={"url": "http://x"},
            rate_per_second=rate,
            created_at=kernel_clock.now(),
        )
        db.session.add(account)
        db.session.flush()
        adapter = Scripted(answer, **abilities)
        known, account_id = registry.adapter_of, account.id
        monkeypatch.setattr(registry, "adapter_of", lambda a: adapter if a.id == account_id else known(a))
        return account, adapter

    return make


@pytest.fixture(autouse=True)
def noon_with_nobody_held_out(db: Any, clock: Any) -> None:
    shop.put("holdout.percent", 0)


def go(run: Run, run_jobs: Any, **when: Any) -> None:
    services.schedule(run, **when)
    jobs.wake.direct()
    run_jobs()


def states(db: Any, run: Run) -> dict[int, tuple[DeliveryState, str | None]]:
    db.session.expire_all()
    return {
        d.member_id: (d.state, d.reason) for d in db.session.scalars(select(Delivery).where(Delivery.run_id == run.id))
    }


def test_push_reaches_those_who_agreed(db: Any, make_member: Any, make_push: Any, run_jobs: Any) -> None:
    lime, plum = make_member("Lime"), make_member("Plum")
    deaf = make_member("Deaf", consents=(Contact.EMAIL,))
    _push, run = make_push()
    go(run, run_jobs)
    assert run.state is RunState.COMPLETED
    assert states(db, run) == {
        lime.id: (S.ACCEPTED, None),
        plum.id: (S.ACCEPTED, None),
        deaf.id: (S.SUPPRESSED, "no_consent"),
    }
    assert {(m.member_id, m.title) for m in db.session.scalars(select(InboxMessage))} == {
        (lime.id, "Hello Lime"),
        (plum.id, "Hello Plum"),
    }
    assert run.planned == 3
    assert run.tally == {"accepted": 2, "suppressed:no_consent": 1}


def test_inv_d1_planned_is_the_sum_of_all_ends(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any
) -> None:
    shop.put("holdout.percent", 30)
    people = [make_member(f"P{i}", consents=(Contact.INBOX,) if i % 4 else ()) for i in range(40)]
    lapsed = people[5]
    account, _adapter = gateway(
        lambda m: Outcome(Status.REJECTED, "unknown number") if m.member_id % 5 == 0 else Outcome(Status.ACCEPTED)
    )
    _push, run = make_push(account_id=account.id)
    services.schedule(run)
    jobs.wake.direct()
    jobs.fan_out.direct(run_id=run.id)
    agree(db, lapsed.id, Contact.INBOX, False)
    run_jobs()
    db.session.refresh(run)
    assert run.state is RunState.COMPLETED
    assert run.planned == len(states(db, run)) == 40
    assert sum(run.tally.values()) == 40
    for part in db.session.scalars(select(Slice)):
        assert part.accepted + part.unsent + part.unknown == part.total
    # The same person is planned once, whatever is tried.
    assert db.session.scalar(select(func.count(Delivery.member_id.distinct()))) == 40


def test_fan_out_goes_by_chunks_and_resumes(
    db: Any, make_member: Any, make_push: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "CHUNK", 4)
    monkeypatch.setattr(rules, "SLICE", 3)
    people = [make_member(f"P{i}") for i in range(10)]
    _push, run = make_push()
    services.schedule(run)
    services.start(run)
    late = make_member("Late")
    assert services.fan_out(run.id) == ledger.Planned(4, False)
    assert services.fan_out(run.id) == ledger.Planned(4, False)
    db.session.refresh(run)
    assert (run.cursor, run.planned, run.slices) == (people[7].id, 8, 4)
    assert services.fan_out(run.id) == ledger.Planned(2, True)
    db.session.refresh(run)
    assert run.state is RunState.RUNNING
    # Who came after the start is too late, and a fan-out that is called again writes nothing.
    assert services.fan_out(run.id) == ledger.Planned(0, True)
    assert set(states(db, run)) == {p.id for p in people} - {late.id}
    totals = {s.number: s.total for s in db.session.scalars(select(Slice))}
    assert totals == {1: 3, 2: 1, 3: 3, 4: 1, 5: 2}


def test_holdout_is_the_same_in_sql_and_python(db: Any, make_member: Any, make_push: Any, run_jobs: Any) -> None:
    shop.put("holdout.percent", 20)
    shop.put("holdout.salt", "salt")
    people = [make_member(f"P{i}") for i in range(200)]
    _push, run = make_push()
    go(run, run_jobs)
    quarter = rules.quarter_of(kernel_clock.today())
    held = {p.id for p in people if rules.held_out("salt", quarter, p.id, 20)}
    assert 15 < len(held) < 65
    assert {m for m, (state, _why) in states(db, run).items() if state is S.CONTROL} == held


def test_inv_d2_consent_is_asked_again_before_each_batch(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any
) -> None:
    people = [make_member(f"P{i}") for i in range(6)]
    account, adapter = gateway()
    # While the first batch is under way the last two people change their minds.
    wavering = [p.id for p in people[4:]]
    adapter.meanwhile[0] = lambda: [agree(db, member_id, Contact.INBOX, False) for member_id in wavering]
    _push, run = make_push(account_id=account.id)
    go(run, run_jobs)
    assert {m.member_id for m in adapter.handed} == {p.id for p in people[:4]}
    found = states(db, run)
    assert [found[p.id] for p in people[4:]] == [(S.SUPPRESSED, "no_consent")] * 2
    assert db.session.scalar(select(func.sum(ContactCount.month_total))) == 4


def test_bought_meanwhile_is_left_out(db: Any, make_member: Any, make_push: Any, run_jobs: Any, clock: Any) -> None:
    waiting, buyer = make_member("Waiting"), make_member("Buyer", last_order_at=clock.now() - timedelta(days=40))
    _push, run = make_push(audience={"rules": []})
    services.schedule(run)
    jobs.wake.direct()
    jobs.fan_out.direct(run_id=run.id)
    clock.move(minutes=5)
    buyer.last_order_at = clock.now()
    run_jobs()
    assert states(db, run) == {waiting.id: (S.ACCEPTED, None), buyer.id: (S.SUPPRESSED, "bought")}


def test_an_order_inside_the_window_counts_as_bought(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, clock: Any
) -> None:
    buyer = make_member("Buyer", last_order_at=clock.now() - timedelta(days=40))
    _push, run = make_push(audience={"rules": [{"kind": "last_order", "from_days": 30, "to_days": 60}]})
    services.schedule(run)
    jobs.wake.direct()
    jobs.fan_out.direct(run_id=run.id)
    # The feed brings yesterday's order late.
    buyer.last_order_at = clock.now() - timedelta(days=1)
    run_jobs()
    assert states(db, run) == {buyer.id: (S.SUPPRESSED, "bought")}


def test_merged_members_are_not_written_to(db: Any, make_member: Any, make_push: Any, run_jobs: Any) -> None:
    kept, gone = make_member("Kept"), make_member("Gone")
    _push, run = make_push()
    services.schedule(run)
    jobs.wake.direct()
    jobs.fan_out.direct(run_id=run.id)
    gone.merged_into_id = kept.id
    run_jobs()
    assert states(db, run)[gone.id] == (S.SUPPRESSED, "gone")


def test_caps_stop_the_second_push_of_a_day(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, clock: Any
) -> None:
    lime = make_member("Lime")
    for day, expected in enumerate([S.ACCEPTED, S.ACCEPTED, S.ACCEPTED, S.ACCEPTED, S.CAPPED]):
        if day:
            clock.move(days=1)
        _push, run = make_push()
        go(run, run_jobs)
        assert states(db, run)[lime.id][0] is expected, day
        _push, again = make_push()
        go(again, run_jobs)
        assert states(db, again)[lime.id] == (S.CAPPED, "day" if day < 3 else "month")
    clock.at(kernel_clock.at(kernel_clock.today().replace(month=4, day=1), 12))
    _push, run = make_push()
    go(run, run_jobs)
    assert states(db, run)[lime.id][0] is S.ACCEPTED


def test_caps_are_released_when_the_channel_refuses(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any
) -> None:
    lime = make_member("Lime")
    account, _adapter = gateway(lambda m: Outcome(Status.REJECTED, "blocked"))
    _push, run = make_push(account_id=account.id)
    go(run, run_jobs)
    assert states(db, run)[lime.id] == (S.FAILED, "blocked")
    row = db.session.get(ContactCount, lime.id)
    assert (row.month_total, row.day_total) == (0, 0)
    _push, run = make_push()
    go(run, run_jobs)
    assert states(db, run)[lime.id][0] is S.ACCEPTED


def test_doubt_keeps_the_cap_and_is_not_sent_again(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any
) -> None:
    lime = make_member("Lime")
    account, adapter = gateway(lambda m: Outcome(Status.UNKNOWN, "timed out"))
    _push, run = make_push(account_id=account.id)
    go(run, run_jobs)
    assert states(db, run)[lime.id] == (S.UNKNOWN, "timed out")
    assert run.tally == {"unknown": 1}
    assert len(adapter.handed) == 1
    assert db.session.get(ContactCount, lime.id).month_total == 1
    # Somebody decides to offer it again.
    adapter.answer = lambda m: Outcome(Status.ACCEPTED)
    assert services.resend_unknown(run) == 1
    jobs.wake_run(run.id)
    run_jobs()
    assert states(db, run)[lime.id][0] is S.ACCEPTED
    assert [m.key for m in adapter.handed] == [adapter.handed[0].key] * 2
    assert run.tally == {"accepted": 1}


def test_what_was_reported_delivered_meanwhile_is_not_sent_again(
    db: Any, owner_client: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any
) -> None:
    lime, mint = make_member("Lime"), make_member("Mint")
    account, adapter = gateway(lambda m: Outcome(Status.UNKNOWN, "timed out"))
    _push, run = make_push(account_id=account.id)
    go(run, run_jobs)
    arrived = next(d for d in services.deliveries_of(run.id) if d.member_id == lime.id)
    arrived.delivered_at = kernel_clock.now()
    db.session.flush()
    adapter.answer = lambda m: Outcome(Status.ACCEPTED)
    assert services.resend_unknown(run) == 1
    jobs.wake_run(run.id)
    run_jobs()
    assert [m.member_id for m in adapter.handed[2:]] == [mint.id]
    assert {member_id: state for member_id, (state, _why) in states(db, run).items()} == {
        lime.id: S.UNKNOWN,
        mint.id: S.ACCEPTED,
    }
    assert run.tally == {"accepted": 1, "unknown": 1}
    assert db.session.get(ContactCount, lime.id).month_total == 1
    # Nobody is left to whom it could be sent again: neither page nor button offers it, and the run stays as it ended.
    assert ledger.still_in_doubt(run.id) == 0
    assert queries.in_doubt(kernel_clock.now() - timedelta(days=1)) == []
    page = owner_client.get(f"/console/pushes/{run.push_id}").text
    assert "1 条消息结果未知" in page
    assert "渠道之后回报其中 1 条已送达。" in page
    assert f"/console/pushes/{run.push_id}/resend" not in page
    for act in ("resend", "missed"):
        assert owner_client.post(f"/console/pushes/{run.push_id}/{act}").status_code == 409
    assert (run.state, run.tally) == (RunState.COMPLETED, {"accepted": 1, "unknown": 1})


def test_what_was_not_taken_is_tried_again_later(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any, clock: Any
) -> None:
    lime = make_member("Lime")
    account, adapter = gateway(lambda m: Outcome(Status.RETRY, "busy"))
    _push, run = make_push(account_id=account.id)
    go(run, run_jobs)
    assert states(db, run)[lime.id] == (S.READY, "busy")
    assert db.session.scalar(select(func.sum(ContactCount.month_total))) == 0
    for _ in range(8):
        clock.move(hours=5)
        jobs.wake.direct()
        run_jobs()
    assert states(db, run)[lime.id] == (S.FAILED, "busy")
    assert len(adapter.handed) == rules.ATTEMPTS


def test_a_channel_that_is_down_loses_nothing(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any, clock: Any
) -> None:
    people = [make_member(f"P{i}") for i in range(5)]
    account, adapter = gateway(lambda m: Outcome(Status.RETRY, "connection refused", down=True))
    _push, run = make_push(account_id=account.id)
    go(run, run_jobs)
    assert {state for state, _why in states(db, run).values()} == {S.READY}
    db.session.refresh(account)
    assert account.retry_at == clock.now() + timedelta(seconds=15)
    assert account.last_error == "connection refused"
    handed = len(adapter.handed)
    jobs.wake.direct()
    run_jobs()
    assert len(adapter.handed) == handed
    adapter.answer = lambda m: Outcome(Status.ACCEPTED)
    clock.move(minutes=1)
    jobs.wake.direct()
    run_jobs()
    assert {m: s for m, (s, _w) in states(db, run).items()} == {p.id: S.ACCEPTED for p in people}
    db.session.refresh(account)
    assert (account.errors_in_row, account.retry_at) == (0, None)


def test_twenty_errors_in_a_row_pause_the_account(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any, clock: Any
) -> None:
    for i in range(30):
        make_member(f"P{i}")
    account, adapter = gateway(lambda m: Outcome(Status.REJECTED, "spam"))
    _push, run = make_push(account_id=account.id)
    go(run, run_jobs)
    db.session.refresh(account)
    assert account.pause_reason == "spam"
    assert len(adapter.handed) == 20
    found = [state for state, _why in states(db, run).values()]
    assert (found.count(S.FAILED), found.count(S.READY)) == (20, 10)
    adapter.answer = lambda m: Outcome(Status.ACCEPTED)
    channels.resume_account(account)
    clock.move(minutes=1)
    jobs.wake.direct()
    run_jobs()
    found = [state for state, _why in states(db, run).values()]
    assert (found.count(S.FAILED), found.count(S.ACCEPTED)) == (20, 10)


def test_one_success_forgets_the_errors(db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any) -> None:
    people = [make_member(f"P{i}") for i in range(60)]
    good = {p.id for p in people[9::10]}
    account, _adapter = gateway(lambda m: Outcome(Status.ACCEPTED if m.member_id in good else Status.REJECTED, "no"))
    _push, run = make_push(account_id=account.id)
    go(run, run_jobs)
    db.session.refresh(account)
    assert account.paused_at is None
    assert run.state is RunState.COMPLETED


def test_pause_takes_effect_within_a_batch(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any, clock: Any
) -> None:
    for i in range(10):
        make_member(f"P{i}")
    account, adapter = gateway()

    _push, run = make_push(account_id=account.id)
    run_id = run.id
    adapter.meanwhile[2] = lambda: services.pause(db.session.get_one(Run, run_id, populate_existing=True))
    go(run, run_jobs)
    # Two had been handed over; the batch under way was the last one.
    assert len(adapter.handed) == 4
    found = [state for state, _why in states(db, run).values()]
    assert (found.count(S.ACCEPTED), found.count(S.READY)) == (4, 6)
    assert db.session.scalar(select(func.sum(ContactCount.month_total))) == 4
    services.resume(run)
    clock.move(minutes=1)
    jobs.wake.direct()
    run_jobs()
    assert {state for state, _why in states(db, run).values()} == {S.ACCEPTED}
    assert len(adapter.handed) == 10


def test_cancel_ends_the_rest(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any, clock: Any
) -> None:
    for i in range(6):
        make_member(f"P{i}")
    account, adapter = gateway()
    _push, run = make_push(account_id=account.id)
    run_id = run.id
    adapter.meanwhile[0] = lambda: services.cancel(db.session.get_one(Run, run_id, populate_existing=True))
    go(run, run_jobs)
    clock.move(minutes=1)
    jobs.wake.direct()
    run_jobs()
    db.session.refresh(run)
    assert run.state is RunState.CANCELLED
    assert run.tally == {"accepted": 2, "cancelled": 4}
    assert run.finished_at == clock.now()


def test_quiet_hours_hold_until_their_end(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any, clock: Any
) -> None:
    make_member("Lime")
    account, adapter = gateway()
    _push, run = make_push(account_id=account.id)
    clock.at(kernel_clock.at(kernel_clock.today(), 22, 0))
    go(run, run_jobs)
    for _ in range(3):
        clock.move(hours=3)
        jobs.wake.direct()
        run_jobs()
    assert kernel_clock.local(clock.now()).hour == 7
    assert adapter.handed == []
    clock.move(hours=1)
    jobs.wake.direct()
    run_jobs()
    assert len(adapter.handed) == 1


def test_the_inbox_is_not_concerned_by_quiet_hours(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, clock: Any
) -> None:
    make_member("Lime")
    clock.at(kernel_clock.at(kernel_clock.today(), 23))
    _push, run = make_push()
    go(run, run_jobs)
    assert run.state is RunState.COMPLETED


def test_quiet_hours_begin_between_two_batches(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any, clock: Any
) -> None:
    for i in range(6):
        make_member(f"P{i}")
    account, adapter = gateway()
    clock.at(kernel_clock.at(kernel_clock.today(), 21, 59))
    adapter.meanwhile[0] = lambda: clock.move(minutes=2)
    _push, run = make_push(account_id=account.id)
    go(run, run_jobs)
    assert len(adapter.handed) == 2
    found = [state for state, _why in states(db, run).values()]
    assert (found.count(S.ACCEPTED), found.count(S.READY)) == (2, 4)


def test_what_is_unsent_expires(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any, clock: Any
) -> None:
    make_member("Lime")
    account, _adapter = gateway(lambda m: Outcome(Status.RETRY, "busy", down=True))
    _push, run = make_push(account_id=account.id)
    go(run, run_jobs, life=timedelta(hours=24))
    clock.move(hours=24)
    jobs.wake.direct()
    run_jobs()
    db.session.refresh(run)
    assert run.state is RunState.EXPIRED
    assert run.tally == {"expired": 1}


def test_a_push_found_too_late_expires_unstarted(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, clock: Any
) -> None:
    make_member("Lime")
    _push, run = make_push()
    services.schedule(run, clock.now() + timedelta(hours=1), timedelta(hours=24))
    # The shop was shut down for a week.
    clock.move(days=7)
    jobs.wake.direct()
    run_jobs()
    db.session.refresh(run)
    assert run.state is RunState.EXPIRED
    assert run.planned == 0
    assert run.finished_at is not None


def test_rates_are_kept(db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any, clock: Any) -> None:
    for i in range(12):
        make_member(f"P{i}")
    account, adapter = gateway(rate=5)
    _push, run = make_push(account_id=account.id)
    # The clock stands still, so that the bucket does not fill while somebody waits for it.
    drain_wait, drain.LONGEST_WAIT = drain.LONGEST_WAIT, 0.0
    try:
        go(run, run_jobs)
        assert len(adapter.handed) == 5
        for expected in (10, 12):
            clock.move(seconds=6)
            jobs.wake.direct()
            run_jobs()
            assert len(adapter.handed) == expected
    finally:
        drain.LONGEST_WAIT = drain_wait
    assert run.state is RunState.COMPLETED


def test_a_text_that_cannot_be_filled_in_is_not_sent(db: Any, make_member: Any, make_push: Any, run_jobs: Any) -> None:
    lime = make_member("Lime")
    _push, run = make_push(body="Take {coupon_value}")
    go(run, run_jobs)
    assert states(db, run)[lime.id] == (S.RENDER_FAILED, "coupon_value")
    assert db.session.scalar(select(func.sum(ContactCount.month_total))) == 0


def test_granted_coupons_come_once_however_often_claimed(
    db: Any, make_member: Any, make_push: Any, make_offer: Any, run_jobs: Any, gateway: Any, clock: Any
) -> None:
    lime, plum = make_member("Lime"), make_member("Plum")
    offer = make_offer(stock=10)
    account, adapter = gateway(lambda m: Outcome(Status.RETRY, "busy"))
    _push, run = make_push(account_id=account.id, offer_id=offer.id, coupon_mode=CouponMode.GRANT, body="{coupon_link}")
    go(run, run_jobs)
    adapter.answer = lambda m: Outcome(Status.ACCEPTED)
    clock.move(minutes=5)
    jobs.wake.direct()
    run_jobs()
    assert {s for s, _w in states(db, run).values()} == {S.ACCEPTED}
    coupons = db.session.scalars(select(Coupon)).all()
    assert {(c.member_id, c.source) for c in coupons} == {(lime.id, f"push:{run.id}"), (plum.id, f"push:{run.id}")}
    assert len(coupons) == 2
    given = dict(db.session.execute(select(Delivery.member_id, Delivery.coupon_id)).all())
    assert given == {c.member_id: c.id for c in coupons}


def test_who_can_be_given_no_coupon_is_not_written_to(
    db: Any, make_member: Any, make_push: Any, make_offer: Any, run_jobs: Any
) -> None:
    for i in range(3):
        make_member(f"P{i}")
    offer = make_offer(stock=2)
    _push, run = make_push(offer_id=offer.id, coupon_mode=CouponMode.GRANT, body="{coupon_link}")
    go(run, run_jobs)
    assert run.tally == {"accepted": 2, "suppressed:no_coupon": 1}
    assert db.session.scalar(select(func.sum(ContactCount.month_total))) == 2


def test_an_audience_that_cannot_be_read_fails_the_run(db: Any, make_push: Any, run_jobs: Any) -> None:
    push, run = make_push()
    services.schedule(run)
    services.start(run)
    push.audience = {"rules": [{"kind": "moon"}]}
    settle()
    jobs.fan_out.direct(run_id=run.id)
    db.session.refresh(run)
    assert run.state is RunState.FAILED
    assert run.failure


def test_reaper_tells_claimed_from_submitting(
    db: Any, make_member: Any, make_push: Any, gateway: Any, clock: Any
) -> None:
    people = [make_member(f"P{i}") for i in range(4)]
    account, _adapter = gateway()
    _push, run = make_push(account_id=account.id)
    services.schedule(run)
    services.start(run)
    services.fan_out(run.id)
    held = ledger.lease(run.id, "dead", timedelta(seconds=30))
    assert held is not None
    claim = ledger.claim(held, timedelta(seconds=30), CLAIM, 1000, None, channels.budget(), REPURCHASE)
    going = ledger.intend(
        run.id,
        [row.id for row in claim.rows[:2]],
        ledger.intent_statement(ledger.Basis(Contact.INBOX), S.SUBMITTING),
    )
    assert len(going) == 2
    assert services.reap() == 0
    clock.move(seconds=31)
    assert services.reap() == 1
    assert [states(db, run)[p.id] for p in people] == [(S.UNKNOWN, "sender_stopped")] * 2 + [(S.READY, None)] * 2
    assert db.session.scalar(select(func.sum(ContactCount.month_total))) == 2
    part = db.session.scalars(select(Slice)).one()
    assert (part.state, part.unknown, part.token) == ("ready", 2, None)
    # The holder comes back: nothing of what it still wants to write is taken.
    done = {i: rules.Verdict(S.ACCEPTED) for i in going}
    with pytest.raises(ledger.LeaseLost):
        ledger.record(held, timedelta(seconds=30), done, S.SUBMITTING, REPURCHASE)
    with pytest.raises(ledger.LeaseLost):
        ledger.give_back(held, timedelta(seconds=30), REPURCHASE)


def test_a_newer_holder_fences_the_older_one_off(
    db: Any, make_member: Any, make_push: Any, gateway: Any, clock: Any
) -> None:
    make_member("Lime")
    account, _adapter = gateway()
    _push, run = make_push(account_id=account.id)
    services.schedule(run)
    services.start(run)
    services.fan_out(run.id)
    old = ledger.lease(run.id, "old", timedelta(seconds=30))
    clock.move(seconds=31)
    services.reap()
    new = ledger.lease(run.id, "new", timedelta(seconds=30))
    assert old is not None
    assert new is not None
    assert old.slice_id == new.slice_id
    with pytest.raises(ledger.LeaseLost):
        ledger.claim(old, timedelta(seconds=30), CLAIM, 10, None, channels.budget(), REPURCHASE)
    assert len(ledger.claim(new, timedelta(seconds=30), CLAIM, 10, None, channels.budget(), REPURCHASE).rows) == 1


def test_leases_of_the_dead_keep_nobody_else_from_the_work(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "SLICE", 2)
    for i in range(8):
        make_member(f"P{i}")
    account, adapter = gateway()
    _push, run = make_push(account_id=account.id)
    services.schedule(run)
    services.start(run)
    services.fan_out(run.id)
    # As many as there are workers for, and a lease may last for minutes.
    for holder in ("dead", "dead too"):
        assert ledger.lease(run.id, holder, timedelta(seconds=95)) is not None
    jobs.wake_run(run.id)
    assert run_jobs() == ["campaigns.pushes.jobs.send"]
    assert len(adapter.handed) == 4
    clock.move(seconds=96)
    assert services.reap() == 2
    jobs.wake_run(run.id)
    run_jobs()
    assert len(adapter.handed) == len({m.key for m in adapter.handed}) == 8
    assert states(db, run).keys() == {m.member_id for m in adapter.handed}


def test_a_faulty_adapter_leaves_doubt_and_not_silence(
    db: Any, make_member: Any, make_push: Any, run_jobs: Any, gateway: Any
) -> None:
    lime = make_member("Lime")

    def fail(m: Message) -> Outcome:
        raise KeyError("bug")

    account, _adapter = gateway(fail)
    _push, run = make_push(account_id=account.id)
    go(run, run_jobs)
    assert states(db, run)[lime.id][0] is S.UNKNOWN
    assert run.state is RunState.COMPLETED


def test_two_tickers_start_a_run_once(db: Any, make_push: Any) -> None:
    _push, run = make_push()
    services.schedule(run)
    assert services.start(run)
    assert not services.start(run)


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        (RunState.DRAFT, services.pause),
        (RunState.COMPLETED, services.cancel),
        (RunState.RUNNING, services.unschedule),
        (RunState.CANCELLED, services.resume),
    ],
)
def test_a_step_that_does_not_follow_is_refused(db: Any, make_push: Any, state: RunState, verb: Any) -> None:
    _push, run = make_push()
    db.session.execute(update(Run).values(state=state))
    db.session.refresh(run)
    with pytest.raises(services.TooLate):
        verb(run)


def test_members_without_a_nickname_are_still_greeted(db: Any, make_member: Any, make_push: Any, run_jobs: Any) -> None:
    lime: Member = make_member("", locale="en")
    _push, run = make_push()
    go(run, run_jobs)
    assert (
        db.session.scalars(select(InboxMessage).where(InboxMessage.member_id == lime.id)).one().title
        == "Hello dear member"
    )
