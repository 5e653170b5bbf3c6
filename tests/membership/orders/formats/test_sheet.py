"""Files are opened without guessing: encodings, quoting, wrong files (checks I1 and I2)."""

from __future__ import annotations

import gzip
import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from membership.orders import formats
from membership.orders.formats import FileUnreadable, Wrong, gathering, sheet, uci
from membership.orders.formats.drafts import OrderDraft, RejectedDraft

from ..files import HEADING, line, text_of, write

TEXT = "order_no,title\r\n1,青瓷茶杯\r\n2,𠮷野家 ☕\r\n"


@pytest.fixture
def opened(tmp_path):
    def examine(content: bytes | str, name: str = "orders.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return sheet.examine(path)

    return examine


def wrong(opened, content: bytes | str) -> tuple[Wrong, dict]:
    with pytest.raises(FileUnreadable) as refused:
        opened(content)
    assert refused.value.message
    return refused.value.wrong, refused.value.values


def cells(found) -> list[list[str]]:
    return [row.cells for row in found.rows()]


@pytest.mark.parametrize(
    ("encoding", "mark", "said"),
    [
        ("utf-8", b"", "utf-8"),
        ("utf-8", b"\xef\xbb\xbf", "utf-8-sig"),
        ("utf-16-le", b"\xff\xfe", "utf-16"),
        ("utf-16-be", b"\xfe\xff", "utf-16"),
        ("utf-32-le", b"\xff\xfe\x00\x00", "utf-32"),
        ("gb18030", b"", "gb18030"),
        ("gb18030", b"\x84\x31\x95\x33", "gb18030"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_check_i1_one_file_in_every_encoding_is_the_same(opened, encoding, mark, said, packed):
    content = mark + TEXT.encode(encoding)
    found = opened(gzip.compress(content, mtime=0) if packed else content)
    assert found.encoding == said
    assert [sheet.name_of(name) for name in found.heading] == ["order_no", "title"]
    assert cells(found) == [["1", "青瓷茶杯"], ["2", "𠮷野家 ☕"]]
    assert found.rows_total == 2


def test_check_i1_gbk_is_read_as_gb18030(opened):
    found = opened("订单编号,买家\r\n1,张小满\r\n".encode("gbk"))
    assert (found.encoding, found.heading) == ("gb18030", ["订单编号", "买家"])


UTF8 = [f"{n},青瓷茶杯\n".encode() for n in range(30)]
GB = [f"{n},青瓷茶杯\n".encode("gb18030") for n in range(30)]


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ([*UTF8[:10], b"10,\xff\xfe\n", *UTF8[11:]], 12),
        ([*UTF8[:10], GB[10], *UTF8[11:]], 12),
        ([*GB[:10], UTF8[10], *GB[11:]], 12),
        ([*GB[:10], b"10,\xff\xff\n", *GB[11:]], 12),
        ([b"\xef\xbb\xbf", *UTF8[:10], GB[10]], 12),
    ],
)
def test_check_i1_mixed_or_wrong_bytes_refuse_the_whole_file_with_the_line(opened, lines, line):
    heading = b"order_no,title\n"
    content = lines[0] + heading + b"".join(lines[1:]) if lines[0].startswith(b"\xef") else heading + b"".join(lines)
    assert wrong(opened, content) == (Wrong.ENCODING, {"line": line})


def test_latin_1_is_not_taken_for_anything_else(opened):
    assert wrong(opened, "order_no,title\n1,Caf\xe9\n".encode("latin-1"))[0] is Wrong.ENCODING


def test_a_last_line_that_is_foreign_was_not_cut_off(opened):
    assert wrong(opened, "order_no,title\n1,茶\n".encode() + b"2,caf\xe9\n")[0] is Wrong.ENCODING


@pytest.mark.parametrize(
    ("encoding", "mark"), [("utf-8", b""), ("utf-8", b"\xef\xbb\xbf"), ("gb18030", b""), ("utf-16-le", b"\xff\xfe")]
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_cut_off_within_a_character_is_told_to_be_cut_off(opened, encoding, mark, packed):
    content = mark + "order_no,title\r\n1,青瓷茶杯\r\n2,桂花乌".encode(encoding)[:-1]
    assert wrong(opened, gzip.compress(content, mtime=0) if packed else content) == (Wrong.CUT_OFF, {"line": 3})


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_titles_above_the_heading_are_left_out_and_lines_keep_their_numbers(opened, delimiter):
    rows = [
        ["小满茶铺 2026年9月 订单明细", "", "", ""],
        [],
        ["导出时间", "2026-10-01"],
        ["order_no", "title", "state", "sku"],
    ]
    rows += [["1", "", "", "A"], ["2", "茶", "paid", "B"]]
    found = opened("\n".join(delimiter.join(row) for row in rows))
    assert (found.delimiter, found.heading, found.rows_total) == (delimiter, rows[3], 2)
    assert [(row.line, row.cells) for row in found.rows()] == [(5, rows[4]), (6, rows[5])]


def test_a_narrow_file_begins_with_its_heading(opened):
    found = opened("a,b\n1,2,x\n3,4,x\n")
    assert (found.heading, cells(found)) == (["a", "b"], [["1", "2", "x"], ["3", "4", "x"]])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", Wrong.EMPTY),
        (b"\n\n  \n", Wrong.EMPTY),
        (b"order_no,title\n", Wrong.NO_ROWS),
        (b"order_no,title\n,\n  ,\n", Wrong.NO_ROWS),
        (b"%PDF-1.7 ...", Wrong.NOT_TEXT),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 40, Wrong.NOT_TEXT),
        (bytes(range(256)) * 4 + b"\x00" * 500, Wrong.NOT_TEXT),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 100, Wrong.SPREADSHEET),
        (gzip.compress(b"order_no,title\n1,a\n" * 50, mtime=0)[:-20], Wrong.BROKEN_GZIP),
        (gzip.compress(b"order_no,title\n1,a\n", mtime=0)[:-8] + b"\x00" * 8, Wrong.BROKEN_GZIP),
        (gzip.compress(b"", mtime=0), Wrong.EMPTY),
        (b",".join([b"c"] * 1001) + b"\n" + b"1\n", Wrong.TOO_MANY_COLUMNS),
    ],
)
def test_wrong_files_are_named_for_what_they_are(opened, content, said):
    assert wrong(opened, content)[0] is said


@pytest.mark.parametrize(("member", "said"), [("xl/workbook.xml", Wrong.SPREADSHEET), ("orders.csv", Wrong.ARCHIVE)])
def test_workbook_and_archive_are_told_apart(opened, member, said):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(member, "x")
    assert wrong(opened, packed.getvalue())[0] is said


def test_nul_is_refused_with_its_line(opened):
    assert wrong(opened, b"order_no,title\n1,a\n2,b\x00c\n" + b"3,d\n" * 20) == (Wrong.NUL, {"line": 3})


def test_check_i2_unclosed_quote_is_found_with_its_line(opened):
    content = 'order_no,title\n1,ok\n2,"never closed\n3,ok\n4,ok\n'
    assert wrong(opened, content) == (Wrong.UNCLOSED_QUOTE, {"line": 3})


def test_check_i2_unclosed_quote_that_meets_a_later_quote_is_found_too(opened):
    content = 'order_no,title\n1,ok\n2,"never closed\n3,"fine"\n4,ok\n'
    assert wrong(opened, content) == (Wrong.BROKEN_QUOTE, {"line": 3})


def test_check_i2_unclosed_quote_in_a_long_file_does_not_swallow_it(opened):
    content = 'order_no,title\n1,"never closed\n' + "2,ok\n" * 200_000
    assert wrong(opened, content) == (Wrong.UNCLOSED_QUOTE, {"line": 2})


def test_quote_over_too_many_lines_is_unclosed(opened):
    content = 'order_no,title\n1,"' + "\n" * 150 + '"\n2,ok\n'
    assert wrong(opened, content) == (Wrong.UNCLOSED_QUOTE, {"line": 2})


def test_huge_cell_is_refused(opened):
    assert wrong(opened, "order_no,title\n1," + "x" * 10_000_000 + "\n") == (Wrong.CELL_TOO_LONG, {"line": 2})


def test_endless_line_is_refused(opened, monkeypatch):
    monkeypatch.setattr(sheet, "LONGEST_LINE", 1000)
    monkeypatch.setattr(sheet, "CHUNK", 600)
    assert wrong(opened, "order_no,title\n1,2\n" + "é" * 2_000) == (Wrong.LINE_TOO_LONG, {"line": 3})


def test_file_that_unpacks_to_more_than_is_taken_is_refused(opened, monkeypatch):
    monkeypatch.setattr(sheet, "MOST_BYTES", 10_000)
    assert wrong(opened, gzip.compress(b"order_no,title\n" + b"1,a\n" * 400_000, mtime=0))[0] is Wrong.TOO_LARGE


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_check_i2_line_ends_and_delimiters(opened, end, delimiter):
    content = end.join(delimiter.join(row) for row in (["order_no", "title"], ["1", "a"], ["2", "b"])) + end
    found = opened(content)
    assert (found.delimiter, found.heading, cells(found)) == (
        delimiter,
        ["order_no", "title"],
        [["1", "a"], ["2", "b"]],
    )


def test_line_numbers_are_those_of_the_file(opened):
    found = opened('order_no,title\n1,"two\nlines"\n\n2,b\n')
    assert [(row.line, row.cells) for row in found.rows()] == [(2, ["1", "two\nlines"]), (5, ["2", "b"])]


def test_heading_names_are_read_without_padding():
    assert [sheet.name_of(name) for name in ("\ufeff订单编号", " 收货地址  ", "ｏrder_no", "'联系电话")] == [
        "订单编号", "收货地址", "order_no", "联系电话",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("heading", "said"),
    [
        ("foo,bar", Wrong.HEADING_UNKNOWN),
        ("order_no,state,sku", Wrong.COLUMNS_MISSING),
        ("order_no,placed_at,state,paid_amount,sku,quantity,unit_price,sku", Wrong.COLUMNS_REPEATED),
    ],
)
def test_headings_that_do_not_fit(tmp_path: Path, heading, said):
    path = tmp_path / "a.csv"
    path.write_text(heading + "\n1,2,3,4,5,6,7,8\n")
    with pytest.raises(FileUnreadable) as refused:
        formats.examined(path)
    assert refused.value.wrong is said


def test_missing_columns_are_named(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("order_no,state,sku\n1,2,3\n")
    with pytest.raises(FileUnreadable) as refused:
        formats.examined(path, "siyu")
    assert refused.value.values == {"columns": "placed_at, paid_amount, quantity, unit_price"}
    with pytest.raises(FileUnreadable) as refused:
        formats.examined(path, "taobao")
    assert "订单" in refused.value.values["columns"]


def test_formats_are_recognised_by_their_heading():
    assert formats.detect(list(uci.COLUMNS)).key == "uci"
    assert formats.detect(["订单编号 ", "买家会员名", "订单状态", "买家实际支付金额", "订单创建时间"]).key == "taobao"
    assert formats.detect(["order_no", "placed_at", "state", "sku"]).key == "siyu"


ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16-le": b"\xff\xfe",
    "utf-16-be": b"\xfe\xff",
    "gbk": b"",
    "gb18030": b"",
}


def test_check_i1_5000_rows_in_six_encodings_are_the_same_orders(tmp_path):
    names = ["小满", "立夏", "芒种", "白露", "寒露", "霜降"]
    rows = [
        line(order_no=f"A{n}", buyer_nickname=f"{names[n % 6]}{n}", title="青瓷茶杯，大号", buyer_phone=f"120{n:08d}")
        for n in range(5_000)
    ]
    read = {}
    for encoding, mark in ENCODINGS.items():
        path = tmp_path / encoding
        path.write_bytes(mark + text_of(rows).encode(encoding))
        sheet, found = formats.examined(path)
        read[encoding] = list(found.entries(sheet, datetime(2026, 3, 3, 4, 0, tzinfo=UTC)))
    assert len(read["utf-8"]) == 5_000
    assert all(isinstance(one, OrderDraft) for one in read["utf-8"])
    assert [one for one in ENCODINGS if read[one] != read["utf-8"]] == []


@pytest.mark.parametrize(
    ("content", "rows", "good"),
    [
        # Every broken shape, and how many rows are read and taken.
        ("{h}\n{a}\n{a},x,y\n{b}\n", 3, 1),
        ("{h}\n{a}\n{b},\n", 2, 2),
        ("{h}\n{a}\nA2\n{b}\n", 3, 2),
        ("{h}\n\n\n{a}\n   \n{b}\n\n", 2, 2),
        ("{h}\r\n{a}\r\n{b}\r\n", 2, 2),
        ("{h}\r{a}\r{b}\r", 2, 2),
        ("{h}\n{a}\n{b}", 2, 2),
    ],
)
def test_check_i2_every_row_is_accounted_for(tmp_path, content, rows, good):
    text = content.format(h=",".join(HEADING), a=",".join(line()), b=",".join(line(order_no="B2")))
    path = tmp_path / "a.csv"
    path.write_text(text, newline="")
    sheet, found = formats.examined(path)
    entries = list(found.entries(sheet, datetime(2026, 3, 3, 4, 0, tzinfo=UTC)))
    assert sheet.rows_total == rows == sum(one.rows for one in entries)
    assert sum(one.rows for one in entries if isinstance(one, OrderDraft)) == good
    for one in entries:
        if isinstance(one, RejectedDraft):
            assert all(fault.line > 1 and fault.reason for fault in one.faults)


def test_check_i2_a_million_columns_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("," * 1_000_000 + "\n1\n")
    with pytest.raises(FileUnreadable) as refused:
        formats.examined(path)
    assert refused.value.wrong is Wrong.TOO_MANY_COLUMNS


def test_scattered_orders_come_together_whatever_stands_between(tmp_path):
    rows = [line(order_no=f"A{n % 7}", sku=f"S{n}") for n in range(70)] + [line(order_no=f"B{n}") for n in range(3)]
    path = write(tmp_path / "a.csv", rows)
    sheet, found = formats.examined(path)
    entries = list(found.entries(sheet, datetime(2026, 3, 3, 4, 0, tzinfo=UTC)))
    assert [(one.external_id, one.rows) for one in entries] == [
        *((f"A{n}", 10) for n in range(7)),
        *((f"B{n}", 1) for n in range(3)),
    ]


def test_keys_with_one_fingerprint_lose_no_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(gathering, "hash", lambda key: 1, raising=False)
    path = write(tmp_path / "a.csv", [line(order_no=f"A{n % 3}") for n in range(9)])
    sheet, found = formats.examined(path)
    entries = list(found.entries(sheet, datetime(2026, 3, 3, 4, 0, tzinfo=UTC)))
    assert sorted((one.external_id, one.rows) for one in entries) == [("A0", 3), ("A1", 3), ("A2", 3)]


PIECES = st.sampled_from(
    [
        b"a,b",
        b"\n",
        b"\r\n",
        "青瓷".encode(),
        "青瓷".encode("gb18030"),
        "é".encode(),
        b"\xe9",
        b"\xf0\x9f",
        b"\x00",
        b"x" * 40,
    ]
)


@hypothesis_settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(PIECES, min_size=1, max_size=14), st.sampled_from([b"", b"\xef\xbb\xbf", b"\x84\x31\x95\x33"]))
def test_a_file_that_is_seen_at_once_is_what_its_lines_say(tmp_path, pieces, mark):
    """Wherever the file is cut into chunks, the quick look and the look at each line say the same."""
    path = tmp_path / "a.csv"
    path.write_bytes(mark + b"".join(pieces))

    def said(quickly: bool) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sheet, "CHUNK", 7)
            patch.setattr(sheet, "LONGEST_LINE", 32)
            if not quickly:
                patch.setattr(sheet, "_utf8_throughout", lambda path, end: False)
            try:
                return sheet.encoding_of(path)
            except FileUnreadable as refused:
                return refused.stored

    assert said(True) == said(False)
