"""Settles how an uploaded file is read: a known format, a saved mapping, or the way of the run that it corrects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import formats
from ..formats import FileUnreadable, Sheet, Wrong
from . import corrections, mappings


@dataclass(frozen=True)
class Recognised:
    """How a file is read; `format` is empty where somebody has to say which column is which, `source` where the file and
    its mapping name none."""

    sheet: Sheet
    format: str
    source: str = ""
    corrects_id: int | None = None


def recognise(
    path: Path, wanted: str, options: dict[str, Any], corrects_id: int | None = None, mappable: bool = False
) -> Recognised:
    """Read a kept file once through and settle how it is read. A workbook is replaced by its rows.

    A mapping saved for exactly this heading comes before the formats known here: somebody made it on purpose. A file of
    corrections is read as the run that it corrects was. Refuses with `FileUnreadable`; with `mappable` an unknown heading
    is no refusal.
    """
    options = options | formats.unfold(path)
    sheet = formats.sheet.examine(path)
    sheet.options = options
    root = corrections.root_of(sheet.heading, corrects_id)
    if root is not None:
        sheet.options = _inherited(root.options) | options | corrections.marks_of(sheet.heading, root.id)
        if wanted == formats.AUTO and root.format:
            formats.FORMATS[root.format].check(sheet)
            return Recognised(sheet, root.format, root.source, root.id)
    root_id = root.id if root is not None else None
    if wanted == formats.AUTO and "mapping" not in sheet.options:
        saved = mappings.find_for(sheet.heading)
        if saved is not None:
            sheet.options = sheet.options | mappings.as_option(saved)
    if "mapping" in sheet.options and wanted in (formats.AUTO, formats.MAPPED):
        formats.FORMATS[formats.MAPPED].check(sheet)
        return Recognised(sheet, formats.MAPPED, sheet.options["mapping"].get("source", ""), root_id)
    try:
        found = formats.detect(sheet.heading) if wanted == formats.AUTO else formats.FORMATS[wanted]
        found.check(sheet)
    except FileUnreadable as refused:
        if not mappable or refused.wrong not in (Wrong.HEADING_UNKNOWN, Wrong.COLUMNS_MISSING):
            raise
        sheet.options = sheet.options | {"unknown": refused.stored}
        return Recognised(sheet, "", "", root_id)
    if found.survey is not None:
        sheet.options = sheet.options | found.survey(sheet)
    return Recognised(sheet, found.key, "", root_id)


def _inherited(options: dict[str, Any]) -> dict[str, Any]:
    """What a file of corrections is told of what the first file was."""
    return {key: value for key, value in options.items() if key in ("mapping", "mapping_name", "rates")}
