"""A browser that is bound to a member. The cookie holds a random token, the table its hash; a row that is gone binds nothing.

Opening the right link and acting on it binds a browser (`identified_at` empty: that act's pages). Proving who one is by a
code or an order number identifies it (orders, address, personal details).
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from flask import Flask, Response, g, has_request_context, request
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Mapped, mapped_column

from . import clock
from .db import db, pk

LIFETIME = timedelta(days=180)
IDENTIFIED_FOR = timedelta(days=30)


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
        from flask import current_app

        token = request.cookies.get(cookie_name(current_app.extensions["settings"].site_url))
        g.visitor = (
            db.session.scalar(
                select(VisitorSession).where(
                    VisitorSession.token_hash == _hash(token), VisitorSession.expires_at > clock.now()
                )
            )
            if token
            else None
        )
    found: VisitorSession | None = g.visitor
    return found


def member_id(identified: bool = False) -> int | None:
    """The member this browser is bound to, or None; with `identified`, only if the person has proved who they are."""
    session = _current()
    if session is None:
        return None
    if identified and (session.identified_at is None or session.identified_at <= clock.now() - IDENTIFIED_FOR):
        return None
    return session.member_id


def bind(member: int, identified: bool = False) -> None:
    """Bind this browser to a member, from the response on. A binding to the same member is kept and may only gain rights."""
    now = clock.now()
    session = _current()
    if session is not None and session.member_id == member:
        if identified:
            session.identified_at = now
        return
    if session is not None:
        db.session.delete(session)
    token = secrets.token_urlsafe(32)
    fresh = VisitorSession(
        token_hash=_hash(token),
        member_id=member,
        created_at=now,
        identified_at=now if identified else None,
        expires_at=now + LIFETIME,
    )
    db.session.add(fresh)
    g.visitor = fresh
    g.visitor_cookie = token


def forget() -> None:
    """Unbind this browser."""
    session = _current()
    if session is not None:
        db.session.delete(session)
    g.visitor = None
    g.visitor_cookie = ""


def forget_everywhere(member: int) -> None:
    """Unbind every browser of a member (erasure, a link that escaped)."""
    db.session.execute(delete(VisitorSession).where(VisitorSession.member_id == member))


def hand_over(member: int, to: int) -> None:
    """Let the browsers of one member follow to another (merge); nobody stays identified through it."""
    db.session.execute(
        update(VisitorSession).where(VisitorSession.member_id == member).values(member_id=to, identified_at=None)
    )


def init_app(app: Flask) -> None:
    @app.after_request
    def set_cookie(response: Response) -> Response:
        token = g.pop("visitor_cookie", None)
        if token is None or response.status_code >= 400:
            return response
        secure = app.extensions["settings"].site_url.startswith("https://")
        name = cookie_name(app.extensions["settings"].site_url)
        if token:
            response.set_cookie(
                name, token, max_age=int(LIFETIME.total_seconds()), secure=secure, httponly=True, samesite="Lax"
            )
        else:
            response.delete_cookie(name, secure=secure, httponly=True, samesite="Lax")
        return response
