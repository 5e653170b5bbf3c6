"""Keys for other programs: shown once, stored hashed, each with its scopes and its pace, revoked on the next request."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from flask import current_app, g, request
from redis import Redis, RedisError
from sqlalchemy import select, update
from sqlalchemy.orm import Mapped, mapped_column

from . import clock
from .db import db, pk
from .errors import InputInvalid, Refusal
from .i18n import gettext as _
from .i18n import lazy_gettext as _l

# Filled by `auth.api_scope` as the routes are declared.
SCOPES: set[str] = set()
# What a scope without operations of its own allows (others are explained by what can be called with them).
SCOPE_WORDS: dict[str, Any] = {}
PREFIX = "siyu_"
PER_MINUTE = 1_200
MOST_PER_MINUTE = 60_000
# How long the counter is left alone after it did not answer, in seconds.
_AWAY = 5.0
log = logging.getLogger(__name__)
_away_until = 0.0


class ApiKey(db.Model):
    __tablename__ = "api_key"
    id: Mapped[pk]
    name: Mapped[str]
    hint: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    # How many requests a minute it may send.
    per_minute: Mapped[int] = mapped_column(default=PER_MINUTE, server_default=str(PER_MINUTE))

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= clock.now()


# What RFC 6750 has the answer say of the key that is asked for, so that a client knows what to send.
_CHALLENGE = 'Bearer realm="Siyu"'


class ApiKeyMissing(Refusal):
    status = 401
    headers = {"WWW-Authenticate": _CHALLENGE}
    label = _l("Send an API key in the header: Authorization: Bearer siyu_…")


class ApiKeyRefused(Refusal):
    status = 401
    headers = {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}
    label = _l("This API key is unknown, has expired or has been revoked.")


class ApiScopeMissing(Refusal):
    status = 403
    label = _l("This API key does not carry the scope %(scope)s.")

    def __init__(self, scope: str) -> None:
        super().__init__(scope=scope)
        self.headers = {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'}


class TooManyRequests(Refusal):
    """The key has used up its requests of this minute."""

    status = 429
    label = _l("This API key asks too often. Wait as many seconds as Retry-After says.")

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.retry_after = seconds


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def create(
    name: str, scopes: list[str], *, expires_at: datetime | None = None, per_minute: int = PER_MINUTE
) -> tuple[ApiKey, str]:
    """Make a key; returns its row and the token, which is not kept.

    `expires_at` is when it ends by itself, `per_minute` how many requests it may send a minute.
    Refuses with `InputInvalid`: an empty name, no scope, an unknown scope, an end that has passed, a pace out of bounds.
    """
    errors = [] if name.strip() else [("name", _("Give the key a name, so that it can be told apart later."))]
    if not scopes:
        errors.append(("scope", _("Name at least one scope.")))
    errors += [
        ("scope", _("There is no scope %(scope)s. Known: %(known)s.", scope=scope, known=", ".join(sorted(SCOPES))))
        for scope in scopes
        if scope not in SCOPES
    ]
    if expires_at is not None and expires_at <= clock.now():
        errors.append(("expires_at", _("This moment has passed already.")))
    if not 1 <= per_minute <= MOST_PER_MINUTE:
        errors.append(("per_minute", _("Between 1 and %(most)s requests a minute.", most=MOST_PER_MINUTE)))
    if errors:
        raise InputInvalid(errors)
    token = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        name=name.strip(),
        hint=token[-4:],
        token_hash=_hash(token),
        scopes=sorted(set(scopes)),
        created_at=clock.now(),
        expires_at=expires_at,
        per_minute=per_minute,
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
    if key is None or key.expired:
        raise ApiKeyRefused
    _count(key)
    if scope not in key.scopes:
        raise ApiScopeMissing(scope=scope)
    now = clock.now()
    if key.last_used_at is None or now - key.last_used_at > timedelta(minutes=5):
        # Not at every request: a busy till must not turn each read into a write.
        key.last_used_at = now
    g.api_key = key
    return key


def declare(scope: str, about: Any) -> None:
    """Make a scope known that no route asks for by itself, with what it allows in a sentence."""
    SCOPES.add(scope)
    SCOPE_WORDS[scope] = about


def need(scope: str, asked: bool = True) -> None:
    """Refuse with `ApiScopeMissing` when what is asked for needs a further scope that the key of this request lacks."""
    if asked and scope not in g.api_key.scopes:
        raise ApiScopeMissing(scope=scope)


@cache
def _counter(url: str) -> Redis:
    return Redis.from_url(url, socket_connect_timeout=0.25, socket_timeout=0.25)


def _count(key: ApiKey) -> None:
    """Count the request in the key's present minute; refuses with `TooManyRequests` beyond what it may.

    The key has proved who it is, so this only keeps one program from crowding out the others: while the counter does not
    answer, requests pass (orders and redemptions must not stop for it), and it is not asked again for some seconds.
    """
    global _away_until
    if time.monotonic() < _away_until:
        return
    now = clock.now().timestamp()
    minute = int(now // 60)
    name = f"siyu:rate:{key.id}:{minute}"
    try:
        with _counter(current_app.extensions["settings"].redis_url).pipeline(transaction=False) as pipe:
            pipe.incr(name)
            pipe.expire(name, 120)
            used = int(pipe.execute()[0])
    except RedisError as error:
        log.warning("requests are not counted for %s s: %s", _AWAY, error)
        _away_until = time.monotonic() + _AWAY
        return
    if used > key.per_minute:
        raise TooManyRequests(max(1, int((minute + 1) * 60 - now)))
