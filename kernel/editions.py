"""Whole things that colleagues write at the same time: a form carries the mark of what it showed, and a save that is based on
a former state is answered with what was typed and who was quicker, instead of undoing their work in silence.

The mark is a digest of the values shown, so that no table needs a column for it, and what the form does not show (a counter,
a state) overtakes nobody.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

from flask import request
from sqlalchemy import select, text
from sqlalchemy.exc import InvalidRequestError

from . import clock, shop
from .audit import AuditEntry
from .auth import current_staff
from .db import db
from .errors import NotFound
from .forms import EDITION, Form, Overtaken


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


def digest_of(shown: Any) -> str:
    """The digest of what a form shows: plain values, lists, dictionaries and dataclasses of them, in any order of keys."""
    text = json.dumps(shown, sort_keys=True, default=_plain, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def show(form: Form, shown: Any) -> None:
    """Let a form that is opened carry the mark of what it shows, and since when."""
    form.edition = _mark(digest_of(shown))


def _mark(digest: str) -> str:
    return f"{digest}-{int(clock.now().timestamp())}"


def _read(mark: str) -> tuple[str, datetime]:
    digest, _dash, since = mark.partition("-")
    seconds = int(since) if since.isascii() and since.isdigit() and len(since) < 11 else 0
    return digest, datetime.fromtimestamp(seconds, UTC)


def overtaken(form: Form, shown: Callable[[], Any], *rows: Any, by: tuple[str, ...]) -> bool:
    """Whether what a sent form was based on has changed since; the rows are held until the transaction ends.

    `shown` reads what the form would show now, once the rows are held; without a row (a setting of the shop, a list that is
    replaced as a whole) two saves of one kind wait for each other. `by` are the audit trail's actions on the first row that
    change it, for the name of whoever was quicker. A form that was overtaken is to be shown again with status 409: it says so, and
    carries the present mark, so that saving once more is meant. A form that carries no mark is based on what is there.
    Refuses with `NotFound` when somebody has deleted a row meanwhile.
    """
    for row in rows:
        # As an update locks it: whatever only points at the row, such as a job's new rows, goes on.
        try:
            db.session.refresh(row, with_for_update={"key_share": True})
        except InvalidRequestError:
            raise NotFound from None
    if not rows:
        db.session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:kind, 2))"), {"kind": by[0]})
        shop.forget_read()
    (sent, since), present = _read(request.form.get(EDITION, "")), digest_of(shown())
    if not sent or sent == present:
        return False
    form.edition = _mark(present)
    changes = [AuditEntry.action.in_(by), AuditEntry.at >= since]
    if rows:
        changes += [AuditEntry.object_kind == rows[0].__tablename__, AuditEntry.object_id == rows[0].id]
    entry = db.session.scalar(select(AuditEntry).where(*changes).order_by(AuditEntry.id.desc()).limit(1))
    reader = current_staff()
    form.overtaken = Overtaken(
        name=entry.actor if entry is not None else "",
        at=entry.at if entry is not None else None,
        own=entry is not None and reader is not None and entry.staff_id == reader.id,
    )
    return True
