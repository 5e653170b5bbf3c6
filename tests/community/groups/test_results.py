"""What came of a group: on its page, in its file, and after it has closed."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest

from community.groups import labels, queries, results, services
from community.groups.models import GroupKind, GroupState
from kernel import clock as kernel_clock
from kernel.auth import Role
from membership.coupons import services as coupons
from membership.coupons.models import CouponKind, OfferState, Redemption
from membership.gifts.models import Gift, GiftClaim, GiftKind, GiftState
from membership.orders.models import OrderLine, OrderState
from membership.products.models import Product
from tests.community.posts.conftest import order

__all__ = ["order"]


def text(answer):
    return answer.get_data(as_text=True)


@pytest.fixture
def bought(db, order):
    """`bought(member, at, amount, cost=…)` is a paid order of one piece, of a product that costs the shop so much."""

    def make(member, at, amount, cost=None, **values):
        made = order(member, at, state=OrderState.PAID, paid_amount=amount, **values)
        product = Product(
            source="shop", sku=f"P{made.id}", title="Tea", cost=cost, list_price=amount, created_at=kernel_clock.now()
        )
        db.session.add(product)
        db.session.flush()
        db.session.add(
            OrderLine(
                order_id=made.id,
                position=1,
                product_id=product.id,
                sku=product.sku,
                title="Tea",
                quantity=1,
                unit_price=amount,
                amount=amount,
            )
        )
        db.session.flush()
        return made

    return make


def test_the_result_of_a_flash_group(db, clock, browse, make_group, make_member, make_staff, bought):
    """Four people by two ways; orders before, inside, after leaving and with a coupon later; cost, profit, the file."""
    staff = make_staff(Role.ASSISTANT, name="Xiaoman")
    group = make_group(kind=GroupKind.FLASH, name="618", capacity=10, closes_at=clock.now() + timedelta(days=3))
    leaflet, live = services.add_link(group, "Leaflet", "leaflet"), services.add_link(group, "Live room", "live-room")
    anna, bert, carl, dora = (make_member(name) for name in ("Anna", "Bert", "Carl", "Dora"))
    bought(anna, clock.now() - timedelta(hours=1), 99_900, 10)
    for person, link in ((anna, leaflet), (bert, leaflet), (carl, live)):
        services.join(group.id, person.id, link.source, staff_id=staff.id, link_id=link.id, together=True)
    services.join(group.id, dora.id, "friend", inviter_id=anna.id, together=True)
    offer = coupons.create(
        coupons.Draft(name="Group price", kind=CouponKind.AMOUNT, value=2_000, valid_days=14, group_id=group.id),
        OfferState.ACTIVE,
    )
    claimed = coupons.claim(offer.id, carl.id, "group")
    gift = Gift(name="Cup", kind=GiftKind.PHYSICAL, value=500, created_at=clock.now())
    db.session.add(gift)
    db.session.flush()
    for person, state in ((anna, GiftState.SHIPPED), (bert, GiftState.OFFERED)):
        db.session.add(
            GiftClaim(
                gift_id=gift.id, member_id=person.id, state=state, benefit=f"welcome:{group.id}", group_id=group.id,
                offered_at=clock.now(), claim_until=clock.now(),
            )
        )  # fmt: skip
    clock.move(hours=1)
    bought(anna, clock.now(), 10_000, 4_000, refunded_amount=1_000)
    bought(bert, clock.now(), 8_000)
    clock.move(hours=1)
    services.leave(group.id, bert.id)
    clock.move(hours=1)
    bought(bert, clock.now(), 70_000, 1)
    clock.move(days=4)
    services.catch_up(group.id)
    # After the closing only what is bought with a coupon of the group counts.
    bought(dora, clock.now(), 50_000, 1)
    late = bought(carl, clock.now(), 5_000, 1_000)
    db.session.add(
        Redemption(
            coupon_id=claimed.coupon_id,
            offer_id=offer.id,
            source=late.source,
            order_external_id=late.external_id,
            amount=7_000,
            discount=2_000,
            redeemed_at=clock.now(),
        )
    )
    db.session.flush()
    found = results.result_of(queries.get_group(group.id))
    everybody = found.all
    assert (everybody.joined, everybody.here, everybody.left, everybody.buyers, everybody.orders) == (4, 3, 1, 3, 3)
    # Of Bert's piece nobody has said what it costs: the price floor, 40 %, stands for it.
    assert (everybody.money, everybody.goods, everybody.guessed) == (22_000, 8_200, 3_200)
    assert (found.claimed, found.used, found.coupons, found.gifts, found.gift_cost) == (1, 1, 2_000, 1, 500)
    assert (found.claimants, found.cost, found.profit) == (2, 2_500, 22_000 - 8_200 - 500)
    assert [(way.name, way.tally.joined, way.tally.left, way.tally.money) for way in found.sources] == [
        ("leaflet", 2, 1, 17_000),
        ("live-room", 1, 0, 5_000),
        (labels.source_name("friend"), 1, 0, 0),
    ]
    assert {way.name: way.tally.joined for way in found.links} == {"Leaflet": 2, "Live room": 1}
    assert [(way.name, way.tally.joined, way.tally.buyers) for way in found.staff] == [("Xiaoman", 3, 3)]
    assert [(way.name, way.tally.joined) for way in found.inviters] == [("Anna", 1)]
    browser = browse(Role.VIEWER)
    page = text(browser.get(f"/console/groups/{group.id}/results"))
    for words in ("¥220.00", "¥133.00", "Live room", "Group price", "a guess by the price floor"):
        assert words in page
    rows = list(
        csv.reader(io.StringIO(text(browser.get(f"/console/groups/{group.id}/results/export")).lstrip("\ufeff")))
    )
    assert rows[1] == ["Everybody", "", "", "4", "3", "1", "0", "3", "3", "220.00", "82.00"]
    assert ["Profit, yuan", "133.00"] in rows
    assert ["By link", "Leaflet", "0", "2", "1", "1", "0", "2", "2", "170.00", "72.00"] in rows


def test_a_group_that_nobody_joined_says_what_to_do(db, clock, browse, make_group):
    page = text(browse(Role.VIEWER).get(f"/console/groups/{make_group(state=GroupState.DRAFT).id}/results"))
    assert "Nobody has joined yet" in page
    assert "To the links" in page
