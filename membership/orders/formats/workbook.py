"""Turns an Excel workbook (.xlsx, ISO/IEC 29500) into the rows of its first sheet that holds any, as a CSV file in UTF-8.

Once: everything after that reads plain text, at any place of the file. A line of the CSV is a row of the sheet. Values are
taken as stored: formulas by their last value, dates as dates, numbers with the fifteen digits that spreadsheet programs keep,
so that an order number which lost its end shows as 2.01234567890123E+18 and is refused. Macros and links to other
workbooks are never looked at.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import re
import sys
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any
from xml.etree.ElementTree import ParseError

from .sheet import MOST_COLUMNS, FileUnreadable, Wrong


@contextlib.contextmanager
def _without(name: str) -> Iterator[None]:
    """Let nobody load a library while the block lasts; one that is there already stays."""
    hidden = name not in sys.modules
    if hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[name]


# openpyxl loads numpy wherever it is installed, only to know its numbers; every process would pay for that.
with _without("numpy"):
    from openpyxl import load_workbook
    from openpyxl.utils import column_index_from_string
    from openpyxl.utils.datetime import from_excel, from_ISO8601
    from openpyxl.utils.exceptions import InvalidFileException
    from openpyxl.worksheet._reader import VALUE_TAG, WorkSheetParser
    from openpyxl.xml.constants import SHEET_MAIN_NS

# Unpacked; a hundred thousand orders of forty columns come to about 200 MB.
MOST_BYTES = 768 << 20
MOST_TEXT_BYTES = 192 << 20
MOST_PARTS = 5_000
# Sheets of the dullest kind shrink to a fortieth; a hundredth is made to do harm.
SMALLEST_SHARE = 150
MOST_ROWS = 1_048_576
EXACT_DIGITS = 15
CELL_TAG = f"{{{SHEET_MAIN_NS}}}c"
TEXT_TAG = f"{{{SHEET_MAIN_NS}}}t"
_TEXTS = "xl/sharedStrings.xml"
# A merged range, and more than the longest tag of one.
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^<>]{0,80}?ref="([A-Z]{1,3})([0-9]{1,7}):([A-Z]{1,3})([0-9]{1,7})"')
_LONGEST_TAG = 200
MOST_MERGED = 500_000
_HARM = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
# What openpyxl raises where a workbook is not what it says.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, ParseError, EOFError, OSError, KeyError, ValueError, IndexError, TypeError,
    AttributeError, InvalidFileException, OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip


def unfold(path: Path) -> dict[str, Any]:
    """Replace a workbook by the rows of its first sheet that has any; says which sheet that was, how many others there are,
    and whether macros or links were left aside.

    Refuses with `FileUnreadable` a workbook that is broken, or unpacked beyond all measure; the file is then as it was.
    """
    half = path.with_name(path.name + ".rows")
    try:
        names = _checked(path)
        said = _write(path, half)
    except FileUnreadable:
        half.unlink(missing_ok=True)
        raise
    except _BROKEN as error:
        half.unlink(missing_ok=True)
        raise FileUnreadable(Wrong.WORKBOOK_BROKEN) from error
    half.replace(path)
    if any("vbaproject" in name.lower() for name in names):
        said["macros"] = True
    if any(name.startswith("xl/externalLinks/") for name in names):
        said["links"] = True
    return said


def _checked(path: Path) -> list[str]:
    """The parts of a workbook; refuses one made to burst whoever unpacks it."""
    with zipfile.ZipFile(path) as parts:
        found = parts.infolist()
        unpacked = sum(one.file_size for one in found)
        texts = next((one.file_size for one in found if one.filename == _TEXTS), 0)
        if len(found) > MOST_PARTS or unpacked > MOST_BYTES or texts > MOST_TEXT_BYTES:
            raise FileUnreadable(Wrong.WORKBOOK_TOO_LARGE)
        for one in found:
            if one.file_size > 1 << 20 and one.file_size > one.compress_size * SMALLEST_SHARE:
                raise FileUnreadable(Wrong.WORKBOOK_TOO_LARGE)
            if one.filename.endswith((".xml", ".rels")):
                with parts.open(one) as part:
                    if _HARM.search(part.read(4_096)):
                        raise FileUnreadable(Wrong.WORKBOOK_BROKEN)
        return [one.filename for one in found]


def _write(path: Path, to: Path) -> dict[str, Any]:
    with contextlib.ExitStack() as opened:
        # By the open file: of a path openpyxl wants to see the ending, and kept files have none.
        source = opened.enter_context(path.open("rb"))
        book = load_workbook(source, read_only=True, data_only=True, keep_links=False)
        out = opened.enter_context(to.open("w", encoding="utf-8", newline=""))
        sheets = [one for one in book.worksheets if one.sheet_state == "visible"] or book.worksheets
        for sheet in sheets:
            if _write_sheet(sheet, out):
                return {"workbook": {"sheet": sheet.title[:100], "others": len(book.worksheets) - 1}}
    raise FileUnreadable(Wrong.EMPTY)


def _write_sheet(sheet: Any, out: IO[str]) -> bool:
    """Write a sheet's rows, each in the line of its number; whether there were any."""
    writer = csv.writer(out, lineterminator="\n")
    written = width = 0
    for number, cells in _filled(sheet):
        if number <= written:
            raise FileUnreadable(Wrong.WORKBOOK_BROKEN)
        if number > MOST_ROWS:
            raise FileUnreadable(Wrong.WORKBOOK_TOO_LARGE)
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        # Titles above the heading are narrower than that.
        width = max(width, len(cells))
        out.write("\n" * (number - written - 1))
        # A sheet does not store the empty cells at the end of a row.
        writer.writerow(cells + [""] * (width - len(cells)))
        written = number
    return written > 0


class _Parser(WorkSheetParser):  # type: ignore[misc]
    """openpyxl's reader of a sheet, handing out texts: its own cells are four times as slow to make."""

    def parse_row(self, row: Any) -> tuple[int, list[str]]:
        self.row_counter: int = int(row.get("r") or self.row_counter + 1)
        texts: list[str] = []
        for cell in row:
            if cell.tag != CELL_TAG:
                continue
            place = cell.get("r")
            column = _column(place.rstrip("0123456789")) if place else len(texts) + 1
            if column > MOST_COLUMNS:
                raise FileUnreadable(Wrong.TOO_MANY_COLUMNS)
            if column <= len(texts):
                raise FileUnreadable(Wrong.WORKBOOK_BROKEN)
            texts += [""] * (column - len(texts) - 1)
            texts.append(self._text_of(cell))
        return self.row_counter, texts

    def _text_of(self, cell: Any) -> str:
        kind = cell.get("t", "n")
        if kind == "inlineStr":
            return _plain("".join(part.text or "" for part in cell.iter(TEXT_TAG)))
        value = cell.findtext(VALUE_TAG)
        if not value:
            return ""
        if kind == "n":
            style = int(cell.get("s") or 0)
            if style in self.date_formats:
                return _text(from_excel(float(value), self.epoch, timedelta=style in self.timedelta_formats))
            return _number(value)
        if kind == "s":
            return _plain(self.shared_strings[int(value)])
        if kind == "b":
            return "TRUE" if value == "1" else "FALSE"
        return _text(from_ISO8601(value)) if kind == "d" else _plain(value)


def _rows(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """The rows that a sheet stores, with their numbers."""
    book = sheet.parent
    with sheet._get_source() as source:
        parser = _Parser(
            source,
            sheet._shared_strings,
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )
        yield from parser.parse()


def _merged(sheet: Any) -> dict[int, list[tuple[int, int]]]:
    """The cells that are merged downwards, within one column: by their first row, the column and the last row.

    They stand behind the rows in a sheet, so it is gone through once for them alone, as bytes."""
    found: dict[int, list[tuple[int, int]]] = {}
    left_to_take = MOST_MERGED
    with sheet._get_source() as source:
        kept = b""
        while chunk := source.read(1 << 20):
            held, done = kept + chunk, 0
            for one in _MERGED.finditer(held) if b"mergeCell" in held else ():
                (left, first, right, last), done = one.groups(), one.end()
                left_to_take -= 1
                if left_to_take < 0:
                    raise FileUnreadable(Wrong.WORKBOOK_TOO_LARGE)
                if left == right and int(first) < int(last) and (column := _column(left.decode())) <= MOST_COLUMNS:
                    found.setdefault(int(first), []).append((column, int(last)))
            kept = held[max(done, len(held) - _LONGEST_TAG) :]
    return found


def _filled(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """The rows of a sheet, with what a merged cell shows in each of the rows that it stands beside."""
    merged = _merged(sheet)
    shown: dict[int, tuple[int, str]] = {}
    for number, cells in _rows(sheet):
        if shown and any(cells):
            shown = {column: one for column, one in shown.items() if number <= one[0]}
            for column, (_last, said) in shown.items():
                cells += [""] * (column - len(cells))
                cells[column - 1] = cells[column - 1] or said
        for column, last in merged.get(number, ()):
            shown[column] = (last, cells[column - 1] if column <= len(cells) else "")
        yield number, cells


@lru_cache(maxsize=2_000)
def _column(letters: str) -> int:
    return int(column_index_from_string(letters))


def _plain(text: str) -> str:
    """A text on one line, so that lines keep their numbers."""
    if "\n" in text or "\r" in text:
        text = " ".join(text.split())
    return text.replace("\x00", "\ufffd")


def _number(stored: str) -> str:
    """A number as it is stored, with the digits that spreadsheet programs keep: 100.0 is 100, 0.30000000000000004 is 0.3."""
    if len(stored) <= EXACT_DIGITS and "E" not in stored and "e" not in stored:
        return stored.rstrip("0").rstrip(".") if "." in stored else stored
    value = float(stored)
    if value.is_integer() and abs(value) < 10**EXACT_DIGITS:
        return str(int(value))
    return format(value, f".{EXACT_DIGITS}g").upper()


def _text(value: Any) -> str:
    """A date as an order file would have it."""
    if isinstance(value, dt.datetime):
        return (value + dt.timedelta(milliseconds=500)).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, dt.date):
        return f"{value.isoformat()} 00:00:00"
    return str(value)
