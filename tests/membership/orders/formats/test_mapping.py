"""Files through a plan that staff made."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest

from membership.orders import formats
from membership.orders.formats import FileUnreadable, Wrong, mapped
from membership.orders.formats.cells import Dates
from membership.orders.formats.drafts import OrderDraft, Reason, RejectedDraft
from membership.orders.models import OrderState, Payment

NOW = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)
HEADING = ["单号", "下单日期", "实付金额", "状态", "手机", "姓名", "商品名称", "数量", "单价", "付款方式"]
ROW = ["A-1", "2026-03-01", "128.00", "已签收", "13800000000", "小满", "青瓷茶杯", "2", "60", "微信"]


def sheet_of(tmp_path, rows, heading=HEADING):
    text = io.StringIO()
    csv.writer(text).writerows([heading, *rows])
    path = tmp_path / "a.csv"
    path.write_text(text.getvalue())
    return formats.sheet.examine(path)


@pytest.fixture
def read(tmp_path):
    def entries(*rows, heading=HEADING, **changes):
        sheet = sheet_of(tmp_path, rows, heading)
        plan = mapped.guessed(heading)
        sheet.options = {"mapping": plan.stored | changes}
        mapped.check(sheet)
        return list(mapped.entries(sheet, NOW))

    return entries


def test_names_of_columns_suggest_a_plan():
    plan = mapped.guessed(HEADING)
    assert plan.columns == {
        "order_no": "单号", "placed_at": "下单日期", "paid_amount": "实付金额", "state": "状态", "buyer_phone": "手机",
        "buyer_name": "姓名",         "title": "商品名称", "quantity": "数量", "unit_price": "单价", "payment": "付款方式",
    }  # fmt: skip
    english = mapped.guessed(
        ["Order Number", "Order Date", "Grand Total", "Status", "Customer", "E-mail", "Qty", "SKU", "Notes"]
    )
    assert english.columns["order_no"] == "Order Number"
    assert english.columns["paid_amount"] == "Grand Total"
    assert english.columns["buyer_email"] == "E-mail"
    assert "Notes" not in english.columns.values()


def test_plan_without_a_state_column_takes_one_state():
    plan = mapped.guessed(["订单号", "日期", "金额"])
    assert (plan.missing, plan.state) == ([], "completed")
    assert mapped.Plan(columns={"order_no": "x"}).missing == ["placed_at", "paid_amount", "state"]


@pytest.mark.parametrize(
    ("texts", "dates"),
    [
        (["2026-03-01", "2026/3/2 10:00"], Dates.YMD),
        (["2026年3月1日 10:30"], Dates.YMD),
        (["13/02/2026"], Dates.DMY),
        (["02/13/2026 10:30 PM"], Dates.MDY),
        (["46082.4375"], Dates.SERIAL),
        (["1772245800"], Dates.UNIX),
        (["no date"], Dates.YMD),
    ],
)
def test_way_of_writing_dates_is_suggested(texts, dates):
    assert mapped.guessed(["单号", "日期", "金额"], [["1", text, "1"] for text in texts]).dates == dates


def test_line_is_an_order(read):
    (order,) = read(ROW)
    assert (order.external_id, order.state, order.paid_amount) == ("A-1", OrderState.DELIVERED, 128_00)
    assert order.placed_at == datetime(2026, 2, 28, 16, 0, tzinfo=UTC)
    assert (order.buyer.phone, order.buyer.name, order.payment) == ("+8613800000000", "小满", Payment.ONLINE)
    assert [(line.sku, line.quantity, line.unit_price) for line in order.lines] == [("青瓷茶杯", 2, 60_00)]


def test_lines_of_one_order_come_together(read):
    other = ["A-1", "", "", "", "", "", "竹茶盘", "1", "8", ""]
    orders = read(ROW, ["A-2", *ROW[1:]], other)
    assert [(one.external_id, one.rows, len(one.lines)) for one in orders] == [("A-2", 1, 1), ("A-1", 2, 2)]


def test_without_prices_what_was_paid_is_shared_by_pieces(read):
    heading = [name for name in HEADING if name != "单价"]
    rows = [[*ROW[:8], "微信"], ["A-1", "", "", "", "", "", "竹茶盘", "1", ""]]
    (order,) = read(*rows, heading=heading)
    assert [(line.quantity, line.amount) for line in order.lines] == [(2, 85_33), (1, 42_67)]


def test_without_products_an_order_has_no_lines(read):
    (order,) = read(["A-1", "2026-03-01 10:30", "5"], heading=["单号", "日期", "金额"])
    assert (order.lines, order.state) == ((), OrderState.COMPLETED)


@pytest.mark.parametrize(
    ("text", "dates", "at"),
    [
        ("2026-03-01 10:30", "ymd", datetime(2026, 3, 1, 2, 30)),
        ("2026年3月1日", "ymd", datetime(2026, 2, 28, 16, 0)),
        ("01/03/2026 10:30", "dmy", datetime(2026, 3, 1, 2, 30)),
        ("03/01/2026 10:30 pm", "mdy", datetime(2026, 3, 1, 14, 30)),
        ("03/01/2026 12:05 AM", "mdy", datetime(2026, 2, 28, 16, 5)),
        ("46082.4375", "serial", datetime(2026, 3, 1, 2, 30)),
        ("1772332200", "unix", datetime(2026, 3, 1, 2, 30)),
        ("1772332200000", "unix", datetime(2026, 3, 1, 2, 30)),
    ],
)
def test_dates_are_read_as_the_plan_says(read, text, dates, at):
    (order,) = read(["A-1", text, "5"], heading=["单号", "日期", "金额"], dates=dates)
    assert isinstance(order, OrderDraft), order
    assert order.placed_at == at.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "dates", "reason"),
    [
        ("46082.4375", "ymd", Reason.MOMENT_SERIAL),
        ("13/13/2026", "dmy", Reason.MOMENT_ABSURD),
        ("2026-03-01", "dmy", Reason.MOMENT_FORM),
        ("99999999", "serial", Reason.MOMENT_ABSURD),
        ("9999999999999", "unix", Reason.MOMENT_ABSURD),
        ("1.5.2026 13:00 pm", "dmy", Reason.MOMENT_ABSURD),
        ("tomorrow", "unix", Reason.MOMENT_FORM),
        ("2027-01-01", "ymd", Reason.MOMENT_AHEAD),
    ],
)
def test_dates_that_are_none_are_refused(read, text, dates, reason):
    (bad,) = read(["A-1", text, "5"], heading=["单号", "日期", "金额"], dates=dates)
    assert [(f.column, f.reason) for f in bad.faults] == [("日期", reason)]


@pytest.mark.parametrize(("text", "fen"), [("12800", 128_00), ("1,280", 12_80), ("0", 0), ("12.0", 12)])
def test_amounts_in_fen(read, text, fen):
    (order,) = read(["A-1", "2026-03-01", text], heading=["单号", "日期", "金额"], unit="fen")
    assert order.paid_amount == fen


@pytest.mark.parametrize(
    ("text", "fen"),
    [
        ("1045,50", 1045_50), ("1.045,5", 1045_50), ("1\u202f234\u00a0567,89", 1234567_89), ("12", 12_00),
        ("1,234.50", None), ("1.23", None), ("12,345", None), ("1,23 EUR", None), ("-1,00", None),
    ],
)  # fmt: skip
def test_amounts_with_a_comma_before_the_decimals(read, text, fen):
    (order,) = read(["A-1", "2026-03-01", text], heading=["单号", "日期", "金额"], unit="comma")
    if fen is None:
        assert [(f.column, f.reason, f.value) for f in order.faults] == [("金额", Reason.AMOUNT_FORM, text)]
    else:
        assert order.paid_amount == fen


@pytest.mark.parametrize(("text", "reason"), [("12.5", Reason.AMOUNT_FORM), ("-1", Reason.AMOUNT_BELOW_ZERO)])
def test_amounts_in_fen_are_whole(read, text, reason):
    (bad,) = read(["A-1", "2026-03-01", text], heading=["单号", "日期", "金额"], unit="fen")
    assert [(f.column, f.reason) for f in bad.faults] == [("金额", reason)]


def test_words_for_states_mean_what_the_plan_says(read, tmp_path):
    row = [*ROW[:3], "已入库", *ROW[4:]]
    (bad,) = read(row)
    assert [(f.column, f.reason, f.value) for f in bad.faults] == [("状态", Reason.STATE_UNMAPPED, "已入库")]
    (order,) = read(row, states={"已入库": "paid"})
    assert order.state is OrderState.PAID
    sheet = sheet_of(tmp_path, [row, ROW, row])
    assert mapped.states_in(sheet, mapped.guessed(HEADING)) == ["已入库"]


def test_cash_on_delivery_is_known_by_its_word(read):
    (order,) = read([*ROW[:-1], "货到付款"])
    assert order.payment is Payment.ON_DELIVERY


@pytest.mark.parametrize("spoil", [{"columns": {}}, {"state": "x", "columns": {"order_no": "单号"}}])
def test_plan_that_lacks_something_is_refused(read, spoil):
    with pytest.raises(FileUnreadable) as refused:
        read(ROW, **spoil)
    assert refused.value.wrong is Wrong.COLUMNS_MISSING


def test_columns_that_are_gone_or_there_twice_are_refused(tmp_path):
    plan = mapped.guessed(HEADING).stored
    for heading, wrong in (
        ([*HEADING[1:], "x"], Wrong.COLUMNS_MISSING),
        ([*HEADING[:-1], "单号"], Wrong.COLUMNS_REPEATED),
    ):
        sheet = sheet_of(tmp_path, [ROW], heading)
        plan["columns"].pop("payment", None)
        sheet.options = {"mapping": plan}
        with pytest.raises(FileUnreadable) as refused:
            mapped.check(sheet)
        assert refused.value.wrong is wrong


def test_heading_is_known_again_in_another_sequence():
    assert mapped.heading_key(HEADING) == mapped.heading_key([f" {name} " for name in reversed(HEADING)])
    assert mapped.heading_key(HEADING) != mapped.heading_key(HEADING[1:])


def test_stored_plan_is_checked_when_it_is_read():
    wild = {
        "columns": {"order_no": "x", "password": "y"},
        "state": "gone",
        "dates": "?",
        "unit": "lb",
        "states": {"a": "gone"},
    }
    plan = mapped.plan_of(wild)
    assert plan == mapped.Plan(columns={"order_no": "x"})


def test_preview_shows_the_first_lines_as_they_would_be_taken(tmp_path):
    rows = [[f"A-{n}", *ROW[1:]] for n in range(30)]
    rows[3][2] = "many"
    sheet = sheet_of(tmp_path, rows)
    sheet.options = {"mapping": mapped.guessed(HEADING).stored}
    found = mapped.previewed(sheet, NOW, 20)
    assert [lines for lines, _one in found] == [[n] for n in range(2, 22)]
    assert [lines for lines, one in found if isinstance(one, RejectedDraft)] == [[5]]
