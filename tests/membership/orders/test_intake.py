"""Reports of orders become orders, members and sums; the same end whatever arrives first (check I4)."""

from __future__ import annotations

import hashlib
import itertools
import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, text

from kernel import clock
from kernel.copying import copied_instant
from kernel.events import EventRecord
from membership.members.models import Member
from membership.orders import queries, rules, services
from membership.orders.formats.drafts import (
    AsideDraft,
    Buyer,
    CancelDraft,
    LineDraft,
    OrderDraft,
    ReturnedDraft,
    StepDraft,
)
from membership.orders.models import ImportRun, Order, OrderLine, OrderState, Payment, Refund, ReturnedLine
from membership.orders.services import RefundDraft, intake, take_in
from membership.orders.services.intake import prepare
from tests.conftest import NOON


@pytest.fixture(autouse=True)
def noon(clock):
    return clock


def draft(number: str = "A1", days_ago: float = 20, **values) -> OrderDraft:
    at = values.pop("placed_at", NOON - timedelta(days=days_ago))
    paid = values.pop("paid_amount", 100_00)
    told = {
        "state": OrderState.COMPLETED,
        "paid_at": at,
        "version_at": at,
        "postage": 8_00,
        "buyer": Buyer(number="77", nickname="小满"),
        "lines": (LineDraft("CUP", "Cup", 1, paid - 8_00),),
    } | values
    return OrderDraft(external_id=number, placed_at=at, paid_amount=paid, **told)


def one(db) -> Order:
    db.session.expire_all()
    return db.session.scalars(select(Order)).one()


def sums(db) -> dict[str, tuple]:
    db.session.expire_all()
    return {
        m.nickname: (m.orders_count, m.spend, m.first_order_at, m.last_order_at)
        for m in db.session.scalars(select(Member))
    }


def events(db) -> list[tuple[str, dict]]:
    rows = db.session.scalars(
        select(EventRecord)
        .where(EventRecord.name.like("Order%"), EventRecord.name != "OrdersImported")
        .order_by(EventRecord.id)
    )
    return [(row.name, row.payload) for row in rows]


# ── One order ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_order_makes_its_member_and_their_sums(db):
    taken = take_in("taobao", [draft(), draft("A2", days_ago=10, paid_amount=58_00)])
    assert taken.outcomes == ["new", "new"]
    assert (taken.accepted, taken.duplicate, taken.orders_new, taken.members_new) == (2, 0, 2, 1)
    assert sums(db) == {"小满": (2, 142_00, NOON - timedelta(days=20), NOON - timedelta(days=10))}


@pytest.mark.parametrize("source", ["taobao", "own-shop"])
def test_a_name_that_shows_nothing_is_nobody(db, source):
    buyer = Buyer(number="\u200b", nickname="\u200b\u3000\u200b")
    assert take_in(source, [draft(buyer=buyer)]).members_new == 0
    assert one(db).member_id is None


def test_prepared_reports_end_as_the_others(db):
    reports = [draft(), draft(days_ago=19), draft("A2", buyer=None), draft("A3", state=OrderState.REFUSED)]
    prepared = prepare("taobao", reports)
    assert take_in("taobao", reports, prepared=prepared).outcomes == ["new", "changed", "new", "new"]
    before = db.session.execute(text('SELECT * FROM "order" ORDER BY id')).all()
    assert take_in("taobao", reports).outcomes == ["duplicate"] * 4
    assert db.session.execute(text('SELECT * FROM "order" ORDER BY id')).all() == before


@pytest.mark.parametrize("buyer", [None, Buyer(number="n'1", nickname='小"满\u200b'), Buyer(phone="+8612000000001")])
@pytest.mark.parametrize("titles", [(), ("杯",), ("it's", 'a "cup"\t\\')])
def test_what_an_order_is_known_by_never_changes(buyer, titles):
    """The digest of the plain values as `repr` writes them, whatever writes it sooner: else a file taken in again were news."""
    lines = tuple(LineDraft(f"S{n}", title, 1 + n, 10_00) for n, title in enumerate(titles))
    one = draft(buyer=buyer, lines=lines)
    moments = (one.placed_at, one.paid_at, one.shipped_at, one.delivered_at, one.completed_at, one.closed_at)
    content = (
        str(one.payment),
        [at.timestamp() if at is not None else None for at in moments],
        one.paid_amount,
        one.postage,
        one.discount,
        (buyer.number, buyer.phone, buyer.email, buyer.nickname) if buyer else None,
        [(line.sku, line.title, line.quantity, line.unit_price, line.amount) for line in lines],
    )
    digest = hashlib.sha256(repr(content).encode("utf-8", "surrogatepass")).hexdigest()
    assert intake.version_of(one)[1].endswith(digest[:24])


@pytest.mark.parametrize(
    "at", [NOON, NOON.replace(second=7, microsecond=5), clock.local(NOON), NOON.replace(hour=23, minute=59)]
)
def test_an_instant_is_copied_as_it_is_written(at):
    assert copied_instant(at) == str(at)


def test_order_without_a_buyer_belongs_to_nobody(db):
    assert take_in("taobao", [draft(buyer=None)]).members_new == 0
    assert (one(db).member_id, sums(db)) == (None, {})


def test_masked_buyer_is_nobody(db):
    take_in("taobao", [draft(buyer=Buyer(number="t**1", nickname="t**1"))])
    assert one(db).member_id is None


def test_own_sources_keep_their_numbers_apart(db):
    take_in("shop-a", [draft()])
    take_in("shop-b", [draft()])
    assert len(sums(db)) == 1  # both are called alike …
    assert db.session.scalars(text("SELECT count(*) FROM member")).one() == 2  # … and are two people


def test_one_phone_is_one_person_across_sources(db):
    take_in("taobao", [draft(buyer=Buyer(number="a", nickname="a", phone="+8613800000000"))])
    take_in("shop", [draft(buyer=Buyer(number="b", nickname="b", phone="+8613800000000"))])
    assert list(sums(db).values()) == [(2, 184_00, NOON - timedelta(days=20), NOON - timedelta(days=20))]


def test_same_report_again_is_a_duplicate_and_changes_nothing(db):
    take_in("taobao", [draft()])
    before = db.session.execute(text('SELECT * FROM "order"')).all()
    taken = take_in("taobao", [draft(), draft()])
    assert (taken.outcomes, taken.accepted, taken.duplicate, taken.members_new) == (["duplicate"] * 2, 0, 2, 0)
    assert db.session.execute(text('SELECT * FROM "order"')).all() == before


def test_newer_report_is_accepted_and_an_older_one_is_not(db):
    newer = draft(paid_amount=90_00, version_at=NOON - timedelta(days=1), lines=(LineDraft("TRAY", "Tray", 2, 41_00),))
    assert take_in("taobao", [draft()]).outcomes == ["new"]
    assert take_in("taobao", [newer]).outcomes == ["changed"]
    assert take_in("taobao", [draft()]).outcomes == ["duplicate"]
    assert one(db).paid_amount == 90_00
    assert [line.sku for line in db.session.scalars(select(OrderLine))] == ["TRAY"]
    assert sums(db)["小满"][1] == 82_00


def test_of_two_reports_of_one_instant_the_one_further_on_wins(db):
    shipped = draft(state=OrderState.SHIPPED)
    refunded = draft(state=OrderState.CLOSED, refunded_amount=100_00)
    for first, second in ((shipped, refunded), (refunded, shipped)):
        with db.session.begin_nested() as attempt:
            take_in("taobao", [first])
            take_in("taobao", [second])
            assert one(db).state is OrderState.CLOSED
            attempt.rollback()


def test_several_versions_in_one_batch(db):
    taken = take_in("taobao", [draft(state=OrderState.PAID), draft(), draft(state=OrderState.SHIPPED)])
    assert taken.outcomes == ["new", "changed", "duplicate"]
    assert (one(db).state, taken.orders_new, taken.orders_changed) == (OrderState.COMPLETED, 1, 1)


def test_buyer_who_changes_moves_the_order(db):
    take_in("taobao", [draft()])
    take_in("taobao", [draft(version_at=NOON, buyer=Buyer(number="88", nickname="立夏"))])
    assert {name: told[0] for name, told in sums(db).items()} == {"小满": 0, "立夏": 1}


@pytest.mark.parametrize(
    ("values", "counted"),
    [
        ({"state": OrderState.PLACED, "paid_at": None}, (0, 0)),
        ({"state": OrderState.PAID}, (1, 92_00)),
        ({"state": OrderState.SHIPPED}, (1, 92_00)),
        ({"state": OrderState.CLOSED}, (0, 0)),
        ({"state": OrderState.REFUSED}, (0, 0)),
        ({"refunded_amount": 20_00}, (1, 72_00)),
        ({"refunded_amount": 92_00}, (0, 0)),
        ({"refunded_amount": 100_00}, (0, 0)),
        ({"paid_amount": 0, "postage": 0, "lines": ()}, (1, 0)),
        ({"payment": Payment.ON_DELIVERY, "state": OrderState.SHIPPED, "paid_at": None}, (0, 0)),
        (
            {"payment": Payment.ON_DELIVERY, "state": OrderState.DELIVERED, "paid_at": None, "delivered_at": NOON},
            (1, 92_00),
        ),
    ],
)
def test_what_counts_for_the_member(db, values, counted):
    take_in("taobao", [draft(**values)])
    assert sums(db)["小满"][:2] == counted
    order = one(db)
    said = (order.paid_amount, order.postage, order.refunded_amount)
    assert rules.counts(order.state, order.paid_at, *said) is bool(counted[0])
    assert bool(db.session.scalar(select(Order.id).where(queries.counts()))) is bool(counted[0])


def test_completed_order_without_a_moment_was_complete_by_the_last_one_known(db):
    take_in("taobao", [draft(completed_at=None)])
    assert one(db).completed_at == NOON - timedelta(days=20)


# ── Refunds ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_refund_may_come_before_its_order(db):
    assert take_in("taobao", [RefundDraft("R1", "A1", 30_00, NOON)]).outcomes == ["new"]
    take_in("taobao", [draft()])
    assert one(db).refunded_amount == 30_00
    assert sums(db)["小满"][1] == 62_00


def test_same_refund_again_is_a_duplicate(db):
    take_in("taobao", [draft()])
    for _ in range(3):
        services.refund("taobao", "R1", "A1", 30_00)
    services.refund("taobao", "R2", "A1", 10_00)
    assert one(db).refunded_amount == 40_00


def test_refunds_never_exceed_what_was_paid(db):
    take_in("taobao", [draft()])
    services.refund("taobao", "R1", "A1", 900_00)
    assert one(db).refunded_amount == 100_00


def test_order_report_and_refund_report_of_the_same_money_count_once(db):
    take_in("taobao", [draft(refunded_amount=30_00), RefundDraft("R1", "A1", 30_00, NOON)])
    assert one(db).refunded_amount == 30_00


def test_refund_of_another_source_is_another_matter(db):
    take_in("taobao", [draft()])
    take_in("shop", [RefundDraft("R1", "A1", 30_00, NOON)])
    assert one(db).refunded_amount == 0


# ── Cancellations that name no order ────────────────────────────────────────────────────────────────────────────────


def bought(
    number: str, days_ago: float, quantity: int, sku: str = "CUP", price: int = 10_00, buyer: str = "77"
) -> OrderDraft:
    return draft(
        number,
        days_ago=days_ago,
        paid_amount=quantity * price,
        postage=0,
        buyer=Buyer(number=buyer, nickname=buyer),
        buyer_key=buyer,
        lines=(LineDraft(sku, sku, quantity, price),),
    )


def cancelled(
    number: str, days_ago: float, quantity: int, sku: str = "CUP", price: int = 10_00, buyer: str | None = "77"
):
    lines = (ReturnedDraft(sku, quantity, price),)
    who = Buyer(number=buyer, nickname=buyer) if buyer else None
    at = NOON - timedelta(days=days_ago)
    return CancelDraft(external_id=number, at=at, buyer=who, buyer_key=buyer, lines=lines, rows=1)


def refunded(db) -> dict[str, int]:
    db.session.expire_all()
    return {order.external_id: order.refunded_amount for order in db.session.scalars(select(Order))}


def test_cancellation_refunds_the_latest_earlier_purchase(db):
    take_in("shop", [bought("1", 30, 5), bought("2", 20, 5), bought("3", 5, 5), bought("4", 20, 5, sku="TRAY")])
    take_in("shop", [cancelled("C1", 10, 2)])
    assert refunded(db) == {"1": 0, "2": 20_00, "3": 0, "4": 0}
    assert [line.refunded_quantity for line in db.session.scalars(select(OrderLine).order_by(OrderLine.id))] == [
        0,
        2,
        0,
        0,
    ]


def test_cancellation_larger_than_the_latest_purchase_goes_on_to_the_one_before(db):
    take_in("shop", [bought("1", 30, 5), bought("2", 20, 5), cancelled("C1", 10, 7)])
    assert refunded(db) == {"1": 20_00, "2": 50_00}


def test_cancellation_of_more_than_was_bought_is_remembered(db):
    take_in("shop", [bought("1", 30, 5), cancelled("C1", 10, 7)])
    assert db.session.scalars(select(ReturnedLine.unmatched)).one() == 2
    take_in("shop", [bought("0", 40, 1)])
    assert refunded(db) == {"0": 10_00, "1": 50_00}
    assert db.session.scalars(select(ReturnedLine.unmatched)).one() == 1


def test_cancellation_of_another_buyer_or_of_nobody_refunds_nothing(db):
    taken = take_in(
        "shop", [bought("1", 30, 5), cancelled("C1", 10, 1, buyer="88"), cancelled("C2", 10, 1, buyer=None)]
    )
    assert taken.accepted == 3
    assert refunded(db) == {"1": 0}


def test_whoever_only_gave_something_back_is_a_customer_too(db):
    assert take_in("shop", [cancelled("C1", 10, 1, buyer="99")]).members_new == 1
    assert sums(db) == {"99": (0, 0, None, None)}


def test_purchase_of_the_same_minute_is_not_earlier(db):
    take_in("shop", [bought("1", 10, 5), cancelled("C1", 10, 1)])
    assert refunded(db) == {"1": 0}


def test_late_purchase_takes_the_refund_over(db):
    take_in("shop", [bought("1", 30, 5), cancelled("C1", 10, 2)])
    assert refunded(db) == {"1": 20_00}
    take_in("shop", [bought("2", 20, 5)])
    assert refunded(db) == {"1": 0, "2": 20_00}
    assert len(db.session.scalars(select(Refund)).all()) == 1


def test_order_written_over_gives_its_refund_to_another(db):
    take_in("shop", [bought("1", 30, 5), bought("2", 20, 5), cancelled("C1", 10, 2)])
    changed = replace(bought("2", 20, 5, sku="TRAY"), version_at=NOON)
    take_in("shop", [changed])
    assert refunded(db) == {"1": 20_00, "2": 0}


def test_cancellation_and_book_keeping_again_are_duplicates(db):
    reports = [bought("1", 30, 5), cancelled("C1", 10, 2), AsideDraft("A9", 3, "An adjustment of bad debt, not a sale")]
    assert take_in("shop", reports).accepted == 5
    again = take_in("shop", reports)
    assert (again.accepted, again.duplicate) == (0, 5)
    assert refunded(db) == {"1": 20_00}


# ── Any order of arrival ────────────────────────────────────────────────────────────────────────────────────────────


def state_of(db) -> list:
    orders = text(
        """
        SELECT o.external_id, o.state, o.paid_amount, o.postage, o.refunded_amount, o.reported_refund, o.version_at,
               (SELECT array_agg(i.external_id ORDER BY i.external_id) FROM member_identity i WHERE i.member_id = o.member_id),
               (SELECT array_agg((l.sku, l.quantity, l.refunded_quantity) ORDER BY l.position) FROM order_line l
                WHERE l.order_id = o.id)
        FROM "order" o ORDER BY o.external_id
        """
    )
    members = text(
        """
        SELECT array_agg(i.external_id ORDER BY i.external_id), m.orders_count, m.spend, m.first_order_at, m.last_order_at
        FROM member m JOIN member_identity i ON i.member_id = m.id GROUP BY m.id ORDER BY 1
        """
    )
    refunds = text("SELECT external_id, order_external_id, order_id IS NULL, amount FROM refund ORDER BY external_id")
    left = text("SELECT buyer, sku, at, unmatched FROM returned_line ORDER BY buyer, sku, at")
    return [[tuple(map(str, row)) for row in db.session.execute(query)] for query in (orders, members, refunds, left)]


def some_reports() -> list:
    first = bought("1", 40, 5)
    return [
        first,
        replace(first, state=OrderState.SHIPPED),
        replace(first, refunded_amount=10_00),
        replace(
            first, version_at=NOON - timedelta(days=3), lines=(LineDraft("CUP", "Cup", 4, 10_00),), paid_amount=40_00
        ),
        bought("2", 30, 5),
        bought("3", 20, 3),
        bought("4", 20, 3, buyer="88"),
        bought("5", 15, 2, sku="TRAY"),
        cancelled("C1", 25, 6),
        cancelled("C2", 10, 4),
        cancelled("C3", 9, 9, sku="TRAY"),
        cancelled("C4", 8, 1, buyer="88"),
        RefundDraft("R1", "2", 5_00, NOON),
        RefundDraft("R2", "9", 5_00, NOON),
        draft("9", days_ago=12, buyer=None),
        AsideDraft("A1", 1, "An adjustment of bad debt, not a sale"),
    ]


def test_check_i4_200_random_arrivals_end_in_one_state(db):
    """Reports come one by one or in batches, some of them twice, in any order: orders, refunds and sums end alike."""
    chance = random.Random(20260303)
    ends = []
    for _ in range(200):
        reports = some_reports()
        reports += chance.sample(reports, 4)
        chance.shuffle(reports)
        with db.session.begin_nested() as attempt:
            while reports:
                size = chance.randint(1, 6)
                take_in("shop", reports[:size])
                reports = reports[size:]
            ends.append(state_of(db))
            attempt.rollback()
        db.session.expire_all()
    assert all(end == ends[0] for end in ends)
    assert [row[0] for row in ends[0][0]] == ["1", "2", "3", "4", "5", "9"]


# ── What is published ───────────────────────────────────────────────────────────────────────────────────────────────


def run_of(db) -> int:
    run = ImportRun(source="shop", format="siyu", filename="a.csv", file_key="", created_at=NOON, checkpoint={})
    db.session.add(run)
    db.session.flush()
    return run.id


def test_single_order_publishes_each_step_once(db):
    paid = draft(days_ago=5, state=OrderState.PAID)
    steps = [
        paid,
        replace(
            paid, state=OrderState.DELIVERED, delivered_at=NOON - timedelta(days=1), version_at=NOON - timedelta(days=1)
        ),
        replace(paid, state=OrderState.COMPLETED, delivered_at=NOON - timedelta(days=1), version_at=NOON),
    ]
    for step in [*steps, *steps]:
        services.record("shop", step)
    services.refund("shop", "R1", "A1", 10_00)
    services.refund("shop", "R2", "A1", 90_00)
    order = one(db)
    who = {"order_id": order.id, "member_id": order.member_id, "external_id": "A1"}
    money = {"source": "shop"}
    updated = {"order_id": order.id, "member_id": order.member_id}
    assert events(db) == [
        ("OrderRecorded", who | money | {"amount": 100_00}),
        ("OrderDelivered", who | {"delivered_at": (NOON - timedelta(days=1)).isoformat()}),
        ("OrderUpdated", updated),
        ("OrderCompleted", who),
        ("OrderUpdated", updated),
        ("OrderRefunded", who | money | {"amount": 10_00, "full": False}),
        ("OrderRefunded", who | money | {"amount": 90_00, "full": True}),
    ]


def test_a_parcel_on_its_way_is_told_once_and_not_of_old_files(db):
    sent = NOON - timedelta(hours=5)
    services.record("shop", draft(state=OrderState.PAID))
    shipped = draft(state=OrderState.SHIPPED, shipped_at=sent, version_at=NOON)
    services.record("shop", shipped)
    services.record("shop", replace(shipped, version_at=NOON + timedelta(minutes=1)))
    told = {"order_id": one(db).id, "member_id": one(db).member_id, "external_id": "A1"}
    assert [payload for name, payload in events(db) if name == "OrderShipped"] == [
        told | {"shipped_at": sent.isoformat()}
    ]
    at = NOON - timedelta(days=20)
    take_in("shop", [draft("old", days_ago=21, state=OrderState.SHIPPED, shipped_at=at, version_at=at)], run_of(db))
    assert [name for name, _ in events(db)].count("OrderShipped") == 1


def test_refused_parcel_is_told(db):
    services.record("shop", draft(state=OrderState.REFUSED, payment=Payment.ON_DELIVERY, paid_at=None))
    assert [name for name, _ in events(db)] == ["OrderRefused"]


def test_unpaid_order_is_recorded_when_it_is_paid(db):
    services.record("shop", draft(state=OrderState.PLACED, paid_at=None))
    assert events(db) == []
    services.record("shop", draft(state=OrderState.PAID))
    assert [name for name, _ in events(db)] == ["OrderRecorded", "OrderUpdated"]


def test_both_members_are_told_of_when_an_order_changes_hands(db):
    services.record("shop", draft())
    services.record("shop", draft(version_at=NOON, buyer=Buyer(number="88", nickname="立夏")))
    told = [payload["member_id"] for name, payload in events(db) if name == "OrderUpdated"]
    assert sorted(told) == sorted(db.session.scalars(select(Member.id)))


def delivered(number: str, days_ago: float, **values) -> OrderDraft:
    at = NOON - timedelta(days=days_ago)
    return draft(number, days_ago=days_ago + 3, state=OrderState.DELIVERED, delivered_at=at, version_at=at, **values)


def test_file_publishes_only_what_is_fresh(db):
    old = delivered("old", 14.1, refunded_amount=100_00)
    fresh = delivered("new", 13.9)
    take_in("shop", [old, fresh, draft("ancient", days_ago=300)], run_of(db))
    assert [(name, payload["order_id"]) for name, payload in events(db)] == [
        ("OrderDelivered", queries.find_order("shop", "new").id)
    ]


def test_file_tells_of_a_delivery_of_an_order_known_before(db):
    """The feed names no moment of delivery, only that the order is complete by now."""
    take_in("taobao", [draft(days_ago=30, state=OrderState.SHIPPED)], run_of(db))
    take_in("taobao", [draft(days_ago=30)], run_of(db))
    told = {"order_id": one(db).id, "member_id": one(db).member_id, "external_id": "A1"}
    assert events(db) == [("OrderDelivered", told | {"delivered_at": NOON.isoformat()})]


def test_file_tells_of_a_refund_of_an_order_known_before(db):
    take_in("taobao", [draft(days_ago=300)], run_of(db))
    take_in("taobao", [draft(days_ago=300, state=OrderState.CLOSED, refunded_amount=100_00)], run_of(db))
    assert [(name, payload["full"]) for name, payload in events(db)] == [("OrderRefunded", True)]


def test_cancellation_of_long_ago_in_a_file_is_not_told(db):
    take_in("shop", [bought("1", 300, 5)], run_of(db))
    take_in("shop", [cancelled("C1", 200, 2)], run_of(db))
    assert events(db) == []
    take_in("shop", [cancelled("C2", 2, 2)], run_of(db))
    assert [name for name, _ in events(db)] == ["OrderRefunded"]


def test_expected_delivery_comes_true_by_the_clock(db, clock):
    expected = NOON + timedelta(days=2)
    take_in("shop", [draft(state=OrderState.SHIPPED, delivered_at=expected)], run_of(db))
    cash = {"payment": Payment.ON_DELIVERY, "paid_at": None, "buyer": Buyer(number="88", nickname="立夏")}
    take_in("shop", [draft("A2", state=OrderState.SHIPPED, delivered_at=expected, **cash)], run_of(db))
    assert services.deliver_due() == 0
    clock.move(days=2)
    assert services.deliver_due() == 2
    assert services.deliver_due() == 0
    assert [name for name, _ in events(db)] == ["OrderDelivered"] * 2
    assert sums(db)["立夏"][0] == 1


def test_pure_and_sql_qualification_are_one(db):
    moments: list[datetime | None] = [None, NOON - timedelta(days=30), NOON - timedelta(days=2)]
    number = 0
    for state in OrderState:
        for delivered_at in moments:
            for completed_at in moments:
                number += 1
                values = {"state": state, "delivered_at": delivered_at, "completed_at": completed_at}
                take_in("shop", [draft(f"Q{number}", days_ago=60, buyer=None, **values)])
    rows = db.session.execute(select(Order, queries.qualifies_at())).all()
    assert len(rows) == number
    for order, at in rows:
        assert at == rules.qualifies_at(order.state, order.paid_at, order.delivered_at, order.completed_at)


def test_intake_takes_a_fixed_number_of_statements(db):
    few, many = [draft(f"F{n}") for n in range(2)], [draft(f"M{n}", buyer=Buyer(number=str(n))) for n in range(300)]
    take_in("shop", few)
    from sqlalchemy import event

    from kernel.db import db as database

    counts = []
    for reports in ([draft("G1", buyer=Buyer(number="x"))], many):
        seen = []
        # Many new members are written under a savepoint.
        note = lambda *args, seen=seen: seen.append(args[2]) if "SAVEPOINT" not in args[2] else None  # noqa: E731
        event.listen(database.engine, "before_cursor_execute", note)
        take_in("shop", reports)
        event.remove(database.engine, "before_cursor_execute", note)
        counts.append(len(seen))
    # Many go by COPY, which is not counted here: never more statements than for one.
    assert counts[1] <= counts[0]


# ── News of single steps ────────────────────────────────────────────────────────────────────────────────────────────


def test_any_order_of_reports_and_steps_ends_alike(db):
    """A whole report, a newer one, steps between and after them, and a refund, in every sequence (check I4)."""
    day = timedelta(days=1)
    first = NOON - 40 * day
    whole = OrderDraft(
        external_id="S", state=OrderState.PAID, placed_at=first, paid_at=first, version_at=first, paid_amount=100_00,
        postage=8_00, buyer=Buyer(number="7"), lines=(LineDraft("CUP", "Cup", 1, 92_00),),
    )  # fmt: skip
    reports = [
        whole,
        replace(whole, version_at=first + 2 * day, discount=5_00),
        StepDraft("S", OrderState.SHIPPED, first + day),
        StepDraft("S", OrderState.SHIPPED, first + 3 * day),
        StepDraft("S", OrderState.DELIVERED, first + 5 * day),
        RefundDraft("R", "S", 10_00, first + 6 * day),
    ]
    ends = set()
    for sequence in itertools.islice(itertools.permutations(reports), 0, None, 7):
        nested = db.session.begin_nested()
        for one in sequence:
            take_in("shop", [one])
        columns = "state, shipped_at, delivered_at, paid_amount, discount, refunded_amount, version_at"
        row = db.session.execute(text(f"SELECT {columns} FROM \"order\" WHERE external_id = 'S'")).one()
        sums = db.session.execute(text("SELECT orders_count, spend FROM member")).one()
        ends.add((*row, *sums))
        nested.rollback()
    assert len(ends) == 1
    state, shipped_at, delivered_at, _paid, discount, refunded, _version, orders_count, spend = ends.pop()
    assert (state, shipped_at, delivered_at) == ("delivered", first + 3 * day, first + 5 * day)
    assert (discount, refunded, orders_count, spend) == (5_00, 10_00, 1, 82_00)


def test_a_newer_whole_report_overrules_steps(db):
    first = NOON - timedelta(days=40)
    take_in("shop", [StepDraft("S", OrderState.CLOSED, first)])
    take_in("shop", [draft("S")])
    assert db.session.scalars(select(Order.state)).one() is draft("S").state
