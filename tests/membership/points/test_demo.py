"""The demo shop's story holds together: what happened lies under its days, and the books are right."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta

from sqlalchemy import select

from kernel import clock as kernel_clock
from kernel.events import EventRecord
from membership import demo
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, CouponEvent, CouponKind, Offer, OfferState, Redemption
from membership.coupons.rules import Basket
from membership.orders.formats.uci import LONDON
from membership.points import demo as points_demo
from membership.points import queries as points
from membership.points import services as points_services
from membership.points.models import Kind, PointsTransaction


def test_those_with_the_most_points_have_spent_some_in_their_month(db, program, make_member, clock, books, monkeypatch):
    monkeypatch.setattr(points_demo, "SPENDERS", 2)
    members = [make_member() for _ in range(3)]
    for member, amount in zip(members, (500, 50, 1_000), strict=True):
        points_services.award(member.id, amount, type=Kind.AWARD, source_type="test", source_id="a")
    at = clock.now() + timedelta(days=3)
    points_demo._spend(4, at)
    assert [points.balance_of(member.id).active for member in members] == [200, 50, 400]
    spent = db.session.execute(
        select(PointsTransaction.points, PointsTransaction.at).where(PointsTransaction.type == Kind.SPEND)
    ).all()
    assert sorted(tuple(row) for row in spent) == [(-600, at), (-300, at)]
    books()


def test_coupons_and_their_uses_lie_under_the_days_when_they_happened(db, make_member, make_order, clock):
    offer = coupons.create(
        coupons.Draft(name="Back", kind=CouponKind.AMOUNT, value=2000, valid_days=14, per_member=1), OfferState.ACTIVE
    )
    other = coupons.create(
        coupons.Draft(name="Other", kind=CouponKind.AMOUNT, value=2000, valid_days=14, per_member=1), OfferState.ACTIVE
    )
    buyer, keeper = make_member(), make_member()
    order = make_order(buyer, 150_00)
    granted = coupons.grant_many(offer.id, [(m.id, f"demo:{m.id}") for m in (buyer, keeper)], source="call")
    coupons.grant_many(other.id, [(buyer.id, "other")], source="call")
    coupons.redeem(granted[buyer.id][1], "shop", order.external_id, Basket(amount=150_00))
    now = clock.now()
    issued = {buyer.id: now - timedelta(days=30), keeper.id: now - timedelta(days=5)}
    used = {buyer.id: now - timedelta(days=28)}
    demo._date_coupons_back(offer.id, issued, used)
    rows = {c.member_id: c for c in db.session.scalars(select(Coupon).where(Coupon.offer_id == offer.id))}
    for member_id, coupon in rows.items():
        assert (coupon.issued_at, coupon.redeemed_at) == (issued[member_id], used.get(member_id))
        assert coupon.usable_from <= coupon.issued_at < coupon.usable_until
    assert db.session.scalars(select(Redemption.redeemed_at)).all() == [used[buyer.id]]
    steps = db.session.execute(
        select(CouponEvent.to_state, CouponEvent.at)
        .join(Coupon, Coupon.id == CouponEvent.coupon_id)
        .where(Coupon.offer_id == offer.id)
    )
    assert {tuple(row) for row in steps} == {
        ("issued", issued[buyer.id]), ("issued", issued[keeper.id]), ("redeemed", used[buyer.id])
    }  # fmt: skip
    told = db.session.execute(
        select(EventRecord.name, EventRecord.occurred_at).where(EventRecord.member_id == buyer.id)
    ).all()
    assert ("CouponRedeemed", used[buyer.id]) in told
    assert ("CouponClaimed", issued[buyer.id]) in told
    assert db.session.get(Offer, offer.id).created_at < issued[buyer.id]
    # Another offer's coupon of the same person stays where it was.
    assert db.session.scalar(select(Coupon.issued_at).where(Coupon.offer_id == other.id)) == now


def test_a_demo_loaded_in_the_middle_of_the_night_knows_no_order_of_the_future(clock, tmp_path):
    clock.move(hours=13)
    assert kernel_clock.local(clock.now()).hour == 1
    demo.write_shifted(tmp_path / "orders.csv")
    with (tmp_path / "orders.csv").open(encoding="utf-8", newline="") as file:
        newest = max(row["InvoiceDate"] for row in csv.DictReader(file))
    last = datetime.fromisoformat(newest).replace(tzinfo=LONDON)
    assert kernel_clock.local(last).date() == kernel_clock.today() - timedelta(days=1)
