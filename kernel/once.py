"""Forms that make something carry a key drawn when they were shown, so that the same form sent twice makes it once: pressed
twice without script, sent again over a bad line, or by loading the page anew that answered it with a secret.

The keys lie beside those of the REST interface (`kernel.idempotency`), under whoever sends, a colleague or a member; they are
forgotten as those are, and go with the transaction: what a refusal rolled back may be sent again.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TypeVar

from flask import current_app, flash, g, request
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.dialects.postgresql import insert
from werkzeug.datastructures import FileStorage

from . import clock, visitors
from .auth import acting_staff, policy_of
from .db import db
from .forms import ONCE, Form
from .i18n import gettext as _
from .idempotency import IdempotencyRecord

F = TypeVar("F", bound=Form)

# Stands where the calls of programs name their API key; there is no such key.
_FORMS = 0


def key() -> str:
    """A key for a form that is about to be shown."""
    return secrets.token_urlsafe(12)


def show(form: F) -> F:
    """Let a form that is opened carry a key; returns that form."""
    form.once = key()
    return form


def _digest_of(upload: FileStorage) -> tuple[str, str]:
    """A file's name and what it holds: the same name chosen again after the file was put right is another one."""
    digest = hashlib.sha256()
    upload.stream.seek(0)
    while chunk := upload.stream.read(1 << 20):
        digest.update(chunk)
    upload.stream.seek(0)
    return upload.filename or "", digest.hexdigest()


def _sender() -> str:
    """Whose form it is: a colleague's on a page of the console, else the member's. One browser may be both."""
    policy = policy_of(current_app.view_functions[request.endpoint or ""])
    if policy is not None and policy.kind == "staff":
        return str(acting_staff().id)
    return f"member {visitors.member_id() or 0}"


def _uploads() -> list[FileStorage]:
    """Every file that came along: a field may bring several."""
    return [upload for field in request.files for upload in request.files.getlist(field)]


def done_before() -> bool:
    """Whether the form that was sent has done its work already, which is said on the next page; the second of two at the same
    moment waits for the first. To be asked right before the work. A form without a key is sent for the first time, and so is
    one that somebody went back to and filled in otherwise."""
    sent = request.form.get(ONCE, "")
    if not re.fullmatch(r"[A-Za-z0-9_-]{16}", sent):
        return False
    typed = repr(sorted(request.form.lists())) + repr([_digest_of(one) for one in _uploads()])
    digest = hashlib.sha256(typed.encode()).hexdigest()
    g.sent_once = f"{request.path} {_sender()}", f"{sent}:{digest}"
    fresh = db.session.scalar(
        insert(IdempotencyRecord)
        .values(
            api_key_id=_FORMS,
            route=g.sent_once[0],
            key=g.sent_once[1],
            request_hash=digest,
            created_at=clock.now(),
        )
        .on_conflict_do_nothing()
        .returning(IdempotencyRecord.key)
    )
    if fresh is None:
        flash(_("This had been sent before and is done. Nothing was done a second time."), "info")
    return fresh is None


def _this() -> tuple[ColumnElement[bool], ...] | None:
    """The row of the form that was sent, once `done_before` was asked; None without a key."""
    route, sent = g.get("sent_once", ("", ""))
    if not sent:
        return None
    return IdempotencyRecord.api_key_id == _FORMS, IdempotencyRecord.route == route, IdempotencyRecord.key == sent


def note_made(name: str) -> None:
    """Keep what the form made, by a name that tells nothing of anybody (a public id): a browser that lost the answer is led
    there when it sends the form again."""
    if (this := _this()) is not None:
        db.session.execute(update(IdempotencyRecord).where(*this).values(body=name))


def made_before() -> str:
    """What the form made when it was sent first, as `note_made` kept it; empty where nothing was kept."""
    this = _this()
    return (db.session.scalar(select(IdempotencyRecord.body).where(*this)) if this is not None else None) or ""
