"""Imports: a file is kept, looked through, and taken in batch by batch; whoever is killed is followed by somebody else.

A batch (about five thousand lines, no order split) is one transaction with everything that follows from it and the place in
the file. A run is worked on under a lease: its holder renews it with each batch, and a holder who has lost it writes
nothing any more.
"""

from __future__ import annotations

import gc
import logging
import queue
import re
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any

from flask import current_app
from psycopg import errors as pg
from sqlalchemy import delete, insert, or_, select, text, update
from sqlalchemy.exc import OperationalError

from kernel import audit, clock
from kernel.db import changed, db, transaction
from kernel.errors import Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l

from .. import formats, queries
from ..events import OrdersImported
from ..formats import FileUnreadable, Sheet
from ..formats.drafts import Entry, Fault, RejectedDraft
from ..models import ImportReject, ImportRun, RunState
from ..rules import SOURCE, SourceInvalid
from . import corrections, intake, recognition, summaries

log = logging.getLogger(__name__)

BATCH_ROWS = 5_000
MEMBERS_AT_ONCE = 5_000
SETTLERS = 2
SEARCH_FOR_GARBAGE = 20
SWITCH_SECONDS = 0.0005
LEASE = timedelta(seconds=120)
# A worker gives a long run back after so long, so that it does not hold its queue for itself.
SLICE_SECONDS = 240
TRIES = 5
KEEP_FILES = timedelta(days=30)

# No cell that any reader takes is longer.
LONGEST_KEPT_CELL = 4_000
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
Progress = Callable[[int, int], object]


class FormatUnknown(Refusal):
    status = 422
    label = _l("There is no such format. Known: %(known)s.")


class RunNotWaiting(Refusal):
    label = _l("This file has been started or put away already.")


class LeaseLost(Exception):
    """Somebody else works on the run by now."""


def check_source(source: str) -> str:
    """A source's name as it is stored; refuses with `SourceInvalid`."""
    plain = source.strip().lower()
    if not re.fullmatch(SOURCE, plain):
        raise SourceInvalid
    return plain


def folder() -> Path:
    """Where files lie while they are taken in; shared by all machines."""
    found = Path(current_app.extensions["settings"].files_dir) / "imports"
    found.mkdir(parents=True, exist_ok=True)
    return found


def keep(
    stream: IO[bytes],
    filename: str,
    source: str,
    wanted: str = formats.AUTO,
    staff_id: int | None = None,
    options: dict[str, Any] | None = None,
    mappable: bool = False,
    corrects_id: int | None = None,
) -> ImportRun:
    """Keep a file and look it through: the run waits for `start`, or has failed with what is wrong with the file.

    `options` are the reader's (`formats.Format`); `corrects_id` is the run whose rejected lines the file brings. With
    `mappable` a file with an unknown heading waits, without a format, for somebody to say which column is which.
    Refuses with `SourceInvalid` (empty is allowed where a mapping or the corrected run names the source) and
    `FormatUnknown`; a file that cannot be read is no refusal but a failed run, so that it stays in the list with its reason.
    """
    source = check_source(source) if source else ""
    if wanted != formats.AUTO and wanted not in formats.FORMATS:
        raise FormatUnknown(known=", ".join((formats.AUTO, *formats.FORMATS)))
    key = secrets.token_urlsafe(12)
    path = folder() / key
    half = path.with_suffix(".part")
    try:
        with half.open("wb") as out:
            shutil.copyfileobj(stream, out, 1 << 20)
        half.rename(path)
    finally:
        half.unlink(missing_ok=True)
    run = ImportRun(
        source=source,
        format=wanted,
        filename=_shown(filename),
        file_key=key,
        size=path.stat().st_size,
        staff_id=staff_id,
        created_at=clock.now(),
        checkpoint={},
        options={},
    )
    try:
        found = recognition.recognise(path, wanted, options or {}, corrects_id, mappable)
    except FileUnreadable as refused:
        run.state = RunState.FAILED
        run.failure = refused.stored
        run.finished_at = clock.now()
        path.unlink(missing_ok=True)
    else:
        run.state = RunState.WAITING
        # Corrections are of the first file's source, whatever was typed.
        run.source = found.source if found.corrects_id and found.source else source or found.source
        run.format = found.format
        run.encoding = found.sheet.encoding
        run.rows_total = found.sheet.rows_total
        run.options = found.sheet.options
        run.corrects_id = found.corrects_id
        run.checkpoint = {"heading": found.sheet.heading, "delimiter": found.sheet.delimiter, "entries": 0, "tries": 0}
    if not run.source:
        path.unlink(missing_ok=True)
        raise SourceInvalid
    db.session.add(run)
    db.session.flush()
    return run


def _shown(filename: str) -> str:
    """The last part of a file's name, without what no page can show."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:200] or "file.csv"


def sheet_of(run: ImportRun) -> Sheet:
    """The run's file, as it was found to be readable."""
    return Sheet(
        folder() / run.file_key,
        run.encoding,
        run.checkpoint["delimiter"],
        list(run.checkpoint["heading"]),
        run.rows_total,
        run.options,
    )


def preview(run: ImportRun, size: int = 8) -> list[list[str]]:
    """The first rows of a waiting run's file, as they stand there; empty when the file is gone."""
    if not (folder() / run.file_key).exists():
        return []
    return [row.cells[:60] for row in islice(sheet_of(run).rows(), size)]


def sample(run: ImportRun, size: int = 5) -> list[Entry]:
    """The first orders of a waiting run as they were understood."""
    if not run.format or not (folder() / run.file_key).exists():
        return []
    entries = formats.FORMATS[run.format].entries(sheet_of(run), run.created_at)
    return list(islice(entries, size))


def start(run_id: int) -> None:
    """Let a waiting run begin; a worker takes it up. Refuses with `RunNotWaiting` when it is not waiting any more."""
    from ..jobs import take_in_file

    _begin(run_id)
    take_in_file.later(run_id=run_id)


def _begin(run_id: int) -> None:
    now = clock.now()
    began = changed(
        db.session.execute(
            update(ImportRun)
            .where(ImportRun.id == run_id, ImportRun.state == RunState.WAITING, ImportRun.format != "")
            .values(state=RunState.RUNNING, started_at=now, lease_until=now)
            .execution_options(synchronize_session=False)
        )
    )
    if not began:
        raise RunNotWaiting
    audit.record("import.started", "import", run_id)


def put_away(run_id: int) -> None:
    """Drop a run that has not been started, with its file. Refuses with `RunNotWaiting`."""
    key = db.session.scalar(
        delete(ImportRun)
        .where(ImportRun.id == run_id, ImportRun.state == RunState.WAITING)
        .returning(ImportRun.file_key)
        .execution_options(synchronize_session=False)
    )
    if key is None:
        raise RunNotWaiting
    (folder() / key).unlink(missing_ok=True)


@contextmanager
def _without_searching_for_garbage() -> Iterator[None]:
    """Reading a file makes millions of objects and no cycles, yet every few hundred of them have the interpreter look at all
    that there are, a third of the time. Meanwhile the young ones are looked at once in many batches."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def _taking_turns_often() -> Iterator[None]:
    """Whoever writes waits for the database dozens of times a batch and wants the interpreter back for a moment only; it would
    wait five milliseconds each time while the other thread reads the file."""
    was = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(was)


def work(run_id: int, progress: Progress | None = None, seconds: float | None = None) -> bool:
    """Take a run's file in from where it stands, in transactions of its own; returns whether it came to its end.

    Does nothing when somebody else holds the run. `progress` is called with (lines done, lines in all) after each batch.
    After `seconds` the run is given back, unfinished.
    """
    token = secrets.token_hex(8)
    with transaction():
        run = _claim(run_id, token)
    if run is None:
        return False
    with _without_searching_for_garbage(), _taking_turns_often():
        return _work(run, token, progress, seconds)


def _work(run: ImportRun, token: str, progress: Progress | None, seconds: float | None) -> bool:
    began = time.monotonic()
    done, run_id = run.rows_in, run.id
    try:
        entries = formats.FORMATS[run.format].entries(sheet_of(run), run.created_at)
        at = run.checkpoint["entries"]
        next(islice(entries, at, at), None)
        # Of orders that are known already nobody asks who bought.
        news = threading.Event()
        news.set()
        for number, batch in enumerate(_ahead(_batches(run.source, entries, news)), start=1):
            at += len(batch.entries)
            if _take_batch(run, token, batch, at):
                news.set()
                _look_again()
            else:
                news.clear()
            if number % SEARCH_FOR_GARBAGE == 0:
                gc.collect(1)
            done += batch.rows
            if progress is not None:
                progress(done, run.rows_total)
            if seconds is not None and time.monotonic() - began > seconds:
                with transaction():
                    _renew(
                        run.id, token, lease_until=clock.now(), checkpoint={**run.checkpoint, "entries": at, "tries": 0}
                    )
                return False
        _settle_members(run.id, token)
        with transaction():
            _finish(run.id, token)
    except LeaseLost:
        log.warning("import %s is somebody else's by now", run_id)
        return False
    except (FileUnreadable, FileNotFoundError) as error:
        failure = error.stored if isinstance(error, FileUnreadable) else {"code": "file_gone"}
        _settle_members(run.id, token)
        with transaction():
            _fail(run.id, token, failure)
        return True
    return True


def _claim(run_id: int, token: str) -> ImportRun | None:
    """The run with its lease ours, or None when it is held, waiting, or over. One that failed too often is given up."""
    now = clock.now()
    run = db.session.scalar(
        select(ImportRun)
        .where(
            ImportRun.id == run_id,
            ImportRun.state == RunState.RUNNING,
            or_(ImportRun.lease_until.is_(None), ImportRun.lease_until <= now),
        )
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if run is None:
        return None
    tries = run.checkpoint.get("tries", 0) + 1
    if tries > TRIES:
        run.state = RunState.FAILED
        run.failure = {"code": "gave_up", "line": run.rows_in + 1}
        run.finished_at = now
        db.session.flush()
        for chunk in _chunks(queries.members_of_run(run.id)):
            summaries.settle_members(chunk)
        _tell(run.id)
        return None
    run.checkpoint = {**run.checkpoint, "tries": tries}
    run.lease_token = token
    run.lease_until = now + LEASE
    return run


# What an import fills, faster than anybody else, and the columns that its statements and those that follow it ask for. Long
# texts, and what indexes take apart of them, wait for the database's own counting: a sample of them costs as much as all else.
_FILLED = {
    "order": "source, external_id, member_id, run_id, state, payment, placed_at, paid_at, delivered_at, completed_at, buyer",
    "order_line": "order_id, product_id, position",
    "refund": "source, external_id, order_external_id, order_id, run_id, returned_line_id",
    "member": "id, phone, email, source, stage, rank, enrolled_at, orders_count, spend, first_order_at, last_order_at,"
    " value_index, value_label, merged_into_id, erased_at",
    "member_identity": "member_id, channel, external_id",
    "product": "source, sku",
}
_OUTGROWN = text(
    """
    SELECT s.relname FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
    WHERE s.relname = ANY(CAST(:names AS text[])) AND s.n_live_tup > 2000 + 2 * GREATEST(c.reltuples, 0)
    ORDER BY s.relname
    """
)


# A sample of nine thousand rows, a third of the usual one and a third of the time: it is the number of rows that matters here.
_QUICKLY = text("SELECT set_config('lock_timeout', '1s', true), set_config('default_statistics_target', '30', true)")


def _look_again() -> None:
    """Have the database count tables anew that have outgrown what it knows of them.

    It does so by itself, once a minute; until then it takes a table of a hundred thousand rows for an empty one, and
    compares every row with every other.
    """
    try:
        with transaction():
            for name in db.session.scalars(_OUTGROWN, {"names": list(_FILLED)}).all():
                db.session.execute(_QUICKLY)
                # The names are ours.
                db.session.execute(text(f'ANALYZE "{name}" ({_FILLED[name]})'))
    except OperationalError as error:
        # Somebody else is at it.
        log.info("not counted anew: %s", error.orig)


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), MEMBERS_AT_ONCE):
        yield ids[start : start + MEMBERS_AT_ONCE]


def _settle_members(run_id: int, token: str) -> None:
    """Bring the sums and tiers of everybody whose orders a run has brought up to date.

    Once at its end, however many batches somebody's orders lay in: a member's row is the dearest to write. Whose orders they
    are stands in the orders themselves, so that whoever takes over here begins again; what is right already is not written
    again. Nearly all of the work is the database's, which has more than one processor: of many members two parts at a time.
    """
    with transaction():
        chunks = list(_chunks(queries.members_of_run(run_id)))
    if len(chunks) <= 1:
        for chunk in chunks:
            _settle_some(run_id, token, chunk)
        return
    app = current_app._get_current_object()  # type: ignore[attr-defined]

    def settle(chunk: list[int]) -> None:
        with app.app_context():
            _settle_some(run_id, token, chunk)

    with ThreadPoolExecutor(SETTLERS, "import settler") as settlers:
        works = [settlers.submit(settle, chunk) for chunk in chunks]
        try:
            for work in works:
                work.result()
        finally:
            for work in works:
                work.cancel()


def _settle_some(run_id: int, token: str, member_ids: list[int]) -> None:
    with transaction():
        summaries.settle_members(member_ids)
        _renew(run_id, token, lease_until=clock.now() + LEASE)


@dataclass(frozen=True)
class Batch:
    """Some orders of a file, and what of them needs no database."""

    entries: list[Entry]
    rows: int
    prepared: intake.Prepared


def _batches(source: str, entries: Iterator[Entry], news: threading.Event) -> Iterator[Batch]:
    batch: list[Entry] = []
    rows = 0
    for entry in entries:
        batch.append(entry)
        rows += entry.rows
        if rows >= BATCH_ROWS:
            yield Batch(batch, rows, intake.prepare(source, batch, news.is_set()))
            batch, rows = [], 0
    if batch:
        yield Batch(batch, rows, intake.prepare(source, batch, news.is_set()))


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, the next one read while the present one is written: reading needs this process, writing mostly the
    database. The readers are pure, so that another thread may run them."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=1)
    over = threading.Event()

    def offer(item: Batch | BaseException | None) -> bool:
        while not over.is_set():
            try:
                ready.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for batch in batches:
                if not offer(batch):
                    return
            offer(None)
        except BaseException as error:
            offer(error)

    reader = threading.Thread(target=read, name="import reader", daemon=True)
    reader.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        over.set()
        reader.join()


def _take_batch(run: ImportRun, token: str, batch: Batch, at: int) -> int:
    """One batch in one transaction; how many lines it accepted. A deadlock with other work on the same members is tried
    again."""
    for attempt in range(1, TRIES + 1):
        try:
            with transaction():
                return _write_batch(run, token, batch, at)
        except OperationalError as error:
            if not isinstance(error.orig, pg.DeadlockDetected) or attempt == TRIES:
                raise
            log.warning("import %s met a deadlock; again", run.id)
    raise AssertionError("the last attempt returns or raises")


def _write_batch(run: ImportRun, token: str, batch: Batch, at: int) -> int:
    reports: list[intake.Report] = []
    faults: list[tuple[str, Fault]] = []
    for entry in batch.entries:
        if isinstance(entry, RejectedDraft):
            faults += [(entry.external_id, fault) for fault in entry.faults]
        else:
            reports.append(entry)
    taken = intake.take_in(run.source, reports, run.id, sums=False, prepared=batch.prepared)
    if faults:
        db.session.execute(insert(ImportReject), [reject_of(run, number, fault) for number, fault in faults])
    _renew(
        run.id,
        token,
        lease_until=clock.now() + LEASE,
        checkpoint={**run.checkpoint, "entries": at, "tries": 0},
        rows_in=ImportRun.rows_in + taken.accepted + taken.duplicate + len(faults),
        accepted=ImportRun.accepted + taken.accepted,
        duplicate=ImportRun.duplicate + taken.duplicate,
        rejected=ImportRun.rejected + len(faults),
        orders_new=ImportRun.orders_new + taken.orders_new,
        orders_changed=ImportRun.orders_changed + taken.orders_changed,
        members_new=ImportRun.members_new + taken.members_new,
    )
    return taken.accepted


def reject_of(run: ImportRun, external_id: str, fault: Fault) -> dict[str, Any]:
    """A rejected line of the order `external_id`, as `ImportReject` keeps it."""
    return {
        "run_id": run.id,
        "line": fault.line,
        "column": _storable(fault.column),
        "reason": str(fault.reason),
        "value": _storable(fault.value),
        "row": [_storable(cell)[:LONGEST_KEPT_CELL] for cell in fault.row],
        "external_id": _storable(external_id)[:64],
        "origin_line": corrections.origin_line(run, fault.row),
    }


def _storable(text: str) -> str:
    return _UNSTORABLE.sub("\ufffd", text)


def _renew(run_id: int, token: str, **values: Any) -> None:
    """Write to a run that is ours; raises `LeaseLost` when it is not any more."""
    ours = changed(
        db.session.execute(
            update(ImportRun)
            .where(ImportRun.id == run_id, ImportRun.lease_token == token, ImportRun.state == RunState.RUNNING)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    )
    if not ours:
        raise LeaseLost


def _finish(run_id: int, token: str) -> None:
    _renew(run_id, token, state=RunState.DONE, finished_at=clock.now(), lease_token=None, lease_until=None)
    corrections.settle(run_id)
    _tell(run_id)


def _tell(run_id: int) -> None:
    """Say that a run is over, so that tiers and stages follow what it took in."""
    run = db.session.scalars(
        select(ImportRun).where(ImportRun.id == run_id).execution_options(populate_existing=True)
    ).one()
    publish(
        OrdersImported(
            run_id=run.id,
            source=run.source,
            orders_new=run.orders_new,
            orders_changed=run.orders_changed,
            ranked=summaries.ranks_of_buyers.filled,
        )
    )


def _fail(run_id: int, token: str, failure: dict[str, Any]) -> None:
    _renew(
        run_id,
        token,
        state=RunState.FAILED,
        failure=failure,
        finished_at=clock.now(),
        lease_token=None,
        lease_until=None,
    )
    _tell(run_id)


def abandoned() -> list[int]:
    """The runs that nobody works on though they are running: their lease ran out."""
    return list(
        db.session.scalars(
            select(ImportRun.id)
            .where(ImportRun.state == RunState.RUNNING, ImportRun.lease_until <= clock.now())
            .order_by(ImportRun.id)
            .limit(20)
        )
    )


def forget_files() -> int:
    """Remove the files of runs that ended, or were left waiting, thirty days ago; returns how many were there."""
    before: datetime = clock.now() - KEEP_FILES
    keys = db.session.scalars(
        select(ImportRun.file_key).where(
            ImportRun.created_at < before, ImportRun.state.in_([RunState.DONE, RunState.FAILED, RunState.WAITING])
        )
    ).all()
    gone = 0
    for key in keys:
        path = folder() / key
        if path.exists():
            path.unlink()
            gone += 1
    return gone


def run_inline(
    path: Path,
    source: str,
    wanted: str = formats.AUTO,
    progress: Progress | None = None,
    filename: str | None = None,
    options: dict[str, Any] | None = None,
) -> int:
    """Take a file in from beginning to end in this process (the command line, the demo); returns the run's id.

    Refuses with `FileUnreadable`, `SourceInvalid`, `FormatUnknown`. Opens transactions of its own; when it is killed, a
    worker goes on with the run.
    """
    with transaction(), path.open("rb") as stream:
        run = keep(stream, filename or path.name, source, wanted, options=options)
        run_id, failure = run.id, run.failure
        if failure is None:
            _begin(run_id)
    if failure is not None:
        values = {key: value for key, value in failure.items() if key != "code"}
        raise FileUnreadable(formats.Wrong(failure["code"]), **values)
    work(run_id, progress)
    return run_id
