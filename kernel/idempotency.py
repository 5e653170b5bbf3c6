"""Idempotency-Key: the answer to a writing call is kept with its effect, so that repeating the call has no second one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, TypeVar

from flask import Response, g, make_response, request
from sqlalchemy import PrimaryKeyConstraint, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from . import clock
from .db import changed, db, transaction
from .errors import Refusal
from .i18n import lazy_gettext as _l
from .jobs import every, job

F = TypeVar("F", bound=Callable[..., Any])
# Longer than any caller goes on repeating a request; at least 24 hours are promised.
KEPT = timedelta(hours=48)
_SWEPT_AT_ONCE = 5_000
# Visible ASCII; blanks only inside.
KEY = r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?"


class IdempotencyRecord(db.Model):
    """The answer to a request that carried an Idempotency-Key, kept with the effect it had."""

    __tablename__ = "idempotency_record"
    api_key_id: Mapped[int]
    route: Mapped[str]
    key: Mapped[str]
    request_hash: Mapped[str]
    status: Mapped[int | None]
    body: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (PrimaryKeyConstraint("api_key_id", "route", "key"),)


class IdempotencyKeyReused(Refusal):
    status = 422
    label = _l("This Idempotency-Key was used before with another body. Use a new key for a new request.")


class IdempotencyKeyInvalid(Refusal):
    status = 422
    label = _l("Send an Idempotency-Key of 1 to 255 printable characters.")


def idempotent(required: bool = False) -> Callable[[F], F]:
    """Let a REST view answer a repeated Idempotency-Key with its first answer and no second effect.

    The record is inserted before the view runs, in the same transaction: an equal request in flight waits at the unique
    index for it. A refusal rolls everything back, so a retry is judged anew. The scheme follows the IETF draft
    "The Idempotency-Key HTTP Header Field".
    """

    def decorate(view: F) -> F:
        @wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            key = request.headers.get("Idempotency-Key")
            if key is None and not required:
                return view(*args, **kwargs)
            if not key or len(key) > 255 or not re.fullmatch(KEY, key):
                raise IdempotencyKeyInvalid
            route = f"{request.method} {request.path}"
            body_hash = hashlib.sha256(request.query_string + b"\n" + request.get_data()).hexdigest()
            fresh = db.session.scalar(
                insert(IdempotencyRecord)
                .values(api_key_id=g.api_key.id, route=route, key=key, request_hash=body_hash, created_at=clock.now())
                .on_conflict_do_nothing()
                .returning(IdempotencyRecord.key)
            )
            where = (
                IdempotencyRecord.api_key_id == g.api_key.id,
                IdempotencyRecord.route == route,
                IdempotencyRecord.key == key,
            )
            if fresh is None:
                known = db.session.scalars(select(IdempotencyRecord).where(*where)).one()
                if known.request_hash != body_hash:
                    raise IdempotencyKeyReused
                response = Response(known.body, status=known.status, mimetype="application/json")
                response.headers["Idempotent-Replay"] = "true"
                return response
            response = make_response(view(*args, **kwargs))
            known = db.session.scalars(select(IdempotencyRecord).where(*where)).one()
            known.status = response.status_code
            known.body = response.get_data(as_text=True)
            db.session.flush()
            return response

        wrapper._idempotent = "required" if required else "offered"  # type: ignore[attr-defined]
        return wrapper  # type: ignore[return-value]

    return decorate


@every(1_800)
@job(own_transactions=True)
def sweep_idempotency_records() -> None:
    """Forget the answers that are older than `KEPT`, some thousands in a transaction."""
    while True:
        with transaction():
            old = (
                select(IdempotencyRecord.api_key_id, IdempotencyRecord.route, IdempotencyRecord.key)
                .where(IdempotencyRecord.created_at < clock.now() - KEPT)
                .limit(_SWEPT_AT_ONCE)
                .with_for_update(skip_locked=True)
                .cte("old")
            )
            gone = changed(
                db.session.execute(
                    delete(IdempotencyRecord)
                    .where(
                        IdempotencyRecord.api_key_id == old.c.api_key_id,
                        IdempotencyRecord.route == old.c.route,
                        IdempotencyRecord.key == old.c.key,
                    )
                    .execution_options(synchronize_session=False)
                )
            )
        if gone < _SWEPT_AT_ONCE:
            return
