"""Rejected lines that come back corrected: which run they belong to, and what is left of it.

A downloaded list of rejects begins with four columns of ours, the first named `… #12` after its run and holding the lines'
numbers there. A file with such a heading corrects that run, whatever else is uploaded meanwhile, and is read as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select, update

from kernel import clock
from kernel.db import changed, db

from ..formats import Sheet, sheet
from ..models import ImportReject, ImportRun, RunState

# Line, column, reason and text found stand before the columns of the file.
MARKS = 4
_MARK = re.compile(r"[^#]{1,40} #([1-9][0-9]{0,17})")


def mark(words: str, run_id: int) -> str:
    """The heading of the column that holds the lines' numbers."""
    return f"{words} #{run_id}"


def marked_run(heading: Sequence[str]) -> int | None:
    """The number of the run that a file with this heading corrects, or None."""
    match = _MARK.fullmatch(sheet.name_of(heading[0])) if len(heading) > MARKS else None
    return int(match[1]) if match else None


def root_of(heading: Sequence[str], corrects_id: int | None = None) -> ImportRun | None:
    """The run whose rejected lines a file brings: said (`corrects_id`), or named by its heading."""
    run = db.session.get(ImportRun, corrects_id or marked_run(heading) or 0)
    if run is not None and run.corrects_id is not None:
        # Corrections of corrections belong to the first file as well.
        run = db.session.get(ImportRun, run.corrects_id)
    return run if run is not None and run.state in (RunState.DONE, RunState.FAILED, RunState.RUNNING) else None


def marks_of(heading: Sequence[str], root_id: int) -> dict[str, Any]:
    """What a reader of corrections is told: in which column the lines' numbers stand, if they do."""
    return {"marks": MARKS} if marked_run(heading) is not None else {}


def origin_line(run: ImportRun, cells: Sequence[str]) -> int | None:
    """The line of the first file that a row of a file of corrections stands for."""
    if not run.options.get("marks") or not cells:
        return None
    text = cells[0].strip().lstrip("'")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def own_columns(run: ImportRun, cells: Sequence[str]) -> list[str]:
    """A row, or a heading, without our columns in front."""
    return list(cells[run.options.get("marks", 0) :])


def open_rejects(run_id: int) -> ColumnElement[bool]:
    """The rejected lines of a run that nobody has brought corrected."""
    return (ImportReject.run_id == run_id) & ImportReject.corrected_by_id.is_(None)


def settle(run_id: int) -> int:
    """When a file of corrections has been taken in: the lines of the first file that it brought right are done. Returns how
    many."""
    run = db.session.get(ImportRun, run_id, populate_existing=True)
    if run is None or run.corrects_id is None or not run.options.get("marks"):
        return 0
    still_wrong = set(db.session.scalars(select(ImportReject.origin_line).where(ImportReject.run_id == run_id)))
    done = 0
    chunk: list[int] = []
    for line in _origin_lines(run):
        if line not in still_wrong:
            chunk.append(line)
        if len(chunk) == 5_000:
            done += _done(run, chunk)
            chunk = []
    return done + _done(run, chunk)


def _origin_lines(run: ImportRun) -> Iterator[int]:
    from .runs import sheet_of

    found: Sheet = sheet_of(run)
    for row in found.rows():
        line = origin_line(run, row.cells)
        if line is not None:
            yield line


def _done(run: ImportRun, lines: Sequence[int]) -> int:
    return settle_lines(run.corrects_id or 0, run.id, lines) if lines else 0


def settle_lines(root_id: int, by_id: int, lines: Sequence[int]) -> int:
    """Lines of a run, rejected there, were taken in by another run; returns how many were still open. Where they had been
    rejected a second time, in a file of corrections, that is done as well."""
    wanted = func.any(list(lines))
    result = db.session.execute(
        update(ImportReject)
        .where(open_rejects(root_id), ImportReject.line == wanted)
        .values(corrected_by_id=by_id)
        .execution_options(synchronize_session=False)
    )
    db.session.execute(
        update(ImportReject)
        .where(
            ImportReject.run_id.in_(
                select(ImportRun.id).where(ImportRun.corrects_id == root_id, ImportRun.id != by_id)
            ),
            ImportReject.origin_line == wanted,
            ImportReject.corrected_by_id.is_(None),
        )
        .values(corrected_by_id=by_id)
        .execution_options(synchronize_session=False)
    )
    return changed(result)


def left(run: ImportRun) -> int:
    """How many lines of a run are rejected and have not come back corrected."""
    if not run.rejected:
        return 0
    return db.session.scalar(select(func.count()).where(open_rejects(run.id))) or 0


def corrections_of(run_id: int) -> Sequence[ImportRun]:
    """The runs that brought lines of this one corrected."""
    return db.session.scalars(select(ImportRun).where(ImportRun.corrects_id == run_id).order_by(ImportRun.id)).all()


def forget_rows() -> int:
    """Drop the texts of lines that were rejected thirty days ago: they hold names and phones of people. Line, column and
    reason stay. Returns how many lines there were."""
    from .runs import KEEP_FILES

    old = select(ImportRun.id).where(ImportRun.created_at < clock.now() - KEEP_FILES)
    return changed(
        db.session.execute(
            update(ImportReject)
            .where(ImportReject.run_id.in_(old), ImportReject.row != [])
            .values(row=[], value="")
            .execution_options(synchronize_session=False)
        )
    )
