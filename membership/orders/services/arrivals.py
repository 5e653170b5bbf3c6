"""Large files from the upload to their preview: kept within the request, looked through by a worker.

Unfolding a workbook of fifty thousand orders takes about ten seconds and one whole processor, in which that web process would
answer nobody. Its run is under way, without lines, until a worker has seen what it is; then it waits like any other.
"""

from __future__ import annotations

import os
import secrets
import shutil
from datetime import timedelta
from typing import IO, Any

from sqlalchemy import select, update

from kernel import clock
from kernel.db import changed, db, transaction

from .. import formats
from ..formats import FileUnreadable
from ..models import ImportRun, RunState
from . import recognition, runs

# In bytes; what is smaller is read in less than a second.
LARGE_WORKBOOK = 1 << 20
LARGE_TEXT = 12 << 20
# For the largest workbook that is taken at all, on a slow machine.
LEASE = timedelta(minutes=15)
LOOK = "look"


def _is_large(stream: IO[bytes]) -> bool:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    packed = stream.read(2) in (b"PK", b"\x1f\x8b")
    stream.seek(0)
    return size > (LARGE_WORKBOOK if packed else LARGE_TEXT)


def keep(
    stream: IO[bytes],
    filename: str,
    source: str,
    wanted: str = formats.AUTO,
    staff_id: int | None = None,
    options: dict[str, Any] | None = None,
    corrects_id: int | None = None,
) -> ImportRun:
    """Keep an uploaded file and have it looked through: at once, or by a worker where that takes long.

    As `runs.keep` with `mappable`, whose refusals it has; `stream` can be searched. `corrects_id` is the run whose rejected
    lines the file brings. A file that names its source itself is always looked through at once.
    """
    if not source or not _is_large(stream):
        return runs.keep(stream, filename, source, wanted, staff_id, options, mappable=True, corrects_id=corrects_id)
    from ..jobs import take_in_file

    key = secrets.token_urlsafe(12)
    path = runs.folder() / key
    half = path.with_suffix(".part")
    try:
        with half.open("wb") as out:
            shutil.copyfileobj(stream, out, 1 << 20)
        half.rename(path)
    finally:
        half.unlink(missing_ok=True)
    now = clock.now()
    run = ImportRun(
        source=runs.check_source(source),
        format="",
        filename=runs._shown(filename),
        file_key=key,
        size=path.stat().st_size,
        staff_id=staff_id,
        created_at=now,
        state=RunState.RUNNING,
        lease_until=now,
        checkpoint={LOOK: {"wanted": wanted, "options": options or {}, "corrects": corrects_id}},
        options={},
    )
    db.session.add(run)
    db.session.flush()
    take_in_file.later(run_id=run.id)
    return run


def look_through(run_id: int) -> bool:
    """Say what a large file is, so that its run waits for somebody to start it, or has failed with what is wrong; returns
    whether the run is one that is only looked through. Transactions of its own; does nothing while somebody else is at it."""
    token = secrets.token_hex(8)
    with transaction():
        run = db.session.scalar(
            select(ImportRun)
            .where(ImportRun.id == run_id, ImportRun.state == RunState.RUNNING)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        )
        if run is None or LOOK not in run.checkpoint:
            return False
        if run.lease_until is not None and run.lease_until > clock.now():
            return True
        tries = run.checkpoint.get("tries", 0) + 1
        run.checkpoint = {**run.checkpoint, "tries": tries}
        run.lease_token, run.lease_until = token, clock.now() + LEASE
        path, look, typed = runs.folder() / run.file_key, run.checkpoint[LOOK], run.source
    if tries > runs.TRIES:
        with transaction():
            _settle(run_id, token, **_failed({"code": "gave_up", "line": 1}))
        return True
    try:
        # Without a session: this is what takes long.
        said = formats.unfold(path)
        with transaction():
            found = recognition.recognise(
                path, look["wanted"], look["options"] | said, look.get("corrects"), mappable=True
            )
            sheet = found.sheet
            _settle(
                run_id, token, state=RunState.WAITING,
                source=found.source if found.corrects_id and found.source else typed,
                format=found.format, encoding=sheet.encoding, rows_total=sheet.rows_total, options=sheet.options,
                corrects_id=found.corrects_id,
                checkpoint={"heading": sheet.heading, "delimiter": sheet.delimiter, "entries": 0, "tries": 0},
            )  # fmt: skip
    except FileUnreadable as refused:
        with transaction():
            _settle(run_id, token, **_failed(refused.stored))
        path.unlink(missing_ok=True)
    except FileNotFoundError:
        with transaction():
            _settle(run_id, token, **_failed({"code": "file_gone"}))
    return True


def _failed(failure: dict[str, Any]) -> dict[str, Any]:
    return {"state": RunState.FAILED, "failure": failure, "finished_at": clock.now(), "checkpoint": {}}


def _settle(run_id: int, token: str, **values: Any) -> bool:
    """End the look at a run, unless somebody else has taken it over; returns whether it was still ours."""
    return bool(
        changed(
            db.session.execute(
                update(ImportRun)
                .where(ImportRun.id == run_id, ImportRun.state == RunState.RUNNING, ImportRun.lease_token == token)
                .values(lease_token=None, lease_until=None, **values)
                .execution_options(synchronize_session=False)
            )
        )
    )
