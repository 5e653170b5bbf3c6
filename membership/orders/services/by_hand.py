"""Rejected lines corrected on the page: all lines of one order together, taken in at once or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import select, update

from kernel import audit, clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l

from .. import formats
from ..events import OrdersImported
from ..formats.drafts import Entry, Fault, RejectedDraft
from ..formats.sheet import Row, Sheet, some_rows
from ..models import ImportReject, ImportRun, RunState
from . import corrections, intake

# More lines of one order are better corrected in the file.
MOST_LINES = 20
LONGEST_CELL = 2_000


class AlreadyCorrected(Refusal):
    label = _l("This line has been corrected already.")


class TooManyLines(Refusal):
    label = _l(
        "This order has more lines than a page can hold. Download the rejected lines, correct them there and upload the file."
    )


class TextsForgotten(Refusal):
    label = _l("What stood in rejected lines is kept for thirty days. Upload the file again to correct them.")


def lines_with(reject: ImportReject) -> Sequence[ImportReject]:
    """The rejected lines that are corrected together with this one: those of its order; a line that names none stands alone.

    Refuses with `AlreadyCorrected`, `TextsForgotten` and `TooManyLines`.
    """
    if reject.corrected_by_id is not None:
        raise AlreadyCorrected
    if not reject.row:
        raise TextsForgotten
    if not reject.external_id:
        return [reject]
    found = db.session.scalars(
        select(ImportReject)
        .where(corrections.open_rejects(reject.run_id), ImportReject.external_id == reject.external_id)
        .order_by(ImportReject.line)
        .limit(MOST_LINES + 1)
    ).all()
    if len(found) > MOST_LINES:
        raise TooManyLines
    return found


def sheet_with(run: ImportRun, rows: Sequence[Row]) -> Sheet:
    """Some rows of a run as its file, without our own columns in front."""
    heading = corrections.own_columns(run, list(run.checkpoint.get("heading", [])))
    options = {key: value for key, value in run.options.items() if key != "marks"}
    whole = Sheet(Path(), run.encoding, run.checkpoint.get("delimiter", ","), heading, len(rows), options)
    return some_rows(whole, list(rows))


def retry(run: ImportRun, rejects: Sequence[ImportReject], cells: Mapping[int, Sequence[str]]) -> list[Fault]:
    """Take lines in as they were corrected: `cells` are the columns of the file for each reject's id. Returns what is still
    wrong, and has then changed nothing.

    Publishes what taking orders in publishes, and `OrdersImported`. Refuses with `AlreadyCorrected` when somebody else was
    quicker.
    """
    ids = [reject.id for reject in rejects]
    root_id = run.corrects_id or run.id
    db.session.execute(select(ImportRun.id).where(ImportRun.id == root_id).with_for_update())
    still_open = db.session.scalars(
        select(ImportReject.id).where(corrections.open_rejects(run.id), ImportReject.id.in_(ids)).with_for_update()
    ).all()
    if len(still_open) != len(ids):
        raise AlreadyCorrected
    rows = [Row(reject.line, [cell[:LONGEST_CELL] for cell in cells[reject.id]]) for reject in rejects]
    entries = list(formats.FORMATS[run.format].entries(sheet_with(run, rows), clock.now()))
    faults = [fault for entry in entries if isinstance(entry, RejectedDraft) for fault in entry.faults]
    if faults:
        return faults
    by = _run_by_hand(root_id, run)
    _take(by, entries)
    db.session.execute(
        update(ImportReject)
        .where(ImportReject.id.in_(ids))
        .values(corrected_by_id=by.id)
        .execution_options(synchronize_session=False)
    )
    origins = [reject.origin_line for reject in rejects if reject.origin_line is not None]
    if run.corrects_id is not None and origins:
        corrections.settle_lines(root_id, by.id, origins)
    audit.record("import.corrected", "import", run.id, after={"lines": [reject.line for reject in rejects]})
    return []


def _run_by_hand(root_id: int, like: ImportRun) -> ImportRun:
    """The run under which all lines of a file are counted that were corrected on the page."""
    found = db.session.scalar(
        select(ImportRun).where(ImportRun.corrects_id == root_id, ImportRun.options["by_hand"].as_boolean())
    )
    if found is not None:
        return found
    now = clock.now()
    made = ImportRun(
        source=like.source,
        format=like.format,
        filename="",
        file_key=secrets.token_urlsafe(12),
        encoding=like.encoding,
        state=RunState.DONE,
        options={"by_hand": True},
        checkpoint={},
        corrects_id=root_id,
        created_at=now,
        started_at=now,
        finished_at=now,
    )
    db.session.add(made)
    db.session.flush()
    return made


def _take(by: ImportRun, entries: Sequence[Entry]) -> None:
    reports = [entry for entry in entries if not isinstance(entry, RejectedDraft)]
    taken = intake.take_in(by.source, reports, by.id)
    lines = taken.accepted + taken.duplicate
    db.session.execute(
        update(ImportRun)
        .where(ImportRun.id == by.id)
        .values(
            rows_total=ImportRun.rows_total + lines,
            rows_in=ImportRun.rows_in + lines,
            accepted=ImportRun.accepted + taken.accepted,
            duplicate=ImportRun.duplicate + taken.duplicate,
            orders_new=ImportRun.orders_new + taken.orders_new,
            orders_changed=ImportRun.orders_changed + taken.orders_changed,
            members_new=ImportRun.members_new + taken.members_new,
            finished_at=clock.now(),
        )
        .execution_options(synchronize_session=False)
    )
    publish(
        OrdersImported(run_id=by.id, source=by.source, orders_new=taken.orders_new, orders_changed=taken.orders_changed)
    )
