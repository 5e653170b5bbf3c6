"""Clicks are counted once a visit, orders are credited once, and a report adds up."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from campaigns.pushes import jobs, message
from campaigns.pushes import services as pushes
from campaigns.pushes.models import Delivery, DeliveryState, Run
from campaigns.results import queries, services
from campaigns.results.models import Attribution, Click, Kind
from kernel import clock as kernel_clock
from kernel import shop
from membership.coupons import services as coupons
from membership.coupons.models import Coupon
from membership.coupons.rules import Basket
from membership.coupons.services import grants
from membership.members.models import Contact
from membership.orders.events import OrderRecorded, OrdersImported
from membership.orders.models import ImportRun, OrderState
from tests.conftest import published


@pytest.fixture(autouse=True)
def noon_with_nobody_held_out(db: Any, clock: Any) -> None:
    shop.put("holdout.percent", 0)


@pytest.fixture
def sent(db: Any, make_push: Any, run_jobs: Any) -> Any:
    """`sent(**fields)` sends a push to everybody and returns push, run and the deliveries by member."""

    def make(**fields: Any) -> Any:
        push, run = make_push(**fields)
        pushes.schedule(run)
        jobs.wake.direct()
        run_jobs()
        rows = db.session.scalars(
            select(Delivery).where(Delivery.run_id == run.id, Delivery.state == DeliveryState.ACCEPTED)
        )
        return push, run, {d.member_id: d for d in rows}

    return make


def path(delivery: Delivery, target: str = message.LINK) -> str:
    return message.click_path(delivery.id, target)


def clicks(db: Any) -> int:
    return db.session.scalar(select(func.count()).select_from(Click)) or 0


def test_what_was_reported_is_part_of_what_was_sent(db: Any, make_member: Any, sent: Any) -> None:
    people = [make_member(name) for name in ("Lime", "Mint", "Sage", "Dill")]
    push, run, by_member = sent()
    lime, mint, sage, dill = (by_member[person.id] for person in people)
    lime.delivered_at = mint.delivered_at = mint.undelivered_at = kernel_clock.now()
    # A report came for one in doubt and for one that the channel had refused: neither was sent.
    sage.state, sage.delivered_at = DeliveryState.UNKNOWN, kernel_clock.now()
    dill.state, dill.undelivered_at = DeliveryState.FAILED, kernel_clock.now()
    db.session.flush()
    ends = queries.ends_of(run)
    assert (ends.sent, ends.delivered, ends.undelivered) == (2, 2, 0)
    assert queries.report(run, push).sent == 2


# ── Clicks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_visit_counts_and_leads_on(db: Any, client: Any, make_member: Any, sent: Any, clock: Any) -> None:
    lime = make_member("Lime")
    _push, run, by_member = sent(body="{link}", link_url="https://shop.example/tea?a=1")
    link = path(by_member[lime.id])
    answer = client.get(link)
    assert (answer.status_code, answer.location) == (302, "https://shop.example/tea?a=1")
    client.get(link)
    clock.move(minutes=9)
    client.get(link)
    assert clicks(db) == 1
    clock.move(minutes=11)
    client.get(link)
    assert clicks(db) == 2
    # Each counted click is told once; the taps between are no news.
    assert len(published(db, "LinkFollowed")) == 2
    assert queries.report(run, _push).clicked == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Purpose": "prefetch"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"X-Moz": "prefetch"},
        {"X-Purpose": "preview"},
        {"User-Agent": "facebookexternalhit/1.1"},
        {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"},
        {"User-Agent": "curl/8.0"},
    ],
)
def test_programs_and_prefetches_do_not_count(
    db: Any, client: Any, make_member: Any, sent: Any, headers: dict[str, str]
) -> None:
    lime = make_member("Lime")
    _push, _run, by_member = sent(body="{link}", link_url="/me/")
    assert client.get(path(by_member[lime.id]), headers=headers).status_code == 302
    assert client.head(path(by_member[lime.id])).status_code == 302
    assert clicks(db) == 0


def test_forged_and_foreign_links_lead_nowhere(client: Any, db: Any, make_member: Any, sent: Any) -> None:
    lime = make_member("Lime")
    _push, _run, by_member = sent(body="{link}", link_url="/me/")
    good = path(by_member[lime.id])
    for bad in (good[:-1], good + "x", "/l/abc", "/l/" + "x" * 500, good.replace(".l.", ".c.")):
        assert client.get(bad).status_code == 404
    assert clicks(db) == 0


def test_the_coupon_link_leads_to_the_members_own_page(
    client: Any, db: Any, make_member: Any, make_offer: Any, sent: Any
) -> None:
    lime = make_member("Lime")
    _push, run, by_member = sent(body="{coupon_link}", offer_id=make_offer().id)
    answer = client.get(path(by_member[lime.id], message.COUPON))
    assert answer.location.startswith("/c/")
    assert client.get(answer.location).status_code == 200
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 0
    assert client.post(answer.location).status_code in (200, 302, 303)
    coupon = db.session.scalars(select(Coupon)).one()
    assert (coupon.member_id, coupon.source) == (lime.id, f"push:{run.id}")
    report = queries.report(run, _push)
    assert (report.clicked, report.claimed, report.redeemed) == (1, 1, 0)


# ── Credit ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def use_coupon(member: Any, offer: Any, run: Run, order: str) -> str:
    """The member's coupon of a push is used on an order; returns its code."""
    code = grants.grant(offer.id, member.id, f"test:{member.id}", queries.source_of(run.id)).code
    coupons.redeem(code, "shop", order, Basket(amount=10_000))
    return code


def credits(db: Any) -> set[tuple[int, int, Kind]]:
    return {(a.order_id, a.run_id, a.kind) for a in db.session.scalars(select(Attribution))}


@pytest.mark.parametrize("order_first", [True, False])
def test_a_used_coupon_credits_its_order_whichever_comes_first(
    db: Any, make_member: Any, make_offer: Any, make_order: Any, sent: Any, run_jobs: Any, order_first: bool
) -> None:
    lime, offer = make_member("Lime"), make_offer()
    push, run, _ = sent(body="{coupon_link}", offer_id=offer.id)
    if order_first:
        order = make_order(lime, 0, external_id="A1")
        use_coupon(lime, offer, run, "A1")
        run_jobs()
    else:
        use_coupon(lime, offer, run, "A1")
        run_jobs()
        assert credits(db) == set()
        order = make_order(lime, 0, external_id="A1")
        services.credit_order(order.id)
    services.credit_order(order.id)
    assert credits(db) == {(order.id, run.id, Kind.DIRECT)}
    report = queries.report(run, push)
    assert (report.claimed, report.redeemed, report.direct.orders) == (1, 1, 1)


def test_an_undone_use_takes_the_credit_back(
    db: Any, make_member: Any, make_offer: Any, make_order: Any, sent: Any, run_jobs: Any
) -> None:
    lime, offer = make_member("Lime"), make_offer()
    push, run, _ = sent(body="{coupon_link}", offer_id=offer.id)
    make_order(lime, 0, external_id="A1")
    code = use_coupon(lime, offer, run, "A1")
    run_jobs()
    assert len(credits(db)) == 1
    coupons.roll_back(code, "shop", "A1", "sent back")
    run_jobs()
    assert credits(db) == set()
    assert queries.report(run, push).redeemed == 0


def test_influence_is_the_last_click_within_five_days(
    db: Any, client: Any, make_member: Any, make_order: Any, sent: Any, clock: Any
) -> None:
    shop.put("contact.per_day", None)
    lime, plum = make_member("Lime"), make_member("Plum")
    _p, first, by_first = sent(body="{link}", link_url="/me/")
    _p, second, by_second = sent(body="{link}", link_url="/me/")
    client.get(path(by_first[lime.id]))
    clock.move(hours=1)
    client.get(path(by_second[lime.id]))
    clock.move(hours=1)
    soon = make_order(lime, 0)
    early = make_order(lime, 1)
    clock.move(days=4, hours=22)
    just = make_order(lime, 0)
    clock.move(hours=2)
    late = make_order(lime, 0)
    other = make_order(plum, 0)
    for order in (soon, early, just, late, other):
        services.credit_order(order.id)
        services.credit_order(order.id)
    assert credits(db) == {(soon.id, second.id, Kind.INFLUENCED), (just.id, second.id, Kind.INFLUENCED)}
    assert first.id != second.id


def test_an_import_is_credited_as_a_whole(
    db: Any, client: Any, make_member: Any, make_order: Any, sent: Any, run_jobs: Any, clock: Any, monkeypatch: Any
) -> None:
    from kernel.events import publish

    monkeypatch.setattr(services, "SLICE", 2)

    people = [make_member(f"P{i}") for i in range(4)]
    _p, run, by_member = sent(body="{link}", link_url="/me/")
    for person in people:
        client.get(path(by_member[person.id]))
    clock.move(hours=1)
    brought = ImportRun(source="shop", format="csv", filename="x", file_key="x", created_at=clock.now())
    db.session.add(brought)
    db.session.flush()
    orders = [make_order(person, 0, run_id=brought.id) for person in people[:3]]
    single = make_order(people[3], 0)
    publish(OrdersImported(run_id=brought.id, source="shop", orders_new=3, orders_changed=0))
    publish(
        OrderRecorded(
            order_id=single.id, member_id=people[3].id, source="shop", external_id=single.external_id, amount=1
        )
    )
    run_jobs()
    assert credits(db) == {(order.id, run.id, Kind.INFLUENCED) for order in [*orders, single]}
    slices = [(one["first_id"], one["last_id"]) for one in published(db, "ImportToCredit")]
    assert slices == [(orders[0].id, orders[1].id), (orders[2].id, orders[2].id)]


def test_money_is_net_of_refunds(
    db: Any, client: Any, make_member: Any, make_order: Any, sent: Any, clock: Any
) -> None:
    lime = make_member("Lime")
    push, run, by_member = sent(body="{link}", link_url="/me/")
    client.get(path(by_member[lime.id]))
    clock.move(hours=1)
    made = [
        make_order(lime, 0, 10_000, postage=500),
        make_order(lime, 0, 10_000, refunded_amount=3_000),
        make_order(lime, 0, 10_000, refunded_amount=10_000),
        make_order(lime, 0, 10_000, state=OrderState.CLOSED),
    ]
    for order in made:
        services.credit_order(order.id)
    report = queries.report(run, push)
    assert report.influenced == queries.Credit(2, 9_500 + 7_000)
    assert report.direct == queries.Credit()


def test_the_hold_out_is_compared(
    db: Any, make_member: Any, make_order: Any, make_push: Any, run_jobs: Any, clock: Any
) -> None:
    shop.put("holdout.percent", 50)
    people = [make_member(f"P{i}") for i in range(60)]
    deaf = make_member("Deaf", consents=(Contact.EMAIL,))
    push, run = make_push()
    pushes.schedule(run)
    jobs.wake.direct()
    run_jobs()
    held = {d.member_id for d in db.session.scalars(select(Delivery).where(Delivery.state == DeliveryState.CONTROL))}
    clock.move(days=3)
    for person in people:
        if person.id not in held:
            make_order(person, 0, 2_000)
            make_order(person, 1, 1_000)
    make_order(deaf, 0)
    make_order(people[0], 10)
    clock.move(days=20)
    make_order(people[1], 0)
    report = queries.report(run, push)
    treated = 60 - len(held)
    assert (report.treated.people, report.treated.buyers, report.treated.orders) == (treated, treated, 2 * treated)
    assert (report.treated.orders_squared, report.treated.money) == (4 * treated, 3_000 * treated)
    assert (report.control.people, report.control.buyers, report.control.orders) == (len(held), 0, 0)
    assert report.complete
    assert report.extra_orders is not None
    assert report.extra_orders.value == pytest.approx(2 * treated)
