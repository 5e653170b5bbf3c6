"""A browser that is bound to a member. The cookie holds a random token, the table its hash; a row that is gone binds nothing.

Opening the right link and acting on it binds a browser (`identified_at` empty: that act's pages). Proving who one is by a
code or an order number identifies it (orders, address, personal details).

A page with a one-time act on it (claim this coupon) may `propose` a token first, kept in the signed session cookie: when
the act was committed and its answer lost, the same browser is known again as soon as it repeats.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from flask import Flask, Response, current_app, g, has_request_context, request, session
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from . import clock
from .db import db, pk

LIFETIME = timedelta(days=180)
IDENTIFIED_FOR = timedelta(days=30)
PROPOSED = "visitor"


class VisitorSession(db.Model):
    __tablename__ = "visitor_session"
    id: Mapped[pk]
    token_hash: Mapped[str] = mapped_column(unique=True)
    member_id: Mapped[int] = mapped_column(index=True)
    created_at: Mapped[datetime]
    identified_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]


def cookie_name(site_url: str) -> str:
    return "__Host-visitor" if site_url.startswith("https://") else "visitor"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _current() -> VisitorSession | None:
    if not has_request_context():
        return None
    if "visitor" not in g:
        cookie = request.cookies.get(cookie_name(current_app.extensions["settings"].site_url))
        tokens = {_hash(token): token for token in (cookie, session.get(PROPOSED)) if token}
        g.visitor = (
            db.session.scalars(
                select(VisitorSession)
                .where(VisitorSession.token_hash.in_(tokens), VisitorSession.expires_at > clock.now())
                .order_by(VisitorSession.id.desc())
            ).first()
            if tokens
            else None
        )
        if g.visitor is not None and tokens[g.visitor.token_hash] != cookie:
            # The act was committed and its answer lost on the way: hand the cookie over now.
            g.visitor_cookie = tokens[g.visitor.token_hash]
    found: VisitorSession | None = g.visitor
    return found


def hashes() -> list[str]:
    """The hashes of the tokens that this browser shows, for a statement that joins `visitor_session` itself."""
    cookie = request.cookies.get(cookie_name(current_app.extensions["settings"].site_url))
    return [_hash(token) for token in (cookie, session.get(PROPOSED)) if token]


def member_id(identified: bool = False) -> int | None:
    """The member this browser is bound to, or None; with `identified`, only if the person has proved who they are."""
    known = _current()
    if known is None:
        return None
    if identified and (known.identified_at is None or known.identified_at <= clock.now() - IDENTIFIED_FOR):
        return None
    return known.member_id


def propose() -> None:
    """Choose the token under which an act on this page would bind the browser, unless it is bound already."""
    if _current() is None and PROPOSED not in session:
        session[PROPOSED] = secrets.token_urlsafe(32)


def promise() -> str:
    """The hash of the token that `keep_promise` will hand out, for whoever writes the binding with rows of their own."""
    propose()
    return _hash(session[PROPOSED])


def keep_promise(member: int) -> None:
    """Set the cookie of a binding that has been written by `write` under the promised hash."""
    g.visitor_cookie = session[PROPOSED]
    g.visitor = _fresh(member, session[PROPOSED], identified=False)


def write(connection: Connection, bindings: Sequence[tuple[str, int]]) -> None:
    """Write bindings (promised hash, member) over a given connection; a hash that is there already stays as it is."""
    now = clock.now()
    rows = [{"token_hash": h, "member_id": m, "created_at": now, "expires_at": now + LIFETIME} for h, m in bindings]
    if rows:
        connection.execute(insert(VisitorSession).on_conflict_do_nothing(), rows)


def _fresh(member: int, token: str, identified: bool) -> VisitorSession:
    now = clock.now()
    return VisitorSession(
        token_hash=_hash(token),
        member_id=member,
        created_at=now,
        identified_at=now if identified else None,
        expires_at=now + LIFETIME,
    )


def bind(member: int, identified: bool = False) -> None:
    """Bind this browser to a member, from the response on. A binding to the same member is kept and may only gain rights.

    Whoever is identified gets a new token: one that lay in the session cookie before must not gain rights.
    """
    known = _current()
    if known is not None and known.member_id == member:
        if not identified:
            return
        if PROPOSED not in session:
            known.identified_at = clock.now()
            return
    if known is not None:
        db.session.delete(known)
    token = session.pop(PROPOSED, None)
    if token is None or identified or known is not None:
        token = secrets.token_urlsafe(32)
    fresh = _fresh(member, token, identified)
    db.session.add(fresh)
    g.visitor = fresh
    g.visitor_cookie = token


def forget() -> None:
    """Unbind this browser."""
    known = _current()
    if known is not None:
        db.session.delete(known)
    session.pop(PROPOSED, None)
    g.visitor = None
    g.visitor_cookie = ""


def forget_everywhere(member: int) -> None:
    """Unbind every browser of a member (erasure, a link that escaped)."""
    db.session.execute(delete(VisitorSession).where(VisitorSession.member_id == member))


def init_app(app: Flask) -> None:
    @app.after_request
    def set_cookie(response: Response) -> Response:
        token = g.pop("visitor_cookie", None)
        if token is None or response.status_code >= 400:
            return response
        secure = app.extensions["settings"].secure
        name = cookie_name(app.extensions["settings"].site_url)
        if token:
            response.set_cookie(
                name, token, max_age=int(LIFETIME.total_seconds()), secure=secure, httponly=True, samesite="Lax"
            )
        else:
            response.delete_cookie(name, secure=secure, httponly=True, samesite="Lax")
        return response
