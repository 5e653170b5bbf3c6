"""Our own order file: what is read, and every way in which a line is refused (checks I2 and I3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership.orders import formats, rules
from membership.orders.formats import cells, siyu
from membership.orders.formats.cells import CellRefused
from membership.orders.formats.drafts import LineDraft, OrderDraft, Reason, RejectedDraft
from membership.orders.models import OrderState, Payment

from ..files import HEADING, line, text_of, write

NOW = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)


@pytest.fixture
def read(tmp_path):
    def entries(*rows, **form):
        path = write(tmp_path / "a.csv", list(rows), **form)
        sheet, found = formats.examined(path)
        assert found.key == "siyu"
        entries = list(found.entries(sheet, NOW))
        assert sum(entry.rows for entry in entries) == sheet.rows_total
        return entries

    return entries


@pytest.fixture
def refused(read):
    def faults(*rows, **form):
        (entry,) = read(*rows, **form)
        assert isinstance(entry, RejectedDraft)
        return [(fault.line, fault.column, fault.reason) for fault in entry.faults]

    return faults


def test_order_of_several_lines_becomes_one_draft(read):
    first = line(buyer_phone="138 0000 0000", buyer_nickname="小满")
    second = line(sku="TRAY", title="竹茶盘", quantity="2", unit_price="0", paid_amount="", postage="", state="")
    (order,) = read(first, second)
    assert order.external_id == "A1"
    assert (order.state, order.payment) == (OrderState.COMPLETED, Payment.ONLINE)
    assert order.placed_at == datetime(2026, 1, 5, 2, 0, tzinfo=UTC)
    assert order.completed_at == order.version_at == datetime(2026, 1, 15, 2, 0, tzinfo=UTC)
    assert (order.paid_amount, order.postage, order.refunded_amount) == (100_00, 8_00, 0)
    assert (order.buyer.number, order.buyer.phone, order.buyer.nickname) == ("77", "+8613800000000", "小满")
    assert order.lines == (LineDraft("CUP", "青瓷茶杯", 1, 92_00), LineDraft("TRAY", "竹茶盘", 2, 0))
    assert order.rows == 2


def test_lines_of_an_order_may_stand_anywhere_and_equal_lines_all_count(read):
    orders = read(line(), line(order_no="B2"), line(), line(order_no="C3"))
    assert [(order.external_id, order.rows, len(order.lines)) for order in orders] == [
        ("B2", 1, 1),
        ("A1", 2, 2),
        ("C3", 1, 1),
    ]


def test_nobody_is_somebody_without_a_buyer(read):
    (order,) = read(line(buyer_id="", buyer_nickname=""))
    assert order.buyer is None


SPELLINGS = [
    "13800000000",
    "'13800000000",
    '="13800000000"',
    "+86 138-0000-0000",
    "１３８００００００００",
    "\u200b138\u202c00000000",
    "0086 13800000000",
]


@pytest.mark.parametrize("phone", SPELLINGS)
def test_check_i3_same_phone_is_the_same_person(read, phone):
    (order,) = read(line(buyer_phone=phone))
    assert order.buyer.phone == "+8613800000000"


def test_masked_phone_is_nobodys(read):
    (order,) = read(line(buyer_phone="138****0000"))
    assert order.buyer.phone is None


def test_updated_at_rules_over_the_other_moments(read):
    (order,) = read(line(updated_at="2026-02-01T08:00:00+01:00"))
    assert order.version_at == datetime(2026, 2, 1, 7, 0, tzinfo=UTC)


def test_expected_delivery_is_no_version(read):
    (order,) = read(line(state="shipped", completed_at="", paid_at="2026-01-05 11:00", delivered_at="2026-03-20 12:00"))
    assert order.delivered_at == datetime(2026, 3, 20, 4, 0, tzinfo=UTC)
    assert order.version_at == datetime(2026, 1, 5, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("order_no", "1.23457E+17", Reason.NUMBER_FORM),
        ("order_no", "9" * 65, Reason.TOO_LONG),
        ("order_no", "", Reason.EMPTY),
        ("order_no", "A\x071", Reason.UNSTORABLE),
        ("placed_at", "", Reason.EMPTY),
        ("placed_at", "2026-02-30 10:00", Reason.MOMENT_ABSURD),
        ("placed_at", "0001-01-01 00:00", Reason.MOMENT_ABSURD),
        ("placed_at", "1999-12-31 10:00", Reason.MOMENT_ABSURD),
        ("placed_at", "2026-01-05 23:59:60", Reason.MOMENT_ABSURD),
        ("placed_at", "2026-01-05", Reason.MOMENT_FORM),
        ("placed_at", "43831.5", Reason.MOMENT_SERIAL),
        ("placed_at", "05/01/2026 10:00", Reason.MOMENT_FORM),
        ("placed_at", "2026-03-04 12:01", Reason.MOMENT_AHEAD),
        ("completed_at", "2026-01-05 09:59", Reason.MOMENT_ORDER),
        ("delivered_at", "2026-03-05 12:00", Reason.MOMENT_AHEAD),
        ("state", "交易成功", Reason.STATE_UNKNOWN),
        ("state", "", Reason.EMPTY),
        ("paid_amount", "", Reason.EMPTY),
        ("paid_amount", "-1", Reason.AMOUNT_BELOW_ZERO),
        ("paid_amount", "NaN", Reason.AMOUNT_FORM),
        ("paid_amount", "Infinity", Reason.AMOUNT_FORM),
        ("paid_amount", "1e309", Reason.AMOUNT_FORM),
        ("paid_amount", "1E2", Reason.AMOUNT_FORM),
        ("paid_amount", "100.005", Reason.AMOUNT_FORM),
        ("paid_amount", "12,34.00", Reason.AMOUNT_FORM),
        ("paid_amount", "$100", Reason.AMOUNT_FORM),
        ("paid_amount", "100000000.01", Reason.AMOUNT_ABSURD),
        ("paid_amount", "9" * 40, Reason.AMOUNT_ABSURD),
        ("refunded_amount", "100.01", Reason.REFUND_TOO_LARGE),
        ("postage", "100.01", Reason.POSTAGE_TOO_LARGE),
        ("quantity", "0", Reason.QUANTITY_RANGE),
        ("quantity", "-2", Reason.QUANTITY_RANGE),
        ("quantity", "1.5", Reason.QUANTITY_FORM),
        ("quantity", "1000001", Reason.QUANTITY_RANGE),
        ("quantity", "9" * 5000, Reason.QUANTITY_FORM),
        ("unit_price", "free", Reason.AMOUNT_FORM),
        ("sku", "", Reason.EMPTY),
        ("title", "x" * 201, Reason.TOO_LONG),
        ("buyer_phone", "1.38E+10", Reason.PHONE_SPOILT),
        ("buyer_phone", "no phone", Reason.PHONE_FORM),
    ],
)  # fmt: skip
def test_check_i3_a_cell_that_cannot_be_understood_is_named(refused, column, value, reason):
    ((number, said, why),) = refused(line(**{column: value}))
    assert (number, said, why) == (2, column, reason)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("completed_at", "2026/1/5 9:59"),
        ("delivered_at", "2026-03-05 12:00:00+08:00"),
        ("refunded_amount", "100.01 元"),
        ("postage", "￥100.01"),
        ("order_no", "1.23457E+17"),
    ],
)
def test_check_i3_what_is_refused_is_named_as_the_file_has_it(read, column, value):
    (entry,) = read(line(**{column: value}))
    assert [(fault.column, fault.value) for fault in entry.faults] == [(column, value)]


def test_check_i3_a_fault_of_the_whole_order_is_where_it_is_said(read):
    (entry,) = read(line(completed_at=""), line(sku="TRAY", completed_at="2026-01-05 09:59"))
    faults = [(fault.line, fault.reason, fault.value) for fault in entry.faults]
    assert faults == [(2, Reason.OTHER_LINE, ""), (3, Reason.MOMENT_ORDER, "2026-01-05 09:59")]


@pytest.mark.parametrize(
    ("value", "fen"),
    [
        ("0", 0),
        ("1,234.56", 123456),
        ("１２", 1200),
        ("¥12.5", 1250),
        ("12元", 1200),
        ("12.500", 1250),
        ("100000000", 10_000_000_000),
    ],
)
def test_check_i3_amounts_that_are_understood(value, fen):
    assert cells.amount("paid_amount", value) == fen


@given(st.text(max_size=30))
def test_check_i3_an_amount_is_whole_fen_or_refused(text):
    try:
        fen = cells.amount("x", text)
    except CellRefused:
        return
    assert isinstance(fen, int)
    assert 0 <= fen <= 10_000_000_000


@given(st.text(max_size=40))
def test_check_i3_a_moment_is_aware_and_likely_or_refused(text):
    try:
        at = cells.moment("x", text, NOW)
    except CellRefused:
        return
    assert at.tzinfo is UTC
    assert at <= NOW + timedelta(hours=24)


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2026-01-05 00:00", datetime(2026, 1, 4, 16, 0, tzinfo=UTC)),
        ("2026-01-05 07:59:59", datetime(2026, 1, 4, 23, 59, 59, tzinfo=UTC)),
        ("2026/1/5 8:00", datetime(2026, 1, 5, 0, 0, tzinfo=UTC)),
        ("2019-01-01 00:17:59.000", datetime(2018, 12, 31, 16, 17, 59, tzinfo=UTC)),
        ("2026-01-05T10:00:00Z", datetime(2026, 1, 5, 10, 0, tzinfo=UTC)),
        ("2026-01-05 10:00:00 -0500", datetime(2026, 1, 5, 15, 0, tzinfo=UTC)),
        ("'2026-01-05 10:00", datetime(2026, 1, 5, 2, 0, tzinfo=UTC)),
        ("2026-03-04 11:59", datetime(2026, 3, 4, 3, 59, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_check_i3_moments_that_are_understood(written, utc):
    assert cells.moment("placed_at", written, NOW) == utc


def test_check_i2_one_bad_line_rejects_its_whole_order_and_no_other(read):
    good, bad = read(line(order_no="B2"), line(), line(quantity="x"), line())
    assert isinstance(good, OrderDraft)
    assert [(fault.line, fault.reason) for fault in bad.faults] == [
        (3, Reason.OTHER_LINE), (4, Reason.QUANTITY_FORM), (5, Reason.OTHER_LINE),
    ]  # fmt: skip
    assert bad.faults[1].value == "x"
    assert list(bad.faults[1].row) == line(quantity="x")


def test_lines_that_disagree_reject_the_order(refused):
    assert refused(line(), line(paid_amount="99.00")) == [
        (2, "", Reason.OTHER_LINE), (3, "paid_amount", Reason.LINES_DIFFER),
    ]  # fmt: skip


def test_width_is_checked(read):
    path_rows = [line(), [*line(order_no="B2"), "extra"], line(order_no="C3")[:-3], [*line(order_no="D4"), "", ""]]
    found = read(*path_rows)
    assert [type(entry).__name__ for entry in found] == ["OrderDraft", "RejectedDraft", "RejectedDraft", "OrderDraft"]
    assert {entry.faults[0].reason for entry in found if isinstance(entry, RejectedDraft)} == {Reason.WIDTH}


def test_order_whose_first_line_is_cut_off_is_refused_whole(refused):
    assert refused(line()[:3], line()) == [(2, "", Reason.WIDTH), (3, "", Reason.OTHER_LINE)]


def test_columns_may_stand_in_any_order_with_other_spellings(read):
    names = [{"buyer_phone": "Phone", "order_no": " ORDER_NO "}.get(name, name) for name in reversed(HEADING)]
    (order,) = read(list(reversed(line(buyer_phone="13800000000"))), heading=names)
    assert order.buyer.phone == "+8613800000000"


def test_too_many_lines_in_one_order(read, monkeypatch):
    monkeypatch.setattr(rules, "MOST_LINES", 3)
    (bad,) = read(*[line()] * 5)
    assert [fault.reason for fault in bad.faults].count(Reason.TOO_MANY_LINES) == 2


def test_template_is_read_without_a_fault(tmp_path):
    path = tmp_path / "template.csv"
    path.write_text(siyu.TEMPLATE)
    sheet, found = formats.examined(path)
    entries = list(found.entries(sheet, NOW + timedelta(days=30)))
    assert [(type(one), one.external_id, one.rows) for one in entries] == [
        (OrderDraft, "A1001", 2),
        (OrderDraft, "A1002", 1),
    ]


def test_every_reason_has_its_sentence():
    from membership.orders import labels
    from membership.orders.formats import uci

    for reason in [*Reason, *uci.Reason, *uci.WhySetAside]:
        assert str(reason) in labels.REASONS
    assert {wrong.value for wrong in formats.Wrong} <= labels.FAILURES.keys()


def test_text_of_a_file_keeps_names_as_they_are(read):
    (order,) = read(line(title="𠮷野家 👩‍🚀 e\u0301", buyer_nickname="عمر"))
    assert order.lines[0].title == "𠮷野家 👩‍🚀 e\u0301"
    assert order.buyer.nickname == "عمر"
    assert text_of([line()]).count("\n") == 2
