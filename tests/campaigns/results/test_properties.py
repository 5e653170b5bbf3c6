"""What holds for any order of events: the three numbers do not depend on it, and a refund never raises money."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select

from campaigns.pushes.models import Delivery, DeliveryState
from campaigns.results import queries, rules, services
from campaigns.results.models import Attribution, Click, Kind
from kernel import clock as kernel_clock
from membership.coupons.models import Coupon, CouponState, OfferVersion, Redemption
from membership.orders.models import Order, OrderState

EXAMPLES = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
NUMBERS = count(1)
RUNS, MEMBERS = 3, 4


@pytest.fixture
def shop_with_pushes(db: Any, make_push: Any, make_offer: Any, make_member: Any, clock: Any) -> Any:
    """Three pushes with a coupon that have gone to four members, one of them held out."""
    offer = make_offer()
    version_id = db.session.scalar(select(OfferVersion.id).where(OfferVersion.offer_id == offer.id))
    people = [make_member(f"P{n}") for n in range(MEMBERS)]
    start, runs = kernel_clock.now(), []
    for number in range(RUNS):
        push, run = make_push(name=f"Push {number}", offer_id=offer.id)
        run.started_at, run.terms = start, rules.Terms(14, touch_days=3 + number, holdout=0.0).written()
        db.session.flush()
        for place, person in enumerate(people):
            held = place == MEMBERS - 1
            state = DeliveryState.CONTROL if held else DeliveryState.ACCEPTED
            values = {"run_id": run.id, "member_id": person.id, "slice_number": int(not held), "attempts": 1}
            db.session.execute(insert(Delivery).values(state=state, reason="control" if held else None, **values))
        runs.append((push, run))
    clock.move(days=13)
    return offer, version_id, people, runs, start


ORDERS = st.lists(
    st.fixed_dictionaries(
        {
            "member": st.integers(0, MEMBERS - 1),
            "day": st.integers(0, 12),
            "amount": st.integers(1, 100_000),
            "refund": st.integers(0, 100_000),
            "coupons": st.lists(
                st.tuples(st.integers(0, RUNS - 1), st.integers(1, 900)), max_size=3, unique_by=lambda c: c
            ),
        }
    ),
    min_size=1,
    max_size=5,
)
CLICKS = st.lists(st.tuples(st.integers(0, MEMBERS - 2), st.integers(0, RUNS - 1), st.integers(0, 12)), max_size=8)


def write(db: Any, shop: Any, orders: list[Any], clicks: list[Any]) -> tuple[list[int], list[int]]:
    """The facts: clicks, orders and used coupons, in the database. Returns the ids of orders and coupons."""
    offer, version_id, people, runs, start = shop
    for table in (Attribution, Redemption, Coupon, Click, Order):
        db.session.execute(delete(table))
    for place, (member, run, day) in enumerate(clicks):
        delivery = db.session.scalars(
            select(Delivery).where(Delivery.run_id == runs[run][1].id, Delivery.member_id == people[member].id)
        ).one()
        values = {"delivery_id": delivery.id, "run_id": delivery.run_id, "member_id": delivery.member_id}
        db.session.execute(insert(Click).values(target="l", at=start + timedelta(days=day, seconds=place), **values))
    order_ids, coupon_ids = [], []
    for said in orders:
        number, at = next(NUMBERS), start + timedelta(days=said["day"], hours=1)
        order = Order(
            source="shop", external_id=f"O{number}", member_id=people[said["member"]].id, state=OrderState.COMPLETED,
            placed_at=at, paid_at=at, paid_amount=said["amount"], refunded_amount=min(said["refund"], said["amount"]),
            version_at=at, version_mark="", created_at=at,
        )  # fmt: skip
        db.session.add(order)
        db.session.flush()
        order_ids.append(order.id)
        for run, discount in said["coupons"]:
            made = next(NUMBERS)
            coupon = Coupon(
                offer_id=offer.id, version_id=version_id, member_id=order.member_id, code=f"C{made}", ordinal=made,
                state=CouponState.REDEEMED, source=queries.source_of(runs[run][1].id), usable_from=start,
                usable_until=start + timedelta(days=30), issued_at=start, redeemed_at=at,
            )  # fmt: skip
            db.session.add(coupon)
            db.session.flush()
            db.session.add(
                Redemption(
                    coupon_id=coupon.id, offer_id=offer.id, source="shop", order_external_id=order.external_id,
                    amount=said["amount"], discount=discount, redeemed_at=at,
                )
            )  # fmt: skip
            coupon_ids.append(coupon.id)
    db.session.flush()
    return order_ids, coupon_ids


def numbers(shop: Any) -> list[Any]:
    """The three numbers of each push."""
    found = []
    for push, run in shop[3]:
        report = queries.report(run, push)
        found.append((report.direct, report.influenced, report.treated, report.control, report.coupons))
    return found


@EXAMPLES
@given(orders=ORDERS, clicks=CLICKS, shuffled=st.randoms(use_true_random=False))
def test_inv_the_three_numbers_do_not_depend_on_the_order_of_events(
    db: Any, shop_with_pushes: Any, orders: list[Any], clicks: list[Any], shuffled: Any
) -> None:
    order_ids, coupon_ids = write(db, shop_with_pushes, orders, clicks)
    events = [(services.credit_order, one) for one in order_ids] + [
        (services.credit_redemption, one) for one in coupon_ids
    ]
    for act, one in events:
        act(one)
    # What is there already changes nothing, and says so.
    assert sum(services.credit_order(one) for one in order_ids) == 0
    expected = numbers(shop_with_pushes)
    db.session.execute(delete(Attribution))
    # Each may also come twice.
    again = events + shuffled.sample(events, len(events) // 2)
    shuffled.shuffle(again)
    for act, one in again:
        act(one)
    assert numbers(shop_with_pushes) == expected
    # One order has one credit of each kind at most.
    rows = db.session.execute(select(Attribution.order_id, Attribution.kind)).all()
    assert len(rows) == len(set(rows))


@EXAMPLES
@given(orders=ORDERS, clicks=CLICKS, place=st.integers(0, 4), more=st.integers(1, 100_000))
def test_inv_a_refund_after_the_credit_never_raises_money(
    db: Any, shop_with_pushes: Any, orders: list[Any], clicks: list[Any], place: int, more: int
) -> None:
    order_ids, _coupons = write(db, shop_with_pushes, orders, clicks)
    for one in order_ids:
        services.credit_order(one)
    before = numbers(shop_with_pushes)
    order = db.session.get(Order, order_ids[place % len(order_ids)])
    credited = set(
        db.session.execute(select(Attribution.run_id, Attribution.kind).where(Attribution.order_id == order.id)).all()
    )
    left = max(order.paid_amount - order.refunded_amount, 0)
    order.refunded_amount = min(order.refunded_amount + more, order.paid_amount)
    db.session.flush()
    after = numbers(shop_with_pushes)
    for (_push, run), was, now in zip(shop_with_pushes[3], before, after, strict=True):
        lost = left - max(order.paid_amount - order.refunded_amount, 0)
        for kind, one, other in ((Kind.DIRECT, was[0], now[0]), (Kind.INFLUENCED, was[1], now[1])):
            assert one.money - other.money == (lost if (run.id, kind) in credited else 0)
        assert now[2].money + now[3].money == was[2].money + was[3].money - lost


@settings(deadline=None)
@given(
    found=st.lists(st.integers(0, 10_000), min_size=2, max_size=4),
    shares=st.lists(st.integers(1, 100), min_size=2, max_size=4),
)
def test_inv_the_chi_square_is_that_of_scipy(found: list[int], shares: list[int]) -> None:
    stats = pytest.importorskip("scipy.stats")
    size = min(len(found), len(shares))
    found, shares = found[:size], shares[:size]
    split = rules.Split(tuple(found), tuple(share / sum(shares) for share in shares))
    if not sum(found) or min(split.expected) < 5:
        assert split.p is None
        return
    expected = stats.chisquare(found, list(split.expected)).pvalue
    assert split.p == pytest.approx(expected, rel=1e-6, abs=1e-300)


@settings(deadline=None)
@given(
    one=st.tuples(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1)),
    other=st.tuples(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_inv_a_difference_lies_in_its_interval_and_turns_round(one: Any, other: Any) -> None:
    a, b = (rules.Interval(v - down, v, v + up) for v, down, up in (one, other))
    found, back = rules.difference_of(a, b), rules.difference_of(b, a)
    assert found.low <= found.value <= found.high
    assert math.isclose(found.low, -back.high, abs_tol=1e-12)


def test_profit_says_what_is_left() -> None:
    # Goods of ¥100, of which a coupon took ¥20: at a margin of 40 % they cost ¥60, and messages cost ¥5.
    assert rules.profit_of(8_000, 2_000, 500, 40) == 1_500
    assert rules.messages_cost(3, 450) == 14
    assert rules.messages_cost(3, None) is None


def test_terms_are_read_as_they_were_written() -> None:
    terms = rules.Terms(7, 3, 450, 40, 5.0, 10.0, (50, 50))
    assert rules.Terms.read(terms.written()) == terms
    assert rules.Terms.read(None, 9).window_days == 9
