"""Opens a file of comma-separated values without guessing: what it is, its encoding, and its rows with their line numbers.

Encodings are tried in a fixed order: a byte-order mark decides; else strict UTF-8; else strict GB18030 (GB 18030-2022, of
which GBK is a part). A file that mixes them is refused as a whole, with the line: text that has been read in the wrong
encoding looks like text, and nobody notices it before it is in a thousand members' names.
"""

from __future__ import annotations

import codecs
import csv
import enum
import gzip
import io
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

MOST_BYTES = 1 << 30
MOST_COLUMNS = 1_000
LONGEST_LINE = 16 << 20
# A cell may hold line breaks (an address, a remark); a row over more lines than this is a quote that nobody closed.
MOST_LINES_A_ROW = 100
CHUNK = 1 << 20
DELIMITERS = (",", "\t", ";")
# Above a heading people write what the list is and when it was made, in fewer cells than any heading has.
MOST_TITLES = 10
FEWEST_COLUMNS = 3

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
# The beginnings of what people upload by mistake.
_FOREIGN = (
    b"%PDF",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"Rar!",
    b"7z\xbc\xaf",
    b"SQLite format",
    b"\x7fELF",
    b"PAR1",
)
_CHINESE = re.compile("[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")


class Wrong(enum.StrEnum):
    """What is wrong with a file as a whole."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    SPREADSHEET = "spreadsheet"
    WORKBOOK_BROKEN = "workbook_broken"
    WORKBOOK_TOO_LARGE = "workbook_too_large"
    WORKBOOK_LARGE = "workbook_large"
    ARCHIVE = "archive"
    NOT_TEXT = "not_text"
    BROKEN_GZIP = "broken_gzip"
    NUL = "nul"
    ENCODING = "encoding"
    CUT_OFF = "cut_off"
    UNCLOSED_QUOTE = "unclosed_quote"
    BROKEN_QUOTE = "broken_quote"
    CELL_TOO_LONG = "cell_too_long"
    LINE_TOO_LONG = "line_too_long"
    TOO_MANY_COLUMNS = "too_many_columns"
    HEADING_UNKNOWN = "heading_unknown"
    HEADING_NEAR = "heading_near"
    COLUMNS_MISSING = "columns_missing"
    COLUMNS_REPEATED = "columns_repeated"
    NO_ROWS = "no_rows"


SENTENCES = {
    Wrong.EMPTY: _l("The file is empty."),
    Wrong.TOO_LARGE: _l("The file holds more than 1 GB. Split it into several."),
    Wrong.SPREADSHEET: _l(
        "This is an old Excel workbook (.xls), or one with a password. Save it as .xlsx without a password, or as CSV."
    ),
    Wrong.WORKBOOK_BROKEN: _l(
        "This workbook is damaged or not a real .xlsx file. Open it, save it again, or save it as CSV."
    ),
    Wrong.WORKBOOK_TOO_LARGE: _l(
        "Unpacked, this workbook is beyond all measure. Save the sheet with the orders as CSV."
    ),
    Wrong.WORKBOOK_LARGE: _l("A workbook may have up to 2 MB here. Save its sheet as CSV, or split it into several."),
    Wrong.ARCHIVE: _l("This is a ZIP archive. Unpack it and choose the CSV file inside."),
    Wrong.NOT_TEXT: _l("This is not a text file. Choose a CSV file (or a CSV file packed with gzip)."),
    Wrong.BROKEN_GZIP: _l("The packed file is damaged or cut off. Download or export it again."),
    Wrong.NUL: _l(
        "Line %(line)s holds a NUL character, so this is no text in UTF-8 or GB18030. Export the file again."
    ),
    Wrong.ENCODING: _l(
        "Line %(line)s is in no encoding that fits the rest of the file (UTF-8 and GB18030 were tried). Nothing was taken, "
        "so that no name is stored garbled. Save the file as “CSV UTF-8” and choose it again."
    ),
    Wrong.CUT_OFF: _l(
        "The file ends in the middle of a character, in line %(line)s: it was cut off. Download or export it again."
    ),
    Wrong.UNCLOSED_QUOTE: _l(
        'A quotation mark (") that opens in line %(line)s is never closed. Nothing after it can be read.'
    ),
    Wrong.BROKEN_QUOTE: _l('The quotation marks (") in the row that begins in line %(line)s do not match.'),
    Wrong.CELL_TOO_LONG: _l("A cell in the row that begins in line %(line)s holds more than 131,072 characters."),
    Wrong.LINE_TOO_LONG: _l("Line %(line)s is longer than 16 MB."),
    Wrong.TOO_MANY_COLUMNS: _l("The heading has more than 1,000 columns."),
    Wrong.HEADING_UNKNOWN: _l("The first line is not the heading of a format that is known here. Found: %(columns)s"),
    Wrong.HEADING_NEAR: _l(
        "The first line is not the heading of a format that is known here. It comes nearest to “%(format)s”, "
        "which also needs: %(missing)s. Found: %(columns)s"
    ),
    Wrong.COLUMNS_MISSING: _l("The heading lacks: %(columns)s"),
    Wrong.COLUMNS_REPEATED: _l(
        "The heading has twice: %(columns)s. Rename or delete one of them and choose the file again."
    ),
    Wrong.NO_ROWS: _l("Under the heading there is no line."),
}


class FileUnreadable(Refusal):
    """The file is refused as a whole; `wrong` says why, `values` fill its sentence (`line`, `columns`)."""

    status = 422
    title = _l("This file cannot be imported")
    icon = "file-alert"

    def __init__(self, wrong: Wrong, **values: Any) -> None:
        super().__init__(**values)
        self.wrong = wrong
        self.label = SENTENCES[wrong]

    @property
    def stored(self) -> dict[str, Any]:
        """As `ImportRun.failure` keeps it."""
        return {"code": self.wrong.value, **self.values}


@dataclass(slots=True)
class Row:
    """One row: the line of the file in which it begins (the heading is in line 1), and its cells."""

    line: int
    cells: list[str]


@dataclass
class Sheet:
    """A file that can be read: how, its heading, and how many rows it has that hold any text."""

    path: Path
    encoding: str
    delimiter: str = ","
    heading: list[str] = field(default_factory=list)
    rows_total: int = 0
    # What the reader is told beside the file, see `ImportRun.options`.
    options: dict[str, Any] = field(default_factory=dict)

    def rows(self) -> Iterator[Row]:
        """The rows under the heading that hold any text. Raises `FileUnreadable` with the line at broken quoting."""
        rows = self.all_rows()
        next(rows, None)
        return rows

    def all_rows(self) -> Iterator[Row]:
        """The heading, then `rows`. What stands above the heading is left out."""
        with opened(self.path) as raw, io.TextIOWrapper(raw, self.encoding, errors="strict", newline="") as text:
            rows = _rows(text, self.delimiter)
            first = list(islice(rows, 1))
            if first and not _may_be_heading(first[0]):
                first += islice(rows, MOST_TITLES)
                first = first[next((at for at, row in enumerate(first) if _may_be_heading(row)), 0) :]
            yield from first
            yield from rows


def _may_be_heading(row: Row) -> bool:
    """Whether a row has names for enough columns, and no number or date among them, as the rows below have."""
    filled = [text for cell in row.cells if (text := cell.strip())]
    return len(filled) >= FEWEST_COLUMNS and not any(text[0].isdigit() for text in filled)


@dataclass
class SomeRows(Sheet):
    """A few rows of a file, as if they were the file."""

    some: list[Row] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        return iter(self.some)

    def all_rows(self) -> Iterator[Row]:
        yield Row(1, self.heading)
        yield from self.some


def some_rows(sheet: Sheet, rows: list[Row]) -> SomeRows:
    """The rows under the heading of a sheet and with what its reader is told."""
    return SomeRows(sheet.path, sheet.encoding, sheet.delimiter, sheet.heading, len(rows), sheet.options, rows)


def name_of(cell: str) -> str:
    """A column's name without what varies: blanks around it, a byte-order mark, full-width letters, apostrophes."""
    return unicodedata.normalize("NFKC", cell).replace("\ufeff", "").strip().strip("'\"").strip()


def opened(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked if it is gzip (RFC 1952)."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def examine(path: Path) -> Sheet:
    """Read a file once through to see whether and how it can be read.

    Refuses with `FileUnreadable`: an empty file, no text, more than 1 GB, a wrong or mixed encoding, NUL characters, broken
    quoting, cells or lines beyond all measure.
    """
    try:
        sheet = Sheet(path, encoding_of(path))
        sheet.delimiter, sheet.heading = _heading(sheet)
        for _row in sheet.rows():
            sheet.rows_total += 1
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileUnreadable(Wrong.BROKEN_GZIP) from error
    if not sheet.rows_total:
        raise FileUnreadable(Wrong.NO_ROWS)
    return sheet


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


def encoding_of(path: Path) -> str:
    """The file's encoding, every byte of it checked."""
    with opened(path) as stream:
        head = stream.read(CHUNK)
    if not head:
        raise FileUnreadable(Wrong.EMPTY)
    if head.startswith(b"PK\x03\x04"):
        workbook = b"[Content_Types].xml" in head or b"xl/" in head
        raise FileUnreadable(Wrong.SPREADSHEET if workbook else Wrong.ARCHIVE)
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise FileUnreadable(Wrong.SPREADSHEET)
    if head.startswith(_FOREIGN):
        raise FileUnreadable(Wrong.NOT_TEXT)
    mark = next((name for bom, name in _MARKS if head.startswith(bom)), None)
    if mark in ("utf-16", "utf-32"):
        _check_wide(path, mark)
        return mark
    if head.count(b"\x00") > len(head) // 10:
        raise FileUnreadable(Wrong.NOT_TEXT)
    return _check_narrow(path, mark, b"\n" if b"\n" in head else b"\r")


def _check_wide(path: Path, encoding: str) -> None:
    line = 1
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    size = 0
    with opened(path) as stream:
        while True:
            chunk = stream.read(CHUNK)
            size += len(chunk)
            if size > MOST_BYTES:
                raise FileUnreadable(Wrong.TOO_LARGE)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                before = chunk[: max(0, error.start)].count(b"\n")
                raise FileUnreadable(Wrong.ENCODING if chunk else Wrong.CUT_OFF, line=line + before) from error
            if (at := text.find("\x00")) >= 0:
                raise FileUnreadable(Wrong.NUL, line=line + text.count("\n", 0, at))
            line += text.count("\n")
            if not chunk:
                return


@dataclass
class _Seen:
    """What the lines of a file without a wide encoding could be; each is the first such line, or None."""

    not_utf8: int | None = None
    not_gb18030: int | None = None
    surely_utf8: int | None = None
    count_not_utf8: int = 0
    count_surely_utf8: int = 0

    def take(self, number: int, line: bytes) -> None:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            self.not_utf8 = self.not_utf8 or number
            self.count_not_utf8 += 1
        else:
            # Three-byte characters of Chinese that are whole throughout a line do not come about by chance in GB18030.
            if _CHINESE.search(text):
                self.surely_utf8 = self.surely_utf8 or number
                self.count_surely_utf8 += 1
        if self.not_gb18030 is None:
            try:
                line.decode("gb18030")
            except UnicodeDecodeError:
                self.not_gb18030 = number


def _utf8_throughout(path: Path, end: bytes) -> bool:
    """Whether a file is UTF-8 from beginning to end with nothing else to be said of it, seen without looking at its lines one
    by one. If not, `_check_narrow` finds out what it is, and where."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    size = rest = 0
    with opened(path) as stream:
        while chunk := stream.read(CHUNK):
            size += len(chunk)
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                return False
            lengths = [len(line) for line in chunk.split(end)]
            lengths[0] += rest
            rest = lengths[-1]
            if size > MOST_BYTES or max(lengths) > LONGEST_LINE or b"\x00" in chunk:
                return False
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _check_narrow(path: Path, mark: str | None, end: bytes) -> str:
    if mark != "gb18030" and _utf8_throughout(path, end):
        return mark or "utf-8"
    seen = _Seen()
    number = 0
    with opened(path) as stream:
        for number, line in enumerate(_byte_lines(stream, end), start=1):
            if b"\x00" in line:
                raise FileUnreadable(Wrong.NUL, line=number)
            if not line.isascii():
                seen.take(number, line)
    if mark == "gb18030":
        if seen.not_gb18030 is not None:
            raise _foreign(path, mark, seen.not_gb18030, number)
        return mark
    if seen.not_utf8 is None:
        return mark or "utf-8"
    if mark is not None:
        raise _foreign(path, "utf-8", seen.not_utf8, number)
    if seen.surely_utf8 is not None:
        # Both kinds of lines in one file: the rarer kind is the foreign one.
        foreign = seen.surely_utf8 if seen.count_surely_utf8 < seen.count_not_utf8 else seen.not_utf8
        raise _foreign(path, "utf-8", foreign, number)
    if seen.not_gb18030 is not None:
        raise _foreign(path, "gb18030", seen.not_gb18030, number)
    return "gb18030"


def _foreign(path: Path, encoding: str, line: int, last: int) -> FileUnreadable:
    """What to say of the first line that is not in the encoding of the others: a last line may just have lost its end."""
    if line == last:
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        with opened(path) as stream:
            while chunk := stream.read(CHUNK):
                decoder.decode(chunk)
        if decoder.getstate()[0]:
            return FileUnreadable(Wrong.CUT_OFF, line=line)
    return FileUnreadable(Wrong.ENCODING, line=line)


def _byte_lines(stream: IO[bytes], end: bytes) -> Iterator[bytes]:
    """Lines of bytes, the ending left on; neither byte of a line ending is ever part of a longer character here."""
    rest = b""
    size = number = 0
    while chunk := stream.read(CHUNK):
        size += len(chunk)
        if size > MOST_BYTES:
            raise FileUnreadable(Wrong.TOO_LARGE)
        lines = (rest + chunk).split(end)
        rest = lines.pop()
        number += len(lines)
        if len(rest) > LONGEST_LINE:
            raise FileUnreadable(Wrong.LINE_TOO_LONG, line=number + 1)
        yield from lines
    if rest:
        yield rest


def _rows(text: io.TextIOWrapper, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    begins = 1
    try:
        for cells in reader:
            if reader.line_num - begins > MOST_LINES_A_ROW:
                raise FileUnreadable(Wrong.UNCLOSED_QUOTE, line=begins)
            if len(cells) > MOST_COLUMNS:
                raise FileUnreadable(Wrong.TOO_MANY_COLUMNS, line=begins)
            # Nearly every row begins with a number or a word.
            if (cells and cells[0].isalnum()) or "".join(cells).strip():
                yield Row(begins, cells)
            begins = reader.line_num + 1
    except csv.Error as error:
        words = str(error)
        if "unexpected end of data" in words:
            raise FileUnreadable(Wrong.UNCLOSED_QUOTE, line=begins) from error
        if "field larger" in words:
            # An unclosed quote swallows the rest of the file into one cell.
            wrong = Wrong.UNCLOSED_QUOTE if reader.line_num > begins else Wrong.CELL_TOO_LONG
            raise FileUnreadable(wrong, line=begins) from error
        raise FileUnreadable(Wrong.BROKEN_QUOTE, line=begins) from error


def _heading(sheet: Sheet) -> tuple[str, list[str]]:
    """The delimiter that gives the first row the most columns, and that row."""
    best: tuple[str, list[str]] = (",", [])
    refusal: FileUnreadable | None = None
    for delimiter in DELIMITERS:
        sheet.delimiter = delimiter
        try:
            row = next(sheet.all_rows(), None)
        except FileUnreadable as error:
            refusal = refusal or error
            continue
        if row is not None and len(row.cells) > len(best[1]):
            best = (delimiter, row.cells)
    if refusal is not None and len(best[1]) <= 1:
        # A delimiter that does not occur reads anything; what is wrong shows only under the right one.
        raise refusal
    if not best[1]:
        raise FileUnreadable(Wrong.EMPTY)
    return best


def places(heading: Sequence[str], wanted: dict[str, str]) -> tuple[dict[str, int], list[str]]:
    """Where each wanted column stands: `wanted` maps spellings (as `name_of` gives them, in lower case) to our names.

    Returns the places, and the columns (as spelt) that are there twice.
    """
    found: dict[str, int] = {}
    repeated: list[str] = []
    for place, cell in enumerate(heading):
        name = wanted.get(name_of(cell).lower())
        if name is None:
            continue
        if name in found:
            repeated.append(name_of(cell))
        else:
            found[name] = place
    return found, repeated


def has_columns(heading: Sequence[str], wanted: dict[str, str], layouts: Sequence[Sequence[str]]) -> bool:
    """Whether a heading has all columns of one of the layouts; `wanted` as for `places`."""
    found, _repeated = places(heading, wanted)
    return any(set(layout) <= found.keys() for layout in layouts)


def check_columns(
    heading: Sequence[str],
    wanted: dict[str, str],
    layouts: Sequence[Sequence[str]],
    spelt: Callable[[str], str] = str,
) -> None:
    """Refuses with `FileUnreadable` a heading that lacks columns of the layout it comes nearest to, or repeats some; `spelt`
    makes the file's own spelling of one of our names."""
    found, repeated = places(heading, wanted)
    missing = min(([name for name in layout if name not in found] for layout in layouts), key=len)
    if missing:
        raise FileUnreadable(Wrong.COLUMNS_MISSING, columns=", ".join(map(spelt, missing)))
    if repeated:
        raise FileUnreadable(Wrong.COLUMNS_REPEATED, columns=", ".join(repeated))
