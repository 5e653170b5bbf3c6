"""HTTP habits: who calls, response headers, cross-site refusal, the REST blueprint and its idempotency."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import urlsplit

from apiflask import APIBlueprint
from flask import Flask, Response, g, make_response, request
from sqlalchemy import PrimaryKeyConstraint, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from . import clock
from .db import db
from .errors import Forbidden, Refusal, problem
from .i18n import gettext as _
from .i18n import lazy_gettext as _l

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
F = TypeVar("F", bound=Callable[..., Any])


def client_address() -> str:
    """The peer's address. Forwarded headers count only as far as `PROXY_COUNT` proxies are configured."""
    return request.remote_addr or ""


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
            if not key or len(key) > 255 or not key.isprintable():
                raise IdempotencyKeyInvalid
            route = f"{request.method} {request.path}"
            body_hash = hashlib.sha256(request.get_data()).hexdigest()
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

        return wrapper  # type: ignore[return-value]

    return decorate


def api_blueprint(name: str, import_name: str) -> APIBlueprint:
    """A blueprint under /api/v1; bodies are pydantic models in strict mode, mistakes become problem+json."""
    return APIBlueprint(name, import_name, url_prefix="/api/v1")


def _cross_site() -> bool:
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return True
    origin = request.headers.get("Origin")
    if not origin or origin == "null":
        # A page under `Referrer-Policy: no-referrer` posts with the origin `null`; the form's token decides there.
        return False
    return urlsplit(origin).netloc != request.host


def init_app(app: Flask) -> None:
    @app.before_request
    def refuse_cross_site() -> None:
        if request.method not in ("GET", "HEAD", "OPTIONS") and not request.path.startswith("/api/") and _cross_site():
            raise Forbidden

    @app.after_request
    def harden(response: Response) -> Response:
        headers = response.headers
        headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Referrer-Policy", "no-referrer")
        headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        if request.endpoint not in ("static", "picture"):
            headers.setdefault("Cache-Control", "no-store")
        if app.extensions["settings"].site_url.startswith("https://"):
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        return response

    error_processor = getattr(app, "error_processor", None)
    if error_processor is not None:

        @error_processor
        def validation_problem(error: Any) -> Any:
            """APIFlask's own errors (a body that does not fit its model) as problem+json."""
            errors = []
            for place, fields in (error.detail or {}).items():
                if isinstance(fields, dict):
                    errors += [{"param": f"{place}.{k}", "detail": _flat(v)} for k, v in fields.items()]
                else:
                    errors.append({"param": str(place), "detail": _flat(fields)})
            code = "input_invalid" if error.status_code == 422 else "request_invalid"
            return problem(
                error.status_code, code, _("The request does not have the form that this address takes."), errors=errors
            )


def _flat(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
