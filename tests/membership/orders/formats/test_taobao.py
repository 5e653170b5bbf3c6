"""Order exports of Taobao and Tmall."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from membership.orders import formats
from membership.orders.formats import taobao
from membership.orders.formats.drafts import OrderDraft, Reason, RejectedDraft
from membership.orders.models import OrderState, Payment

DATA = Path(__file__).resolve().parents[5] / "shared" / "data"
NOW = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)
SHORT = [
    "订单编号", "买家会员名", "订单状态", "买家实际支付金额", "订单创建时间", "订单付款时间 ", "买家应付邮费", "宝贝标题 ",
    "宝贝总数量", "联系手机", "收货地址 ", "运送方式", "退款金额",
]  # fmt: skip
REPORT = ["品牌名称", "买家昵称", "付款日期", "订单状态", "实付金额", "邮费", "省份", "城市", "购买数量"]


def row(**values: str) -> list[str]:
    told = {
        "订单编号": '="2012345678901234567"', "买家会员名": "tb_lime", "订单状态": "交易成功", "买家实际支付金额": "108.00",
        "订单创建时间": "2026-01-05 10:00:00", "订单付款时间": "2026-01-05 10:01:00", "买家应付邮费": "8.00",
        "宝贝标题": "青瓷茶杯", "宝贝总数量": "3", "联系手机": "'13800000000", "收货地址": "浙江省 杭州市 西湖区 样板路",
        "运送方式": "快递", "退款金额": "",
    } | values  # fmt: skip
    return [told[name.strip()] for name in SHORT]


def report(**values: str) -> list[str]:
    told = dict(
        zip(
            REPORT,
            ["示例", "买家_1", "2019-01-01 00:17:59.000", "交易成功", "186", "6", "上海", "上海市", "2"],
            strict=True,
        )
    )
    return list((told | values).values())


@pytest.fixture
def read(tmp_path):
    def entries(*rows, heading=SHORT, encoding="gb18030"):
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows([heading, *rows])
        path = tmp_path / "a.csv"
        path.write_bytes(text.getvalue().encode(encoding))
        sheet, found = formats.examined(path)
        assert found.key == "taobao"
        return list(found.entries(sheet, NOW))

    return entries


def test_line_of_the_list_becomes_an_order(read):
    (order,) = read(row())
    assert order.external_id == "2012345678901234567"
    assert order.state is OrderState.COMPLETED
    assert order.placed_at == datetime(2026, 1, 5, 2, 0, tzinfo=UTC)
    assert (order.paid_amount, order.postage, order.refunded_amount) == (108_00, 8_00, 0)
    assert (order.buyer.number, order.buyer.phone, order.buyer.city) == ("tb_lime", "+8613800000000", "杭州市")
    ((line),) = order.lines
    assert (line.title, line.quantity, line.unit_price, line.amount) == ("青瓷茶杯", 3, 33_33, 100_00)


@pytest.mark.parametrize(
    ("said", "state", "refund"),
    [
        ("等待买家付款", OrderState.PLACED, 0),
        ("买家已付款，等待卖家发货", OrderState.PAID, 0),
        ("买家已付款,等待卖家发货", OrderState.PAID, 0),
        ("卖家已发货，等待买家确认", OrderState.SHIPPED, 0),
        (" 交易成功 ", OrderState.COMPLETED, 0),
        ("交易关闭", OrderState.CLOSED, 0),
        ("付款以后用户退款成功，交易自动关闭", OrderState.CLOSED, 108_00),
    ],
)
def test_states(read, said, state, refund):
    (order,) = read(row(订单状态=said))
    assert (order.state, order.refunded_amount) == (state, refund)


def test_unpaid_order_has_no_money(read):
    (order,) = read(row(订单状态="等待买家付款", 订单付款时间=""))
    assert (order.paid_amount, order.paid_at) == (0, None)


def test_cash_on_delivery(read):
    (order,) = read(row(运送方式="货到付款", 订单状态="卖家已发货，等待买家确认", 订单付款时间=""))
    assert (order.payment, order.paid_at) == (Payment.ON_DELIVERY, None)


@pytest.mark.parametrize(
    ("values", "column", "reason"),
    [
        ({"订单状态": "神秘状态"}, "订单状态", Reason.STATE_UNKNOWN),
        ({"订单编号": "2.01235E+18"}, "订单编号", Reason.NUMBER_FORM),
        ({"买家实际支付金额": "-1"}, "买家实际支付金额", Reason.AMOUNT_BELOW_ZERO),
        ({"买家实际支付金额": ""}, "买家实际支付金额", Reason.EMPTY),
        ({"订单创建时间": "2026-02-30 10:00:00"}, "订单创建时间", Reason.MOMENT_ABSURD),
        ({"订单付款时间": "2026-01-05 09:00:00"}, "订单付款时间", Reason.MOMENT_ORDER),
        ({"退款金额": "200"}, "退款金额", Reason.REFUND_TOO_LARGE),
        ({"联系手机": "1.38E+10"}, "联系手机", Reason.PHONE_SPOILT),
        ({"宝贝总数量": "0"}, "宝贝总数量", Reason.QUANTITY_RANGE),
    ],
)
def test_bad_cells_are_named(read, values, column, reason):
    (bad,) = read(row(**values))
    assert isinstance(bad, RejectedDraft)
    assert [(f.line, f.column, f.reason) for f in bad.faults] == [(2, column, reason)]


def test_both_list_headings_are_known():
    known = (
        json.loads((DATA / "protocol" / "formats" / "order_export_headers.json").read_text()) if DATA.exists() else None
    )
    if known is None:
        pytest.skip("the shared data is not here")
    assert len(known["taobao_ExportOrderList_2016"]["columns"]) == 41
    assert taobao.layout_of(known["taobao_ExportOrderList_2016"]["columns"]) == taobao.LIST
    assert taobao.layout_of(known["taobao_ExportOrderList_wms_variant"]["columns"]) == taobao.LIST
    assert taobao.layout_of(known["tmall_report_kaggle_heywhale"]["columns"]) == taobao.TMALL_REPORT
    assert all("".join(status.split()) in taobao.STATES for status in known["taobao_status_values"])


def test_report_without_numbers_makes_them_from_what_does_not_change(read):
    first = read(report(), report(), report(城市="青浦"), heading=REPORT)
    again = read(report(订单状态="付款以后用户退款成功，交易自动关闭"), heading=REPORT)
    numbers = [order.external_id for order in first]
    assert len(set(numbers)) == 3
    assert numbers[1] == numbers[0] + "-2"
    assert again[0].external_id == numbers[0]
    assert (again[0].state, again[0].refunded_amount) == (OrderState.CLOSED, 186_00)
    assert first[0].buyer.number == "买家_1"


def test_tmall_report_shows_payments_after_refunds(read):
    heading = ["订单编号", "总金额", "买家实际支付金额", "收货地址 ", "订单创建时间", "订单付款时间 ", "退款金额"]
    whole, part, unpaid = read(
        ["1", "14.0", "0.0", "辽宁省", "2020-02-10 14:08:45", "2020-02-10 14:08:53", "14.0"],
        ["2", "152.0", "38.0", "山东省", "2020-02-10 00:45:36", "2020-02-10 00:45:48", "114.0"],
        ["3", "114.0", "0.0", "江苏省", "2020-02-10 00:26:52", "", "0.0"],
        heading=heading,
    )
    assert (whole.state, whole.paid_amount, whole.refunded_amount) == (OrderState.CLOSED, 14_00, 14_00)
    assert (part.state, part.paid_amount, part.refunded_amount) == (OrderState.PAID, 152_00, 114_00)
    assert (unpaid.state, unpaid.paid_amount, unpaid.buyer) == (OrderState.PLACED, 0, None)


@pytest.mark.parametrize(
    ("name", "orders", "refunded"),
    [("taobao_store_2019-01.csv.gz", 8690, 291), ("tmall_orders_2020-02-01_10.csv.gz", 2255, 807)],
)
def test_real_files_are_read_to_the_last_line(name, orders, refunded):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    sheet, found = formats.examined(path)
    entries = list(found.entries(sheet, NOW))
    assert all(isinstance(one, OrderDraft) for one in entries)
    assert len({one.external_id for one in entries}) == orders
    assert sum(1 for one in entries if one.refunded_amount) == refunded
    with gzip.open(path) as lines:
        assert sum(1 for _ in lines) == orders + 1
