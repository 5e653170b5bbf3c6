"""The journal: what must not be forgotten even if the database is put back to an earlier state, such as who has said no.

A room notes a line in its own transaction (`note`); within seconds a job appends it to a file beside the database and makes
sure that it is on the disk. After a restore `replay` gives every line that the restored database does not know to the room
that noted it, in order, each once. A line holds ids and keyed hashes, never a customer's name or address, and is signed with
the shop's key: one that was altered, or is another shop's, is not carried out.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flask import current_app
from sqlalchemy import ARRAY, Index, Text, any_, delete, func, literal, select, text
from sqlalchemy.orm import Mapped, mapped_column

from . import clock
from .config import Settings, make_private
from .db import db, pk, transaction
from .errors import Refusal
from .i18n import gettext as _
from .i18n import ngettext
from .jobs import every, job

log = logging.getLogger(__name__)
# Backups are to be younger than a month or so; what is older than this has been in every backup for long.
KEPT_DAYS = 400
# Rows go later than files, so that no line of a file that is still there looks new.
ROWS_KEPT_DAYS = KEPT_DAYS + 40
AT_ONCE = 1_000
# Lines that wait for longer than this are not being written, whatever the reason.
LATE = timedelta(minutes=1)
# Any number that no other advisory lock of ours uses.
WRITER_LOCK = 730_114_009
FILES = "journal-*.jsonl"
MARK = "mark"


class JournalEntry(db.Model):
    """A line of the journal; without a `number` it is not in the file yet."""

    __tablename__ = "journal_entry"
    id: Mapped[pk]
    # Names the line wherever it stands, so that it is carried out once.
    key: Mapped[str] = mapped_column(unique=True)
    # Without gaps in the order of writing, so that it shows when lines are missing.
    number: Mapped[int | None] = mapped_column(unique=True)
    kind: Mapped[str]
    body: Mapped[dict[str, Any]]
    at: Mapped[datetime]

    __table_args__ = (
        Index("ix_journal_entry_waiting", "id", postgresql_where=text("number IS NULL")),
        Index("ix_journal_entry_at", "at"),
    )


@dataclass
class Came:
    """What came of one line when it was carried out: `what` is a word that `outcomes` has."""

    what: str
    count: int = 1


Replayer = Callable[[dict[str, Any], datetime], Iterable[Came]]
_replayers: dict[str, Replayer] = {}
# How what came of lines is called, in the order of showing.
outcomes: dict[str, Any] = {}
# While a journal is carried out: its lines, and what the replayers keep from one line to the next.
_replaying: ContextVar[Replaying | None] = ContextVar("replaying", default=None)


def replays(kind: str) -> Callable[[Replayer], Replayer]:
    """Let a function carry out the lines of a kind after a restore: it is given the body and when it was noted.

    It may meet a state in which it was done already, and then changes nothing.
    """

    def register(replayer: Replayer) -> Replayer:
        _replayers[kind] = replayer
        return replayer

    return register


def note(kind: str, body: dict[str, Any]) -> None:
    """Note a line in the caller's transaction: it is kept if and only if what it speaks of is.

    `body` holds plain values: ids, words of ours and keyed hashes. While a journal is carried out nothing is noted: the
    lines themselves are kept.
    """
    if _replaying.get() is None:
        db.session.add(JournalEntry(key=secrets.token_hex(12), kind=kind, body=body, at=clock.now()))
        db.session.flush()


# ── The file ────────────────────────────────────────────────────────────────────────────────────────────────────────


def signed(content: dict[str, Any], secret: bytes) -> str:
    """The signature of a line (HMAC-SHA256, RFC 2104, over its JSON with sorted names and no spaces)."""
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hmac.new(secret, b"siyu journal " + plain.encode(), "sha256").hexdigest()[:32]


def _line(entry: JournalEntry, number: int, secret: bytes) -> str:
    content = {
        "number": number,
        "key": entry.key,
        "at": entry.at.isoformat(),
        "kind": entry.kind,
        "body": entry.body,
    }
    return json.dumps({**content, "mac": signed(content, secret)}, ensure_ascii=False) + "\n"


def write_out(settings: Settings) -> int:
    """Append what waits to the file of the month and flush it to the disk; returns how many lines. One writer at a time.

    A crash between the file and the commit writes the same lines again: their key tells that they are the same. Raises
    `OSError` when the file cannot be written, and the lines wait.
    """
    # Almost always there is nothing to do, and the index of what waits is empty.
    if not waiting()[0]:
        return 0
    db.session.execute(select(func.pg_advisory_xact_lock(WRITER_LOCK)))
    entries = db.session.scalars(
        select(JournalEntry)
        .where(JournalEntry.number.is_(None))
        .order_by(JournalEntry.id)
        .limit(AT_ONCE)
        .execution_options(populate_existing=True)
    ).all()
    if not entries:
        return 0
    last = db.session.scalar(select(func.max(JournalEntry.number))) or 0
    lines = []
    for number, entry in enumerate(entries, last + 1):
        entry.number = number
        lines.append(_line(entry, number, settings.secret_key))
    db.session.flush()
    append(settings.journal_dir, "".join(lines))
    return len(entries)


def append(folder: Path, lines: str) -> None:
    """Append whole lines to the file of this month, closed to others, and flush it; a torn end of before is ended first."""
    make_private(folder)
    path = folder / f"journal-{clock.now():%Y-%m}.jsonl"
    fresh = not path.exists()
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        torn = b""
        if size:
            file.seek(size - 1)
            torn = b"" if file.read(1) == b"\n" else b"\n"
        file.write(torn + lines.encode())
        file.flush()
        os.fsync(file.fileno())
    if fresh:
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def waiting() -> tuple[int, datetime | None]:
    """How many lines are not in the file yet, and since when the first of them waits."""
    row = db.session.execute(select(func.count(), func.min(JournalEntry.at)).where(JournalEntry.number.is_(None))).one()
    return int(row[0]), row[1]


def late() -> datetime | None:
    """Since when lines wait in vain to be written; None when all is well."""
    since = waiting()[1]
    return since if since is not None and since < clock.now() - LATE else None


@every(2)
@job(own_transactions=True)
def write_lines() -> None:
    """Bring the noted lines to the disk."""
    written = AT_ONCE
    while written == AT_ONCE:
        with transaction():
            written = write_out(current_app.extensions["settings"])


@every(3600)
@job()
def mark_hour() -> None:
    """Say once an hour that the journal is whole until here, though nobody has said anything."""
    note(MARK, {})


@every(86_400)
@job()
def forget_lines() -> None:
    """Drop lines and files that are older than any backup that is still of use."""
    now = clock.now()
    db.session.execute(
        delete(JournalEntry)
        .where(JournalEntry.at < now - timedelta(days=ROWS_KEPT_DAYS), JournalEntry.number.is_not(None))
        .where(JournalEntry.number < select(func.max(JournalEntry.number)).scalar_subquery())
        .execution_options(synchronize_session=False)
    )
    oldest = f"{now - timedelta(days=KEPT_DAYS):%Y-%m}"
    for path in current_app.extensions["settings"].journal_dir.glob(FILES):
        if path.stem.removeprefix("journal-") < oldest:
            with suppress(FileNotFoundError):
                path.unlink()


# ── Carrying it out again ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Report:
    """What a replay found and did."""

    # Lines read, and of these how many the database knew already.
    read: int = 0
    known: int = 0
    carried_out: int = 0
    came: dict[str, int] = field(default_factory=dict)
    # Lines that are cut, altered, or of another shop or key; and lines between two others that are not there.
    damaged: int = 0
    missing: int = 0
    # Lines that a room refused to carry out, or could not, with the reason; the next replay tries them again.
    refused: list[str] = field(default_factory=list)
    # Whether a file ends in the middle of a line.
    torn: bool = False
    # Until when the journal speaks; after that nothing is known.
    until: str | None = None

    @property
    def whole(self) -> bool:
        return not (self.damaged or self.missing or self.torn or self.refused) and self.read > 0

    def faults(self) -> list[str]:
        """Sentences about what could not be read or carried out."""
        found = []
        if not self.read:
            found.append(_("The journal is empty: nothing is known of what came after the backup."))
        if self.missing:
            found.append(
                ngettext(
                    "%(num)s line is missing: what it said is not known to this shop.",
                    "%(num)s lines are missing: what they said is not known to this shop.",
                    self.missing,
                )
            )
        if self.damaged:
            found.append(
                ngettext(
                    "%(num)s line is damaged, or was written under another key, and was not carried out. If the key was"
                    " changed, give that key as PREVIOUS_SECRET_KEYS and carry the journal out again.",
                    "%(num)s lines are damaged, or were written under another key, and were not carried out. If the key was"
                    " changed, give that key as PREVIOUS_SECRET_KEYS and carry the journal out again.",
                    self.damaged,
                )
            )
        if self.torn:
            found.append(_("The last line is cut off: what it said is not known to this shop."))
        if self.refused:
            found.append(
                ngettext(
                    "%(num)s line could not be carried out (%(why)s). Carry the journal out again later: only it is tried.",
                    "%(num)s lines could not be carried out (%(why)s). Carry the journal out again later: only they are tried.",
                    len(self.refused),
                    why="; ".join(self.refused[:3]),
                )
            )
        return [str(one) for one in found]

    def stored(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Line:
    number: int
    key: str
    at: datetime
    kind: str
    body: dict[str, Any]


def files_in(paths: Iterable[Path]) -> list[Path]:
    """The files of a journal among these files and folders, in the order of months."""
    found = [file for path in paths for file in (path.rglob(FILES) if path.is_dir() else [path])]
    return sorted(set(found), key=lambda file: (file.name, str(file)))


def read_lines(paths: Iterable[Path], secret_keys: Iterable[bytes], report: Report) -> list[Line]:
    """The lines of a journal in their order, each once; what cannot be believed is counted in the report."""
    keys = list(secret_keys)
    found: dict[str, Line] = {}
    for file in files_in(paths):
        content = file.read_bytes()
        # What is written again after a crash begins on a line of its own.
        *whole, rest = content.split(b"\n")
        report.torn = report.torn or bool(rest)
        for raw in whole:
            if not raw.strip():
                continue
            report.read += 1
            line = _believed(raw, keys)
            if line is None:
                report.damaged += 1
            # What a crash let be written again may have been numbered anew: the last writing, with the higher number, holds.
            elif line.key not in found or found[line.key].number < line.number:
                found[line.key] = line
    return sorted(found.values(), key=lambda line: (line.at, line.number))


def _believed(raw: bytes, keys: list[bytes]) -> Line | None:
    """A line whose signature fits one of the keys, else None."""
    try:
        content = json.loads(raw)
        mac = content.pop("mac")
        if not any(hmac.compare_digest(str(mac), signed(content, key)) for key in keys):
            return None
        return Line(
            int(content["number"]),
            str(content["key"]),
            datetime.fromisoformat(content["at"]),
            str(content["kind"]),
            dict(content["body"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


@dataclass
class Replaying:
    """A replay under way: the lines that are to be carried out, and a place for what is worked out once for all of them."""

    lines: list[Line]
    kept: dict[str, Any] = field(default_factory=dict)


def replaying() -> Replaying:
    """The replay under way, for its replayers."""
    found = _replaying.get()
    if found is None:
        raise RuntimeError("no journal is being carried out")
    return found


@contextmanager
def _quietly(under_way: Replaying) -> Iterator[None]:
    token = _replaying.set(under_way)
    try:
        yield
    finally:
        _replaying.reset(token)


def replay(paths: Iterable[Path], settings: Settings) -> Report:
    """Carry out every line that the database does not know, in order, each in a transaction of its own; returns a report.

    A line is noted in the same transaction, so that a second replay, or one that was cut off and begins again, does
    nothing twice, and so that the lines go into the journal of the restored shop as well.
    """
    report = Report()
    lines = read_lines(paths, (settings.secret_key, *settings.previous_secret_keys), report)
    with transaction():
        last = db.session.scalar(select(func.max(JournalEntry.number))) or 0
        # One array: of single values a statement takes 65,535 at most, and a journal has more lines.
        keys = literal([line.key for line in lines], ARRAY(Text))
        known = set(db.session.scalars(select(JournalEntry.key).where(JournalEntry.key == any_(keys))))
    report.known = len(known)
    fresh = [line for line in lines if line.key not in known]
    numbers = {line.number for line in lines}
    report.missing = sum(number not in numbers for number in range(last + 1, max(numbers, default=last) + 1))
    report.until = lines[-1].at.isoformat() if lines else None
    under_way = Replaying(fresh)
    for line in fresh:
        replayer = _replayers.get(line.kind)
        if replayer is None and line.kind != MARK:
            # A newer version wrote it: it stays to be carried out when that version runs again.
            why = _("this version does not know it")
            report.refused.append(f"{line.kind} {line.number}: {why}")
            continue
        try:
            with transaction(), _quietly(under_way):
                came = list(replayer(line.body, line.at)) if replayer is not None else []
                db.session.add(JournalEntry(key=line.key, kind=line.kind, body=line.body, at=line.at))
        except Refusal as refusal:
            report.refused.append(f"{line.kind} {line.number}: {refusal}"[:300])
            continue
        except Exception as error:
            # One line that cannot be carried out keeps none of the others from it.
            log.exception("line %s of the journal could not be carried out", line.number)
            report.refused.append(f"{line.kind} {line.number}: {type(error).__name__}")
            continue
        report.carried_out += line.kind != MARK
        for one in came:
            report.came[one.what] = report.came.get(one.what, 0) + one.count
    return report
