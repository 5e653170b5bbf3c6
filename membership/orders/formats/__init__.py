"""The order files that can be read, one module a format. The readers are pure: no database, and time comes as an argument."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from kernel.i18n import lazy_gettext as _l

from . import json_feed, mapped, sheet, shopify, siyu, taobao, taobao_details, uci, youzan
from .drafts import Entry
from .sheet import FileUnreadable, Sheet, Wrong

AUTO = "auto"
MAPPED = "mapped"
# In bytes: a workbook of twenty thousand short lines, read in about two seconds.
LARGEST_SENT = 2 << 20


@dataclass(frozen=True)
class Format:
    """A kind of file: whether a heading is its own, a check that refuses a file that lacks something, and its reader.

    `layouts` are the columns that its headings need, by layout; `spellings` lead from a column's name to ours. `survey` looks
    through a file for what the reader has to be told (as `Sheet.options`, which the reader is given).
    """

    key: str
    label: Any
    recognises: Callable[[Sequence[str]], bool]
    check: Callable[[Sheet], None]
    entries: Callable[[Sheet, datetime], Iterator[Entry]]
    layouts: tuple[tuple[str, ...], ...] = ()
    spellings: dict[str, str] = field(default_factory=dict)
    survey: Callable[[Sheet], dict[str, Any]] | None = None


def _by_heading(check: Callable[[Sequence[str]], None]) -> Callable[[Sheet], None]:
    return lambda file: check(file.heading)


# In the order of recognition: the headings of details hold all that a list needs.
FORMATS = {
    one.key: one
    for one in (
        Format(
            "siyu",
            _l("Siyu order file"),
            siyu.recognises,
            _by_heading(siyu.check),
            siyu.entries,
            (siyu.REQUIRED,),
            siyu.SPELLINGS,
        ),
        Format(
            "taobao_details",
            _l("Taobao / Tmall order details"),
            taobao_details.recognises,
            _by_heading(taobao_details.check),
            taobao_details.entries,
            taobao_details.LAYOUTS,
            taobao_details.SPELLINGS,
        ),
        Format(
            "taobao",
            _l("Taobao / Tmall order export"),
            taobao.recognises,
            _by_heading(taobao.check),
            taobao.entries,
            taobao.LAYOUTS,
            taobao.SPELLINGS,
        ),
        Format(
            "youzan",
            _l("Youzan order export"),
            youzan.recognises,
            _by_heading(youzan.check),
            youzan.entries,
            (youzan.NEEDED,),
            youzan.SPELLINGS,
        ),
        Format(
            "shopify",
            _l("Shopify order export"),
            shopify.recognises,
            _by_heading(shopify.check),
            shopify.entries,
            (shopify.NEEDED,),
            shopify.SPELLINGS,
            shopify.survey,
        ),
        Format("uci", _l("UCI Online Retail II"), uci.recognises, _by_heading(uci.check), uci.entries, (uci.COLUMNS,)),
        Format(
            "json_feed",
            _l("Orders as JSON (Shopify, WooCommerce, Youzan)"),
            json_feed.recognises,
            _by_heading(json_feed.check),
            json_feed.entries,
            survey=json_feed.survey,
        ),
        Format(MAPPED, _l("By a column mapping"), lambda heading: False, mapped.check, mapped.entries),
    )
}


def detect(heading: Sequence[str]) -> Format:
    """The format that a heading belongs to. Refuses with `FileUnreadable` when there is none, naming what was found and,
    where a format is near, the columns that it needs besides."""
    for one in FORMATS.values():
        if one.recognises(heading):
            return one
    names = [sheet.name_of(cell) for cell in heading if cell.strip()]
    found = {name.lower() for name in names}
    nearest: tuple[float, str, list[str]] | None = None
    for one in FORMATS.values():
        for layout in one.layouts:
            missing = [name for name in layout if name.lower() not in found]
            share = len(missing) / len(layout)
            if share <= 0.5 and (nearest is None or share < nearest[0]):
                nearest = (share, one.key, missing)
    columns = ", ".join(names)[:300]
    if nearest is None:
        raise FileUnreadable(Wrong.HEADING_UNKNOWN, columns=columns)
    _share, key, missing = nearest
    raise FileUnreadable(Wrong.HEADING_NEAR, columns=columns, format=key, missing=", ".join(missing)[:300])


def place_of(key: str, heading: Sequence[str], column: str) -> int | None:
    """Where a column stands that a fault of this format names, by its own or another known spelling; None when it does not."""
    names = [sheet.name_of(cell) for cell in heading]
    if column in names:
        return names.index(column)
    one = FORMATS.get(key)
    return sheet.places(heading, one.spellings)[0].get(column) if one is not None and column else None


def unfold(path: Path) -> dict[str, Any]:
    """Replace a workbook or a file of JSON by its rows, see their `unfold`; other files are left alone."""
    if json_feed.is_json(path):
        return json_feed.unfold(path)
    if not sheet.is_workbook(path):
        return {}
    # Loaded when it is needed: every web process holds what is imported.
    from . import workbook

    return workbook.unfold(path)


@contextmanager
def sent(stream: IO[bytes]) -> Iterator[tuple[Path, bool]]:
    """A small file that somebody sent, kept while the block lasts, and whether it was a workbook, which is kept by its rows.

    Refuses with `FileUnreadable` a workbook that is broken or so large that a request would be long at it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sent"
        with path.open("wb") as kept:
            shutil.copyfileobj(stream, kept, 1 << 20)
        book = sheet.is_workbook(path)
        if book:
            if path.stat().st_size > LARGEST_SENT:
                raise FileUnreadable(Wrong.WORKBOOK_LARGE)
            unfold(path)
        yield path, book


def examined(path: Path, wanted: str = AUTO, options: dict[str, Any] | None = None) -> tuple[Sheet, Format]:
    """Read a text file once through and settle its format; refuses with `FileUnreadable` what is wrong with it as a whole."""
    found = sheet.examine(path)
    found.options = dict(options or {})
    one = detect(found.heading) if wanted == AUTO else FORMATS[wanted]
    one.check(found)
    return found, one


__all__ = [
    "AUTO", "FORMATS", "MAPPED", "FileUnreadable", "Format", "Sheet", "Wrong", "detect", "examined", "mapped", "place_of",
    "sent", "sheet", "unfold",
]  # fmt: skip
