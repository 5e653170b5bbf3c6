"""The repurchase clock: what it learns, whom it calls due, and that it stops when they buy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from campaigns.audiences import labels as audience_labels
from campaigns.audiences import queries as audiences
from campaigns.audiences.rules import parse
from campaigns.forecasts import queries, rules, services
from campaigns.forecasts.models import Basis, ClockPhase, ProductClock, Repurchase
from campaigns.forecasts.services import clocks
from campaigns.forecasts.subscribers import join_clocks, move_back_after_refund, move_on_after_order, part_clocks
from campaigns.journeys import queries as journeys
from kernel import clock as kernel_clock
from membership.members.events import MembersMerged, MergeUndone
from membership.members.services import erasure, merge
from membership.orders.events import OrderRecorded, OrderRefunded
from membership.orders.models import Order, OrderLine, OrderState
from membership.products import services as products

from .conftest import learn_all

GAPS = [28, 30, 30, 30, 31, 32, 29, 30]


def clock_of(product: Any) -> ProductClock:
    return queries.db.session.get(ProductClock, product.id, populate_existing=True)


def due_of(member: Any, product: Any) -> Repurchase | None:
    return queries.db.session.get(Repurchase, (member.id, product.id), populate_existing=True)


@pytest.fixture
def tea(db, clock, make_member, make_product, buy):
    """A tea of which a piece lasts about thirty days: people who bought again after so many days a piece."""
    product = make_product("TEA-1", "茶")
    for gap in GAPS:
        person = make_member()
        buy(person, product, 300, pieces=2)
        buy(person, product, 300 - 2 * gap)
    return product


def test_days_are_the_middle_of_real_gaps_by_the_pieces_bought(db, tea):
    learn_all()
    found = clock_of(tea)
    assert (found.gaps, found.people, found.days, found.basis) == (8, 8, 30.0, Basis.LEARNED)
    assert found.learned_spread == pytest.approx(0.5 * rules.MAD)
    assert (sum(found.histogram), found.bin_days) == (8, 8)
    assert queries.last_clock_run().phase is ClockPhase.DONE


def test_refunded_closed_and_unpaid_orders_teach_nothing(db, tea, make_member, buy):
    person = make_member()
    buy(person, tea, 200)
    buy(person, tea, 195, state=OrderState.CLOSED)
    buy(person, tea, 190, state=OrderState.PLACED, paid_at=None)
    buy(person, tea, 185, refunded_amount=5_000)
    buy(person, tea, 180, returned=1)
    buy(person, tea, 175, state=OrderState.REFUSED)
    learn_all()
    assert clock_of(tea).gaps == 8
    assert due_of(person, tea) is None  # Long over.


def test_two_orders_of_a_day_are_one_purchase(db, clock, make_member, make_product, buy):
    product, person = make_product(days=10), make_member()
    buy(person, product, 5)
    buy(person, product, 5, pieces=2)
    learn_all()
    row = due_of(person, product)
    assert (row.pieces, row.due_on - row.bought_on) == (3, timedelta(days=30))
    assert clock_of(product).gaps == 0


def test_too_few_gaps_go_by_the_category_then_the_shop_and_never_for_what_nobody_bought_twice(
    db, tea, make_member, make_product, buy
):
    for _ in range(rules.LEAST_SHARED_GAPS):
        person = make_member()
        for ago in (120, 90):
            buy(person, tea, ago)
    rare, other, stand = make_product("TEA-2", "茶"), make_product("CUP-1", "杯子"), make_product("STAND", "茶")
    for product in (rare, other):
        person = make_member()
        buy(person, product, 100)
        buy(person, product, 90)
    buy(make_member(), stand, 20)
    learn_all()
    assert (clock_of(rare).basis, clock_of(rare).days, clock_of(rare).learned_days) == (Basis.CATEGORY, 30.0, 10.0)
    assert clock_of(other).basis is Basis.SHOP
    assert (clock_of(stand).basis, clock_of(stand).days) == (None, None)
    assert db.session.scalars(select(Repurchase).where(Repurchase.product_id == stand.id)).all() == []


def test_set_days_win_until_they_are_reset(db, tea, make_member, buy):
    person = make_member()
    buy(person, tea, 18)
    learn_all()
    assert due_of(person, tea).due_on == kernel_clock.today() + timedelta(days=12)
    assert services.set_days(tea.id, 20)
    while services.refresh_stale():
        pass
    assert (clock_of(tea).basis, clock_of(tea).days, clock_of(tea).stale) == (Basis.SET, 20.0, False)
    assert due_of(person, tea).due_on == kernel_clock.today() + timedelta(days=2)
    assert not services.set_days(tea.id, 20)
    assert services.reset_days(tea.id)
    while services.refresh_stale():
        pass
    assert clock_of(tea).basis is Basis.LEARNED
    assert due_of(person, tea).due_on == kernel_clock.today() + timedelta(days=12)


def test_days_that_were_set_on_the_product_s_page_are_taken_up(db, clock, make_member, make_product, buy):
    product, person = make_product(), make_member()
    buy(person, product, 5)
    learn_all()
    assert due_of(person, product) is None
    products.edit(product, product.title, "", None, None, 7)
    assert services.spot_changed() == 1
    assert services.spot_changed() == 0
    while services.refresh_stale():
        pass
    assert due_of(person, product).due_on == kernel_clock.today() + timedelta(days=2)


def test_an_order_moves_the_day_on_and_a_refund_moves_it_back(db, clock, make_member, make_product, buy, run_jobs):
    product, person = make_product(days=30), make_member()
    first = buy(person, product, 28)
    learn_all()
    assert due_of(person, product).due_on == kernel_clock.today() + timedelta(days=2)
    assert [one.key for one in queries.due_members(3)] == [f"due:{product.id}:{first.id}"]
    second = buy(person, product, 0)
    told = {"member_id": person.id, "source": "shop", "external_id": "x", "order_id": second.id}
    move_on_after_order(OrderRecorded(**told, amount=5_000))
    assert due_of(person, product).due_on == kernel_clock.today() + timedelta(days=30)
    assert queries.due_members(3) == []
    db.session.execute(update(Order).where(Order.id == second.id).values(refunded_amount=5_000))
    move_back_after_refund(OrderRefunded(**told, amount=5_000, full=True))
    assert due_of(person, product).due_on == kernel_clock.today() + timedelta(days=2)
    assert journeys.due_members.call(3) == [queries.due_members(3)]
    assert queries.due_members(3)[0].since == first.placed_at


def test_a_window_that_is_over_calls_nobody_due(db, clock, make_member, make_product, buy):
    product, person = make_product(days=20), make_member()
    buy(person, product, 20)
    learn_all()
    row = due_of(person, product)
    assert (row.from_on, row.until_on) == (row.due_on - timedelta(days=5), row.due_on + timedelta(days=5))
    clock.move(days=5)
    assert len(queries.due_members(0)) == 1
    clock.move(days=1)
    assert queries.due_members(30) == []


def test_a_merge_and_its_undoing_work_both_out(db, clock, make_member, make_product, buy):
    product = make_product(days=30)
    ann, ben = make_member("Ann"), make_member("Ben")
    buy(ann, product, 20)
    buy(ben, product, 2)
    learn_all()
    done = merge.merge(ann.id, ben.id)
    told = {"survivor_id": ann.id, "absorbed_id": ben.id, "merge_id": done}
    join_clocks(MembersMerged(member_id=ann.id, absorbed_id=ben.id, merge_id=done))
    assert due_of(ann, product).due_on == kernel_clock.today() + timedelta(days=28)
    assert due_of(ben, product) is None
    merge.undo(done)
    for person in (ann, ben):
        part_clocks(MergeUndone(member_id=person.id, **told))
    assert due_of(ann, product).due_on == kernel_clock.today() + timedelta(days=10)
    assert due_of(ben, product).due_on == kernel_clock.today() + timedelta(days=28)


def test_sql_and_plain_python_agree_on_the_day(db, clock, make_member, make_product, buy):
    person = make_member()
    made = []
    for number, (days, pieces) in enumerate([(1, 1), (7, 3), (30, 2), (45, 1), (3, 9), (400, 5), (3_650, 2), (2, 1)]):
        product = make_product(f"P{number}", days=days)
        buy(person, product, 1 + number, pieces=pieces)
        made.append((product, days, pieces))
    learn_all()
    for product, days, pieces in made:
        row = due_of(person, product)
        if row is None:
            continue
        meant = rules.due_day(row.bought_on, pieces, float(days), days * rules.UNKNOWN_SPREAD)
        assert (row.due_on, row.from_on, row.until_on) == (meant.due_on, meant.from_on, meant.until_on)
    assert len(db.session.scalars(select(Repurchase)).all()) >= 6


def test_the_night_goes_on_where_it_stopped_and_begins_once_a_day(db, tea, clock, monkeypatch):
    monkeypatch.setattr(clocks, "MEMBERS", 3)
    first = services.start_learning()
    assert first is not None
    assert services.start_learning() is None
    for _ in range(4):
        assert services.learn_on()
    assert (first.phase, first.members) == (ClockPhase.MARKING, 6)
    while services.learn_on():
        pass
    assert (first.phase, first.members) == (ClockPhase.DONE, 8)
    assert services.start_learning() is None
    clock.move(days=1)
    assert services.start_learning().id > first.id


def test_audience_of_those_who_are_due(db, clock, make_member, make_product, buy):
    tea, rice = make_product("TEA-9", days=10), make_product("RICE", days=50, title="五常大米")
    soon, later = make_member("Soon"), make_member("Later")
    buy(soon, tea, 7)
    buy(later, rice, 35)
    learn_all()

    def found(**rule):
        definition = parse({"rules": [{"kind": "due", **rule}]})
        assert audience_labels.whole(definition)
        return sorted(db.session.scalars(audiences.member_ids(definition)))

    assert found(in_days=3) == [soon.id]
    assert found(in_days=15) == [soon.id, later.id]
    assert found(in_days=15, words="大米") == [later.id]
    assert found(in_days=15, words="tea-9") == [soon.id]
    assert audiences.matches(parse({"rules": [{"kind": "due", "in_days": 3}]}), soon.id)


def test_who_is_erased_is_due_for_nothing(db, clock, make_member, make_product, buy):
    product, person = make_product(days=10), make_member()
    buy(person, product, 7)
    learn_all()
    assert due_of(person, product) is not None
    erasure.erase(person.id, str(person.id))
    assert due_of(person, product) is None
    services.watch([person.id])
    assert due_of(person, product) is None
    assert db.session.scalar(select(OrderLine.id)) is not None


def test_a_new_shop_does_not_wait_for_the_night(db, clock, make_member, make_product, buy):
    assert services.start_learning() is not None
    while services.learn_on():
        pass
    assert services.start_learning() is None
    buy(make_member(), make_product(days=10), 3)
    assert services.start_learning() is not None
