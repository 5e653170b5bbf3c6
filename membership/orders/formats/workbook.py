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
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from .sheet import MOST_COLUMNS, FileUnreadable, Wrong

# Unpacked; a hundred thousand orders of forty columns come to about 200 MB.
MOST_BYTES = 768 << 20
MOST_TEXT_BYTES = 192 << 20
MOST_PARTS = 5_000
# Sheets of the dullest kind shrink to a fortieth; a hundredth is made to do harm.
SMALLEST_SHARE = 150
MOST_ROWS = 1_048_576
EXACT_DIGITS = 15
_TEXTS = "xl/sharedStrings.xml"
_HARM = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
# What openpyxl raises where a workbook is not what it says.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, ParseError, EOFError, OSError, KeyError, ValueError, IndexError, TypeError,
    AttributeError, OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip


def is_workbook(path: Path) -> bool:
    """Whether a file is packed like an .xlsx workbook."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
    try:
        with zipfile.ZipFile(path) as parts:
            return "[Content_Types].xml" in parts.namelist() and any(n.startswith("xl/") for n in parts.namelist())
    except (zipfile.BadZipFile, EOFError, OSError):
        return False


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
    from openpyxl import load_workbook

    book = load_workbook(path, read_only=True, data_only=True, keep_links=False)
    with contextlib.closing(book), to.open("w", encoding="utf-8", newline="") as out:
        sheets = [one for one in book.worksheets if one.sheet_state == "visible"] or book.worksheets
        for sheet in sheets:
            # What a sheet says of its own size is not always true.
            sheet.reset_dimensions()
            out.seek(0)
            out.truncate()
            writer = csv.writer(out, lineterminator="\n")
            filled = 0
            blank = 0
            for cells in _rows(sheet):
                if not cells:
                    # Written when something follows, so that lines keep their numbers and no sheet ends in a million of them.
                    blank += 1
                    continue
                out.write("\n" * blank)
                blank = 0
                writer.writerow(cells)
                filled += 1
            if filled:
                return {"workbook": {"sheet": sheet.title[:100], "others": len(book.worksheets) - 1}}
    raise FileUnreadable(Wrong.EMPTY)


def _rows(sheet: Any) -> Iterator[list[str]]:
    """The sheet's rows as texts; one without any text is empty."""
    width = 0
    for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):
        if number > MOST_ROWS:
            raise FileUnreadable(Wrong.WORKBOOK_TOO_LARGE)
        cells = [_text(value) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        if len(cells) > MOST_COLUMNS:
            raise FileUnreadable(Wrong.TOO_MANY_COLUMNS)
        if cells and not width:
            width = len(cells)
        # A sheet does not store the empty cells at the end of a row.
        yield cells + [""] * (width - len(cells)) if cells else cells


def _text(value: Any) -> str:
    """A cell's value as an order file would have it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return " ".join(value.split("\n")).replace("\r", " ").replace("\x00", "\ufffd")
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**EXACT_DIGITS else f"{value:.14E}"
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 10**EXACT_DIGITS:
            return str(int(value))
        return format(value, f".{EXACT_DIGITS}g").upper()
    if isinstance(value, dt.datetime):
        return (value + dt.timedelta(milliseconds=500)).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, dt.date):
        return f"{value.isoformat()} 00:00:00"
    return str(value)
