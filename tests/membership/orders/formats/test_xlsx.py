"""Excel workbooks: the values that are stored, and no way to do harm."""

from __future__ import annotations

import datetime as dt
import resource
import zipfile
from pathlib import Path

import pytest
from openpyxl import Workbook

from membership.orders import formats
from membership.orders.formats import FileUnreadable, Wrong, workbook

from ..files import HEADING, line, write


def book(path: Path, rows, sheets=("订单",), **more) -> Path:
    made = Workbook()
    made.remove(made.active)
    for place, title in enumerate(sheets):
        sheet = made.create_sheet(title)
        for row in rows if place == len(sheets) - 1 else more.get("first", []):
            sheet.append(row)
        for merged in more.get("merged", ()):
            sheet.merge_cells(merged)
    made.save(path)
    return path


def unfolded(path: Path) -> list[list[str]]:
    formats.unfold(path)
    return [row.cells for row in formats.sheet.examine(path).all_rows()]


def orders(path: Path) -> list:
    formats.unfold(path)
    sheet, found = formats.examined(path)
    return list(found.entries(sheet, dt.datetime(2026, 3, 3, 4, 0, tzinfo=dt.UTC)))


def test_workbook_and_text_are_the_same_orders(tmp_path):
    rows = [line(order_no=f"A{n}", buyer_phone="13800000000") for n in range(50)]
    text = orders(write(tmp_path / "a.csv", rows))
    assert orders(book(tmp_path / "a.xlsx", [HEADING, *rows])) == text
    assert len(text) == 50


def test_what_is_merged_downwards_stands_in_each_of_its_rows(tmp_path):
    """An order's number and amount, merged over its products; a title merged over the columns stays one cell."""
    rows = [line(order_no="A1", sku="TEA"), line(order_no="A1", sku="CUP"), line(order_no="B2"), line(order_no="C3")]
    wanted = orders(write(tmp_path / "a.csv", rows))
    columns = ("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[HEADING.index(name)] for name in ("order_no", "placed_at", "paid_amount"))
    merged = ["A1:F1", *(f"{column}3:{column}4" for column in columns)]
    assert orders(book(tmp_path / "a.xlsx", [["十月订单汇总"], HEADING, *rows], merged=merged)) == wanted
    # A range without end fills no empty row, and one far to the right makes no columns.
    far = book(tmp_path / "b.xlsx", [HEADING, *rows[:2], [], rows[2]], merged=["A3:A9", "ZZZ1:ZZZ9"])
    assert [len(row) for row in unfolded(far)] == [len(HEADING)] * 4


def test_titles_above_the_heading_are_no_heading(tmp_path):
    rows = [line(order_no=f"A{n}", updated_at="") for n in range(3)]
    titled = [["小满茶铺 2026年9月 订单明细"], [], ["导出时间", "2026-10-01"], HEADING, *rows]
    assert orders(book(tmp_path / "a.xlsx", titled)) == orders(write(tmp_path / "a.csv", rows))


def test_check_i2_values_are_taken_as_they_are_stored(tmp_path):
    path = book(
        tmp_path / "a.xlsx",
        [
            ["a", "b", "c", "d", "e", "f", "g", "h"],
            [
                13800000000, 2012345678901234567, 12.1, 0.1 + 0.2, dt.datetime(2026, 3, 1, 10, 30),
                dt.date(2026, 3, 1), True, "1.38E+10",
            ],
            [1.38e10, 1e22, 5.0, -5.25, None, "two\nlines", 46082.4375, "=1+1"],
        ],
    )  # fmt: skip
    assert unfolded(path)[1:] == [
        [
            "13800000000",
            "2.01234567890123E+18",
            "12.1",
            "0.3",
            "2026-03-01 10:30:00",
            "2026-03-01 00:00:00",
            "TRUE",
            "1.38E+10",
        ],
        ["13800000000", "1E+22", "5", "-5.25", "", "two lines", "46082.4375", ""],
    ]


@pytest.mark.parametrize(
    ("values", "column", "reason"),
    [
        ({"buyer_phone": "1.38E+10"}, "buyer_phone", "PHONE_SPOILT"),
        ({"order_no": 2012345678901234567}, "order_no", "NUMBER_FORM"),
        ({"placed_at": 46082.4375}, "placed_at", "MOMENT_SERIAL"),
        ({"paid_amount": "#N/A"}, "paid_amount", "AMOUNT_FORM"),
        ({"quantity": 1.5}, "quantity", "QUANTITY_FORM"),
    ],
)
def test_check_i2_what_a_spreadsheet_spoilt_is_refused_with_its_reason(tmp_path, values, column, reason):
    row = [values.get(name, cell) for name, cell in zip(HEADING, line(), strict=True)]
    (bad,) = orders(book(tmp_path / "a.xlsx", [HEADING, row]))
    assert [(fault.line, fault.column, fault.reason.name) for fault in bad.faults] == [(2, column, reason)]


def test_numbers_and_dates_of_a_spreadsheet_are_understood(tmp_path):
    told = {
        "placed_at": dt.datetime(2026, 1, 5, 10, 0),
        "paid_amount": 100,
        "quantity": 1.0,
        "buyer_phone": 13800000000,
    }
    row = [told.get(name, cell) for name, cell in zip(HEADING, line(), strict=True)]
    (order,) = orders(book(tmp_path / "a.xlsx", [HEADING, row]))
    assert (order.paid_amount, order.buyer.phone) == (100_00, "+8613800000000")


def test_lines_keep_the_numbers_of_the_sheet(tmp_path):
    path = book(tmp_path / "a.xlsx", [["a", "b"], [], ["1", "2"], [], [], ["3", None], []])
    formats.unfold(path)
    assert [(row.line, row.cells) for row in formats.sheet.examine(path).rows()] == [(3, ["1", "2"]), (6, ["3", ""])]


def test_first_sheet_with_rows_is_read_and_the_others_are_named(tmp_path):
    path = book(tmp_path / "a.xlsx", [["a", "b"], ["1", "2"]], sheets=("空", "订单"))
    said = formats.unfold(path)
    assert said == {"workbook": {"sheet": "订单", "others": 1}}
    path = book(tmp_path / "b.xlsx", [["x"]], sheets=("说明", "订单"), first=[["first", "sheet"], ["1", "2"]])
    assert unfolded(path) == [["first", "sheet"], ["1", "2"]]


def test_check_i2_macros_and_links_are_left_aside(tmp_path):
    path = book(tmp_path / "a.xlsm", [["a", "b"], ["1", "2"]])
    with zipfile.ZipFile(path, "a") as parts:
        parts.writestr("xl/vbaProject.bin", b"macro")
        parts.writestr("xl/externalLinks/externalLink1.xml", "<externalLink/>")
    said = formats.unfold(path)
    assert (said["macros"], said["links"]) == (True, True)
    assert path.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("harm", ["entities", "cut off", "no sheet", "not a workbook", "wild row"])
def test_broken_workbooks_are_refused_and_left_as_they_were(tmp_path, harm):
    path = book(tmp_path / "a.xlsx", [["a", "b"], ["1", "2"]])
    if harm == "cut off":
        path.write_bytes(path.read_bytes()[:-800])
    else:
        old = zipfile.ZipFile(path)
        made = tmp_path / "made.xlsx"
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as parts:
            for name in old.namelist():
                text = old.read(name).decode()
                if name.startswith("xl/worksheets/"):
                    if harm == "no sheet":
                        continue
                    if harm == "entities":
                        text = text.replace("<worksheet", '<!DOCTYPE x [<!ENTITY a "aaaa">]><worksheet', 1)
                    if harm == "wild row":
                        text = text.replace('<row r="2"', '<row r="4000000000"').replace('"A2"', '"A4000000000"')
                if harm == "not a workbook" and name == "xl/workbook.xml":
                    text = "<nothing/>"
                parts.writestr(name, text)
        path = made
    before = path.read_bytes()
    if harm == "cut off":
        # Without its directory it is no archive at all.
        with pytest.raises(FileUnreadable):
            formats.unfold(path)
            formats.sheet.examine(path)
    else:
        with pytest.raises(FileUnreadable) as refused:
            formats.unfold(path)
        assert refused.value.wrong in (Wrong.WORKBOOK_BROKEN, Wrong.WORKBOOK_TOO_LARGE, Wrong.EMPTY)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.rows"))


def test_check_d7_workbook_that_bursts_is_refused(tmp_path):
    path = book(tmp_path / "a.xlsx", [["a"]])
    made = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as parts:
        for name in old.namelist():
            data = old.read(name)
            if name.startswith("xl/worksheets/"):
                data = data.replace(b"</sheetData>", b"<row/>" * 1_000_000 + b"</sheetData>")
            parts.writestr(name, data)
    with pytest.raises(FileUnreadable) as refused:
        formats.unfold(made)
    assert refused.value.wrong is Wrong.WORKBOOK_TOO_LARGE


def test_sheet_wider_than_any_order_is_refused(tmp_path):
    path = book(tmp_path / "a.xlsx", [["a"], [*[None] * 1_500, "x"]])
    with pytest.raises(FileUnreadable) as refused:
        formats.unfold(path)
    assert refused.value.wrong is Wrong.TOO_MANY_COLUMNS


def test_empty_workbook_is_empty(tmp_path):
    with pytest.raises(FileUnreadable) as refused:
        formats.unfold(book(tmp_path / "a.xlsx", [[]]))
    assert refused.value.wrong is Wrong.EMPTY


def test_old_workbooks_and_other_archives_are_named(tmp_path):
    old = tmp_path / "a.xls"
    old.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600)
    other = tmp_path / "a.zip"
    with zipfile.ZipFile(other, "w") as parts:
        parts.writestr("orders.csv", "a,b")
    for path, wrong in ((old, Wrong.SPREADSHEET), (other, Wrong.ARCHIVE)):
        assert formats.unfold(path) == {}
        with pytest.raises(FileUnreadable) as refused:
            formats.sheet.examine(path)
        assert refused.value.wrong is wrong


def test_memory_stays_flat_over_twenty_thousand_rows(tmp_path):
    path = book(tmp_path / "a.xlsx", [HEADING, *(line(order_no=f"A{n}") for n in range(20_000))])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    formats.unfold(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert formats.sheet.examine(path).rows_total == 20_000
    assert grown < 64 * 1024
    assert workbook.MOST_ROWS == 1_048_576
