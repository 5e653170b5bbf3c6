"""Points under a crowd: nothing spent twice, nothing given twice, and the proof that these tests would notice."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text, update

from kernel import clock
from kernel.db import db, transaction
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, CouponKind, OfferState
from membership.members.models import Member, Note
from membership.members.services import merge
from membership.orders.models import Order, OrderState
from membership.points import queries, rules, services
from membership.points.models import Kind, PointsLot, PointsLotUse, PointsRedemption, PointsTransaction
from membership.points.services import ledger
from tests.committed import at_once
from tests.membership.points.conftest import check_books

pytestmark = pytest.mark.race


def ends_of(app: Flask, number: int, work: Callable[[int], Any]) -> Counter[str]:
    """Run `work(number)` in threads, each with a connection and transaction of its own; how each of them ended."""

    def whole(place: int) -> None:
        with transaction():
            work(place)

    faults = at_once(app, [partial(whole, place) for place in range(number)])
    return Counter(type(fault).__name__ for fault in faults) + Counter(done=number - len(faults))


def people(app: Flask, number: int, points: int = 0) -> list[int]:
    """So many members with so many points each, in a shop whose program runs."""
    with app.app_context(), transaction():
        now = clock.now()
        services.save_program(replace(rules.STANDARD, enabled=True, effective_from=now - timedelta(days=400)))
        members = [Member(stage_since=now, created_at=now) for _ in range(number)]
        db.session.add_all(members)
        db.session.flush()
        ids = [member.id for member in members]
        for member_id in ids if points else ():
            services.award(member_id, points, type=Kind.AWARD, source_type="test", source_id="a")
    return ids


# ── The whole balance, spent twice at once ──────────────────────────────────────────────────────────────────────────


def spend_twice(app: Flask, rounds: int = 10) -> None:
    """Two tills take the whole balance at once: one gets it, the other is told why not, and the books are right."""
    for member_id in people(app, rounds, points=100):

        def take_all(place: int, member_id: int = member_id) -> Any:
            return services.spend(member_id, 100, source_type="till", source_id=str(place))

        ends = ends_of(app, 2, take_all)
        assert ends == {"done": 1, "NotEnoughPoints": 1}
    with app.app_context():
        check_books(db)


def read_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long between reading and writing as it takes where the database is busy."""
    read = ledger.lots_in

    def slowly(accounts: Any) -> Any:
        found = read(accounts)
        time.sleep(0.03)
        return found

    monkeypatch.setattr(ledger, "lots_in", slowly)


def without_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard taken out: accounts are read, not locked."""

    def read(member_ids: Any) -> Any:
        statement = select(ledger.PointsAccount).where(ledger.PointsAccount.member_id.in_(sorted(set(member_ids))))
        return list(db.session.scalars(statement.order_by(ledger.PointsAccount.id)))

    monkeypatch.setattr(ledger, "locked", read)


def without_row_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a lot really gave is not looked at."""

    def take(takes: Any, spent: Any) -> None:
        for lot, amount in takes:
            db.session.execute(
                update(PointsLot)
                .where(PointsLot.id == lot.id, PointsLot.remaining >= amount)
                .values(remaining=PointsLot.remaining - amount)
                .execution_options(synchronize_session=False)
            )
            db.session.add(PointsLotUse(lot_id=lot.id, transaction_id=spent.id, amount=amount, returned=0))
        db.session.flush()

    monkeypatch.setattr(ledger, "take", take)


def test_two_spends_of_the_whole_balance_ends_of(app: Flask, committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    read_slowly(monkeypatch)
    spend_twice(app)


@pytest.mark.parametrize("broken", ["no lock", "no lock, row count ignored", "read before the lock, row count ignored"])
def test_the_same_round_is_red_without_its_guard(
    app: Flask, committed: Flask, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    if "no lock" in broken:
        read_slowly(monkeypatch)
        without_lock(monkeypatch)
    else:
        # The value is read, then the lock is taken, and the old value is believed (as in pretix#6067).
        held, read = ledger.held, ledger.lots_in
        stale = threading.local()

        def held_late(member_id: int, now: Any = None) -> Any:
            mine = select(ledger.PointsAccount).where(ledger.PointsAccount.member_id == member_id)
            accounts = list(db.session.scalars(mine))
            stale.lots = read(accounts)
            time.sleep(0.03)
            return held(member_id, now)

        monkeypatch.setattr(ledger, "held", held_late)
        monkeypatch.setattr(ledger, "lots_in", lambda accounts: stale.lots)
    if "row count" in broken:
        without_row_count(monkeypatch)
    with pytest.raises(AssertionError):
        spend_twice(app)


# ── One reward left ─────────────────────────────────────────────────────────────────────────────────────────────────


def reward_with(app: Flask, stock: int | None, per_member: int | None = None) -> int:
    with app.app_context(), transaction():
        offer = coupons.create(
            coupons.Draft(name="Last", kind=CouponKind.AMOUNT, value=1000, valid_days=9, stock=stock, per_member=None),
            OfferState.ACTIVE,
        )
        draft = services.RewardDraft(name="Last", points=60, offer_id=offer.id, per_member=per_member)
        return services.create_reward(draft).id


def counts(app: Flask) -> tuple[int, int, int]:
    with app.app_context():
        return (
            db.session.scalar(select(func.count()).select_from(PointsRedemption)) or 0,
            db.session.scalar(select(func.count()).select_from(Coupon)) or 0,
            -int(
                db.session.scalar(
                    select(func.sum(PointsTransaction.points)).where(PointsTransaction.type == Kind.REDEEM)
                )
                or 0
            ),
        )


def test_twenty_redeems_of_the_last_reward_ends_of(app: Flask, committed: Flask) -> None:
    members = people(app, 20, points=100)
    reward = reward_with(app, stock=1)
    ends = ends_of(app, 20, lambda place: services.redeem(members[place], reward, f"token-{place:04d}"))
    assert ends == {"done": 1, "RewardSoldOut": 19}
    assert counts(app) == (1, 1, 60)
    with app.app_context():
        balances = Counter(found.active for found in queries.balances_of(members).values())
        assert balances == {100: 19, 40: 1}
        check_books(db)


def test_twenty_presses_of_one_button_take_one_reward(app: Flask, committed: Flask) -> None:
    (member,) = people(app, 1, points=1_000)
    reward = reward_with(app, stock=None)
    ends = ends_of(app, 20, lambda place: services.redeem(member, reward, "token-0001"))
    assert ends == {"done": 20}
    assert counts(app) == (1, 1, 60)


def test_a_limit_of_two_a_member_holds_under_twenty_presses(app: Flask, committed: Flask) -> None:
    (member,) = people(app, 1, points=10_000)
    reward = reward_with(app, stock=None, per_member=2)
    ends = ends_of(app, 20, lambda place: services.redeem(member, reward, f"token-{place:04d}"))
    assert ends == {"done": 2, "RewardLimitReached": 18}
    assert counts(app) == (2, 2, 120)
    with app.app_context():
        check_books(db)


# ── A merge meanwhile ───────────────────────────────────────────────────────────────────────────────────────────────


WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


def while_merging(
    app: Flask, monkeypatch: pytest.MonkeyPatch, survivor: int, absorbed: int, work: Callable[[], Any]
) -> Counter[str]:
    """Merge two records, and do something with points once the merge has its members and before it has their accounts.

    Neither goes by the clock: the merge goes on when the work has its accounts or waits for somebody's lock.
    """
    merging, working = threading.Event(), threading.Event()
    lock, settle = merge.lock, ledger.settle

    def lock_and_wait(ids: Any) -> Any:
        rows = lock(ids)
        merging.set()
        deadline = time.monotonic() + 30
        while not working.is_set() and not db.session.scalar(text(WAITING)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return rows

    def settle_and_say(accounts: Any, now: Any) -> Any:
        working.set()
        return settle(accounts, now)

    def act(place: int) -> Any:
        if place == 0:
            return merge.merge(survivor, absorbed)
        assert merging.wait(30)
        return work()

    monkeypatch.setattr(merge, "lock", lock_and_wait)
    monkeypatch.setattr(ledger, "settle", settle_and_say)
    return ends_of(app, 2, act)


def test_a_redeem_during_a_merge_waits_for_it_and_is_the_survivors(
    app: Flask, committed: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    survivor, absorbed = people(app, 2, points=100)
    reward = reward_with(app, stock=None)
    ends = while_merging(app, monkeypatch, survivor, absorbed, lambda: services.redeem(absorbed, reward, "token-0001"))
    assert ends == {"done": 2}
    with app.app_context():
        assert queries.balance_of(survivor).active == 140
        assert db.session.scalars(select(PointsRedemption.member_id)).all() == [survivor]
        check_books(db)


def test_the_sweep_during_a_merge_waits_for_it(app: Flask, committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    survivor, absorbed = people(app, 2, points=100)
    later = clock.now() + timedelta(days=4_000)
    ends = while_merging(app, monkeypatch, survivor, absorbed, lambda: services.settle_due(now=later))
    assert ends == {"done": 2}
    with app.app_context(), transaction():
        services.settle_due(now=later)
        assert services.due_count() == 0
        assert queries.balance_of(survivor).active == 0
        check_books(db)


def test_points_given_back_during_a_merge_come_to_the_survivor(
    app: Flask, committed: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    survivor, absorbed = people(app, 2, points=100)
    with app.app_context(), transaction():
        spent = services.spend(absorbed, 30, source_type="till", source_id="1").id
    ends = while_merging(
        app, monkeypatch, survivor, absorbed, lambda: services.give_back(queries.get_transaction(spent))
    )
    assert ends == {"done": 2}
    with app.app_context(), transaction():
        # Again it is the same one, whoever owns it now.
        services.give_back(queries.get_transaction(spent))
        assert queries.balance_of(survivor).active == 200
        check_books(db)


def spend_and_note(member_id: int) -> None:
    """Points first and then something that names the person, as whoever spends points on something does."""
    spent = services.spend(member_id, 60, source_type="till", source_id="1")
    owner = queries.owner_of(spent)
    db.session.add(Note(member_id=owner, author="Till", body="60", at=clock.now()))


def test_spending_during_a_merge_waits_for_it(app: Flask, committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    survivor, absorbed = people(app, 2, points=100)
    assert while_merging(app, monkeypatch, survivor, absorbed, lambda: spend_and_note(absorbed)) == {"done": 2}
    with app.app_context():
        assert queries.balance_of(survivor).active == 140
        check_books(db)


def test_the_order_of_locks_has_teeth(app: Flask, committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the members not held before their accounts, the two wait for each other in a circle."""
    survivor, absorbed = people(app, 2, points=100)
    monkeypatch.setattr(ledger, "hold_owners", lambda member_ids: None)
    ends = while_merging(app, monkeypatch, survivor, absorbed, lambda: spend_and_note(absorbed))
    assert ends["OperationalError"] == 1, ends


# ── Everything at once ──────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_reported_by_many_workers_earns_once(app: Flask, committed: Flask) -> None:
    (member,) = people(app, 1)
    with app.app_context(), transaction():
        now = clock.now()
        order = Order(
            source="shop", external_id="1", member_id=member, state=OrderState.PAID, placed_at=now, paid_at=now,
            paid_amount=100_00, version_at=now, version_mark="", created_at=now,
        )  # fmt: skip
        db.session.add(order)
        db.session.flush()
        order_id = order.id
    ends = ends_of(
        app, 8, lambda place: services.settle_order(order_id) if place % 2 else services.settle_orders([order_id])
    )
    assert ends == {"done": 8}
    with app.app_context():
        assert queries.balance_of(member).pending == 100
        check_books(db)


def test_orders_spending_and_sweeps_at_once_never_wait_in_a_circle(app: Flask, committed: Flask) -> None:
    members = people(app, 6, points=200)
    with app.app_context(), transaction():
        now = clock.now()
        orders = [
            Order(
                source="shop", external_id=str(place), member_id=members[place % 6], state=OrderState.COMPLETED,
                placed_at=now, paid_at=now, completed_at=now, paid_amount=50_00, version_at=now, version_mark="",
                created_at=now,
            )
            for place in range(24)
        ]  # fmt: skip
        db.session.add_all(orders)
        db.session.flush()
        ids = [order.id for order in orders]

    def work(place: int) -> None:
        chance = random.Random(place)
        match place % 4:
            case 0:
                services.settle_orders(chance.sample(ids, 24))
            case 1:
                for order_id in chance.sample(ids, 1):
                    services.settle_order(order_id)
            case 2:
                spent = services.spend(chance.choice(members), 10, source_type="till", source_id=str(place))
                services.give_back(spent)
            case _:
                db.session.execute(update(Order).where(Order.id == chance.choice(ids)).values(refunded_amount=50_00))
                services.settle_due()

    assert ends_of(app, 8, work) == {"done": 8}
    with app.app_context(), transaction():
        services.settle_orders(ids)
    with app.app_context():
        refunded = db.session.scalar(select(func.count()).where(Order.refunded_amount > 0)) or 0
        total = sum(found.active for found in queries.balances_of(members).values())
        assert total == 6 * 200 + (24 - refunded) * 50
        check_books(db)
