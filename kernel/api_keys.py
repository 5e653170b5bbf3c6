"""Keys for other programs: shown once, stored hashed, each with its scopes, revoked on the next request."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from flask import g, request
from sqlalchemy import select, update
from sqlalchemy.orm import Mapped, mapped_column

from . import clock
from .db import db, pk
from .errors import InputInvalid, Refusal
from .i18n import gettext as _
from .i18n import lazy_gettext as _l

# Filled by `auth.api_scope` as the routes are declared.
SCOPES: set[str] = set()
PREFIX = "siyu_"


class ApiKey(db.Model):
    __tablename__ = "api_key"
    id: Mapped[pk]
    name: Mapped[str]
    hint: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class ApiKeyMissing(Refusal):
    status = 401
    label = _l("Send an API key in the header: Authorization: Bearer siyu_…")


class ApiKeyRefused(Refusal):
    status = 401
    label = _l("This API key is unknown or has been revoked.")


class ApiScopeMissing(Refusal):
    status = 403
    label = _l("This API key does not carry the scope %(scope)s.")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def create(name: str, scopes: list[str]) -> tuple[ApiKey, str]:
    """Make a key; returns its row and the token, which is not kept.

    Refuses with `InputInvalid`: an empty name, no scope, an unknown scope.
    """
    errors = [] if name.strip() else [("name", _("Give the key a name, so that it can be told apart later."))]
    if not scopes:
        errors.append(("scope", _("Name at least one scope.")))
    errors += [
        ("scope", _("There is no scope %(scope)s. Known: %(known)s.", scope=scope, known=", ".join(sorted(SCOPES))))
        for scope in scopes
        if scope not in SCOPES
    ]
    if errors:
        raise InputInvalid(errors)
    token = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        name=name.strip(),
        hint=token[-4:],
        token_hash=_hash(token),
        scopes=sorted(set(scopes)),
        created_at=clock.now(),
    )
    db.session.add(key)
    db.session.flush()
    return key, token


def revoke(key_id: int) -> bool:
    """Revoke a key; returns False when there is no live one of that id."""
    result = db.session.execute(
        update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)).values(revoked_at=clock.now())
    )
    return bool(result.rowcount)  # type: ignore[attr-defined]


def authenticate(scope: str) -> ApiKey:
    """The key of the present request, which must carry the scope."""
    kind, _blank, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise ApiKeyMissing
    key = db.session.scalar(
        select(ApiKey).where(ApiKey.token_hash == _hash(token.strip()), ApiKey.revoked_at.is_(None))
    )
    if key is None:
        raise ApiKeyRefused
    if scope not in key.scopes:
        raise ApiScopeMissing(scope=scope)
    now = clock.now()
    if key.last_used_at is None or now - key.last_used_at > timedelta(minutes=5):
        # Not at every request: a busy till must not turn each read into a write.
        key.last_used_at = now
    g.api_key = key
    return key
