"""The order files that can be read, one module a format. The readers are pure: no database, and time comes as an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kernel.i18n import lazy_gettext as _l

from . import sheet, siyu, taobao, uci
from .drafts import Entry
from .sheet import FileUnreadable, Sheet, Wrong

AUTO = "auto"


@dataclass(frozen=True)
class Format:
    """A kind of file: whether a heading is its own, what a heading lacks, and its reader."""

    key: str
    label: Any
    recognises: Callable[[Sequence[str]], bool]
    missing_columns: Callable[[Sequence[str]], list[str]]
    entries: Callable[[Sheet, datetime], Iterator[Entry]]


FORMATS = {
    one.key: one
    for one in (
        Format("siyu", _l("Siyu order file"), siyu.recognises, siyu.missing_columns, siyu.entries),
        Format("taobao", _l("Taobao / Tmall order export"), taobao.recognises, taobao.missing_columns, taobao.entries),
        Format("uci", _l("UCI Online Retail II"), uci.recognises, uci.missing_columns, uci.entries),
    )
}


def detect(heading: Sequence[str]) -> Format:
    """The format that a heading belongs to. Refuses with `FileUnreadable` when there is none, naming what was found."""
    for one in FORMATS.values():
        if one.recognises(heading):
            return one
    names = [sheet.name_of(cell) for cell in heading if cell.strip()]
    raise FileUnreadable(Wrong.HEADING_UNKNOWN, columns=", ".join(names)[:300])


def examined(path: Path, wanted: str = AUTO) -> tuple[Sheet, Format]:
    """Read a file once through and settle its format; refuses with `FileUnreadable` what is wrong with it as a whole."""
    found = sheet.examine(path)
    if wanted == AUTO:
        return found, detect(found.heading)
    one = FORMATS[wanted]
    missing = one.missing_columns(found.heading)
    if missing:
        raise FileUnreadable(Wrong.COLUMNS_MISSING, columns=", ".join(missing))
    return found, one


__all__ = ["AUTO", "FORMATS", "FileUnreadable", "Format", "Sheet", "Wrong", "detect", "examined"]
