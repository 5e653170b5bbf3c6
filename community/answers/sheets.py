"""Tables of texts as files: CSV, and the simplest workbook (XLSX) that every spreadsheet opens. Pure: bytes in, rows out.

A workbook is a ZIP of XML (ECMA-376). The library that the order files are read with loads numpy, which web processes do not pay for;
a table of texts needs none of what it does beyond this.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

MOST_BYTES: Final = 40 << 20
MOST_ROWS: Final = 20_000
_SPACE: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_HARM: Final = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
# What XML cannot hold.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_COLUMN: Final = re.compile(r"([A-Z]{1,3})\d+")


class Unreadable(Exception):
    """The file is not what its ending says."""


def text_of(content: bytes) -> str:
    """A text file's words: BOM, then strict UTF-8, then strict GB18030. Raises `Unreadable`."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Unreadable


def csv_rows(content: bytes) -> list[list[str]]:
    """The rows of a CSV file. Raises `Unreadable`."""
    try:
        return [
            row
            for _n, row in zip(range(MOST_ROWS), csv.reader(io.StringIO(text_of(content)), strict=True), strict=False)
        ]
    except csv.Error as wrong:
        raise Unreadable from wrong


def _part(parts: zipfile.ZipFile, name: str) -> ElementTree.Element | None:
    if name not in parts.namelist():
        return None
    if parts.getinfo(name).file_size > MOST_BYTES:
        raise Unreadable
    content = parts.read(name)
    # Without declarations of their own, documents can neither reach out nor swell.
    if _HARM.search(content):
        raise Unreadable
    return ElementTree.fromstring(content)  # noqa: S314


def _texts(node: ElementTree.Element) -> str:
    return "".join(part.text or "" for part in node.iter(f"{_SPACE}t"))


def _place(reference: str, otherwise: int) -> int:
    found = _COLUMN.fullmatch(reference)
    if found is None:
        return otherwise
    place = 0
    for letter in found[1]:
        place = place * 26 + ord(letter) - 64
    return place - 1


def xlsx_rows(content: bytes) -> list[list[str]]:
    """The rows of a workbook's first sheet, as texts. Raises `Unreadable`."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            shared = _part(parts, "xl/sharedStrings.xml")
            known = [_texts(one) for one in shared.iter(f"{_SPACE}si")] if shared is not None else []
            first = min((n for n in parts.namelist() if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", n)), default="")
            sheet = _part(parts, first)
            if sheet is None:
                raise Unreadable
            rows: list[list[str]] = []
            for row in sheet.iter(f"{_SPACE}row"):
                if len(rows) >= MOST_ROWS:
                    break
                cells: list[str] = []
                for cell in row.iter(f"{_SPACE}c"):
                    place = _place(cell.get("r", ""), len(cells))
                    if place > 200:
                        continue
                    cells += [""] * (place + 1 - len(cells))
                    value = cell.find(f"{_SPACE}v")
                    said = value.text or "" if value is not None else ""
                    kind = cell.get("t")
                    cells[place] = known[int(said)] if kind == "s" else _texts(cell) if kind == "inlineStr" else said
                rows.append(cells)
            return rows
    except (
        zipfile.BadZipFile, zlib.error, ElementTree.ParseError, KeyError, ValueError, IndexError, EOFError, OSError,
        NotImplementedError, RuntimeError,
    ) as wrong:  # fmt: skip
        raise Unreadable from wrong


_SHEETS: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_TYPES: Final = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_SHEETS}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_SHEETS}.worksheet+xml"/>'
    "</Types>"
)
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATIONS: Final = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/%s" Target="%s"/></Relationships>'
)
_WORKBOOK: Final = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    f'<workbook xmlns="{_SPACE[1:-1]}" xmlns:r="{_OFFICE}">'
    '<sheets><sheet name="%s" sheetId="1" r:id="rId1"/></sheets></workbook>'
)


def xlsx_of(rows: Iterable[Sequence[str]], title: str) -> bytes:
    """A workbook with one sheet of texts. What looks like a formula is a text in it, and stays one."""
    lines = "".join(
        "<row>"
        + "".join(
            f'<c t="inlineStr"><is><t xml:space="preserve">{escape(_CONTROL.sub("", str(cell)))}</t></is></c>'
            for cell in row
        )
        + "</row>"
        for row in rows
    )
    sheet = (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
        f'<worksheet xmlns="{_SPACE[1:-1]}"><sheetData>{lines}</sheetData></worksheet>'
    )
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("[Content_Types].xml", _TYPES)
        parts.writestr("_rels/.rels", _RELATIONS % ("officeDocument", "xl/workbook.xml"))
        parts.writestr("xl/workbook.xml", _WORKBOOK % escape(title, {'"': "&quot;"}))
        parts.writestr("xl/_rels/workbook.xml.rels", _RELATIONS % ("worksheet", "worksheets/sheet1.xml"))
        parts.writestr("xl/worksheets/sheet1.xml", sheet)
    return written.getvalue()
