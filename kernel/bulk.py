"""Long work on many rows that a staff member asked for: a file of a whole list, a tag for everybody who fits.

A room registers a kind of work with `kind(...)`; `ask(...)` writes down what was asked for and wakes a worker. The work goes
on in slices, each in a transaction together with how far it came, so that a crash repeats and loses nothing. A file
belongs to whoever asked for it, for as long as they hold the permission, and is kept for a day.
"""

from __future__ import annotations

import enum
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from apiflask import APIBlueprint
from flask import Flask, current_app, redirect, render_template, send_file, url_for
from sqlalchemy import CheckConstraint, ForeignKey, Index, delete, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from . import clock, pages
from .auth import acting_staff, may, signed_in
from .db import changed, db, pk, transaction
from .errors import NotFound
from .i18n import current_locale, forced_locale, number
from .i18n import gettext as _
from .jobs import every, job

log = logging.getLogger(__name__)
# More rows than this are worked off by a worker, with a bar to watch; fewer while the reader waits.
AT_ONCE = 1_000
KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=60)
SLICE_SECONDS = 20.0
TRIES = 3


class BulkState(enum.StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class BulkRun(db.Model):
    """One such work. `done` of about `total` rows were looked at and `touched` of them changed or written out."""

    __tablename__ = "bulk_run"
    id: Mapped[pk]
    # What stands in its address: random, so that nobody can walk through the files.
    token: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    arguments: Mapped[dict[str, Any]]
    locale: Mapped[str]
    state: Mapped[BulkState] = mapped_column(default=BulkState.RUNNING)
    total: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    touched: Mapped[int] = mapped_column(default=0)
    # {"after": where the next slice begins, "size": bytes of the file so far, "tries": failed attempts in a row}
    checkpoint: Mapped[dict[str, Any]] = mapped_column(default=dict)
    filename: Mapped[str | None]
    lease_token: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_bulk_run_running", "lease_until", postgresql_where=text("state = 'running'")),
        Index("ix_bulk_run_ended", "finished_at"),
        CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="ended"),
    )


@dataclass(frozen=True)
class Slice:
    """What one slice did: rows looked at, rows changed, the lines for the file, and where the next begins (None: nowhere)."""

    done: int
    touched: int
    after: Any = None
    lines: Sequence[Sequence[Any]] = field(default=())


@dataclass(frozen=True)
class Kind:
    """A kind of work. `step(arguments, after)` does one slice in the caller's transaction; `header` makes it a file's.

    `further(arguments)` names a permission that this one run asks for besides `permission`, such as seeing phones.
    """

    name: str
    permission: str
    title: Callable[[dict[str, Any]], Any]
    step: Callable[[dict[str, Any], Any], Slice]
    back: str
    header: Callable[[dict[str, Any]], Sequence[Any]] | None = None
    further: Callable[[dict[str, Any]], str | None] | None = None


_kinds: dict[str, Kind] = {}


def kind(found: Kind) -> Kind:
    """Register a kind of work under its name."""
    _kinds[found.name] = found
    return found


def ask(kind_name: str, arguments: dict[str, Any], total: int, filename: str | None = None) -> BulkRun:
    """Write down what the signed-in staff member wants done, and have a worker begin after the commit.

    `arguments` are plain JSON values, `total` about how many rows it will be.
    """
    run = BulkRun(
        token=secrets.token_urlsafe(16),
        kind=_kinds[kind_name].name,
        staff_id=acting_staff().id,
        arguments=arguments,
        locale=current_locale(),
        total=total,
        filename=filename,
        lease_until=clock.now(),
        created_at=clock.now(),
        checkpoint={},
    )
    db.session.add(run)
    db.session.flush()
    go_on.later(run_id=run.id)
    return run


def folder() -> Path:
    return Path(current_app.extensions["settings"].files_dir) / "exports"


def path_of(run: BulkRun) -> Path:
    """Where a run's file lies while it is kept."""
    return folder() / f"{run.token}.csv"


# ── The work ────────────────────────────────────────────────────────────────────────────────────────────────────────


class LeaseLost(Exception):
    """Somebody else works on the run by now."""


def _claim(run_id: int, token: str) -> BulkRun | None:
    """The run with its lease ours, or None when it is held or over; one that failed too often is given up."""
    now = clock.now()
    run = db.session.scalar(
        select(BulkRun)
        .where(BulkRun.id == run_id, BulkRun.state == BulkState.RUNNING, BulkRun.lease_until <= now)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if run is None:
        return None
    tries = run.checkpoint.get("tries", 0) + 1
    if tries > TRIES:
        run.state, run.finished_at = BulkState.FAILED, now
        return None
    run.checkpoint = {**run.checkpoint, "tries": tries}
    run.lease_token, run.lease_until = token, now + LEASE
    return run


def _renew(run: BulkRun, token: str, **values: Any) -> None:
    ours = update(BulkRun).where(BulkRun.id == run.id, BulkRun.lease_token == token, BulkRun.state == BulkState.RUNNING)
    if not changed(db.session.execute(ours.values(**values).execution_options(synchronize_session=False))):
        raise LeaseLost


def _append(path: Path, size: int, lines: str) -> int:
    """Write to a file after its first `size` bytes, whatever a dead worker left behind them; the new size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if path.exists() else "w+b") as out:
        out.truncate(size)
        out.seek(size)
        out.write(lines.encode())
        out.flush()
        os.fsync(out.fileno())
        return out.tell()


def work(run_id: int, seconds: float = SLICE_SECONDS) -> bool:
    """Go on with a run in transactions of its own; returns whether there is nothing left to do."""
    token = secrets.token_hex(8)
    with transaction():
        run = _claim(run_id, token)
    if run is None:
        return True
    until = clock.now() + timedelta(seconds=seconds)
    found = _kinds[run.kind]
    checkpoint = dict(run.checkpoint)
    try:
        while True:
            with transaction(), forced_locale(run.locale):
                slice_ = found.step(run.arguments, checkpoint.get("after"))
                if found.header is not None:
                    size = checkpoint.get("size", 0)
                    heading = [] if size else [list(found.header(run.arguments))]
                    size = _append(path_of(run), size, pages.csv_text([*heading, *slice_.lines], opening=not size))
                    checkpoint["size"] = size
                checkpoint |= {"after": slice_.after, "tries": 0}
                over, out_of_time = slice_.after is None, clock.now() >= until
                ended = {"state": BulkState.DONE, "finished_at": clock.now(), "lease_token": None} if over else {}
                _renew(
                    run,
                    token,
                    done=BulkRun.done + slice_.done,
                    touched=BulkRun.touched + slice_.touched,
                    checkpoint=dict(checkpoint),
                    lease_until=clock.now() if over or out_of_time else clock.now() + LEASE,
                    **ended,
                )
            if over or out_of_time:
                return over
    except LeaseLost:
        log.warning("bulk work %s is somebody else's by now", run_id)
        return True


@job(queue="bulk", own_transactions=True, endless=True)
def go_on(run_id: int) -> None:
    """Work a slice of time on a run, and hand on what is left."""
    if not work(run_id):
        with transaction():
            go_on.later(run_id=run_id)


@every(seconds=30)
@job()
def resume_bulk_work() -> None:
    """Find work that nobody goes on with: its lease ran out, or the queue forgot it."""
    for run_id in db.session.scalars(
        select(BulkRun.id)
        .where(BulkRun.state == BulkState.RUNNING, BulkRun.lease_until <= clock.now() - timedelta(seconds=5))
        .order_by(BulkRun.id)
        .limit(20)
    ):
        go_on.later(run_id=run_id)


@every(seconds=3_600)
@job()
def forget_bulk_files() -> None:
    """Remove files a day after they were made, and what is known of the runs a month later."""
    now = clock.now()
    for run in db.session.scalars(
        select(BulkRun).where(
            BulkRun.finished_at <= now - KEPT, BulkRun.filename.is_not(None), BulkRun.checkpoint.has_key("size")
        )
    ):
        path_of(run).unlink(missing_ok=True)
        run.checkpoint = {}
    db.session.execute(delete(BulkRun).where(BulkRun.finished_at <= now - timedelta(days=30)))


# ── Pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────

bp = APIBlueprint("bulk_console", __name__, url_prefix="/console", enable_openapi=False)


def _mine(token: str) -> BulkRun:
    """A run of the signed-in staff member that they may still see; anything else does not exist for them."""
    run = db.session.scalar(select(BulkRun).where(BulkRun.token == token, BulkRun.staff_id == acting_staff().id))
    if run is None or run.kind not in _kinds:
        raise NotFound
    known = _kinds[run.kind]
    further = known.further(run.arguments) if known.further is not None else None
    if not may(known.permission) or (further is not None and not may(further)):
        raise NotFound
    return run


def _shown(run: BulkRun) -> dict[str, Any]:
    spent = ((run.finished_at or clock.now()) - run.created_at).total_seconds()
    rate = run.done / spent if spent >= 1 else 0
    left = max(run.total - run.done, 0) / rate if rate else None
    return {
        "run": run,
        "finished": run.state is not BulkState.RUNNING,
        "failed": run.state is BulkState.FAILED,
        "title": _kinds[run.kind].title(run.arguments),
        "back_url": url_for(_kinds[run.kind].back),
        "file_url": url_for(".file", token=run.token) if _has_file(run) else None,
        "kept_until": run.finished_at + KEPT if run.finished_at else None,
        "rate": _("%(number)s a second", number=number(round(rate))) if rate else None,
        "left": _("about %(seconds)s s left", seconds=number(max(1, round(left)))) if left is not None else None,
    }


def _has_file(run: BulkRun) -> bool:
    return (
        run.filename is not None
        and run.state is BulkState.DONE
        and run.finished_at is not None
        and clock.now() < run.finished_at + KEPT
        and path_of(run).exists()
    )


@bp.get("/bulk-work/<token>")
@signed_in
def show(token: str) -> Any:
    return render_template("bulk/show.html", **_shown(_mine(token)))


@bp.get("/bulk-work/<token>/progress")
@signed_in
def progress(token: str) -> Any:
    run = _mine(token)
    return pages.bar(render_template("bulk/_progress.html", **_shown(run)), run.state is BulkState.RUNNING)


@bp.get("/bulk-work/<token>/file")
@signed_in
def file(token: str) -> Any:
    run = _mine(token)
    if not _has_file(run):
        raise NotFound
    answer = send_file(path_of(run), mimetype="text/csv; charset=utf-8", as_attachment=True, download_name=run.filename)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def watch(run: BulkRun) -> Any:
    """The answer that leads whoever asked to the bar."""
    return redirect(url_for("bulk_console.show", token=run.token), 303)


def init_app(app: Flask) -> None:
    app.register_blueprint(bp)
