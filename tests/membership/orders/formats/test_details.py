"""Taobao's details, in both layouts, and the two headings of the list."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from membership.orders import formats
from membership.orders.formats import taobao
from membership.orders.formats.drafts import DetailDraft, OrderDraft, Reason, RejectedDraft
from membership.orders.models import OrderState

NOW = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)
LIST = [
    "订单编号", "买家会员名", "买家支付宝账号", "买家应付货款", "买家应付邮费", "买家支付积分", "总金额", "返点积分", "买家实际支付金额",
    "买家实际支付积分", "订单状态", "买家留言", "收货人姓名", "收货地址 ", "运送方式", "联系电话 ", "联系手机", "订单创建时间",
    "订单付款时间 ", "宝贝标题 ", "宝贝种类 ", "物流单号 ", "物流公司", "订单备注", "宝贝总数量", "店铺Id", "店铺名称", "订单关闭原因",
    "卖家服务费", "买家服务费", "发票抬头", "是否手机订单", "分阶段订单信息", "特权订金订单id", "定金排名", "修改后的sku",
    "修改后的收货地址",     "异常信息", "天猫卡券抵扣", "集分宝抵扣", "是否是O2O交易",
]  # fmt: skip
SHORT_LIST = [
    {"买家实际支付金额": "支付金额", "收货人姓名": "收货人"}.get(name, name)
    for name in LIST
    if name not in ("特权订金订单id", "天猫卡券抵扣", "集分宝抵扣", "是否是O2O交易")
]
OLD = ["订单编号", "标题", "价格", "购买数量", "外部系统编号", "商品属性", "套餐信息", "备注", "订单状态", "商家编码"]
NEW = [
    "子订单编号", "主订单编号", "标题", "价格", "购买数量", "外部系统编号", "商品属性", "套餐信息", "备注", "订单状态", "商家编码",
    "支付单号", "买家应付货款", "买家实际支付金额", "退款状态", "退款金额", "订单创建时间", "订单付款时间",
]  # fmt: skip
TOLD = {
    "订单编号": '="2012345678901234567"', "主订单编号": '="2012345678901234567"', "子订单编号": '="2012345678901234568"',
    "标题": "青瓷茶杯", "价格": "50.00", "购买数量": "2", "商家编码": "CUP-01", "订单状态": "交易成功", "买家应付货款": "100.00",
    "买家实际支付金额": "92.00", "退款状态": "没有申请退款", "退款金额": "0.00", "订单创建时间": "2026-01-05 10:00:00",
    "订单付款时间": "2026-01-05 10:01:00", "买家会员名": "tb_lime", "宝贝标题": "青瓷茶杯", "宝贝总数量": "2", "联系手机": "'13800000000",
    "买家应付邮费": "8.00", "收货地址": "浙江省 杭州市 西湖区 样板路", "运送方式": "快递", "收货人姓名": "立夏", "收货人": "立夏",
    "支付金额": "100.00",
}  # fmt: skip


def row(heading: list[str], **values: str) -> list[str]:
    told = TOLD | ({"买家实际支付金额": "100.00"} if "买家会员名" in heading else {}) | values
    return [told.get(name.strip(), "") for name in heading]


@pytest.fixture
def read(tmp_path):
    def entries(heading, *rows, encoding="gb18030"):
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows([heading, *rows])
        path = tmp_path / "a.csv"
        path.write_bytes(text.getvalue().encode(encoding))
        sheet, found = formats.examined(path)
        return found.key, list(found.entries(sheet, NOW))

    return entries


@pytest.mark.parametrize(("heading", "columns"), [(LIST, 41), (SHORT_LIST, 37)])
def test_both_lists_are_the_same_order(read, heading, columns):
    assert len(heading) == columns
    key, (order,) = read(heading, row(heading))
    assert key == "taobao"
    assert (order.external_id, order.state, order.paid_amount, order.postage) == (
        "2012345678901234567", OrderState.COMPLETED, 100_00, 8_00,
    )  # fmt: skip
    assert (order.buyer.number, order.buyer.name, order.buyer.phone, order.buyer.city) == (
        "tb_lime", "立夏", "+8613800000000", "杭州市",
    )  # fmt: skip


def test_headings_of_the_outside_list_are_all_recognised():
    path = Path(__file__).resolve().parents[5] / "shared/data/protocol/formats/order_export_headers.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not here: the outside headings were NOT tried")
    told = json.loads(path.read_text())
    for name, key in (
        ("taobao_ExportOrderList_2016", "taobao"),
        ("taobao_ExportOrderList_wms_variant", "taobao"),
        ("taobao_ExportOrderDetailList_old", "taobao_details"),
        ("taobao_ExportOrderDetailList_2021", "taobao_details"),
        ("tmall_report_kaggle_heywhale", "taobao"),
    ):
        assert formats.detect(told[name]["columns"]).key == key, name
    assert formats.detect(told["youzan_order_export_required"]).key == "youzan"
    assert formats.detect(told["youzan_order_export_required"] + told["youzan_order_export_also_seen"]).key == "youzan"
    assert formats.detect(told["shopify_orders_export_79"]).key == "shopify"
    assert len(told["shopify_orders_export_79"]) == 79
    assert set(told["taobao_status_values"]) <= taobao.STATES.keys()


def test_old_details_are_lines_of_their_order(read):
    key, (one,) = read(
        OLD, row(OLD), row(OLD, 标题="竹茶盘", 价格="10", 购买数量="1", 商家编码="", 外部系统编号="TRAY-02")
    )
    assert key == "taobao_details"
    assert isinstance(one, DetailDraft)
    assert (one.external_id, one.rows, one.refunded_amount) == ("2012345678901234567", 2, 0)
    assert [(line.sku, line.quantity, line.unit_price, line.amount) for line in one.lines] == [
        ("CUP-01", 2, 50_00, 100_00),
        ("TRAY-02", 1, 10_00, 10_00),
    ]


@pytest.mark.parametrize(
    ("values", "refunded"),
    [
        ({}, 0),
        ({"退款状态": "退款成功", "退款金额": "30.00"}, 30_00),
        ({"退款状态": "买家已经申请退款，等待卖家同意", "退款金额": "30.00"}, 0),
        ({"退款状态": "", "退款金额": "12.00"}, 12_00),
        ({"订单状态": "付款以后用户退款成功，交易自动关闭", "退款金额": ""}, 92_00),
    ],
)
def test_new_details_say_what_was_paid_and_given_back(read, values, refunded):
    _key, (one,) = read(NEW, row(NEW, **values))
    assert (one.external_id, one.refunded_amount) == ("2012345678901234567", refunded)
    assert [(line.amount, line.unit_price) for line in one.lines] == [(92_00, 50_00)]
    assert one.version_at == datetime(2026, 1, 5, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "column", "reason"),
    [
        ({"价格": "five"}, "价格", Reason.AMOUNT_FORM),
        ({"购买数量": "0"}, "购买数量", Reason.QUANTITY_RANGE),
        ({"订单状态": "神秘"}, "订单状态", Reason.STATE_UNKNOWN),
        ({"标题": "", "商家编码": ""}, "标题", Reason.EMPTY),
        ({"主订单编号": "2.01235E+18"}, "主订单编号", Reason.NUMBER_FORM),
        ({"主订单编号": ""}, "主订单编号", Reason.EMPTY),
        ({"退款状态": "退款成功", "退款金额": "93"}, "退款金额", Reason.REFUND_TOO_LARGE),
    ],
)
def test_bad_line_of_details_rejects_the_lines_of_its_order(read, values, column, reason):
    _key, entries = read(
        NEW, row(NEW, 主订单编号="9"), row(NEW, **{"主订单编号": "9"} | values), row(NEW, 主订单编号="10")
    )
    bad = [one for one in entries if isinstance(one, RejectedDraft)]
    assert [(f.line, f.column, f.reason) for one in bad for f in one.faults if f.reason != Reason.OTHER_LINE] == [
        (3, column, reason)
    ]
    assert sum(one.rows for one in entries) == 3
    assert [one.external_id for one in entries if isinstance(one, DetailDraft)][-1] == "10"


@pytest.mark.parametrize(
    ("said", "state", "refund"),
    [
        ("等待买家付款", OrderState.PLACED, 0),
        ("买家已付款，等待卖家发货", OrderState.PAID, 0),
        ("卖家已发货，等待买家确认", OrderState.SHIPPED, 0),
        ("交易成功", OrderState.COMPLETED, 0),
        ("交易关闭", OrderState.CLOSED, 0),
        ("付款以后用户退款成功，交易自动关闭", OrderState.CLOSED, 100_00),
    ],
)
def test_every_state_of_the_export(read, said, state, refund):
    _key, (order,) = read(LIST, row(LIST, 订单状态=said))
    assert isinstance(order, OrderDraft)
    assert (order.state, order.refunded_amount) == (state, refund)
