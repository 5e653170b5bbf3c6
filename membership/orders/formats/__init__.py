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
    """A kind of file: whether a heading is its own, a check that refuses a heading that lacks something, and its reader."""

    key: str
    label: Any
    recognises: Callable[[Sequence[str]], bool]
    check: Callable[[Sequence[str]], None]
    entries: Callable[[Sheet, datetime], Iterator[Entry]]


FORMATS = {
    one.key: one
    for one in (
        Format("siyu", _l("Siyu order file"), siyu.recognises, siyu.check, siyu.entries),
        Format("taobao", _l("Taobao / Tmall order export"), taobao.recognises, taobao.check, taobao.entries),
        Format("uci", _l("UCI Online Retail II"), uci.recognises, uci.check, uci.entries),
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
    one = detect(found.heading) if wanted == AUTO else FORMATS[wanted]
    one.check(found.heading)
    return found, one


__all__ = ["AUTO", "FORMATS", "FileUnreadable", "Format", "Sheet", "Wrong", "detect", "examined"]
