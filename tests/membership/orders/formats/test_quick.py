"""The quick ways of reading say what the strict ones say: `cells` and the reading of several rows are the oracle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership.orders import rules
from membership.orders.formats import cells, gathering, quick, reading, siyu
from membership.orders.formats.cells import CellRefused
from membership.orders.formats.drafts import OrderDraft, Reason, RejectedDraft
from membership.orders.formats.reading import OrderReader
from membership.orders.formats.sheet import Row, Sheet, some_rows

from ..files import HEADING, line

NOW = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)


def said(read, *words):
    """What a reader says, or why it refuses."""
    try:
        return read(*words)
    except CellRefused as refused:
        return refused.column, refused.reason, refused.value


def strictly(read, column, cell):
    return said(read, column, cell) if cells.unwrapped(cell) else quick.NOTHING


digits = st.text("0123456789", min_size=1, max_size=12)
odd = st.text(" 0123456789.,-+:/ T'\"=¥E０９۳٣元年\u200b\ufeff\xa0", max_size=20)
day = st.dates(datetime(1998, 1, 1).date(), datetime(2027, 1, 1).date())
moments = st.builds(
    "{}{}{}{}".format,
    st.one_of(day.map(str), st.sampled_from(["2026-02-29", "2026-02-30", "2026-1-5", "1999-12-31", "2000-01-01"])),
    st.sampled_from([" ", "T", "  ", ""]),
    st.sampled_from(
        ["00:00", "23:59", "24:00", "9:05", "10:60", "10:30:59", "10:30:60", "10:30:00.5", "10:3", "1０:30"]
    ),
    st.sampled_from(["", " ", "Z", "+08:00", " PM"]),
)
amounts = st.one_of(
    st.builds("{}.{}".format, digits, digits),
    digits,
    st.sampled_from(["1_0.00", "+1.00", "-1.00", ".50", "٣.٣٣", "1.0.00"]),
)
phones = st.builds(
    "{}{}{}{}{}{}{}".format,
    st.sampled_from(["", " ", "  ", "'"]),
    st.sampled_from(["", "+86", "0086", "86", "+", "00", "+1"]),
    st.sampled_from(["", " ", "-"]),
    st.from_regex(r"1[0-9]{2}", fullmatch=True),
    st.sampled_from(["", " ", "-", "--"]),
    st.from_regex(r"[0-9]{4}[- ]?[0-9]{3,5}", fullmatch=True),
    st.sampled_from(["", " ", "\n"]),
)


@given(st.one_of(moments, odd))
def test_quick_moments_are_the_strict_ones(cell):
    read = partial(cells.moment, now=NOW)
    assert said(quick.moments("at", read, NOW + rules.AHEAD), cell) == strictly(read, "at", cell)


@given(st.datetimes(datetime(2000, 1, 2), datetime(2026, 3, 1)))
def test_quick_moments_know_every_minute(at):
    cell = f"{at:%Y-%m-%d %H:%M:%S}"
    found = quick.moments("at", partial(cells.moment, now=NOW), NOW)(cell)
    assert found == cells.moment("at", cell, NOW)


@given(st.one_of(st.text("a1茶²Ⅷ ='\"\x07\xa0\u200b\ufeff", max_size=7), st.text(max_size=7)))
def test_quick_words_are_the_strict_ones(cell):
    read = partial(reading._words, longest=5)
    assert said(quick.words("name", read, 5), cell) == strictly(read, "name", cell)


@given(st.one_of(amounts, odd))
def test_quick_amounts_are_the_strict_ones(cell):
    assert said(quick.amounts("sum"), cell) == strictly(cells.amount, "sum", cell)


@given(st.one_of(phones, odd))
def test_quick_phones_are_the_strict_ones(cell):
    assert said(quick.phones("phone"), cell) == strictly(cells.phone, "phone", cell)


def reader(now=NOW) -> OrderReader:
    sheet = Sheet(Path(), "utf-8", heading=HEADING)
    siyu.check(HEADING)
    layout = siyu.layout_of(sheet)
    return OrderReader(sheet, layout, now)


spellings = {
    "order_no": st.one_of(st.just("A1"), st.just(""), st.just("1.2E+17"), st.text(max_size=8), st.just("x" * 65)),
    "placed_at": moments,
    "state": st.sampled_from(["completed", "DELIVERED", " paid ", "shipped", "lost", ""]),
    "paid_amount": amounts,
    "sku": st.sampled_from(["", "CUP", " C  UP ", "x" * 81, "a\x00b"]),
    "quantity": st.sampled_from(["1", "2.0", "0", "", "x", "1000001"]),
    "unit_price": amounts,
    "title": st.sampled_from(["", "青瓷茶杯", "x" * 201]),
    "paid_at": moments,
    "delivered_at": st.one_of(moments, st.just(f"{NOW + timedelta(days=40):%Y-%m-%d %H:%M}")),
    "completed_at": moments,
    "postage": st.one_of(amounts, st.just("")),
    "refunded_amount": st.one_of(amounts, st.just("")),
    "buyer_id": st.sampled_from(["", "7", "' 7", "7 E"]),
    "buyer_phone": st.one_of(phones, st.just("138****0000"), st.just("")),
    "buyer_nickname": st.sampled_from(["", "小满", " a  b ", "x" * 81]),
    "updated_at": st.one_of(moments, st.just("")),
}


@given(st.fixed_dictionaries({}, optional=spellings), st.integers(0, 2))
def test_inv_p1_a_row_read_at_once_is_the_row_read_strictly(values, cut):
    """Whatever the quick way accepts the strict way accepts, as the same order; the rest it leaves to the strict way."""
    row = Row(2, line(**values))
    if cut == 1:
        row.cells.append("")
    read = reader()
    key = gathering.key_of(row, read.number_place)
    at_once = read._at_once(key, row.cells)
    strict = OrderReader.entry(Strict(read), key, [row])
    assert at_once is None or at_once == strict
    if cut == 0 and isinstance(strict, OrderDraft):
        assert at_once == strict


class Strict:
    """A reader that knows no quick way."""

    def __init__(self, read: OrderReader) -> None:
        self.read = read

    def __getattr__(self, name):
        return getattr(self.read, name)

    def _at_once(self, key, row):
        return None


def test_wrong_rows_keep_their_words():
    sheet = Sheet(Path(), "utf-8", heading=HEADING)
    rows = [Row(2, line(quantity="x")), Row(3, line(order_no="B2", paid_amount="1.234")), Row(4, line(order_no="C3"))]
    entries = list(siyu.entries(some_rows(sheet, rows), NOW))
    faults = [
        (fault.line, fault.column, fault.reason)
        for entry in entries
        if isinstance(entry, RejectedDraft)
        for fault in entry.faults
    ]
    assert faults == [(2, "quantity", Reason.QUANTITY_FORM), (3, "paid_amount", Reason.AMOUNT_FORM)]
    assert [type(entry) for entry in entries] == [RejectedDraft, RejectedDraft, OrderDraft]


def test_what_is_remembered_is_bounded():
    known = quick.Remembered(str.upper)
    for number in range(quick.MOST_REMEMBERED * 2 + 5):
        assert known[f"a{number}"] == f"A{number}"
    assert len(known) <= quick.MOST_REMEMBERED
    assert known["x" * 500] == "X" * 500
    assert "x" * 500 not in known


@pytest.mark.parametrize("cell", ["", " ", '=""', "'"])
def test_an_empty_cell_says_nothing(cell):
    assert strictly(cells.phone, "phone", cell) is quick.NOTHING or cells.unwrapped(cell)
    assert said(quick.phones("phone"), cell) == strictly(cells.phone, "phone", cell)
    assert said(quick.amounts("sum"), cell) == strictly(cells.amount, "sum", cell)
