"""Whatever arrives first, in whatever files, the end is the same (check I4): orders in several versions, their lines from a file
of details, single refunds and cancellations."""

from __future__ import annotations

import csv
import io
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from membership.orders import queries, services
from membership.orders.formats.drafts import Buyer, CancelDraft, DetailDraft, LineDraft, OrderDraft, ReturnedDraft
from membership.orders.models import OrderState
from membership.orders.services import RefundDraft, take_in
from tests.conftest import NOON

from .formats.test_details import LIST, NEW
from .formats.test_details import row as taobao_row

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def noon(clock):
    return clock


def state_of(db) -> list:
    """Everything that counts, without the numbers of rows."""
    queries_ = (
        """
        SELECT o.external_id, o.state, o.payment, o.placed_at, o.paid_at, o.delivered_at, o.completed_at, o.closed_at,
               o.paid_amount, o.postage, o.discount, o.refunded_amount, o.reported_refund, o.version_at, o.version_mark,
               (SELECT array_agg(i.external_id ORDER BY i.external_id) FROM member_identity i WHERE i.member_id = o.member_id),
               (SELECT array_agg((l.sku, l.title, l.quantity, l.unit_price, l.amount, l.refunded_quantity) ORDER BY l.position)
                FROM order_line l WHERE l.order_id = o.id)
        FROM "order" o ORDER BY o.external_id
        """,
        """
        SELECT array_agg(i.external_id ORDER BY i.external_id), m.orders_count, m.spend, m.first_order_at, m.last_order_at
        FROM member m JOIN member_identity i ON i.member_id = m.id GROUP BY m.id ORDER BY 1
        """,
        "SELECT external_id, order_external_id, order_id IS NULL, amount FROM refund ORDER BY external_id",
        "SELECT buyer, sku, at, unmatched FROM returned_line ORDER BY buyer, sku, at",
        "SELECT order_external_id, version_mark, refunded_amount, lines FROM order_detail ORDER BY order_external_id",
        "SELECT sku, title FROM product ORDER BY sku",
    )
    return [[tuple(map(str, row)) for row in db.session.execute(text(query))] for query in queries_]


def differences(ends: list) -> list:
    """What the first two ends do not have in common."""
    one, other = ends[:2]
    return [
        (place, a, b) for place, (rows, others) in enumerate(zip(one, other)) for a, b in zip(rows, others) if a != b
    ]


def order(number: str, days_ago: float, buyer: str = "77", **values) -> OrderDraft:
    at = NOON - days_ago * DAY
    told = {
        "state": OrderState.PAID, "paid_amount": 100_00, "postage": 8_00, "paid_at": at, "version_at": at,
        "lines": (LineDraft("CUP", "青瓷茶杯", 2, 46_00),), "buyer": Buyer(number=buyer, nickname=f"客{buyer}"), "buyer_key": buyer,
    } | values  # fmt: skip
    return OrderDraft(external_id=number, placed_at=at, **told)


def details(number: str, step: int, refunded: int = 0, pieces: int = 1) -> DetailDraft:
    lines = (LineDraft("CUP-01", "青瓷茶杯 白", pieces, 40_00), LineDraft("TRAY-02", "竹茶盘", 1, 12_00))
    return DetailDraft(
        external_id=number, version_at=NOON - 40 * DAY, step=step, lines=lines, rows=2, refunded_amount=refunded
    )


def some_events() -> list:
    first = order("1", 40, buyer_key=None)
    return [
        first,
        replace(first, state=OrderState.SHIPPED, version_at=NOON - 38 * DAY),
        replace(first, state=OrderState.COMPLETED, completed_at=NOON - 30 * DAY, version_at=NOON - 30 * DAY),
        details("1", 2),
        details("1", 8, refunded=12_00),
        order("2", 30, buyer="88"),
        order("2", 30, buyer="88", state=OrderState.CLOSED, refunded_amount=100_00),
        order("3", 20, state=OrderState.COMPLETED, completed_at=NOON - 10 * DAY),
        RefundDraft("R1", "3", 5_00, NOON - 9 * DAY),
        RefundDraft("R2", "1", 20_00, NOON - 9 * DAY),
        RefundDraft("R3", "nowhere", 5_00, NOON),
        details("nowhere", 4),
        CancelDraft(
            external_id="C1", at=NOON - 5 * DAY, buyer_key="77", lines=(ReturnedDraft("CUP", 3, 46_00),), rows=1,
            buyer=Buyer(number="77", nickname="客77"),
        ),
    ]  # fmt: skip


def test_check_i4_1000_random_arrivals_in_random_files_end_in_one_state(db):
    chance = random.Random(3)
    ends: dict[str, list] = {}
    for _ in range(1_000):
        events = some_events()
        events += chance.sample(events, 2)
        chance.shuffle(events)
        (files,) = chance.choices((1, 2, 3), (6, 3, 1))
        with db.session.begin_nested() as attempt:
            for part in range(files):
                take_in("shop", events[part::files])
            end = state_of(db)
            ends.setdefault(str(end), end)
            attempt.rollback()
        db.session.expire_all()
    assert len(ends) == 1, "\n".join(map(str, differences(list(ends.values()))))
    (end,) = ends.values()
    assert [row[0] for row in end[0]] == ["1", "2", "3"]
    assert "CUP-01" in end[0][0][16]
    assert "TRAY-02" in end[0][0][16]


def csv_of(heading, rows) -> bytes:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([heading, *rows])
    return out.getvalue().encode("gb18030")


def some_files() -> list[bytes]:
    """A list in two versions, the details of the same orders, and a part of the list once more."""
    sent = [
        taobao_row(LIST, 订单编号=str(n), 买家会员名=f"tb_{n % 3}", 联系手机="", 订单状态="卖家已发货，等待买家确认")
        for n in range(6)
    ]
    done = [
        taobao_row(LIST, 订单编号=str(n), 买家会员名=f"tb_{n % 3}", 联系手机="", 订单状态="交易成功") for n in range(4)
    ]
    lines = [
        taobao_row(
            NEW, 主订单编号=str(n), 子订单编号=f"{n}-{k}", 标题=f"茶杯 {k}", 商家编码=f"CUP-{k}", 买家实际支付金额="46.00", 购买数量="1",
            退款状态="退款成功" if n == 2 and k == 0 else "", 退款金额="10.00" if n == 2 and k == 0 else "0.00",
        )
        for n in range(1, 7) for k in range(2)
    ]  # fmt: skip
    return [csv_of(LIST, sent), csv_of(LIST, done), csv_of(NEW, lines), csv_of(LIST, sent[2:5])]


def test_check_i4_files_of_lists_and_details_end_alike_in_any_order(db):
    ends = []
    chance = random.Random(5)
    for _ in range(12):
        files = some_files()
        chance.shuffle(files)
        for content in files:
            run = services.keep(io.BytesIO(content), "a.csv", "taobao")
            assert run.failure is None
            services.start(run.id)
            assert services.work(run.id)
            found = queries.get_run(run.id)
            db.session.refresh(found)
            assert found.rows_in == found.accepted + found.duplicate + found.rejected == found.rows_total
            assert found.rejected == 0
        ends.append(state_of(db))
        db.session.execute(text('TRUNCATE "order", order_line, order_detail, member, product, import_run CASCADE'))
        db.session.commit()
    assert all(end == ends[0] for end in ends)
    orders = ends[0][0]
    assert [row[0] for row in orders] == ["0", "1", "2", "3", "4", "5"]
    # The order that no details came for keeps the one line of the list; the details of the sixth still wait.
    assert [row[16].count("CUP-") for row in orders] == [0, 2, 2, 2, 2, 2]
    assert [row[11] for row in orders] == ["0", "0", "1000", "0", "0", "0"]
    assert [row[0] for row in ends[0][4]] == ["1", "2", "3", "4", "5", "6"]


def test_newer_details_replace_older_ones_and_older_change_nothing(db):
    take_in("shop", [order("1", 40, buyer_key=None)])
    assert take_in("shop", [details("1", 8, pieces=2)]).outcomes == ["changed"]
    again = take_in("shop", [details("1", 8, pieces=2), details("1", 4), details("2", 1)])
    assert again.outcomes == ["duplicate", "duplicate", "new"]
    assert (again.accepted, again.duplicate) == (2, 4)
    lines = db.session.execute(text("SELECT sku, quantity FROM order_line ORDER BY position")).all()
    assert lines == [("CUP-01", 2), ("TRAY-02", 1)]


def test_lines_that_cancellations_look_for_stay_as_the_order_named_them(db):
    take_in("shop", [details("1", 8, refunded=12_00), order("1", 40)])
    lines = db.session.execute(text("SELECT sku FROM order_line ORDER BY position")).all()
    assert lines == [("CUP",)]
    assert queries.find_order("shop", "1").refunded_amount == 12_00


def test_refund_of_details_counts_once_beside_others(db):
    take_in("shop", [details("1", 8, refunded=12_00), RefundDraft("R1", "1", 12_00, NOON), order("1", 40)])
    assert queries.find_order("shop", "1").refunded_amount == 12_00
    take_in("shop", [details("1", 12, refunded=500_00)])
    db.session.expire_all()
    assert queries.find_order("shop", "1").refunded_amount == 100_00
