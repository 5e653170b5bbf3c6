"""The list, a customer's past, the funnel and the second orders."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from community.desk import queries, services
from community.desk.models import CallReason, CallState, CallTask
from community.groups.models import Seat, SeatState, SubGroup
from kernel.auth import Role
from membership.gifts.models import Gift, GiftClaim, GiftKind, GiftState
from membership.members.models import Member
from membership.orders.models import OrderState

DAY = timedelta(days=1)


@pytest.fixture
def lin(make_staff):
    return make_staff(Role.SERVICE, name="林")


def names(db, **wanted):
    return {row[1].nickname for row in db.session.execute(queries.listing(**wanted))}


def test_the_views_of_the_list(db, clock, lin, make_member, call):
    due = {"yesterday": -DAY, "today": timedelta(hours=3), "tomorrow": DAY}
    for name, gap in due.items():
        call(make_member(name)).due_at = clock.now() + gap
    done = call(make_member("done"))
    services.record_outcome(done.id, lin, services.Outcome(CallState.REACHED), 0)
    db.session.flush()
    assert names(db) == {"yesterday", "today"}
    assert names(db, view="overdue") == {"yesterday"}
    assert names(db, view="later") == {"tomorrow"}
    assert names(db, view="closed") == {"done"}
    assert names(db, view="all") == {"yesterday", "today", "tomorrow", "done"}
    assert queries.waiting() == (1, 1)


def test_the_list_is_filtered(db, clock, lin, make_member, call):
    call(make_member("mine")).assignee_id = lin.id
    call(make_member("refused"), CallReason.REFUSED_PARCEL)
    retry = call(make_member("retry"))
    services.record_outcome(
        retry.id, lin, services.Outcome(CallState.RETRY, retry_at=clock.now() + timedelta(hours=1)), 0
    )
    db.session.flush()
    assert names(db, view="all", assignee=lin.id) == {"mine", "retry"}
    assert names(db, view="all", assignee=0) == {"refused"}
    assert names(db, view="all", reason=CallReason.REFUSED_PARCEL) == {"refused"}
    assert names(db, view="all", state=CallState.RETRY) == {"retry"}
    assert names(db, view="all", q="refus") == {"refused"}
    assert names(db, view="all", q="nobody") == set()


def test_of_staff_counts_what_is_due_today(db, clock, lin, call):
    task = call()
    task.assignee_id = lin.id
    db.session.flush()
    assert queries.of_staff(lin.id) == 0
    clock.move(days=1)
    assert queries.of_staff(lin.id) == 1


def test_a_customers_past_is_apart_from_what_the_call_is_about(db, clock, make_member, delivered, call):
    ann = make_member()
    old = [delivered(ann, clock.now() - i * DAY) for i in range(1, 11)]
    task = call(ann)
    joined = delivered(ann)
    services.open_for_order(joined.id, ann.id, CallReason.DELIVERED)
    this, earlier, others = queries.purchases_of(task)
    assert [bought.order.id for bought in this] == [task.order_id, joined.id]
    assert [bought.order.id for bought in earlier] == [order.id for order in old[:8]]
    assert (others, [line.title for line in this[0].lines]) == (10, ["茶匙", "白茶礼盒"])


# ── The funnel ──────────────────────────────────────────────────────────────────────────────────────────────────────


def sit(db, member, group, at):
    part = db.session.scalars(select(SubGroup).where(SubGroup.group_id == group.id)).one()
    db.session.add(
        Seat(
            group_id=group.id,
            sub_group_id=part.id,
            member_id=member.id,
            state=SeatState.TAKEN,
            held_at=at,
            joined_at=at,
            barred=False,
        )
    )
    db.session.flush()


def claim_gift(db, member, group, at):
    gift = db.session.scalar(select(Gift).limit(1))
    if gift is None:
        gift = Gift(name="茶样", kind=GiftKind.PHYSICAL, created_at=at)
        db.session.add(gift)
        db.session.flush()
    db.session.add(
        GiftClaim(
            gift_id=gift.id,
            member_id=member.id,
            state=GiftState.CLAIMED,
            benefit=f"welcome:{group.id}",
            group_id=group.id,
            offered_at=at,
            claimed_at=at,
            claim_until=at + 14 * DAY,
        )
    )
    db.session.flush()


STEPS = ["delivered", "called", "reached", "invited", "joined", "gift", "again"]


@pytest.fixture
def walk(db, clock, lin, make_member, make_group, delivered, order):
    """`walk("joined")` takes a new customer as far as that step; returns the customer."""
    group = make_group("茶友群")

    def go(last: str) -> Member:
        member = make_member()
        bought = delivered(member)
        far = STEPS.index(last)
        task_id = services.open_for_order(bought.id, member.id, CallReason.DELIVERED)
        now = clock.now()
        if far >= 1:
            state = CallState.REACHED if far >= 2 else CallState.UNREACHABLE
            services.record_outcome(task_id, lin, services.Outcome(state, satisfaction=4), 0)
        if far >= 3:
            services.invite(task_id, group.id, lin.id)
        if far >= 4:
            sit(db, member, group, now)
        if far >= 5:
            claim_gift(db, member, group, now)
        if far >= 6:
            order(member, now + DAY)
        return member

    return go


def funnel_of(clock, days=7):
    return queries.funnel(clock.now() - days * DAY, clock.now() + timedelta(seconds=1))


def test_the_funnel_counts_each_customer_as_far_as_they_came(clock, walk):
    for step in STEPS:
        walk(step)
    found = funnel_of(clock)
    assert found.steps() == [(step, len(STEPS) - i) for i, step in enumerate(STEPS)]
    assert (found.joined_again, found.others_again) == (1, 0)


def test_the_funnel_of_nobody(db, clock):
    assert {value for _, value in funnel_of(clock).steps()} == {0}


def test_the_funnel_counts_deliveries_of_the_period_alone(clock, walk):
    walk("joined")
    assert queries.funnel(clock.now(), clock.now() + DAY).delivered == 1
    assert queries.funnel(clock.now() - DAY, clock.now()).delivered == 0


def test_two_parcels_are_one_customer(clock, walk, delivered):
    member = walk("called")
    delivered(member)
    assert funnel_of(clock).steps()[:3] == [("delivered", 1), ("called", 1), ("reached", 0)]


def test_an_order_before_joining_is_not_one_that_followed(db, clock, walk, order):
    member = walk("gift")
    order(member, clock.now() - DAY)
    assert funnel_of(clock).again == 0


def test_an_order_that_was_given_back_or_never_paid_does_not_count(clock, walk, order):
    member = walk("gift")
    order(member, clock.now() + DAY, refunded_amount=10_000)
    order(member, clock.now() + DAY, state=OrderState.CLOSED)
    order(member, clock.now() + DAY, state=OrderState.PLACED, paid_at=None)
    assert funnel_of(clock).again == 0
    order(member, clock.now() + DAY, refunded_amount=2_000)
    assert funnel_of(clock).again == 1


def test_joining_by_oneself_is_not_counted_as_invited(db, clock, walk, make_group):
    member = walk("reached")
    sit(db, member, make_group(), clock.now())
    assert (funnel_of(clock).invited, funnel_of(clock).joined) == (0, 0)


def test_others_who_ordered_again_stand_beside(clock, walk, order):
    order(walk("delivered"), clock.now() + DAY)
    order(walk("joined"), clock.now() + DAY)
    found = funnel_of(clock)
    assert (found.joined, found.joined_again, found.others_again, found.again) == (1, 1, 1, 0)


def test_what_a_colleagues_calls_came_to(db, clock, walk):
    for step in ("called", "reached", "invited", "joined"):
        walk(step)
    [row] = queries.agents(clock.now() - DAY, clock.now() + DAY)
    assert (row.name, row.closed, row.reached, row.invited, row.joined, row.satisfaction) == ("林", 4, 3, 2, 1, 4.0)
    assert queries.agents(clock.now() + DAY, clock.now() + 2 * DAY) == []


# ── Second orders ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_second_orders_are_counted_once_a_member_in_their_week(db, clock, make_member, order):
    now, week = clock.now(), 7 * DAY

    def person(*days, **values):
        member = make_member()
        for day in days:
            order(member, now - day * DAY, **values)

    person(30, 1)  # this week
    person(2, 1)  # this week, both orders in it
    person(30, 10)  # the week before
    person(30, 20, 1)  # the third order
    person(1)  # the first
    person(30, 1, refunded_amount=10_000)  # given back
    assert queries.second_orders(now - 2 * week, now - week, now) == (2, 1)


def test_a_task_is_looked_up_by_member(db, call, make_member):
    task = call()
    assert queries.live_task(task.member_id) is task
    assert queries.live_task(make_member().id) is None
    assert [t.id for t in queries.tasks_of(task.member_id)] == [task.id]
    assert isinstance(task, CallTask)
