"""Youzan's order export."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest

from membership.orders import formats
from membership.orders.formats.drafts import Reason, RejectedDraft
from membership.orders.models import OrderState

NOW = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)
HEADING = [
    "订单号",
    "订单创建时间",
    "买家昵称",
    "买家是否会员",
    "买家手机号",
    "交易成功时间",
    "订单实收金额",
    "销售渠道",
    "订单来源",
]
MORE = ["收货人省份", "订单实付金额", "全部商品名称", "订单状态", "订单已退款金额", "运费"]
TOLD = {
    "订单号": "E20260105100000000000001", "订单创建时间": "2026-01-05 10:00:00", "买家昵称": "小满",
    "买家是否会员": "是", "买家手机号": "13800000000", "交易成功时间": "2026-01-12 10:00:00", "订单实收金额": "92.00", "销售渠道": "网店",
    "订单来源": "微信小程序", "收货人省份": "浙江省", "订单实付金额": "100.00", "全部商品名称": "青瓷茶杯",
    "订单状态": "交易完成", "订单已退款金额": "8.00", "运费": "6.00",
}  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def entries(heading=HEADING, **values):
        text = io.StringIO()
        csv.writer(text).writerows([heading, [(TOLD | values).get(name, "") for name in heading]])
        path = tmp_path / "a.csv"
        path.write_bytes(text.getvalue().encode("utf-8-sig"))
        sheet, found = formats.examined(path)
        assert (found.key, sheet.encoding) == ("youzan", "utf-8-sig")
        return next(iter(found.entries(sheet, NOW)))

    return entries


def test_line_is_an_order(read):
    order = read()
    assert (order.external_id, order.state) == ("E20260105100000000000001", OrderState.COMPLETED)
    assert order.completed_at == datetime(2026, 1, 12, 2, 0, tzinfo=UTC)
    assert (order.paid_amount, order.refunded_amount, order.lines) == (92_00, 0, ())
    assert (order.buyer.phone, order.buyer.nickname, order.buyer.number) == ("+8613800000000", "小满", None)


def test_fuller_export_says_more(read):
    order = read([*HEADING, *MORE])
    assert (order.paid_amount, order.refunded_amount, order.postage) == (100_00, 8_00, 6_00)
    assert [(line.title, line.amount) for line in order.lines] == [("青瓷茶杯", 94_00)]
    assert order.buyer.city == "浙江省"


@pytest.mark.parametrize("nothing", ["", "?", "—", "——", "N/A", "null", "138****0000"])
def test_what_stands_for_nothing_is_nothing(read, nothing):
    order = read(买家手机号=nothing, 买家昵称=nothing if "*" not in nothing else "小满")
    assert order.buyer is None or order.buyer.phone is None
    assert read(交易成功时间="—").state is OrderState.PAID


@pytest.mark.parametrize(
    ("values", "state", "paid"),
    [
        ({"交易成功时间": ""}, OrderState.PAID, 92_00),
        ({"交易成功时间": "", "订单实收金额": "0"}, OrderState.PLACED, 0),
        ({}, OrderState.COMPLETED, 92_00),
    ],
)
def test_without_a_state_the_moments_and_sums_say_it(read, values, state, paid):
    order = read(**values)
    assert (order.state, order.paid_amount) == (state, paid)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("待付款", OrderState.PLACED),
        ("待发货", OrderState.PAID),
        ("已发货", OrderState.SHIPPED),
        ("交易关闭", OrderState.CLOSED),
    ],
)
def test_states(read, said, state):
    assert read([*HEADING, "订单状态"], 订单状态=said, 交易成功时间="").state is state


@pytest.mark.parametrize(
    ("values", "column", "reason"),
    [
        ({"订单号": ""}, "订单号", Reason.EMPTY),
        ({"买家手机号": "1.38E+10"}, "买家手机号", Reason.PHONE_SPOILT),
        ({"交易成功时间": "2026-01-04 10:00:00"}, "交易成功时间", Reason.MOMENT_ORDER),
        ({"订单实收金额": "nan"}, "订单实收金额", Reason.AMOUNT_FORM),
        ({"订单状态": "神秘"}, "订单状态", Reason.STATE_UNKNOWN),
        ({"订单已退款金额": "101"}, "订单已退款金额", Reason.REFUND_TOO_LARGE),
    ],
)
def test_bad_cells_are_named(read, values, column, reason):
    bad = read([*HEADING, *MORE], **values)
    assert isinstance(bad, RejectedDraft)
    assert [(f.column, f.reason) for f in bad.faults] == [(column, reason)]
