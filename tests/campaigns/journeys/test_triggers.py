"""What brings people in: each kind by the clock or by an event, with people whom it must not bring."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from campaigns.journeys import jobs, queries, services
from campaigns.journeys.models import JourneyMember, ReceivedEvent
from campaigns.journeys.queries import Due
from community.desk.events import CallClosed
from community.groups.events import MemberJoinedGroup
from community.tickets.events import TicketClosed
from kernel import clock as kernel_clock
from kernel.events import publish
from membership.coupons import services as coupons
from membership.coupons.models import Coupon
from membership.members.events import MemberEnrolled, StageChanged
from membership.orders.events import BuyersChanged, OrderShipped
from membership.orders.models import OrderState
from membership.tiers.events import TierChanged, TierFallAnnounced
from tests.campaigns.journeys.conftest import DAY, HOUR, place_of, walk_on

STAY = [{"kind": "wait", "days": 30}]


def entered(db: Any) -> set[str]:
    """The keys under which people have entered."""
    return set(db.session.scalars(select(JourneyMember.key)))


def look() -> None:
    jobs.look_who_comes.direct()


@pytest.fixture
def parcel(db, make_order):
    """`parcel(member, delivered_days_ago=…, **fields)` is an order that has come."""

    def make(member, delivered_days_ago: float = 1, **fields):
        at = kernel_clock.now() - timedelta(days=delivered_days_ago)
        values = {"state": OrderState.DELIVERED, "delivered_at": at, "shipped_at": at - 2 * DAY}
        return make_order(member, delivered_days_ago + 3, **(values | fields))

    return make


def test_delivered_days_ago(db, clock, make_member, make_journey, parcel):
    people = [make_member(f"P{number}") for number in range(4)]
    journey = make_journey(STAY, {"kind": "delivered", "days": 2})
    clock.move(hours=1)
    fresh = parcel(people[0], 0)
    parcel(people[1], 2.5)  # Came true before it was switched on.
    parcel(people[2], 0, state=OrderState.REFUSED)
    look()
    assert entered(db) == set()
    clock.move(days=1, hours=23)
    look()
    assert entered(db) == set()
    clock.move(hours=1)
    look()
    look()
    assert entered(db) == {f"order:{fresh.id}"}
    late = parcel(people[3], 2 + 2.5)  # Told of far too late.
    clock.move(hours=1)
    look()
    assert f"order:{late.id}" not in entered(db)
    assert queries.sums([journey.id])[journey.id].inside == 1


def test_a_parcel_told_of_a_little_late_still_counts(db, clock, make_member, make_journey, parcel):
    make_journey(STAY, {"kind": "delivered", "days": 1})
    clock.move(days=3)
    order = parcel(make_member("Ann"), 2)
    look()
    assert entered(db) == {f"order:{order.id}"}


def test_two_parcels_of_one_member_bring_them_in_once_at_a_time(db, clock, make_member, make_journey, parcel):
    ann = make_member("Ann")
    make_journey(
        [{"kind": "wait", "hours": 1}], {"kind": "delivered", "days": 0}, again_after=0, exits={"bought": False}
    )
    clock.move(hours=1)
    first, second = parcel(ann, 0.01), parcel(ann, 0.02)
    look()
    assert len(entered(db)) == 1
    clock.move(hours=2)
    walk_on()
    look()
    assert entered(db) == {f"order:{first.id}", f"order:{second.id}"}


def test_unconfirmed_and_arriving(db, clock, make_member, make_journey, parcel):
    ann, ben, eve = make_member("Ann"), make_member("Ben"), make_member("Eve")
    make_journey(STAY, {"kind": "unconfirmed", "days": 3})
    make_journey(STAY, {"kind": "arriving", "hours": 24})
    clock.move(hours=1)
    waits = parcel(ann, 0)
    parcel(ben, 0, state=OrderState.COMPLETED, completed_at=kernel_clock.now())
    sent = parcel(eve, -1.5, state=OrderState.SHIPPED, shipped_at=kernel_clock.now() - DAY)
    look()
    assert entered(db) == set()
    clock.move(hours=13)
    look()
    assert entered(db) == {f"order:{sent.id}"}
    clock.move(days=3)
    look()
    assert entered(db) == {f"order:{sent.id}", f"order:{waits.id}"}


def test_birthdays_begin_in_the_morning_once_a_year(db, clock, make_member, make_journey):
    ann = make_member("Ann", birthday=date(1990, 3, 4))
    make_member("Ben", birthday=date(1990, 3, 6))
    make_member("Eve")
    make_journey([{"kind": "wait", "hours": 1}], {"kind": "birthday", "days": 0}, again_after=0)
    look()
    assert entered(db) == set()
    clock.at(kernel_clock.at(date(2026, 3, 4), 8))
    look()
    assert entered(db) == set()
    clock.at(kernel_clock.at(date(2026, 3, 4), 10))
    look()
    clock.move(hours=2)
    walk_on()
    look()
    assert entered(db) == {f"birthday:2026:{ann.id}"}
    clock.at(kernel_clock.at(date(2027, 3, 4), 10))
    look()
    assert f"birthday:2027:{ann.id}" in entered(db)


def test_who_was_born_on_a_leap_day(db, clock, make_member, make_journey):
    ann = make_member("Ann", birthday=date(1992, 2, 29))
    clock.at(kernel_clock.at(date(2026, 2, 20), 10))
    make_journey(STAY, {"kind": "birthday", "days": 3})
    clock.at(kernel_clock.at(date(2026, 2, 25), 10))
    look()
    assert entered(db) == {f"birthday:2026:{ann.id}"}


@pytest.mark.parametrize(("basis", "field"), [("enrolled", "enrolled_at"), ("first_order", "first_order_at")])
def test_day_100(db, clock, make_member, make_journey, basis, field):
    ann = make_member("Ann", **{field: kernel_clock.now() - 99 * DAY})
    make_member("Ben", **{field: kernel_clock.now() - 101 * DAY})
    make_journey(STAY, {"kind": "anniversary", "days": 100, "basis": basis})
    look()
    assert entered(db) == set()
    clock.move(days=1)
    look()
    assert entered(db) == {f"{basis}:100:{ann.id}"}


def test_a_coupon_about_to_end(db, clock, make_member, make_journey, make_offer):
    ann, offer = make_member("Ann"), make_offer()
    coupons.grant_many(offer.id, [(ann.id, "k1")], "test")
    coupon = db.session.scalars(select(Coupon)).one()
    make_journey(STAY, {"kind": "coupon_ending", "days": 3})
    clock.at(coupon.usable_until - 3 * DAY - HOUR)
    look()
    assert entered(db) == set()
    clock.move(hours=2)
    look()
    assert entered(db) == {f"coupon:{coupon.id}"}


def test_dormant_from_now_on_or_also_those_of_before(db, clock, make_member, make_journey):
    now = kernel_clock.now()
    ann, old = make_member("Ann", last_order_at=now - 179 * DAY), make_member("Old", last_order_at=now - 400 * DAY)
    fresh = make_journey(STAY, {"kind": "dormant", "days": 180, "present": False})
    every = make_journey(STAY, {"kind": "dormant", "days": 180, "present": True})
    look()
    assert [queries.sums([j.id])[j.id].inside for j in (fresh, every)] == [0, 1]
    clock.move(days=1, hours=1)
    look()
    assert [queries.sums([j.id])[j.id].inside for j in (fresh, every)] == [1, 2]
    assert {place_of(db, one, every).since for one in (ann, old)} == {ann.last_order_at, old.last_order_at}


def cart(member, kind: str, key: str, at=None):
    return services.receive(member.id, f"cart.{kind}", key, at or kernel_clock.now(), {})[0]


def test_a_cart_that_was_left(db, clock, make_member, make_journey, make_order):
    ann, ben, eve, kim = (make_member(name) for name in ("Ann", "Ben", "Eve", "Kim"))
    make_journey(STAY, {"kind": "cart", "hours": 2})
    clock.move(minutes=1)
    first = cart(ann, "changed", "a1")
    cart(ben, "changed", "b1")
    cart(eve, "changed", "e1")
    cart(kim, "changed", "k1")
    clock.move(hours=1)
    last = cart(ann, "changed", "a2")  # Still choosing: counts from here.
    cart(ben, "emptied", "b2")
    make_order(eve, days_ago=0)
    clock.move(hours=1, minutes=1)
    look()
    assert entered(db) == {
        f"cart:{db.session.scalars(select(ReceivedEvent.id).where(ReceivedEvent.key == 'k1')).one()}"
    }
    clock.move(hours=1)
    look()
    assert f"cart:{last.id}" in entered(db)
    assert f"cart:{first.id}" not in entered(db)


def test_an_order_reported_late_but_placed_after_the_cart_lets_them_leave(
    db, clock, make_member, make_journey, make_order
):
    ann = make_member("Ann")
    make_journey(STAY, {"kind": "cart", "hours": 2})
    clock.move(minutes=1)
    cart(ann, "changed", "a1")
    clock.move(hours=3)
    look()
    make_order(ann, days_ago=2.5 / 24)  # Before they entered, after the cart.
    assert services.leave_buyers([ann.id]) == 1


def test_due_to_buy_again_as_the_port_says(db, clock, make_member, make_journey, monkeypatch):
    ann = make_member("Ann")
    monkeypatch.setattr(
        queries.due_members, "_answers", [lambda days: [Due(ann.id, f"due:{days}", kernel_clock.now() - DAY)]]
    )
    make_journey(STAY, {"kind": "due", "days": 3})
    look()
    assert entered(db) == {"due:3"}
    assert place_of(db, ann).since == kernel_clock.now() - DAY


def test_nobody_is_due_while_no_clock_says_so(db, make_member, make_journey, monkeypatch):
    monkeypatch.setattr(queries.due_members, "_answers", [])
    make_member("Ann")
    make_journey(STAY, {"kind": "due", "days": 3})
    look()
    assert entered(db) == set()


@pytest.mark.parametrize(
    ("trigger", "wanted", "other"),
    [
        ({"kind": "enrolled"}, lambda m: MemberEnrolled(member_id=m, source="x"), None),
        ({"kind": "shipped"}, lambda m: OrderShipped(order_id=7, member_id=m, shipped_at=kernel_clock.now()), None),
        (
            {"kind": "stage", "stage": "dormant"},
            lambda m: StageChanged(member_id=m, from_stage="active", to_stage="dormant"),
            lambda m: StageChanged(member_id=m, from_stage="dormant", to_stage="lost"),
        ),
        (
            {"kind": "joined", "group_id": 5},
            lambda m: MemberJoinedGroup(member_id=m, group_id=5, seat_id=1),
            lambda m: MemberJoinedGroup(member_id=m, group_id=6, seat_id=2),
        ),
        ({"kind": "joined"}, lambda m: MemberJoinedGroup(member_id=m, group_id=6, seat_id=2), None),
        (
            {"kind": "tier_up"},
            lambda m: TierChanged(member_id=m, from_rank=1, to_rank=2, reason="x"),
            lambda m: TierChanged(member_id=m, from_rank=2, to_rank=1, reason="x"),
        ),
        (
            {"kind": "tier_up", "rank": 3},
            lambda m: TierChanged(member_id=m, from_rank=1, to_rank=3, reason="x"),
            lambda m: TierChanged(member_id=m, from_rank=1, to_rank=2, reason="x"),
        ),
        (
            {"kind": "tier_fall", "days": 14},
            lambda m: TierFallAnnounced(
                member_id=m, from_rank=3, to_rank=2, falls_at=kernel_clock.now() + 7 * DAY, days=7
            ),
            lambda m: TierFallAnnounced(
                member_id=m, from_rank=3, to_rank=2, falls_at=kernel_clock.now() + 30 * DAY, days=30
            ),
        ),
        (
            {"kind": "call_closed", "outcome": "reached"},
            lambda m: CallClosed(member_id=m, task_id=3, outcome="reached", staff_id=1),
            lambda m: CallClosed(member_id=m, task_id=4, outcome="refused", staff_id=1),
        ),
        (
            {"kind": "ticket_closed"},
            lambda m: TicketClosed(member_id=m, ticket_id=3, kind="return", staff_id=None),
            None,
        ),
    ],
)
def test_events_bring_in_whom_they_concern(db, clock, run_jobs, make_member, make_journey, trigger, wanted, other):
    ann, ben, off = make_member("Ann"), make_member("Ben"), make_member("Off")
    publish(wanted(off.id))  # Before it was on.
    run_jobs()
    clock.move(seconds=1)
    make_journey(STAY, trigger)
    publish(wanted(ann.id))
    if other is not None:
        publish(other(ben.id))
    run_jobs()
    assert set(db.session.scalars(select(JourneyMember.member_id))) == {ann.id}


def test_any_event_of_another_program(db, clock, run_jobs, make_member, make_journey):
    ann = make_member("Ann")
    make_journey(STAY, {"kind": "event", "type": "survey.done"}, again_after=0)
    services.receive(ann.id, "survey.done", "k1", clock.now(), {"score": 5})
    services.receive(ann.id, "survey.done", "k1", clock.now(), {"score": 5})
    services.receive(ann.id, "survey.begun", "k2", clock.now(), {})
    run_jobs()
    assert len(entered(db)) == 1


def test_a_file_of_orders_lets_buyers_leave(db, clock, run_jobs, make_member, make_journey, make_order, bring):
    ann = make_member("Ann")
    journey = make_journey(STAY)
    bring(journey, ann)
    clock.move(hours=2)
    make_order(ann, days_ago=1 / 24)
    publish(BuyersChanged(member_ids=[ann.id]))
    run_jobs()
    assert place_of(db, ann).reason == "bought"
